"""Throughput as recorded steps tell it."""

from __future__ import annotations

from typing import Any

import pytest

from robot_sf_otel.analysis.perf_samples import NotMeasured, executions, repetitions
from robot_sf_otel.manifest.schema import Progress, StepExecutionEntry, Usage


def entry(step_id: str, begin: int, end: int, **fields: Any) -> StepExecutionEntry:  # noqa: ANN401 - the fields of a step
    """A completed step from one second to another."""
    done = fields.pop("done", 0)
    given: dict[str, Any] = {
        "status": "completed",
        "duration_seconds": float(end - begin),
        "progress": Progress(done=done, unit="episodes"),
        **fields,
    }
    return StepExecutionEntry(
        step_id=step_id,
        display_name=step_id,
        order=1,
        started_at=f"2026-01-01T00:00:{begin:02d}.000000Z",
        ended_at=f"2026-01-01T00:00:{end:02d}.000000Z",
        **given,
    )


def test_each_repetition_of_the_test_is_a_sample_with_its_speed() -> None:
    steps = [
        entry("fast", 0, 20),
        entry("warm-up", 0, 2, done=1),
        entry("repetition", 2, 4, done=10, metrics={"seconds": 1.0, "machine_speed": 7.0}),
        entry("repetition", 4, 6, done=10, metrics={"seconds": 2.0}),
        entry("other", 20, 40),
        entry("repetition", 22, 24, done=99),
    ]

    samples, unit = repetitions(steps, "fast", "advance", None)

    assert samples == [(10.0, 7.0), (5.0, None)]
    assert unit == "episodes/s"


def test_a_repetition_that_did_not_complete_is_none() -> None:
    steps = [entry("t", 0, 20), entry("repetition", 1, 2, done=1, status="failed")]

    assert repetitions(steps, "t", "advance", None) == ([], "")


def test_the_only_step_that_tells_the_metric_is_found_within_the_repetition() -> None:
    steps = [
        entry("t", 0, 20),
        entry("repetition", 1, 9),
        entry("load", 1, 2),
        entry("train", 2, 7, done=10),
    ]

    assert repetitions(steps, "t", "advance", None) == ([(2.0, None)], "episodes/s")


def test_waiting_for_a_cpu_is_taken_off_inner_steps_in_proportion() -> None:
    metrics = {"seconds": 2.0, "waited_seconds": 2.0}
    steps = [
        entry("t", 0, 20),
        entry("repetition", 1, 9, metrics=metrics),
        entry("train", 2, 7, done=10),
    ]

    assert repetitions(steps, "t", "advance", None)[0] == [(4.0, None)]


def test_of_several_steps_one_has_to_be_named() -> None:
    steps = [
        entry("t", 0, 20),
        entry("repetition", 1, 9),
        entry("train", 1, 2, done=10),
        entry("test", 3, 8, done=10),
    ]

    with pytest.raises(NotMeasured, match=r"say which one with `step` \(train, test\)"):
        repetitions(steps, "t", "advance", None)
    assert repetitions(steps, "t", "advance", "test")[0] == [(2.0, None)]
    with pytest.raises(NotMeasured, match="step 'tset' of a repetition tells 'advance'"):
        repetitions(steps, "t", "advance", "tset")


def test_wall_and_cpu_are_repetitions_a_second() -> None:
    metrics = {"seconds": 4.0, "cpu_seconds": 0.5}
    steps = [entry("t", 0, 20), entry("repetition", 1, 9, metrics=metrics)]

    assert repetitions(steps, "t", "wall", None) == ([(0.25, None)], "runs/s")
    assert repetitions(steps, "t", "cpu", None) == ([(2.0, None)], "runs/s")


def test_a_logged_metric_is_taken_as_it_is() -> None:
    steps = [entry("t", 0, 20), entry("repetition", 1, 9, metrics={"fps": 30.0})]

    assert repetitions(steps, "t", "logged:fps", None) == ([(30.0, None)], "fps")
    with pytest.raises(NotMeasured, match="'logged:loss'"):
        repetitions(steps, "t", "logged:loss", None)


def test_a_past_step_is_measured_by_its_progress_or_its_duration() -> None:
    steps = [
        entry("train", 0, 4, done=8),
        entry("train", 4, 8, done=16),
        entry("train", 8, 9, status="failed"),
        entry("test", 9, 11, usage=Usage(cpu_seconds=0.5)),
    ]

    assert executions(steps, "train") == ([(2.0, None), (4.0, None)], "advance", "episodes/s")
    assert executions(steps, "test") == ([(0.5, None)], "wall", "runs/s")
    assert executions(steps, "test", "cpu") == ([(2.0, None)], "cpu", "runs/s")
    assert executions(steps, "tset") == ([], "wall", "")
    with pytest.raises(NotMeasured, match="'test' does not tell 'advance'"):
        executions(steps, "test", "advance")
