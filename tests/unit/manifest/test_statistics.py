from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.manifest.schema import TelemetrySnapshot
from robot_sf_otel.manifest.statistics import ACCURACY, Distribution, TelemetrySummary

values = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=300)


@given(values)
def test_percentile_is_right_to_two_percent(numbers: list[float]) -> None:
    distribution = Distribution()
    for number in numbers:
        distribution.add(number)
    exact = sorted(numbers)[math.ceil(0.95 * len(numbers)) - 1]
    assert distribution.quantile(0.95) == pytest.approx(exact, rel=ACCURACY * 1.001)


@given(values)
def test_mean_count_and_maximum_are_exact(numbers: list[float]) -> None:
    distribution = Distribution()
    for number in numbers:
        distribution.add(number)
    summary = distribution.summary()
    assert summary.count == len(numbers)
    assert summary.maximum == max(numbers)
    assert summary.mean == pytest.approx(sum(numbers) / len(numbers))


def test_zeros_and_negative_values_count_below_all_others() -> None:
    distribution = Distribution()
    for number in [0.0] * 99 + [5.0]:
        distribution.add(number)
    assert distribution.quantile(0.95) == 0.0
    assert distribution.summary().maximum == 5.0


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=100))
def test_percentile_of_readings_of_both_signs_lies_among_them(numbers: list[float]) -> None:
    distribution = Distribution()
    distribution.extend(numbers)
    assert min(numbers) <= distribution.quantile(0.95) <= max(numbers)
    assert distribution.quantile(0.0) == pytest.approx(min(numbers), rel=0.0201, abs=1e-300)


def test_of_readings_that_lie_close_together_the_percentile_is_one_of_the_highest() -> None:
    """As of free disk space: all of a run's readings differ by less than the error."""
    readings = [75_818.0 + number / 10 for number in range(200)]
    distribution = Distribution()
    distribution.extend(reversed(readings))
    assert distribution.quantile(0.95) == pytest.approx(readings[189])
    distribution.add(1.0)
    distribution.add(1e9)
    assert distribution.quantile(0.95) == pytest.approx(readings[190], abs=0.2)


def test_a_reading_that_hardly_changes_is_given_as_it_was_read() -> None:
    distribution = Distribution()
    distribution.extend([60.0, 13.0, *[50.0] * 1000])
    assert distribution.quantile(0.95) == 50.0


def test_the_smallest_numbers_have_their_place_between_zero_and_the_others() -> None:
    distribution = Distribution()
    distribution.extend([1.0, -5e-324, 0.0, 5e-324, -1.0])
    assert [distribution.quantile(share / 5) for share in range(1, 6)] == [
        -1.0,
        -5e-324,
        0.0,
        5e-324,
        1.0,
    ]


def test_what_is_no_reading_is_left_out() -> None:
    distribution = Distribution()
    distribution.extend([float("nan"), float("inf"), -float("inf"), 1.7e308, 2.0])
    summary = distribution.summary()
    assert (summary.count, summary.mean, summary.maximum) == (1, 2.0, 2.0)


def test_batches_give_what_single_samples_give() -> None:
    summary = TelemetrySummary()
    for number in range(1300):
        summary.add(TelemetrySnapshot(timestamp_ms=number, thread_count=number, fps=None))
        if number == 700:
            assert summary.result()["thread_count"].count == 701
    figures = summary.result()["thread_count"]
    assert (figures.count, figures.mean, figures.maximum) == (1300, 649.5, 1299)


def test_unknown_readings_are_left_out_and_not_counted_as_zero() -> None:
    summary = TelemetrySummary()
    summary.add(TelemetrySnapshot(timestamp_ms=1, memory_rss_mb=100.0))
    summary.add(TelemetrySnapshot(timestamp_ms=2))
    summary.add(TelemetrySnapshot(timestamp_ms=3, memory_rss_mb=300.0))
    result = summary.result()
    assert set(result) == {"memory_rss_mb"}
    assert (result["memory_rss_mb"].count, result["memory_rss_mb"].mean) == (2, 200.0)


def test_memory_of_a_week_of_samples_is_bounded() -> None:
    distribution = Distribution()
    distribution.extend(float(number) for number in range(1, 100_000))
    assert len(distribution._buckets) < 700
