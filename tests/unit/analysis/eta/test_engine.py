"""What the estimate rests on, and what it leaves out."""

from __future__ import annotations

import pytest

from robot_sf_otel.analysis.eta import (
    Estimate,
    EtaEngine,
    FinishedStep,
    PastRun,
    PastStep,
    PlannedStep,
    RunningStep,
    Situation,
)
from tests.unit.analysis.eta.histories import after, even, past, pasts, plan, remaining, width

UNKNOWN = Estimate()


def test_nothing_known_is_unknown() -> None:
    assert after([], ["train"]) == UNKNOWN
    assert after([], []) == UNKNOWN
    assert after([], ["train"], running=[RunningStep("train", 5.0)]) == UNKNOWN


def test_units_without_a_total_or_a_history_are_unknown() -> None:
    running = RunningStep("train", 50.0, 5.0, None, even(10.0, 5))
    assert after([], ["train"], running=[running]) == UNKNOWN


def test_one_step_under_way_says_nothing_about_strangers_after_it() -> None:
    running = RunningStep("train", 50.0, 5.0, 10.0, even(10.0, 5))
    assert after([], ["train", "test"], running=[running]) == UNKNOWN


def test_pace_of_finished_steps_is_a_guess_that_is_not_shown() -> None:
    early = after([], ["a", "b", "c", "d"], {"a": 10.0, "b": 30.0})
    assert remaining(early) == pytest.approx(40)
    estimate = after([], ["a", "b", "c", "d"], {"a": 100.0, "b": 1.0, "c": 1.0})
    assert (estimate.basis, estimate.shown) == ("pace", False)


def test_train_3_resembles_train_2_of_the_same_run() -> None:
    done = {"init": 300.0, "train_1": 100.0, "train_2": 60.0}
    assert remaining(after([], [*done, "train_3", "train_4"], done)) == pytest.approx(120)


def test_declared_durations_make_a_cold_eta() -> None:
    declared = (PlannedStep("a", 100.0), PlannedStep("b", 50.0), PlannedStep("c", 150.0))
    estimate = EtaEngine([]).predict(Situation(0.0, declared))
    assert remaining(estimate) == pytest.approx(300)
    assert (estimate.basis, estimate.history_runs) == ("declared", 0)


def test_declared_durations_follow_the_run() -> None:
    declared = (PlannedStep("a", 100.0), PlannedStep("b", 50.0), PlannedStep("c", 150.0))
    late = Situation(400.0, declared, (FinishedStep("a", 200.0), FinishedStep("b", 100.0)))
    assert 200 < remaining(EtaEngine([]).predict(late)) < 300


def test_history_beats_a_declared_duration() -> None:
    estimate = EtaEngine(pasts("train", [100.0] * 3)).predict(
        Situation(0.0, (PlannedStep("train", 5000.0),), host="here")
    )
    assert remaining(estimate) == pytest.approx(100, rel=0.01)
    assert estimate.basis == "history"


def test_new_step_of_a_known_pipeline_is_guessed_by_the_others() -> None:
    estimate = after([past({"a": 10.0, "b": 30.0})] * 3, ["a", "b", "new"])
    assert remaining(estimate) == pytest.approx(60, rel=0.02)
    assert estimate.basis == "history+pace"


def test_skipped_step_is_not_counted() -> None:
    history = [past({"a": 10.0, "b": 30.0, "c": 20.0})] * 3
    assert remaining(after(history, ["a", "c"], {"a": 10.0})) == pytest.approx(20, rel=0.01)


def test_step_of_an_earlier_attempt_is_no_time_to_come() -> None:
    history = [past({"a": 100.0, "b": 30.0})] * 3
    estimate = EtaEngine(history).predict(
        Situation(1.0, plan("a", "b"), (FinishedStep("a", 100.0),), host="here")
    )
    assert remaining(estimate) == pytest.approx(30, rel=0.01)
    assert estimate.total_seconds == pytest.approx(31, rel=0.01)


def test_step_that_runs_again_counts_again() -> None:
    history = [past({"a": 100.0, "b": 30.0})] * 3
    running = RunningStep("a", 20.0)
    estimate = after(history, ["a", "b"], running=[running])
    assert remaining(estimate) == pytest.approx(110, rel=0.02)


