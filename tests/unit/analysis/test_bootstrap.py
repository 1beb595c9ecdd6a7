"""Intervals of medians: reproducible, honest about single samples, and private in their draws."""

from __future__ import annotations

import random

import pytest

from robot_sf_otel.analysis.bootstrap import median_interval, ratio_interval


def test_the_interval_of_a_median_holds_it_and_is_the_same_each_time() -> None:
    samples = [9.0, 10.0, 10.5, 11.0, 12.0, 9.5, 10.2]

    found = median_interval(samples)

    assert found == median_interval(samples)
    assert found is not None
    assert found[0] <= 10.2 <= found[1]
    assert (min(samples), max(samples)) != found


def test_more_samples_of_the_same_noise_make_it_narrower() -> None:
    few = ratio_interval([9.0, 10.0, 11.0] * 2, [10.0] * 5)
    many = ratio_interval([9.0, 9.5, 10.0, 10.5, 11.0] * 20, [10.0] * 5)

    assert few is not None
    assert many is not None
    assert many[1] - many[0] < few[1] - few[0]


def test_the_noise_of_the_reference_is_in_the_interval_too() -> None:
    quiet = ratio_interval([10.0, 10.1, 9.9, 10.0], [10.0, 10.0, 10.0])
    noisy = ratio_interval([10.0, 10.1, 9.9, 10.0], [5.0, 10.0, 15.0])

    assert quiet is not None
    assert noisy is not None
    assert noisy[1] - noisy[0] > 5 * (quiet[1] - quiet[0])


def test_a_single_sample_is_taken_to_scatter_as_the_other_side_does() -> None:
    found = ratio_interval([10.0], [8.0, 9.0, 10.0, 11.0, 12.0])

    assert found is not None
    assert found[0] < 0.9
    assert found[1] > 1.1


@pytest.mark.parametrize("samples", [[10.0]])
def test_single_samples_say_nothing_of_noise(samples: list[float]) -> None:
    assert median_interval(samples) is None
    assert ratio_interval(samples, [9.0]) is None


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    random.seed(1)
    before = random.getstate()

    first = ratio_interval([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])

    assert random.getstate() == before
    random.seed(2)
    assert ratio_interval([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == first
