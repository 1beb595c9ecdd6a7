"""Episodes: played in lockstep by worker processes, the same bits for any number of workers.

Every episode has a seed of its own, and a worker always plays a group of the same size, because
a matrix product may round differently for another number of rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from robot_sf_otel.demo.environment import Environment
    from robot_sf_otel.demo.networks import Array
    from robot_sf_otel.demo.policies import Policy

GROUP_SIZE: Final = 5
"""Episodes that one worker plays in lockstep; one call of the policy then serves all of them."""


@dataclass(frozen=True)
class Episode:
    """One episode of T steps, in normalised observations and actions.

    Attributes:
        observations: Shape `(T + 1, observation_size)`; the last one follows the last action.
        actions: Shape `(T, action_size)`, before they are clipped to the bounds.
        rewards: Shape `(T,)`, as the environment gives them.
        terminated: Whether it ended in a terminal state (no further reward), not by the time limit.
    """

    observations: Array
    actions: Array
    rewards: Array
    terminated: bool

    @property
    def total_reward(self) -> float:
        """The undiscounted return."""
        return float(self.rewards.sum())


class Player(Protocol):
    """What plays episodes; see `workers.Workers`."""

    def play(
        self, policy: Policy, seeds: Sequence[np.random.SeedSequence], *, explore: bool
    ) -> Iterator[Episode]:
        """Play one episode for each seed and yield them in the order of the seeds."""
        ...


def episode_seeds(seed: int, *purpose: str | int, count: int) -> list[np.random.SeedSequence]:
    """Return independent seeds for `count` episodes that serve one purpose.

    The same purpose gives the same seeds wherever it is asked for, e.g. `("train_expert", 7)` for
    its seventh iteration: nothing depends on how many numbers other parts have drawn before.
    """
    return [seed_sequence(seed, *purpose, index) for index in range(count)]


def seed_sequence(seed: int, *purpose: str | int) -> np.random.SeedSequence:
    """Return the seed that belongs to a purpose (words and numbers) of a seeded run."""
    key = (word if isinstance(word, int) else zlib.crc32(word.encode()) for word in purpose)
    return np.random.SeedSequence(seed, spawn_key=tuple(key))


def play(
    environments: Sequence[Environment],
    policy: Policy,
    seeds: Sequence[np.random.SeedSequence],
    *,
    explore: bool,
) -> list[Episode]:
    """Play one episode for each seed, in lockstep, at most `GROUP_SIZE` of them.

    Args:
        environments: `GROUP_SIZE` environments of the same kind.
        policy: Chooses the actions of all of them at once.
        seeds: One for each episode; start state and exploration depend on nothing else.
        explore: Whether the policy acts with its noise or without.
    """
    steps = environments[0].episode_steps
    count = len(seeds)
    # Unused rows stay zero: the batch has the same size in an incomplete group.
    observations = np.zeros((steps + 1, GROUP_SIZE, environments[0].observation_size))
    noise = np.zeros((steps, GROUP_SIZE, environments[0].action_size))
    actions = np.zeros_like(noise)
    rewards = np.zeros((steps, GROUP_SIZE))
    lengths = [0] * count
    terminal = [False] * count
    for row, seed in enumerate(seeds):
        observations[0, row] = environments[row].reset(int(seed.generate_state(1)[0]))
        if explore:
            noise[:, row] = policy.noise(np.random.default_rng(seed), steps)
    playing = list(range(count))
    for step in range(steps):
        actions[step] = policy.act(observations[step], noise[step])
        for row in tuple(playing):
            observation, reward, terminated, truncated = environments[row].step(actions[step, row])
            observations[step + 1, row] = observation
            rewards[step, row] = reward
            if terminated or truncated:
                lengths[row], terminal[row] = step + 1, terminated
                playing.remove(row)
        if not playing:
            break
    return [
        Episode(
            observations[: length + 1, row].copy(),
            actions[:length, row].copy(),
            rewards[:length, row].copy(),
            terminal[row],
        )
        for row, length in enumerate(lengths)
    ]
