"""gymnasium: a wrapper that reports how many frames a second the simulator makes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, SupportsFloat, TypeVar

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from robot_sf_otel import guard
from robot_sf_otel.instrument.context import current_step
from robot_sf_otel.integrations.loop import Rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from robot_sf_otel.instrument.step import StepHandle

Observation = TypeVar("Observation")
Action = TypeVar("Action")


class _Frames:
    """The frames of all environments of this process: their speeds add up.

    A rate is of one step: what lies before its first frame is another step's, or nobody's.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._rate = Rate(clock)
        self._step: StepHandle | None = None

    def add(self) -> None:
        """Count a frame; tell the step the rate now and then. Never raises."""
        with guard.shielded("gymnasium"):
            step = current_step()
            if step is not self._step:
                self._rate, self._step = Rate(self._clock), step
                return
            rate = self._rate.add()
            if rate is not None:
                step.log_metric("fps", rate)


_frames = _Frames()


class TelemetryWrapper(
    gymnasium.Wrapper[Observation, Action, Observation, Action], RecordConstructorArgs
):
    """Reports the frames a second of all wrapped environments of this process as `fps`.

    The metric goes to the step that is running, from its first frame on; training between the
    frames counts as time. Frames that worker processes make (`AsyncVectorEnv`, `SubprocVecEnv`) are
    counted by nobody.

    Args:
        env: The environment.
    """

    def __init__(self, env: gymnasium.Env[Observation, Action]) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment and count the frame."""
        result = self.env.step(action)
        _frames.add()
        return result
