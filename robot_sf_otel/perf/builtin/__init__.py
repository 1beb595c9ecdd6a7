"""What the built-in scenarios run: an environment in pure Python, and the tracker itself."""

from __future__ import annotations

import math

from robot_sf_otel import current_step, step

_TIME_STEP = 0.05
_GRAVITY = 10.0
_MAX_TORQUE = 2.0
_MAX_SPEED = 8.0


class Pendulum:
    """A pendulum to be swung up, with the equations of Gymnasium's Pendulum-v1; no random state."""

    def __init__(self) -> None:
        """Hang still; `reset` starts an episode."""
        self.angle = math.pi
        self.speed = 0.0

    def reset(self, episode: int) -> tuple[float, float, float]:
        """Start an episode; its number alone decides where."""
        self.angle = math.pi * math.sin(episode * 12.9898)
        self.speed = math.sin(episode * 78.233)
        return self._observe()

    def step(self, torque: float) -> tuple[tuple[float, float, float], float]:
        """Act for one time step; return what is seen and the reward."""
        torque = max(-_MAX_TORQUE, min(_MAX_TORQUE, torque))
        angle = (self.angle + math.pi) % (2 * math.pi) - math.pi
        cost = angle**2 + 0.1 * self.speed**2 + 0.001 * torque**2
        pull = 1.5 * _GRAVITY * math.sin(self.angle) + 3.0 * torque
        self.speed = max(-_MAX_SPEED, min(_MAX_SPEED, self.speed + pull * _TIME_STEP))
        self.angle += self.speed * _TIME_STEP
        return self._observe(), -cost

    def _observe(self) -> tuple[float, float, float]:
        return math.cos(self.angle), math.sin(self.angle), self.speed


def minimal(resets: int = 100, episode_steps: int = 1_000) -> float:
    """Reset the environment so many times and play an episode after each; return the reward."""
    environment = Pendulum()
    this = current_step()
    reward = 0.0
    for episode in range(resets):
        observation = environment.reset(episode)
        for _ in range(episode_steps):
            observation, gained = environment.step(-observation[1] - 0.1 * observation[2])
            reward += gained
        this.advance()
    return reward


def tracker_overhead(steps: int = 50, units: int = 500) -> None:
    """Record so many steps, each with so many calls of `advance`, durable as in any pipeline."""
    whole = current_step()
    for _ in range(steps):
        with step("tracked") as this:
            for _ in range(units):
                this.advance()
        whole.advance()
