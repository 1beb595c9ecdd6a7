"""What the steps of the demo share: the task, the budget, the seed and the worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robot_sf_otel.demo.policies import GaussianPolicy
from robot_sf_otel.demo.rollouts import seed_sequence
from robot_sf_otel.demo.training import Trainer

if TYPE_CHECKING:
    from robot_sf_otel.demo.scenario import Budget, Reinforcement, Scenario
    from robot_sf_otel.demo.workers import Workers


@dataclass(frozen=True)
class Setting:
    """The task, how much each step may spend on it, the seed, and who plays the episodes."""

    scenario: Scenario
    budget: Budget
    seed: int
    workers: Workers

    def new_policy(self, purpose: str) -> GaussianPolicy:
        """Return a policy that has learned nothing yet."""
        sizes = (
            self.workers.observation_size,
            *self.scenario.hidden_layers,
            self.workers.action_size,
        )
        rng = np.random.default_rng(seed_sequence(self.seed, purpose, "weights"))
        return GaussianPolicy.initial(sizes, rng, log_deviation=0.0)

    def trainer(self, policy: GaussianPolicy, settings: Reinforcement, purpose: str) -> Trainer:
        """Return what improves a copy of the policy by reinforcement learning."""
        return Trainer(
            self.workers,
            policy,
            settings,
            reward_scale=self.scenario.reward_scale,
            seed=self.seed,
            purpose=purpose,
        )