def test_name_that_is_planned_twice_is_due_twice() -> None:
    history = pasts("train", [100.0] * 3)
    assert remaining(after(history, ["train", "train"])) == pytest.approx(200, rel=0.01)
    assert remaining(after(history, ["train"] * 2, {"train": 100.0})) == pytest.approx(
        100, rel=0.01
    )


def test_running_step_outside_the_plan_is_counted() -> None:
    history = [past({"a": 10.0, "b": 30.0})] * 3
    estimate = after(history, ["a"], {"a": 10.0}, running=[RunningStep("b", 10.0)])
    assert remaining(estimate) == pytest.approx(20, rel=0.05)


def test_nothing_left_is_zero() -> None:
    estimate = after([], ["a"], {"a": 10.0})
    assert estimate == Estimate(0.0, 0.0, 0.0, 10.0, "plan", 0, shown=True)


def test_longest_of_several_running_steps_counts() -> None:
    history = [past({"a": 100.0, "b": 300.0, "c": 50.0})] * 3
    both = [RunningStep("a", 50.0), RunningStep("b", 50.0)]
    assert remaining(after(history, ["a", "b", "c"], running=both)) == pytest.approx(300, rel=0.02)


def test_an_estimate_says_what_is_left_of_each_step() -> None:
    history = [past({"a": 100.0, "b": 300.0, "c": 50.0})] * 3
    estimate = after(history, ["a", "b", "c"], {"a": 100.0}, running=[RunningStep("b", 50.0)])
    left = dict(estimate.steps)
    assert left == {"b": pytest.approx(250, rel=0.02), "c": pytest.approx(50, rel=0.02)}
    guessed = after([], ["a", "b", "c"], {"a": 10.0})
    assert dict(guessed.steps) == {"b": 10.0, "c": 10.0}


def test_step_that_overlapped_others_adds_only_what_it_added() -> None:
    overlapping = PastRun(
        (PastStep("a", 100.0), PastStep("b", 20.0, duration=110.0), PastStep("c", 50.0)),
        170.0,
        host="here",
    )
    names = ["a", "b", "c"]
    assert remaining(after([overlapping] * 3, names)) == pytest.approx(170, rel=0.01)
    both = [RunningStep("a", 10.0), RunningStep("b", 0.0)]
    assert remaining(after([overlapping] * 3, names, running=both)) == pytest.approx(160, rel=0.02)


def test_steady_pipeline_has_a_narrower_band_than_an_unsteady_one() -> None:
    steady = pasts("train", [100.0, 101.0, 99.0, 100.5, 100.0, 99.5] * 2)
    unsteady = pasts("train", [100.0, 160.0, 70.0, 130.0, 90.0, 180.0] * 2)
    narrow, wide = (after(history, ["train"]) for history in (steady, unsteady))
    assert width(narrow) < 0.2 * width(wide)
    assert (narrow.shown, wide.shown) == (True, False)


def test_few_past_runs_leave_a_wider_band() -> None:
    one, many = (after(pasts("train", [100.0] * n), ["train"]) for n in (1, 12))
    assert width(many) < width(one)


def test_band_holds_most_of_the_runs_that_follow() -> None:
    durations = [100.0, 104.0, 97.0, 110.0, 92.0, 101.0, 95.0, 107.0, 99.0, 103.0] * 3
    inside = 0
    for index in range(10, 30):
        estimate = after(pasts("train", durations[:index]), ["train"])
        assert estimate.low_seconds is not None
        assert estimate.high_seconds is not None
        inside += estimate.low_seconds <= durations[index] <= estimate.high_seconds
    assert 14 <= inside < 20


def test_estimate_depends_on_nothing_but_its_arguments() -> None:
    engine = EtaEngine([past({"a": 10.0, "b": 30.0})] * 5)
    situations = [Situation(t, plan("a", "b"), running=(RunningStep("a", t),)) for t in (1.0, 9.0)]
    first = [engine.predict(situation) for situation in situations]
    assert [engine.predict(situation) for situation in reversed(situations)] == first[::-1]
