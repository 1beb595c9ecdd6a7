"""Reinforcement learning of one policy: play, update, validate, keep the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robot_sf_otel.demo.ppo import PPO
from robot_sf_otel.demo.rollouts import episode_seeds, seed_sequence

if TYPE_CHECKING:
    from robot_sf_otel.demo.policies import GaussianPolicy
    from robot_sf_otel.demo.rollouts import Player
    from robot_sf_otel.demo.scenario import Reinforcement


@dataclass(frozen=True)
class Iteration:
    """What one iteration of training did.

    Attributes:
        mean_return: Of the episodes that were played, exploration included.
        timesteps: Environment steps of these episodes.
    """

    mean_return: float
    timesteps: int


class Trainer:
    """Improves a copy of a policy with PPO, and remembers the best one that it has validated.

    Attributes:
        best: The best validated policy so far, at first the one that training began with.
        best_return: Its mean return without exploration; minus infinity before the first
            validation.
    """

    def __init__(
        self,
        player: Player,
        policy: GaussianPolicy,
        settings: Reinforcement,
        *,
        reward_scale: float,
        seed: int,
        purpose: str,
    ) -> None:
        """Get ready; `seed` and `purpose` decide everything random."""
        learner = policy.copy(log_deviation=float(np.log(settings.exploration)))
        rng = np.random.default_rng(seed_sequence(seed, purpose, "updates"))
        self._ppo = PPO(learner, rng, discount=settings.discount, reward_scale=reward_scale)
        self._player = player
        self._settings = settings
        self._seed = seed
        self._purpose = purpose
        self._done = 0
        self.best = policy
        self.best_return = -np.inf

    def improve(self) -> Iteration:
        """Play the episodes of the next iteration, and learn from them."""
        settings, done = self._settings, self._done
        if done == 0:
            self._validate()
        seeds = episode_seeds(self._seed, self._purpose, done, count=settings.episodes)
        episodes = list(self._player.play(self._ppo.policy, seeds, explore=True))
        self._ppo.update(
            episodes,
            learning_rate=settings.learning_rate * (1.0 - done / settings.iterations),
            value_only=done < settings.value_warmup,
        )
        self._done += 1
        if self._done % settings.validate_every == 0 or self._done == settings.iterations:
            self._validate()
        return Iteration(
            float(np.mean([episode.total_reward for episode in episodes])),
            sum(len(episode.rewards) for episode in episodes),
        )

    def _validate(self) -> None:
        seeds = episode_seeds(
            self._seed, self._purpose, "validation", count=self._settings.validation_episodes
        )
        policy = self._ppo.policy
        episodes = self._player.play(policy, seeds, explore=False)
        mean_return = float(np.mean([episode.total_reward for episode in episodes]))
        if mean_return > self.best_return:
            self.best, self.best_return = policy.copy(), mean_return
