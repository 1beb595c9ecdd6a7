"""The factor of a run: how much slower it is as a whole."""

from __future__ import annotations

import pytest

from tests.unit.analysis.eta.histories import after, past, remaining

NAMES = ["load", "train", "tune", "export"]
USUAL = {"load": 100.0, "train": 100.0, "tune": 100.0, "export": 100.0}
SPEEDS = [1.0, 1.4, 0.8, 1.2, 1.6, 0.7, 1.1, 0.9]


def test_run_that_is_slower_so_far_stays_slower_where_runs_differ_as_a_whole() -> None:
    history = [past(dict.fromkeys(NAMES, 100.0 * speed)) for speed in SPEEDS]
    estimate = after(history, NAMES, {"load": 200.0, "train": 200.0})
    assert remaining(estimate) == pytest.approx(400, rel=0.1)


def test_slow_step_says_nothing_where_steps_vary_on_their_own() -> None:
    history = [
        past({name: 100.0 * SPEEDS[(n * (k + 1) + k) % 8] for k, name in enumerate(NAMES)})
        for n in range(16)
    ]
    estimate = after(history, NAMES, {"load": 160.0})
    assert remaining(estimate) == pytest.approx(300, rel=0.15)


def test_step_of_fixed_duration_does_not_follow_the_run() -> None:
    history = [past({"load": 100 * speed, "train": 100 * speed, "wait": 60}) for speed in SPEEDS]
    estimate = after(history, ["load", "train", "wait"], {"load": 200.0, "train": 200.0})
    assert remaining(estimate) == pytest.approx(60, rel=0.1)


def test_stall_of_one_step_is_not_taken_for_a_slow_run() -> None:
    history = [past(dict.fromkeys(NAMES, 100.0 + n % 3)) for n in range(8)]
    estimate = after(history, NAMES, {"load": 100.0, "train": 500.0, "tune": 101.0})
    assert remaining(estimate) == pytest.approx(100, rel=0.05)


def test_first_step_of_a_new_host_tells_its_speed() -> None:
    hosts = [past(dict.fromkeys(NAMES, 100.0 * s), host=str(s)) for s in (1.0, 2.0, 1.3)]
    estimate = after(hosts, NAMES, {"load": 50.0}, host="fast")
    assert remaining(estimate) < 0.8 * remaining(after(hosts, NAMES, {"load": 100.0}, host="fast"))


def test_past_runs_that_took_the_same_path_count_more() -> None:
    cold = {"fetch": 50.0, "build": 100.0, "test": 400.0}
    warm = {"fetch": 5.0, "build": 100.0, "test": 40.0}
    history = [past(run) for run in (cold, warm, cold, warm, warm, cold, warm, warm)]
    names = list(cold)
    assert remaining(after(history, names, {"fetch": 50.0})) > 2 * remaining(
        after(history, names, {"fetch": 5.0})
    )


def test_short_steps_of_a_coarse_clock_do_not_move_the_estimate() -> None:
    history = [past({"setup": float(n % 2), "train": 5000.0}) for n in range(8)]
    estimate = after(history, ["setup", "train"], {"setup": 3.0})
    assert remaining(estimate) == pytest.approx(5000, rel=0.02)
