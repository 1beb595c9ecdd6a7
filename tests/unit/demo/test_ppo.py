"""Proximal policy optimization: advantages, gradient, and that it improves a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robot_sf_otel.demo.policies import GaussianPolicy
from robot_sf_otel.demo.ppo import CLIP, PPO, generalized_advantages, surrogate_gradient
from robot_sf_otel.demo.rollouts import Episode
from tests.unit.demo.differences import differences

if TYPE_CHECKING:
    from robot_sf_otel.demo.networks import Array


def policy() -> GaussianPolicy:
    return GaussianPolicy.initial((2, 4, 1), np.random.default_rng(3), log_deviation=-0.5)


def episode(seed: int, *, terminated: bool = False, steps: int = 20) -> Episode:
    """A bandit in disguise: the reward is high where the action is close to 0.5."""
    rng = np.random.default_rng(seed)
    observations = rng.uniform(-1.0, 1.0, (steps + 1, 2))
    acting = policy()
    actions = acting.act(observations[:-1], acting.noise(rng, steps))
    return Episode(observations, actions, -((actions[:, 0] - 0.5) ** 2), terminated)


def test_advantages_without_decay_are_the_one_step_errors() -> None:
    rewards, values = np.array([1.0, 2.0]), np.array([10.0, 20.0, 30.0])

    advantages = generalized_advantages(rewards, values, 0.9, 0.0)

    assert advantages == pytest.approx([1.0 + 18.0 - 10.0, 2.0 + 27.0 - 20.0])


def test_advantages_with_full_decay_are_the_discounted_returns_above_the_values() -> None:
    rewards, values = np.array([1.0, 2.0, 4.0]), np.array([10.0, 20.0, 30.0, 40.0])

    advantages = generalized_advantages(rewards, values, 0.5, 1.0)

    assert advantages == pytest.approx(
        [1.0 + 1.0 + 1.0 + 5.0 - 10.0, 2.0 + 2.0 + 10.0 - 20.0, 4.0 + 20.0 - 30.0]
    )


def test_the_surrogate_gradient_is_that_of_finite_differences() -> None:
    learner, played = policy(), episode(0)
    observations, actions = played.observations[:-1], played.actions
    advantages = np.random.default_rng(1).standard_normal(20)
    # Probabilities before that differ from those now, so that some ratios lie beyond the bounds.
    before = learner.log_probability(learner.network(observations), actions)
    before += np.random.default_rng(2).normal(0.0, 0.3, 20)

    def loss() -> float:
        now = learner.log_probability(learner.network(observations), actions)
        ratios = np.exp(now - before)
        bounded = np.clip(ratios, 1.0 - CLIP, 1.0 + CLIP)
        return -float(np.mean(np.minimum(ratios * advantages, bounded * advantages)))

    slopes = differences(loss, learner.parameters)
    gradient = surrogate_gradient(learner, observations, actions, advantages, before)

    assert gradient == pytest.approx(slopes, rel=1e-4, abs=1e-7)


def updated(*, value_only: bool = False, terminated: bool = False) -> Array:
    learner = policy()
    ppo = PPO(learner, np.random.default_rng(0), discount=0.9, reward_scale=1.0)
    episodes = [episode(seed, terminated=terminated) for seed in range(5)]
    ppo.update(episodes, learning_rate=1e-2, value_only=value_only)
    return learner.parameters


def test_an_update_moves_the_policy_towards_the_rewarded_actions() -> None:
    learner = GaussianPolicy((2, 4, 1), updated())
    observations = np.random.default_rng(9).uniform(-1.0, 1.0, (100, 2))

    def distance(of: GaussianPolicy) -> float:
        return float(np.mean(np.abs(of.network(observations) - 0.5)))

    assert distance(learner) < 0.85 * distance(policy())


def test_an_update_of_the_value_function_alone_leaves_the_policy_as_it_is() -> None:
    assert np.array_equal(updated(value_only=True), policy().parameters)


def test_after_a_terminal_state_nothing_more_is_expected() -> None:
    assert not np.array_equal(updated(terminated=True), updated(terminated=False))


def test_the_same_seeds_give_the_same_bits() -> None:
    assert np.array_equal(updated(), updated())
