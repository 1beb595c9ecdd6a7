"""Runs as the ETA engine sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel.analysis.eta import (
    Estimate,
    EtaEngine,
    FinishedStep,
    PastStep,
    PlannedStep,
    Situation,
)
from robot_sf_otel.analysis.eta_input import past_run, shown, situation, size_parameter
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.schema import PlanStep, Progress

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord

SECOND = e.NANOSECONDS
PLAN = [
    PlanStep(step_id="collect", total=10),
    PlanStep(step_id="train", expected_seconds=60),
    PlanStep(step_id="evaluate"),
]


def started(name: str, at: float, **fields: Any) -> e.StepStarted:  # noqa: ANN401 - of the event
    return e.StepStarted(time_unix_nano=int(at * SECOND), span_id=name, step_id=name, **fields)


def finished(name: str, at: float, seconds: float, **fields: Any) -> e.StepFinished:  # noqa: ANN401
    fields = {"status": "completed", "result": "success", **fields}
    return e.StepFinished(
        time_unix_nano=int(at * SECOND), span_id=name, duration_seconds=seconds, **fields
    )


def fold(*events: e.Event, plan: list[PlanStep] = PLAN) -> RunFold:
    made = RunFold()
    made.apply(e.RunStarted(time_unix_nano=0, run_id="r", pipeline="p", plan=plan))
    for event in events:
        made.apply(event)
    return made


def seen(made: RunFold, at: float) -> Situation:
    found = situation(made, int(at * SECOND), "here")
    assert found is not None
    return found


def test_a_live_run_is_seen_with_its_plan_what_is_done_and_what_runs() -> None:
    made = fold(
        started("collect", 0),
        finished("collect", 20, 20, progress=Progress(done=10, total=10)),
        started("train", 21, total=100, expected_seconds=50),
        e.StepProgress(
            time_unix_nano=25 * SECOND,
            span_id="train",
            progress=Progress(done=8, total=100, rate=2.0),
        ),
    )
    found = seen(made, 31)
    assert (found.elapsed, found.host) == (31, "here")
    assert found.plan == (
        PlannedStep("collect", None, 10),
        PlannedStep("train", 50, 100),
        PlannedStep("evaluate"),
    )
    assert found.finished == (FinishedStep("collect", 20, 10),)
    (train,) = found.running
    assert (train.elapsed, train.done, train.total, train.curve) == (10, 8, 100, ((4, 8),))


def test_without_a_declared_plan_nobody_knows_what_follows_on_the_first_step() -> None:
    made = fold(started("a", 0), plan=[])
    assert (seen(made, 10).plan, len(seen(made, 10).running)) == ((), 1)
    made.apply(finished("a", 10, 10))
    after = seen(made, 10)
    assert after.plan == ()
    assert EtaEngine(()).predict(after).remaining_seconds is None


def test_without_a_declared_plan_the_steps_of_earlier_runs_are_to_come() -> None:
    made = fold(started("a", 0), e.StepSkipped(time_unix_nano=0, step_id="b"), plan=[])
    found = situation(made, SECOND, "here", usual=("a", "b", "c"))
    assert found is not None
    assert [step.step_id for step in found.plan] == ["a", "c"]


def test_a_declared_plan_counts_whatever_earlier_runs_had() -> None:
    found = situation(fold(), SECOND, "here", usual=("collect", "publish"))
    assert found is not None
    assert [step.step_id for step in found.plan] == ["collect", "train", "evaluate"]


def test_a_skipped_step_is_no_step_to_come() -> None:
    made = fold(e.StepSkipped(time_unix_nano=0, step_id="train"))
    assert [step.step_id for step in seen(made, 1).plan] == ["collect", "evaluate"]


def test_a_step_without_progress_tells_none() -> None:
    (running,) = seen(fold(started("evaluate", 0)), 5).running
    assert (running.done, running.total, running.curve) == (None, None, ())


def test_a_failed_attempt_is_not_done_and_its_time_is_not_the_next_ones() -> None:
    made = fold(
        started("train", 0),
        finished("train", 10, 10, status="failed", result="failure"),
        e.StepStarted(time_unix_nano=10 * SECOND, span_id="again", step_id="train"),
        e.StepFinished(
            time_unix_nano=25 * SECOND,
            span_id="again",
            status="completed",
            result="success",
            duration_seconds=15,
        ),
    )
    assert seen(made, 26).finished == (FinishedStep("train", 15),)


def test_a_step_that_runs_again_is_not_done() -> None:
    made = fold(started("train", 0), finished("train", 10, 10))
    made.apply(e.StepStarted(time_unix_nano=11 * SECOND, span_id="again", step_id="train"))
    found = seen(made, 12)
    assert (found.finished, [step.step_id for step in found.running]) == ((), ["train"])


def test_the_pause_before_a_resumption_is_no_time_of_the_run() -> None:
    made = fold(
        started("collect", 0),
        finished("collect", 5, 5),
        e.RunRecovered(time_unix_nano=10 * SECOND, status="failed", result="error"),
        e.RunResumed(time_unix_nano=1000 * SECOND, duration_seconds=10),
        started("train", 1000),
    )
    found = seen(made, 1007)
    assert (found.elapsed, found.finished) == (17, (FinishedStep("collect", 5),))
    assert found.running[0].elapsed == 7


def test_a_run_whose_start_was_not_seen_is_no_situation() -> None:
    assert situation(RunFold(), 0, None) is None


def completed(*events: e.Event, seconds: float = 40, status: str = "completed") -> RunFold:
    made = fold(*events)
    made.apply(
        e.RunFinished(
            time_unix_nano=int(seconds * SECOND),
            status="completed" if status == "completed" else "failed",
            result="",
            duration_seconds=seconds,
        )
    )
    return made


def test_a_completed_run_is_history_with_what_each_step_added() -> None:
    past = past_run(
        completed(
            started("collect", 1),
            finished("collect", 10, 9, progress=Progress(done=10), progress_curve=[(4, 5)]),
            started("train", 12),
            finished("train", 40, 28),
        ).record()
    )
    assert past is not None
    collect, train = past.steps
    assert collect == PastStep("collect", 10, 10, ((4, 5),), 9)
    assert train == PastStep("train", 30, duration=28)
    assert past.total_seconds == pytest.approx(40)


def test_attempts_that_failed_are_no_history() -> None:
    past = past_run(
        completed(
            started("train", 0),
            finished("train", 15, 15, status="failed", result="failure"),
            e.StepStarted(time_unix_nano=15 * SECOND, span_id="again", step_id="train"),
            e.StepFinished(
                time_unix_nano=40 * SECOND,
                span_id="again",
                status="completed",
                result="success",
                duration_seconds=25,
            ),
        ).record()
    )
    assert past is not None
    assert (past.steps, past.total_seconds) == ((PastStep("train", 25, duration=25),), 25)


def test_a_resumed_run_is_history_without_its_pause() -> None:
    past = past_run(
        completed(
            started("collect", 0),
            finished("collect", 10, 10),
            started("train", 5000),
            finished("train", 5030, 30),
            seconds=40,
        ).record()
    )
    assert past is not None
    assert [step.seconds for step in past.steps] == [10, 30]


def test_runs_that_did_not_complete_or_have_no_steps_are_no_history() -> None:
    assert past_run(completed(status="failed").record()) is None
    assert past_run(completed().record()) is None
    assert past_run(fold(started("train", 0)).record()) is None


def test_an_estimate_that_means_nothing_is_not_shown() -> None:
    assert shown(Estimate()) is None
    assert shown(Estimate(5.0, 1.0, 500.0, 9.0, "pace", 0, shown=False)) is None
    eta = shown(Estimate(5.0, 4.0, 7.0, 9.0, "history", 3, shown=True))
    assert eta is not None
    assert (eta.remaining_seconds, eta.low_seconds, eta.high_seconds) == (5, 4, 7)
    assert (eta.total_seconds, eta.basis, eta.history_runs) == (9, "history", 3)


def with_params(seconds: float, **params: Any) -> PipelineRunRecord:  # noqa: ANN401 - parameters
    record = completed(started("train", 0), finished("train", seconds, seconds), seconds=seconds)
    made = record.record()
    made.params = params
    return made


def test_the_parameter_that_longer_runs_have_more_of_is_their_size() -> None:
    runs = [
        with_params(seconds, lr=0.1, seed=seed, data={"episodes": episodes}, flag=True, name="x")
        for seconds, seed, episodes in ((10, 7, 100), (22, 3, 200), (41, 9, 400), (83, 1, 800))
    ]
    assert size_parameter(runs) == "data.episodes"
    past = past_run(runs[0], "data.episodes")
    assert past is not None
    assert past.size == 100


def test_without_enough_runs_or_differences_no_parameter_is_a_size() -> None:
    sized = [with_params(size, episodes=size) for size in (10.0, 20.0, 40.0, 80.0)]
    assert size_parameter(sized) == "episodes"
    assert size_parameter(sized[:3]) is None
    assert size_parameter([with_params(10.0 + i, episodes=100 + i) for i in range(6)]) is None
    assert size_parameter([*sized, with_params(20)]) is None
    assert size_parameter([with_params(20, n=size) for size in (1, 2, 3, 4)]) is None
    assert size_parameter([with_params(10, n=1), *sized]) is None


def test_a_parameter_that_is_no_positive_number_is_no_size() -> None:
    made = fold()
    for value, size in ((3, 3.0), (0, None), (-1, None), (True, None), ("7", None)):
        made.apply(e.ParamsLogged(time_unix_nano=1, params={"n": value}))
        found = situation(made, SECOND, "here", "n")
        assert found is not None
        assert found.size == size


def test_a_resumed_step_begins_with_what_was_done_before() -> None:
    made = fold(
        started("train", 0),
        e.StepProgress(
            time_unix_nano=2 * SECOND, span_id="train", progress=Progress(done=60, total=100)
        ),
        e.StepProgress(
            time_unix_nano=5 * SECOND,
            span_id="train",
            progress=Progress(done=70, total=100, rate=2.0),
        ),
    )
    assert seen(made, 6).running[0].curve == ((0, 60), (5, 70))


def test_time_after_the_last_step_is_time_of_the_run() -> None:
    past = past_run(completed(started("train", 0), finished("train", 30, 30), seconds=40).record())
    assert past is not None
    assert (past.steps[0].seconds, past.total_seconds) == (30, 40)


def test_a_run_whose_clock_was_set_is_history_by_its_durations() -> None:
    past = past_run(
        completed(
            started("collect", 0),
            finished("collect", 100, 100),
            started("train", 100),
            e.StepFinished(  # an hour back in the middle of the step
                time_unix_nano=0,
                span_id="train",
                status="completed",
                result="success",
                duration_seconds=200,
            ),
            seconds=300,
        ).record()
    )
    assert past is not None
    assert [step.seconds for step in past.steps] == [100, 200]


def test_a_clock_that_never_jumps_tells_of_the_steps_of_this_process() -> None:
    made = fold(started("train", 0))
    own = {"train": (8.0, ((2.0, 5.0),))}
    found = situation(made, 3600 * SECOND, "here", elapsed=9.0, own=own)
    assert found is not None
    assert (found.elapsed, found.running[0].elapsed, found.running[0].curve) == (9, 8, ((2, 5),))
