"""What the console is told of steps and of the end of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from loguru import logger

from robot_sf_otel import current_step, pipeline, step
from robot_sf_otel.manifest.formats import duration
from robot_sf_otel.testing import FakeClock, capture_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class SlowClock(FakeClock):
    """A clock on which every look takes a second."""

    def monotonic(self) -> float:
        self.advance(1.0)
        return super().monotonic()


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the console says, without the times in parentheses."""
    lines: list[str] = []
    sink = logger.add(
        lambda message: lines.append(message.record["message"].partition(" (ETA")[0]),
        filter="robot_sf_otel",
    )
    yield lines
    logger.remove(sink)


def test_a_skipped_step_has_no_number_once_it_left_the_count(
    tmp_path: Path, said: list[str]
) -> None:
    names = ["a", "b", "c"]
    with capture_run(tmp_path, console="lines"), pipeline("p", steps=names):
        for name in names:
            with step(name):
                current_step().mark_skipped("cache hit")
    assert [line for line in said if line.startswith("Step")] == [
        "Step 1/3 – a",
        "Step – a – skipped",
        "Step 1/2 – b",
        "Step – b – skipped",
        "Step 1/1 – c",
        "Step – c – skipped",
    ]


def test_durations_are_those_of_the_record(tmp_path: Path, said: list[str]) -> None:
    with capture_run(tmp_path, console="lines", clock=SlowClock()) as runs:
        with pipeline("p", steps=["a"]), step("a"):
            pass
        record = runs.record
    assert f"Step 1/1 – a – completed in {duration(record.steps[0].duration_seconds)}" in said
    assert f"Run completed in {duration(record.duration_seconds)}" in said
