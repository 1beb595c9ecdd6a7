"""A toy environment and what plays it in this process, for tests of the demo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from robot_sf_otel.demo.environment import Environment
from robot_sf_otel.demo.rollouts import GROUP_SIZE, Episode, play

if TYPE_CHECKING:
    from robot_sf_otel.demo.policies import Policy


class Line(gymnasium.Env[np.ndarray, np.ndarray]):
    """A point on a line: it should be kept at 0, the episode ends where it reaches 2."""

    def __init__(self) -> None:
        self.observation_space = Box(-2.0, 2.0, (1,), np.float64)
        self.action_space = Box(0.0, 10.0, (1,), np.float64)
        self.actions: list[float] = []
        self._place = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[np.ndarray, dict[str, object]]:
        super().reset(seed=seed)
        self._place = float(self.np_random.uniform(-1.0, 1.0))
        return np.array([self._place]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self.actions.append(float(action[0]))
        self._place = float(np.clip(self._place + 0.2 * (action[0] - 5.0) / 5.0, -2.0, 2.0))
        return np.array([self._place]), -(self._place**2), self._place >= 2.0, False, {}


NAME = "robot_sf_otel_tests/Line-v0"
STEPS = 15


def register(
    name: str = NAME, kind: type[Line] = Line, *, max_episode_steps: int | None = STEPS
) -> str:
    """Make a toy known to Gymnasium; again without a warning."""
    registration: Any = gymnasium  # its own annotations want a function that takes any keyword
    if name not in gymnasium.registry:
        registration.register(name, entry_point=kind, max_episode_steps=max_episode_steps)
    return name


class InProcess:
    """Plays without worker processes, group by group as they do."""

    def __init__(self, name: str = NAME) -> None:
        register()
        self._environments = [Environment(name) for _ in range(GROUP_SIZE)]
        self.played = 0

    def play(
        self, policy: Policy, seeds: Sequence[np.random.SeedSequence], *, explore: bool
    ) -> Iterator[Episode]:
        for start in range(0, len(seeds), GROUP_SIZE):
            group = seeds[start : start + GROUP_SIZE]
            self.played += len(group)
            yield from play(self._environments, policy, group, explore=explore)
