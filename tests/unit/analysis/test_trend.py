"""A trend is one only when a value keeps rising through a whole window."""

from __future__ import annotations

import pytest

from robot_sf_otel.analysis.trend import Trend


def told(*values: float, spacing: float = 10.0) -> Trend:
    trend = Trend(100.0)
    for index, value in enumerate(values):
        trend.add(index * spacing, value)
    return trend


def test_a_steady_rise_has_a_rate() -> None:
    rise = told(*range(0, 30, 2)).rise()

    assert rise is not None
    assert rise[0] == pytest.approx(20, abs=2)
    assert rise[1] == pytest.approx(0.2, abs=0.05)


def test_a_window_that_is_not_full_has_no_trend() -> None:
    assert told(1, 2, 3, 4).rise() is None
    assert Trend(100.0).rise() is None


def test_what_levels_out_or_falls_back_has_no_trend() -> None:
    assert told(*range(10), 9, 9, 9, 9, 9).rise() is None
    assert told(0, 1, 2, 3, 2, 1, 2, 3, 4, 5, 6, 7).rise() is None


def test_memory_stays_bounded() -> None:
    trend = Trend(100.0)
    for second in range(100_000):
        trend.add(second, second)

    assert len(trend._points) <= 128
    assert trend.rise() is not None
