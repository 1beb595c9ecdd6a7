from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import (
    MAX_TEXT,
    clip,
    decode_event,
    decode_raw,
    encode_event,
    jsonable,
    metric_value,
)
from robot_sf_otel.manifest.events import rfc3339, unix_seconds


def test_line_has_version_event_time_and_unix_nanoseconds() -> None:
    line = encode_event(e.StepStarted(time_unix_nano=1_767_225_600_123_456_789, step_id="a"))
    assert json.loads(line) == {
        "schema_version": 1,
        "time": "2026-01-01T00:00:00.123456Z",
        "event": "step_started",
        "step_id": "a",
        "time_unix_nano": 1_767_225_600_123_456_789,
    }


def test_time_before_1970_is_formatted_too() -> None:
    assert rfc3339(-1) == "1969-12-31T23:59:59.999999Z"


def test_a_formatted_time_is_read_back_in_seconds() -> None:
    assert unix_seconds(rfc3339(1_767_225_600_250_000_000)) == 1_767_225_600.25
    assert unix_seconds("2026-01-01T01:00:00+01:00") == 1_767_225_600
    assert unix_seconds("2026-01-01T00:00:00") == 1_767_225_600  # without zone: UTC


def test_what_is_no_time_is_none() -> None:
    assert [unix_seconds(text) for text in (None, "", "soon", "99999-01-01")] == [None] * 4


def test_unknown_event_is_no_event_but_keeps_its_fields_when_read_raw() -> None:
    line = b'{"event":"from_the_future","time_unix_nano":1,"colour":"blue"}'
    assert decode_event(line) is None
    assert decode_raw(line) == {"event": "from_the_future", "time_unix_nano": 1, "colour": "blue"}


def test_unknown_field_of_a_known_event_does_not_hide_it() -> None:
    line = b'{"event":"step_started","time_unix_nano":1,"step_id":"a","colour":"blue"}'
    event = decode_event(line)
    assert isinstance(event, e.StepStarted)
    assert event.step_id == "a"


@given(st.binary(max_size=200))
def test_no_bytes_make_a_reader_raise(data: bytes) -> None:
    decode_event(data)
    decode_raw(data)


def test_invalid_utf8_inside_a_string_is_a_bad_line() -> None:
    line = b'{"event":"step_started","time_unix_nano":1,"step_id":"\xff\xfe"}'
    assert decode_event(line) is None
    assert decode_raw(line) is None


def test_deeply_nested_line_is_bad_and_not_a_crash() -> None:
    assert decode_raw(b'{"a":' + b"[" * 100_000) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(json_values)
def test_anything_becomes_strict_json(value: object) -> None:
    event = e.ParamsLogged(time_unix_nano=1, params={"value": jsonable(value)})
    text = encode_event(event).decode()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


class Hostile(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise OSError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1

    def __repr__(self) -> str:
        raise RuntimeError


def test_value_that_breaks_while_it_is_read_is_recorded_as_such() -> None:
    assert jsonable(Hostile()) == "<Hostile: repr failed with RuntimeError>"


def test_what_json_cannot_hold_is_recorded_as_its_repr() -> None:
    assert jsonable({"f": math.nan, "i": math.inf, "p": Path("a/b"), "s": {2, 1}, "c": 1j}) == {
        "f": "NaN",
        "i": "Infinity",
        "p": "a/b",
        "s": [1, 2],
        "c": "1j",
    }


def test_list_that_holds_itself_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert "..." in json.dumps(jsonable(endless))


def test_long_text_is_cut_and_says_how_much() -> None:
    assert clip("x" * (MAX_TEXT + 7)) == "x" * MAX_TEXT + "… (7 more)"


def test_lone_surrogate_does_not_stop_the_record() -> None:
    assert clip("a\udcff") == "a\\udcff"


@pytest.mark.parametrize(
    ("value", "kept"), [(1, 1.0), (math.nan, "NaN"), (-math.inf, "-Infinity"), (True, 1.0)]
)
def test_metric_is_a_number_or_the_name_of_none(value: float, kept: object) -> None:
    assert metric_value(value) == kept


def test_metric_that_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError):
        metric_value(object())
