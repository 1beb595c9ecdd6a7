"""What a second run of the demo says about the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_sf_otel import pipeline, step
from robot_sf_otel.cli.demo import beside_earlier_runs
from robot_sf_otel.demo.comparison import Comparison
from robot_sf_otel.demo.pipeline import DemoResult
from robot_sf_otel.testing import FakeClock, capture_run

if TYPE_CHECKING:
    from pathlib import Path


def result(run_dir: Path | None) -> DemoResult:
    return DemoResult(Comparison(()), 1, "quick", "run", run_dir)


def record_run(clock: FakeClock, seconds: float) -> Path:
    with pipeline("imitation-demo", scenario="quick") as run, step("train", title="Train"):
        clock.advance(seconds)
    assert run.run_dir is not None
    return run.run_dir


def test_first_run_has_nothing_to_stand_beside(tmp_path: Path) -> None:
    clock = FakeClock()
    with capture_run(tmp_path, clock=clock):
        assert beside_earlier_runs(result(record_run(clock, 2.0))) == ""


def test_second_run_shows_each_step_beside_the_run_before(tmp_path: Path) -> None:
    clock = FakeClock()
    with capture_run(tmp_path, clock=clock):
        record_run(clock, 2.0)
        table = beside_earlier_runs(result(record_run(clock, 3.0)))
    title, row, *_ = table.splitlines()
    assert title.endswith("median of 1 earlier")
    assert row.split() == ["Train", "3.0", "s", "2.0", "s", "+50%"]


def test_run_that_was_not_written_has_no_history() -> None:
    assert beside_earlier_runs(result(None)) == ""
