"""Numbers and names as people read them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.manifest import formats


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "--"),
        (float("nan"), "--"),
        (float("inf"), "--"),
        (-1.0, "0 ms"),
        (0.0, "0 ms"),
        (0.0004, "0.4 ms"),
        (0.85, "850 ms"),
        (0.9996, "1.0 s"),
        (4.24, "4.2 s"),
        (59.96, "1m 00s"),
        (123.0, "2m 03s"),
        (3599.6, "1h 00m"),
        (3840.0, "1h 04m"),
        (183_600.0, "2d 03h"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "--"), (0.4, "0s"), (59.6, "1m"), (119.0, "1m"), (660.0, "11m"), (3840.0, "1h 04m")],
)
def test_coarse_duration(seconds: float | None, text: str) -> None:
    assert formats.coarse_duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e9))
def test_a_known_duration_is_short_and_has_a_unit(seconds: float) -> None:
    text = formats.duration(seconds)

    assert len(text) <= 10
    assert text[-1] in "smh"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "--"),
        (float("nan"), "--"),
        (0, "0"),
        (1_250_000, "1,250,000"),
        (1234.5, "1,234"),
        (181.5, "182"),
        (42.55, "42.5"),
        (3.2, "3.20"),
        (0.03125, "0.0312"),
        (1e300, "1e+300"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "--"), (3.2, "3.20 ep/s"), (0.0, "0 ep/s"), (0.01, "0.6 ep/min"), (1e-4, "0.36 ep/h")],
)
def test_rate(value: float | None, text: str) -> None:
    assert formats.rate(value, "ep") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "--"),
        (512, "512 B"),
        (7_000_000, "6.68 MiB"),
        (1023.8 * 2**20, "1 GiB"),
        (2**50, "1,024 TiB"),
    ],
)
def test_size(value: float | None, text: str) -> None:
    assert formats.size(value) == text


def test_progress_without_a_total_and_without_a_report() -> None:
    assert formats.progress(120, None, "episodes") == "120 episodes"
    assert formats.progress(0, None, "it") == "--"
    assert formats.progress(0, 500, "episodes") == "0/500 episodes"


@pytest.mark.parametrize(
    ("done", "total", "part"),
    [
        (1, None, None),
        (1, 0, None),
        (1, 4, 0.25),
        (9, 4, 1.0),
        (-1, 4, 0.0),
        (float("nan"), 4, None),
    ],
)
def test_fraction(done: float, total: float | None, part: float | None) -> None:
    assert formats.fraction(done, total) == part


@given(st.text())
def test_one_line_holds_nothing_that_moves_a_cursor_or_reorders_text(text: str) -> None:
    line = formats.one_line(text)

    assert not {unicodedata.category(char) for char in line} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(line) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")


def test_one_line_is_cut_visibly() -> None:
    assert formats.one_line("a\tb\r\n\x1b[31mc", 6) == "a b [3…"[:5] + "…"


@given(st.text(), st.integers(min_value=1, max_value=20))
def test_one_line_keeps_its_limit(text: str, limit: int) -> None:
    assert len(formats.one_line(text, limit)) <= limit


def test_a_block_keeps_its_lines_and_loses_its_escapes() -> None:
    assert formats.block("a\r\n\tb\x1b[2J\rc") == "a\n    b[2J\nc"


def test_an_unknown_telemetry_field_keeps_its_name() -> None:
    assert formats.telemetry_label("new_field") == "new_field"
    assert formats.telemetry_value("new_field", 2.5) == "2.50"
    assert formats.telemetry_value("disk_read_mb_s", 1.5) == "1.50 MiB/s"
    assert formats.telemetry_value("disk_read_mb_s", None) == "--"


def test_what_a_run_does_not_have_is_named() -> None:
    everything = set(formats.TELEMETRY_FIELDS)
    assert formats.unavailable(everything) is None
    assert formats.unavailable(everything - {"memory_limit_mb", "fps"}) is None, "no limit, no fps"
    assert (
        formats.unavailable(everything - {"gpu_util_percent", "gpu_mem_used_mb"})
        == "Unavailable: GPU utilization, GPU memory."
    )
