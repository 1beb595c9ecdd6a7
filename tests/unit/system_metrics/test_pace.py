"""The pace of the samples: as asked for while it costs little, slower where it would cost more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.system_metrics.pace import LONGEST, SHARE, WINDOW, Pace


def after(pace: Pace, *costs: float) -> float:
    """Let a whole window of ticks cost each of these."""
    for cost in costs:
        for _ in range(WINDOW):
            pace.took(cost)
    return pace.interval


def test_cheap_samples_come_as_often_as_asked_for() -> None:
    pace = Pace(1.0)
    assert after(pace, 0.002, 0.0099) == 1.0
    assert pace.note() is None


@pytest.mark.parametrize("interval", [0.15, 0.25, 0.33, 1.25])
def test_interval_of_cheap_samples_is_not_rounded(interval: float) -> None:
    pace = Pace(interval)
    assert after(pace, 0.0001, 0.001) == interval
    assert pace.note() is None


def test_interval_is_lengthened_until_telemetry_takes_a_hundredth_of_a_core() -> None:
    pace = Pace(1.0)
    assert after(pace, 0.024) == pytest.approx(2.4)
    assert pace.note() == (
        "telemetry: a sample every 2.4 s instead of 1 s, as more would take over 1% of a core"
    )


def test_one_dear_sample_changes_nothing() -> None:
    pace = Pace(1.0)
    changed = [pace.took(cost) for cost in [0.05, *[0.001] * (WINDOW - 1)]]
    assert not any(changed)
    assert pace.interval == 1.0


def test_change_is_told_once() -> None:
    pace = Pace(1.0)
    assert [pace.took(0.02) for _ in range(2 * WINDOW)].count(True) == 1


def test_interval_is_shortened_again_when_samples_have_become_cheap() -> None:
    pace = Pace(0.5)
    assert after(pace, 0.02) == 2.0
    assert after(pace, 0.019) == 2.0, "hardly cheaper: it does not swing"
    assert after(pace, 0.01) == 1.0
    assert after(pace, 0.001) == 0.5
    assert pace.note() is None


def test_interval_has_an_upper_bound_which_is_not_below_what_is_asked_for() -> None:
    assert after(Pace(1.0), 100.0) == LONGEST
    assert after(Pace(300.0), 100.0) == 300.0


@given(st.floats(0.1, 600), st.lists(st.floats(0, 10), max_size=100))
def test_interval_is_never_shorter_than_asked_for_and_long_enough(
    wanted: float, costs: list[float]
) -> None:
    pace = Pace(wanted)
    for start in range(0, len(costs) - WINDOW + 1, WINDOW):
        window = costs[start : start + WINDOW]
        for cost in window:
            pace.took(cost)
        needed = sum(window) / WINDOW / SHARE
        assert pace.interval >= wanted
        assert pace.interval >= min(needed, LONGEST) or pace.interval == wanted >= needed
        assert pace.lengthened == (pace.interval > wanted)
