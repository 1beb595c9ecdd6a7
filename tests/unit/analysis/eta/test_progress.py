"""Progress inside a running step."""

from __future__ import annotations

import pytest

from robot_sf_otel.analysis.eta import Curve, RunningStep
from robot_sf_otel.analysis.eta.curves import Progress
from tests.unit.analysis.eta.histories import after, even, past, remaining


def cold(curve: Curve, total: float | None, elapsed: float | None = None) -> RunningStep:
    last = curve[-1] if curve else (0.0, 0.0)
    return RunningStep("train", last[0] if elapsed is None else elapsed, last[1], total, curve)


def test_progress_and_a_total_are_enough_for_a_cold_start() -> None:
    estimate = after([], ["train"], running=[cold(even(10.0, 20), 50.0)])
    assert remaining(estimate) == pytest.approx(300, rel=0.03)
    assert (estimate.basis, estimate.history_runs, estimate.shown) == ("progress", 0, True)


def test_first_unit_is_set_apart() -> None:
    estimate = after([], ["train"], running=[cold(even(10.0, 5, first=200.0), 15.0)])
    assert remaining(estimate) == pytest.approx(100, rel=0.05)


def test_recent_pace_counts_where_pace_drifts() -> None:
    slower = (*even(10.0, 20), *((200 + 20.0 * n, 20.0 + n) for n in range(1, 21)))
    estimate = after([], ["train"], running=[cold(slower, 60.0)])
    assert remaining(estimate) == pytest.approx(400, rel=0.05)


def test_past_curve_tells_the_rest_where_units_are_uneven() -> None:
    curve: Curve = ((10.0, 1.0), (20.0, 2.0), (100.0, 3.0), (200.0, 4.0))
    history = [past({"train": 200.0}, totals={"train": 4.0}, curves={"train": curve})] * 3
    estimate = after(history, ["train"], running=[cold(curve[:2], 4.0)])
    assert remaining(estimate) == pytest.approx(180, rel=0.05)


def test_past_curve_scales_with_the_speed_of_this_run() -> None:
    history = [
        past({"train": 10.0 * u}, totals={"train": 10.0}, curves={"train": even(u, 10)})
        for u in (10.0, 12.0, 9.0, 11.0)
    ]
    estimate = after(history, ["train"], running=[cold(even(20.0, 5), 10.0)])
    assert remaining(estimate) == pytest.approx(100, rel=0.1)


def test_past_curve_of_another_total_is_compared_at_the_same_part() -> None:
    history = [past({"train": 100.0}, totals={"train": 10.0}, curves={"train": even(10.0, 10)})] * 3
    estimate = after(history, ["train"], running=[cold(even(10.0, 20), 40.0)])
    assert remaining(estimate) == pytest.approx(200, rel=0.05)


def test_units_without_a_total_are_compared_at_the_same_count() -> None:
    history = [past({"train": 400.0}, curves={"train": even(10.0, 40)})] * 4
    estimate = after(history, ["train"], running=[cold(even(10.0, 30), None)])
    assert remaining(estimate) == pytest.approx(100, rel=0.05)


def test_progress_of_a_step_is_news_about_the_steps_after_it() -> None:
    history = [
        past({"train": 100.0 * s, "test": 100.0 * s}, curves={"train": even(10.0 * s, 10)})
        for s in (1.0, 1.5, 0.8, 1.3, 1.1, 0.7)
    ]
    half, slow = (
        after(history, ["train", "test"], running=[cold(even(unit, 5), None)])
        for unit in (10.0, 20.0)
    )
    assert remaining(half) == pytest.approx(150, rel=0.1)
    assert remaining(slow) == pytest.approx(300, rel=0.15)


def test_overdue_unit_makes_the_estimate_grow() -> None:
    history = [past({"train": 100.0}, totals={"train": 10.0}, curves={"train": even(10.0, 10)})] * 3
    totals = [
        elapsed + remaining(after(history, ["train"], running=[cold(even(10.0, 5), 10.0, elapsed)]))
        for elapsed in (50.0, 58.0, 70.0, 100.0, 200.0)
    ]
    assert totals == sorted(totals)
    assert totals[1] == pytest.approx(100, rel=0.03)
    assert totals[-1] > 250


def test_overdue_step_without_progress_makes_the_estimate_grow() -> None:
    history = [past({"train": 100.0 + n % 3}) for n in range(6)]
    late = after(history, ["train"], running=[cold((), None, 300.0)])
    assert remaining(late) > 0
    in_time = after(history, ["train"], running=[cold((), None, 50.0)])
    assert remaining(in_time) == pytest.approx(51, rel=0.05)


def test_progress_corrects_a_history_that_knows_no_curve() -> None:
    history = [past({"train": 600.0 + 10 * (n % 3)}) for n in range(6)]
    estimate = after(history, ["train"], running=[cold(even(10.0, 40), 50.0)])
    assert 90 < remaining(estimate) < 150
    assert estimate.basis == "history+progress"


def test_progress_that_goes_back_is_left_out() -> None:
    progress = Progress(((1.0, 1.0), (2.0, 2.0), (3.0, 1.5), (1.5, 9.0), (4.0, 3.0)))
    assert (progress.units, progress.seconds) == (3.0, 4.0)
    assert progress.when(2.5) == 3.0
    assert progress.when(4.0) is None


def test_nothing_is_left_of_a_step_whose_units_are_done() -> None:
    estimate = after([], ["train"], running=[cold(even(10.0, 5), 5.0)])
    assert remaining(estimate) == 0


def test_units_that_were_done_before_a_resumption_cost_no_time() -> None:
    curve = ((0.0, 500.0), *((10.0 * n, 500.0 + 10 * n) for n in range(1, 11)))
    estimate = after([], ["train"], running=[cold(curve, 1000.0)])
    assert remaining(estimate) == pytest.approx(400, rel=0.05)


def test_resumed_step_is_compared_with_the_same_part_of_past_curves() -> None:
    history = [past({"train": 1000.0}, curves={"train": even(10.0, 100)})] * 3
    curve = ((0.0, 50.0), *((10.0 * n, 50.0 + n) for n in range(1, 11)))
    estimate = after(history, ["train"], running=[cold(curve, None)])
    assert remaining(estimate) == pytest.approx(400, rel=0.05)


def test_units_done_since_the_last_point_of_the_curve_count() -> None:
    running = RunningStep("train", 100.0, 50.0, 100.0, even(10.0, 4))
    assert remaining(after([], ["train"], running=[running])) < 100


def test_pace_does_not_depend_on_what_is_called_a_unit() -> None:
    epochs, steps = (
        after(
            [],
            ["train"],
            running=[cold(tuple((s, u * factor) for s, u in even(10.0, 20)), 50.0 * factor, 203.0)],
        )
        for factor in (1, 1024)
    )
    assert remaining(epochs) == pytest.approx(remaining(steps))
