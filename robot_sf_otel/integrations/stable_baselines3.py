"""Stable-Baselines3: a callback that reports timesteps, speed and rewards."""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# The library is not among the development dependencies: with PyTorch it has some gigabytes.

from __future__ import annotations

import math

from stable_baselines3.common.callbacks import BaseCallback

from robot_sf_otel import guard
from robot_sf_otel.integrations.loop import Loop, Rate


class TelemetryCallback(BaseCallback):
    """Reports `learn()` to the step that is running.

    Progress in timesteps; metrics `fps`, `episode_reward` and `episode_length` (means of the last
    100 episodes, if the environment has a `Monitor`), and what the algorithm logs as `train/…`.

    Args:
        verbose: As all callbacks have it; this one says nothing.
    """

    def __init__(self, verbose: int = 0) -> None:
        super().__init__(verbose)
        self._loop = Loop("stable_baselines3", "timesteps")
        self._rate = Rate()
        self._envs = 1

    def _on_training_start(self) -> None:
        self._rate = Rate()
        self._loop.begin(self._total)

    def _total(self) -> float:
        self._envs = int(self.model.n_envs)
        left = int(self.locals["total_timesteps"]) - int(self.num_timesteps)
        # On-policy algorithms end with a whole rollout, all others with a whole round of frames.
        on_policy = hasattr(self.model, "rollout_buffer")
        whole = self._envs * (int(self.model.n_steps) if on_policy else 1)
        return math.ceil(left / whole) * whole

    def _on_step(self) -> bool:
        self._loop.advance(self._envs)
        rate = self._rate.add(self._envs)
        if rate is not None:
            self._loop.log("fps", rate)
            self._report_episodes()
        return True

    def _on_rollout_start(self) -> None:
        self._report_training()

    def _on_training_end(self) -> None:
        self._report_training()
        self._report_episodes()
        self._loop.end()

    def _report_training(self) -> None:
        # An on-policy algorithm has trained on the rollout before: its figures stand until logged.
        if self._loop.listens:
            with guard.shielded("stable_baselines3"):
                for name, value in self.logger.name_to_value.items():
                    if name.startswith("train/"):
                        self._loop.log(name, value)

    def _report_episodes(self) -> None:
        if not self._loop.listens:
            return
        with guard.shielded("stable_baselines3"):
            episodes = list(self.model.ep_info_buffer or ())
            for name, key in (("episode_reward", "r"), ("episode_length", "l")):
                if episodes:
                    mean = sum(float(one[key]) for one in episodes) / len(episodes)
                    self._loop.log(name, mean)
