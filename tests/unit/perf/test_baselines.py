"""Baseline files: readable differences, one order, and one line where they cannot be used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.analysis.baseline import Baseline, Sample
from robot_sf_otel.perf import baselines

if TYPE_CHECKING:
    from pathlib import Path


def make(test_id: str, host: str = "box", level: float = 10.0, date: str | None = None) -> Baseline:
    return baselines.make(
        test_id=test_id,
        host=host,
        metric="advance",
        unit="it/s",
        samples=[Sample(level, 3.0), Sample(level * 1.1234567891, 4.0)],
        date=date,
        reason="first baseline",
    )


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "b.json"

    baselines.write(path, [make("a")])

    assert baselines.read(path) == [make("a")]


def test_the_order_does_not_depend_on_who_came_first(tmp_path: Path) -> None:
    one, other = tmp_path / "1", tmp_path / "2"

    baselines.write(one, [make("b"), make("a", "y"), make("a", "x")])
    baselines.write(other, [make("a", "x"), make("b"), make("a", "y")])

    assert one.read_bytes() == other.read_bytes()
    assert [found["test_id"] for found in json.loads(one.read_text())["baselines"]] == list("aab")


def test_a_new_baseline_changes_the_lines_that_differ_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    baselines.write(path, [make("a"), make("b")])
    before = path.read_text().splitlines()

    baselines.update(path, [make("b", level=20.0)])

    after = path.read_text().splitlines()
    assert len(after) == len(before)
    changed = [
        line.split(":")[0].strip() for line, old in zip(after, before, strict=True) if line != old
    ]
    assert changed == ['"median"', '"samples"']


def test_samples_without_speed_have_none() -> None:
    made = baselines.make(
        test_id="t",
        host="box",
        metric="wall",
        unit="runs/s",
        samples=[Sample(1.0, 2.0), Sample(1.0, None)],
    )

    assert made.speeds == []
    assert made.taken() == [(1.0, None), (1.0, None)]


def test_this_class_of_machines_comes_before_a_newer_one_of_another() -> None:
    known = [
        make("t", "old", date="2026-01-01"),
        make("t", "new", date="2026-02-01"),
        make("t", "box", date="2025-01-01"),
        make("u", "zoo", date="2027-01-01"),
    ]

    def chosen(host: str, metric: str = "advance") -> str | None:
        found = baselines.choose(known, test_id="t", host=host, metric=metric)
        return None if found is None else found.host_class

    assert chosen("box") == "box"
    assert chosen("elsewhere") == "new"
    assert chosen("box", metric="wall") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "Expected `object`"),
        ("{", "truncated"),
        ('{"schema_version": 2, "baselines": []}', "newer version"),
        (
            json.dumps(
                {
                    "schema_version": 1,
                    "baselines": [
                        {
                            "test_id": "t",
                            "host_class": "h",
                            "metric": "m",
                            "unit": "u",
                            "median": 0,
                            "samples": [],
                        }
                    ],
                }
            ),
            "samples must be above 0",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)

    with pytest.raises(baselines.BaselineError) as caught:
        baselines.read(path)

    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_an_error_unless_it_is_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "none.json"

    assert baselines.read(path, missing_ok=True) == []
    with pytest.raises(baselines.BaselineError, match="--update-baseline writes it"):
        baselines.read(path)


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(baselines.BaselineError, match="baseline file"):
        baselines.write(tmp_path / "file" / "b.json", [make("a")])
