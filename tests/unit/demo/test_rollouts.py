"""Episodes: seeds, shapes, ends, and the same bits however they are grouped."""

from __future__ import annotations

import numpy as np
import pytest

from robot_sf_otel.demo.policies import GaussianPolicy, RandomPolicy
from robot_sf_otel.demo.rollouts import GROUP_SIZE, Episode, episode_seeds, seed_sequence
from tests.unit.demo.playing import STEPS, InProcess


def played(count: int, *, explore: bool = True, seed: int = 1) -> list[Episode]:
    policy = GaussianPolicy.initial((1, 4, 1), np.random.default_rng(0), log_deviation=0.0)
    return list(InProcess().play(policy, episode_seeds(seed, "test", count=count), explore=explore))


def same(one: Episode, other: Episode) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("observations", "actions", "rewards", "terminated")
    )


def test_a_seed_belongs_to_its_purpose() -> None:
    def number(*purpose: str | int, seed: int = 1) -> int:
        return int(seed_sequence(seed, *purpose).generate_state(1)[0])

    assert number("train", 3) == number("train", 3)
    different = {
        number("train", 3),
        number("train", 4),
        number("compare", 3),
        number("train"),
        number("train", 3, seed=2),
    }
    assert len(different) == 5


def test_more_episodes_begin_with_the_same_seeds() -> None:
    few, many = (
        [int(seed.generate_state(1)[0]) for seed in episode_seeds(1, "test", count=count)]
        for count in (3, 30)
    )

    assert many[:3] == few
    assert len(set(many)) == 30


def test_an_episode_has_one_observation_more_than_actions() -> None:
    for episode in played(3):
        steps = len(episode.rewards)
        assert episode.observations.shape == (steps + 1, 1)
        assert episode.actions.shape == (steps, 1)


def test_the_same_seeds_give_the_same_bits() -> None:
    assert all(same(*pair) for pair in zip(played(7), played(7), strict=True))


def test_an_episode_is_the_same_in_an_incomplete_group() -> None:
    alone, in_company = played(1)[0], played(GROUP_SIZE)[0]

    assert same(alone, in_company)


def test_an_environment_that_was_used_before_plays_the_same() -> None:
    player = InProcess()
    policy = RandomPolicy(1)
    seeds = episode_seeds(1, "test", count=3)
    first = list(player.play(policy, seeds, explore=True))

    again = player.play(policy, seeds, explore=True)

    assert all(same(*pair) for pair in zip(first, again, strict=True))


def test_without_exploration_the_policy_acts_without_noise() -> None:
    policy = GaussianPolicy.initial((1, 4, 1), np.random.default_rng(0), log_deviation=0.0)

    episode = played(1, explore=False)[0]

    assert episode.actions == pytest.approx(policy.network(episode.observations[:-1]))


def test_an_episode_ends_in_a_terminal_state_or_at_the_time_limit() -> None:
    class Right(RandomPolicy):
        def act(self, observations: np.ndarray, noise: np.ndarray) -> np.ndarray:
            return np.where(observations > 0.0, 1.0, -1.0)

    episodes = list(InProcess().play(Right(1), episode_seeds(1, "x", count=10), explore=True))
    ended = [episode for episode in episodes if episode.terminated]
    cut_off = [episode for episode in episodes if not episode.terminated]

    assert all(len(episode.rewards) < STEPS for episode in ended)
    assert all(episode.observations[-1] == pytest.approx(1.0) for episode in ended)
    assert all(len(episode.rewards) == STEPS for episode in cut_off)
    assert ended
    assert cut_off


def test_the_return_is_the_undiscounted_sum_of_rewards() -> None:
    episode = Episode(np.zeros((3, 1)), np.zeros((2, 1)), np.array([1.0, 2.5]), terminated=False)

    assert episode.total_reward == 3.5
