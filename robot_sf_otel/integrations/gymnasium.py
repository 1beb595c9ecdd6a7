"""gymnasium: a wrapper that reports how many frames a second the simulator makes."""

from __future__ import annotations

from typing import Any, Final, SupportsFloat, TypeVar

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from robot_sf_otel import guard
from robot_sf_otel.instrument.context import current_step
from robot_sf_otel.integrations.loop import Rate

Observation = TypeVar("Observation")
Action = TypeVar("Action")

_frames: Final = Rate()
"""Of all environments of this process: their speeds add up."""


class TelemetryWrapper(
    gymnasium.Wrapper[Observation, Action, Observation, Action], RecordConstructorArgs
):
    """Reports the frames a second of all wrapped environments of this process as `fps`.

    The metric goes to the step that is running; training between the frames counts as time. Frames
    that worker processes make (`AsyncVectorEnv`, `SubprocVecEnv`) are counted by nobody.

    Args:
        env: The environment.
    """

    def __init__(self, env: gymnasium.Env[Observation, Action]) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment and count the frame."""
        result = self.env.step(action)
        rate = _frames.add()
        if rate is not None:
            with guard.shielded("gymnasium"):
                current_step().log_metric("fps", rate)
        return result
