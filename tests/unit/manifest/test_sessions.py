"""A run that was resumed: its duration leaves pauses out, its attempts are counted on."""

from __future__ import annotations

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.schema import PipelineRunRecord, PlanStep, Progress

SECOND = e.NANOSECONDS


def resumed(*after: e.Event, took: float | None = None, **before: float | None) -> RunFold:
    """Return a run that failed in `train` 10 s after its start and was resumed 90 s later."""
    fold = RunFold()
    plan = [PlanStep(step_id=name) for name in ("collect", "train", "evaluate")]
    for event in (
        e.RunStarted(time_unix_nano=0, run_id="r", pipeline="p", span_id="one", plan=plan),
        *step("collect", 1, 2),
        step("train", 2, 2)[0],
        e.RunRecovered(
            time_unix_nano=10 * SECOND, status="failed", result="error", duration_seconds=took
        ),
        e.RunResumed(
            time_unix_nano=100 * SECOND,
            span_id="two",
            duration_seconds=before.get("said"),
        ),
        *after,
    ):
        fold.apply(event)
    return fold


def step(
    name: str, at: int, until: int, done: float = 0, rate: float | None = None
) -> tuple[e.Event, e.Event]:
    span = f"{name}@{at}"
    return (
        e.StepStarted(time_unix_nano=at * SECOND, span_id=span, step_id=name),
        e.StepFinished(
            time_unix_nano=until * SECOND,
            span_id=span,
            status="completed",
            result="success",
            duration_seconds=until - at,
            progress=Progress(done=done, rate=rate),
        ),
    )


def finished(seconds: float | None = None) -> e.RunFinished:
    return e.RunFinished(
        time_unix_nano=130 * SECOND,
        status="completed",
        result="success",
        duration_seconds=seconds,
    )


def counts(record: PipelineRunRecord) -> tuple[int, int]:
    return record.summary.steps_completed, record.summary.steps_total


def test_a_resumed_run_runs_again_under_its_new_root_span() -> None:
    record = resumed().record()
    assert (record.status, record.span_id) == ("running", "two")
    assert (record.completed_at, record.duration_seconds, record.status_reason) == (
        None,
        None,
        None,
    )
    assert counts(record) == (1, 3)


def test_duration_is_the_sum_of_the_sessions_without_the_pause() -> None:
    assert resumed(finished()).record().duration_seconds == 40
    assert resumed(finished(), took=8).record().duration_seconds == 38
    assert resumed(finished(), said=5).record().duration_seconds == 35
    assert resumed(finished(33.5)).record().duration_seconds == 33.5


def test_what_a_resumed_run_has_run_so_far_leaves_the_pause_out() -> None:
    assert resumed().sessions.ran_until(105 * SECOND) == 15
    assert RunFold().sessions.ran_until(5) is None


def test_steps_that_run_again_are_further_attempts_and_counted_once() -> None:
    record = resumed(
        *step("train", 101, 110), *step("collect", 110, 111), *step("evaluate", 111, 120)
    ).record()
    assert [(entry.step_id, entry.attempt, entry.status) for entry in record.steps] == [
        ("collect", 1, "completed"),
        ("train", 1, "failed"),
        ("train", 2, "completed"),
        ("collect", 2, "completed"),
        ("evaluate", 1, "completed"),
    ]
    assert counts(record) == (3, 3)


def test_a_run_whose_end_cannot_be_read_has_no_step_left_open_when_it_is_resumed() -> None:
    fold = RunFold()
    fold.apply(e.RunStarted(time_unix_nano=0, run_id="r", pipeline="p"))
    fold.apply(step("train", 1, 2)[0])
    fold.apply(e.RunResumed(time_unix_nano=9 * SECOND, duration_seconds=3.0))
    assert [entry.status for entry in fold.record().steps] == ["failed"]
    assert fold.sessions.ran_until(10 * SECOND) == 4


def test_a_further_attempt_adds_what_it_did_itself_to_the_speed_of_the_run() -> None:
    first = step("train", 101, 111, done=100, rate=10.0)
    # It went on from 100, so that only the second hundred is its own.
    second = step("train", 111, 121, done=200, rate=10.0)
    assert resumed(*first, *second).record().summary.avg_steps_per_sec == 10
