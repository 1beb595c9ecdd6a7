"""Policies: actions, their probability, files and pickles."""

from __future__ import annotations

import math
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robot_sf_otel.demo.policies import GaussianPolicy, RandomPolicy

if TYPE_CHECKING:
    from pathlib import Path

SIZES = (3, 4, 2)


def gaussian(log_deviation: float = math.log(0.5)) -> GaussianPolicy:
    return GaussianPolicy.initial(SIZES, np.random.default_rng(0), log_deviation=log_deviation)


def test_without_noise_a_gaussian_policy_takes_its_mean_action() -> None:
    policy, observations = gaussian(), np.ones((5, 3))

    actions = policy.act(observations, np.zeros((5, 2)))

    assert np.array_equal(actions, policy.network(observations))


def test_noise_is_scaled_by_the_deviation() -> None:
    policy, observations, noise = gaussian(), np.ones((5, 3)), np.full((5, 2), 2.0)

    shift = policy.act(observations, noise) - policy.network(observations)

    assert shift == pytest.approx(np.full((5, 2), 1.0))


def test_the_log_probability_is_that_of_independent_normal_actions() -> None:
    policy = gaussian()
    means, actions = np.array([[0.1, -0.2]]), np.array([[0.6, 0.3]])

    density = math.prod(
        math.exp(-0.5 * ((a - m) / 0.5) ** 2) / (0.5 * math.sqrt(2 * math.pi))
        for a, m in zip((0.6, 0.3), (0.1, -0.2), strict=True)
    )

    assert policy.log_probability(means, actions) == pytest.approx(np.array([math.log(density)]))


def test_a_saved_policy_is_loaded_with_the_same_bits(tmp_path: Path) -> None:
    policy = gaussian()
    policy.save(tmp_path / "policy.npz")

    loaded = GaussianPolicy.load(tmp_path / "policy.npz")

    assert loaded.network.sizes == SIZES
    assert np.array_equal(loaded.parameters, policy.parameters)
    assert np.array_equal(loaded.log_deviation, policy.log_deviation)


def test_a_pickled_policy_acts_the_same_and_shares_its_parameters_with_its_network() -> None:
    policy = gaussian()
    copy: GaussianPolicy = pickle.loads(pickle.dumps(policy))  # noqa: S301 - our own bytes

    assert np.array_equal(copy.network(np.ones((1, 3))), policy.network(np.ones((1, 3))))
    copy.parameters[:] = 0.0
    assert not copy.network.parameters.any()


def test_a_copy_is_independent_and_may_explore_otherwise() -> None:
    policy = gaussian()
    copy = policy.copy(log_deviation=-3.0)

    copy.parameters[0] = 99.0

    assert policy.parameters[0] != 99.0
    assert copy.log_deviation == pytest.approx(np.full(2, -3.0))
    assert policy.log_deviation == pytest.approx(np.full(2, math.log(0.5)))


def test_the_random_policy_acts_uniformly_between_the_bounds_whatever_it_sees() -> None:
    policy = RandomPolicy(2)
    noise = policy.noise(np.random.default_rng(0), 1000)

    actions = policy.act(np.ones((1000, 3)), noise)

    assert np.array_equal(actions, noise)
    assert noise.shape == (1000, 2)
    assert -1.0 <= noise.min() < -0.95
    assert 0.95 < noise.max() <= 1.0
