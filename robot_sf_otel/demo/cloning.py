"""Behaviour cloning: supervised learning of the actions that an expert took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robot_sf_otel.demo.networks import Adam, Array

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.demo.policies import GaussianPolicy
    from robot_sf_otel.demo.rollouts import Episode
    from robot_sf_otel.demo.scenario import Cloning


@dataclass(frozen=True)
class Demonstrations:
    """What an expert saw and what it would do there.

    The expert acts with noise while it is recorded, and the labels are its actions without noise:
    so the data also show how to get back on course (Laskey et al., 2017, arXiv:1703.09327).

    Attributes:
        observations: Shape `(samples, observation_size)`.
        actions: Executed actions, within -1 and 1, shape `(samples, action_size)`.
        returns: Return of each trajectory, shape `(trajectories,)`.
    """

    observations: Array
    actions: Array
    returns: Array

    @classmethod
    def label(cls, episodes: Sequence[Episode], expert: GaussianPolicy) -> Demonstrations:
        """Label the observations of recorded episodes with the expert's actions."""
        observations = np.concatenate([episode.observations[:-1] for episode in episodes])
        return cls(
            observations,
            np.clip(expert.network(observations), -1.0, 1.0),
            np.array([episode.total_reward for episode in episodes]),
        )

    def save(self, path: Path) -> None:
        """Write a `.npz` file with one array for each attribute."""
        np.savez_compressed(
            path, observations=self.observations, actions=self.actions, returns=self.returns
        )


def clone(
    policy: GaussianPolicy, data: Demonstrations, settings: Cloning, rng: np.random.Generator
) -> Iterator[float]:
    """Teach `policy` in place and yield the mean squared error after each epoch.

    The error is that of the executed, clipped actions: a bang-bang controller is hard to fit for
    a smooth network that has to hit the bounds exactly, and easy for one that may overshoot them.
    """
    optimizer = Adam(policy.network.parameters)
    count = len(data.observations)
    for epoch in range(settings.epochs):
        learning_rate = settings.learning_rate * (1.0 - epoch / settings.epochs)
        order = rng.permutation(count)
        squared_error = 0.0
        for start in range(0, count, settings.minibatch):
            batch = order[start : start + settings.minibatch]
            activations = policy.network.activations(data.observations[batch])
            errors = np.clip(activations[-1], -1.0, 1.0) - data.actions[batch]
            squared_error += float(np.sum(errors**2))
            gradient = policy.network.gradient(activations, 2.0 * errors / len(batch))
            optimizer.descend(gradient, learning_rate)
        yield squared_error / data.actions.size
