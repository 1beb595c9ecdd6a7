"""The level of a step: drift, stalls, hosts, sizes, names."""

from __future__ import annotations

import pytest

from robot_sf_otel.analysis.eta import EtaEngine, PlannedStep, Situation
from robot_sf_otel.analysis.eta.history import NEVER, QUICK, History
from tests.unit.analysis.eta.histories import after, past, pasts, remaining


@pytest.mark.parametrize("before", [2, 3, 8])
def test_lone_stall_does_not_move_the_level(before: int) -> None:
    history = pasts("train", [100.0] * before + [300.0])
    assert remaining(after(history, ["train"])) == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("before", [3, 8, 40])
def test_repeated_shift_moves_the_level(before: int) -> None:
    history = pasts("train", [100.0] * before + [200.0, 200.0])
    assert remaining(after(history, ["train"])) == pytest.approx(200, rel=0.01)


def test_pipeline_that_jumps_forgets_quickly_and_one_that_scatters_never() -> None:
    jumps = [100.0] * 6 + [150.0] * 6 + [80.0] * 6
    scatters = [100.0, 160.0] * 10
    assert History(pasts("train", jumps)).keep == QUICK
    assert History(pasts("train", scatters)).keep == NEVER


def test_two_past_runs_count_both() -> None:
    assert 100 < remaining(after(pasts("train", [100.0, 200.0]), ["train"])) < 200


def test_only_the_latest_fifty_runs_count() -> None:
    estimate = after(pasts("train", [10.0] * 30 + [100.0] * 50), ["train"])
    assert remaining(estimate) == pytest.approx(100)
    assert estimate.history_runs == 50


def test_runs_of_another_host_count_less() -> None:
    history = [past({"train": 100.0}, host="a"), past({"train": 300.0}, host="b")] * 2
    here, there = (remaining(after(history, ["train"], host=host)) for host in ("a", "b"))
    assert here < 200 < there


def test_runs_of_another_host_are_not_excluded() -> None:
    history = [past({"train": 100.0}, host="a")] * 3
    estimate = after(history, ["train"], host="new")
    assert remaining(estimate) == pytest.approx(100, rel=0.01)
    assert estimate.history_runs == 3


def test_band_is_wider_on_a_host_that_history_does_not_know() -> None:
    history = [past({"train": 100.0 + n % 2}, host="a") for n in range(6)]
    known, new = (after(history, ["train"], host=host) for host in ("a", "new"))
    assert known.high_seconds is not None
    assert new.high_seconds is not None
    assert new.high_seconds > 1.2 * known.high_seconds


def test_runs_of_another_scenario_count_less() -> None:
    history = EtaEngine(
        [
            past({"train": 100.0}),
            *(past({"train": seconds}) for seconds in (100.0, 100.0)),
        ]
    )
    estimate = history.predict(
        Situation(0.0, (PlannedStep("train"),), host="here", scenario="other")
    )
    assert remaining(estimate) == pytest.approx(100, rel=0.01)


def test_cost_per_unit_is_carried_between_runs_of_different_size() -> None:
    history = [
        past({"train": 10.0 * size, "export": 30.0}, size=size) for size in (1.0, 2.0, 4.0, 3.0)
    ]
    assert remaining(after(history, ["train"], size=8.0)) == pytest.approx(80, rel=0.1)
    assert remaining(after(history, ["export"], size=8.0)) == pytest.approx(30, rel=0.1)


def test_fixed_part_of_a_step_does_not_grow_with_its_size() -> None:
    history = [past({"train": 50 + 10.0 * size}, size=size) for size in (1.0, 2.0, 5.0, 10.0)]
    assert remaining(after(history, ["train"], size=20.0)) == pytest.approx(250, rel=0.1)


def test_declared_units_carry_the_cost_of_a_unit() -> None:
    history = [past({"train": 100.0}, totals={"train": 10.0})]
    estimate = EtaEngine(history).predict(
        Situation(0.0, (PlannedStep("train", total=40.0),), host="here")
    )
    assert remaining(estimate) == pytest.approx(400, rel=0.01)


def test_input_of_one_size_says_little_about_another() -> None:
    history = [past({"train": 100.0}, size=1.0)] * 3
    assert 100 < remaining(after(history, ["train"], size=9.0)) < 900


def test_train_3_resembles_train_1_of_the_history() -> None:
    history = [past({"train_1": 100.0, "train_2": 110.0, "evaluate_1": 5.0})] * 3
    names = ["train_1", "train_2", "train_3"]
    assert remaining(after(history, names, {"train_1": 100.0, "train_2": 110.0})) == pytest.approx(
        105, rel=0.05
    )


def test_last_attempt_of_a_step_is_its_duration() -> None:
    retried = past({"train": 100.0})
    retried = type(retried)((retried.steps[0], *past({"train": 60.0}).steps), 160.0, host="here")
    estimate = after([retried] * 3, ["train"])
    assert remaining(estimate) == pytest.approx(60, rel=0.01)


def test_time_between_the_last_step_and_the_end_of_the_run_is_counted() -> None:
    history = [past({"train": 100.0}, rest=20.0)] * 3
    assert remaining(after(history, ["train"])) == pytest.approx(120, rel=0.01)
    assert remaining(after(history, ["train"], {"train": 100.0})) == pytest.approx(20, rel=0.01)
