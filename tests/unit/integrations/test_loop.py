from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel import pipeline, step, track
from robot_sf_otel.integrations.loop import Loop, Rate
from robot_sf_otel.testing import CapturedRuns, FakeClock, capture_run
from tests.unit.warned import warnings_said

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import Progress


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[CapturedRuns]:
    with capture_run(tmp_path) as captured:
        yield captured


def progress(captured: CapturedRuns) -> Progress:
    return captured.record.steps[0].progress


def train(loop: Loop, units: int, total: float | None = None) -> None:
    loop.begin(lambda: total)
    for _ in range(units):
        loop.advance()
    loop.end()


def test_a_loop_drives_the_progress_of_the_running_step(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s"):
        train(Loop("framework", "updates"), 3, total=4)
    seen = progress(runs)
    assert (seen.done, seen.total, seen.unit) == (3, 4, "updates")


def test_what_the_step_declared_stays(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s", total=100, unit="frames"):
        train(Loop("framework", "updates"), 3, total=4)
    seen = progress(runs)
    assert (seen.done, seen.total, seen.unit) == (3, 100, "frames")


def test_successive_loops_add_up(runs: CapturedRuns) -> None:
    loop = Loop("framework", "updates")
    with pipeline("p"), step("s"):
        train(loop, 3, total=3)
        train(loop, 5, total=5)
    assert (progress(runs).done, progress(runs).total) == (8, 8)


def test_a_loop_that_broke_off_does_not_keep_the_step(runs: CapturedRuns) -> None:
    loop = Loop("framework", "updates")
    with pipeline("p"), step("s"):
        loop.begin(lambda: 9)
        loop.advance()  # and the framework raises: nobody ends the loop
        train(loop, 2, total=2)
    assert (progress(runs).done, progress(runs).total) == (3, 3)


def test_a_loop_inside_track_leaves_the_progress_to_it_and_reports_metrics(
    runs: CapturedRuns,
) -> None:
    loop = Loop("framework", "updates")
    with pipeline("p"), step("s") as handle:
        for _ in track(range(2), unit="seeds"):
            loop.begin(lambda: 50)
            loop.advance(50)
            loop.log("loss", 0.5)
            loop.end()
        assert handle.done == 2
    seen = progress(runs)
    assert (seen.done, seen.total, seen.unit) == (2, 2, "seeds")
    assert runs.record.steps[0].metrics == {"loss": 0.5}


def test_outside_a_run_a_loop_is_inert_and_works_nothing_out() -> None:
    loop = Loop("framework", "updates")

    def unused() -> float:
        raise AssertionError

    loop.begin(unused)
    loop.advance()
    assert not loop.listens
    loop.end()


class Broken:
    def __float__(self) -> float:
        msg = "several elements"
        raise RuntimeError(msg)


def test_what_goes_wrong_is_said_once_and_never_raised(runs: CapturedRuns) -> None:
    loop = Loop("framework", "updates")
    with warnings_said() as said, pipeline("p"), step("s"):
        loop.begin(lambda: 1 / 0)
        loop.log("grad", Broken())
        loop.log("grad", Broken())
        loop.advance()
        loop.end()
    assert runs.record.status == "completed"
    assert [line for line in said if "framework" in line] != []


def test_a_rate_is_told_over_half_a_second_at_least() -> None:
    clock = FakeClock()
    rate = Rate(clock.monotonic)
    told: list[float | None] = []
    for seconds in (0.25, 0.25, 0.25, 1.75):
        clock.advance(seconds)
        told.append(rate.add(4))
    assert told == [None, 16.0, None, 4.0]
