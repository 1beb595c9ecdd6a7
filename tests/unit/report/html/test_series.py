"""Thinning keeps the peaks, the gaps and short runs."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.report.html.series import Thinner, rounded, short


def filled(count: int, buckets: int, *, step: float = 1.0) -> tuple[Thinner, list[float]]:
    draw = random.Random(count)  # noqa: S311 - readings, no secret
    values = [draw.uniform(0, 100) for _ in range(count)]
    thinner = Thinner(count * step, buckets)
    for index, value in enumerate(values):
        thinner.add(index * step, {"cpu": value})
    return thinner, values


def test_a_short_run_is_shown_sample_by_sample() -> None:
    thinner, values = filled(50, 50)

    assert thinner.axis() == [float(index) for index in range(50)]
    assert thinner.column("cpu").mean == values
    assert not thinner.is_thinned


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400),
    st.integers(1, 20),
)
def test_the_least_and_the_largest_value_survive_whatever_comes(
    values: list[float], buckets: int
) -> None:
    thinner = Thinner(float(len(values)), buckets)
    for index, value in enumerate(values):
        thinner.add(float(index), {"x": value})

    column = thinner.column("x")
    known = [value for edge in (column.low, column.high) for value in edge if value is not None]
    assert min(known) == min(values)
    assert max(known) == max(values)
    assert len(column.mean) == len(thinner.axis()) <= 2 * buckets + len(thinner.gaps())


def test_a_single_peak_of_a_day_survives_with_its_moment() -> None:
    thinner = Thinner(86_400.0)
    for second in range(86_400):
        thinner.add(float(second), {"cpu": 100.0 if second == 50_000 else 1.0})

    high = thinner.column("cpu").high
    (peak,) = [index for index, value in enumerate(high) if value == 100.0]
    assert abs(thinner.axis()[peak] - 50_000) < 86_400 / 1_500
    assert thinner.is_thinned


def test_a_mean_stands_between_its_extremes() -> None:
    thinner, values = filled(10_000, 100)

    column = thinner.column("cpu")
    assert all(
        low is not None and mean is not None and high is not None and low <= mean <= high
        for mean, low, high in zip(*column, strict=True)
    )
    known = [mean for mean in column.mean if mean is not None]
    assert abs(sum(known) / len(known) - sum(values) / len(values)) < 0.5


def test_what_a_sample_does_not_know_is_none() -> None:
    thinner = Thinner(3.0, 10)
    thinner.add(0.0, {"a": 1.0})
    thinner.add(1.0, {"b": 2.0})

    assert thinner.column("a").mean == [1.0, None]
    assert thinner.column("b").mean == [None, 2.0]
    assert thinner.column("c").mean == [None, None]
    assert thinner.names == ["a", "b"]


def test_a_gap_interrupts_the_curve() -> None:
    thinner = Thinner(100.0, 100)
    for second in [*range(20), *range(60, 100)]:
        thinner.add(float(second), {"a": 1.0})

    assert thinner.gaps() == [(19.0, 60.0)]
    at = thinner.axis().index(39.5)
    assert thinner.column("a").mean[at] is None


def test_a_clock_that_jumps_back_does_not_turn_the_axis_round() -> None:
    thinner = Thinner(10.0, 10)
    for second in (5.0, 2.0, 6.0):
        thinner.add(second, {"a": second})

    assert thinner.axis() == sorted(thinner.axis())


def test_samples_without_end_in_one_moment_keep_their_extremes() -> None:
    thinner = Thinner(1.0, 1)
    for index in range(20_000):
        thinner.add(2.0 + index, {"a": float(index % 7_001)})

    column = thinner.column("a")
    assert (column.low, column.high) == ([0.0], [7_000.0])


def test_nothing_is_nothing() -> None:
    thinner = Thinner(0.0)

    assert thinner.axis() == []
    assert thinner.gaps() == []


def test_numbers_are_as_long_as_a_chart_can_show() -> None:
    assert rounded([None, 0.0, 1234.567, 0.000123456, -98765.4]) == [
        None,
        0,
        1235,
        0.0001235,
        -98770,
    ]
    assert isinstance(short(5.0), int)
