"""The Gymnasium environment with observations and actions normalised to the range -1 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from robot_sf_otel.demo.errors import DemoError

if TYPE_CHECKING:
    from robot_sf_otel.demo.networks import Array


class Environment:
    """An environment with bounded continuous spaces, seen through normalised arrays.

    Attributes:
        observation_size: Dimensions of an observation.
        action_size: Dimensions of an action.
        episode_steps: Steps after which an episode is cut off.
    """

    def __init__(self, name: str) -> None:
        """Make the environment.

        Raises:
            DemoError: If it does not exist here, or its spaces or episodes have no bounds.
        """
        try:
            # The checker warns about environments; the ones that come with Gymnasium are sound.
            self._environment: gymnasium.Env[Any, Any] = gymnasium.make(
                name, disable_env_checker=True
            )
        except (gymnasium.error.Error, ImportError) as error:
            raise DemoError(f"environment {name!r} cannot be made: {_first_line(error)}") from error
        self._observation_centre, self._observation_range = _bounds(
            self._environment.observation_space, name, "observation"
        )
        self._action_centre, self._action_range = _bounds(
            self._environment.action_space, name, "action"
        )
        spec = self._environment.spec
        if spec is None or spec.max_episode_steps is None:
            raise DemoError(f"environment {name!r} has episodes without an end")
        self.observation_size: Final = self._observation_centre.size
        self.action_size: Final = self._action_centre.size
        self.episode_steps: Final = spec.max_episode_steps

    def reset(self, seed: int) -> Array:
        """Start an episode that depends on the seed alone."""
        observation, _ = self._environment.reset(seed=seed)
        return self._normalised(observation)

    def step(self, action: Array) -> tuple[Array, float, bool, bool]:
        """Act; return observation, reward, and whether the episode ended or was cut off."""
        # np.clip costs several times as much on an array of one element.
        bounded = np.minimum(np.maximum(action, -1.0), 1.0)
        observation, reward, terminated, truncated, _ = self._environment.step(
            self._action_centre + self._action_range * bounded
        )
        return self._normalised(observation), float(reward), terminated, truncated

    def _normalised(self, observation: Array) -> Array:
        normalised: Array = (observation - self._observation_centre) / self._observation_range
        return normalised

    def close(self) -> None:
        """Release what the environment holds."""
        self._environment.close()


def check(name: str) -> None:
    """Make an environment once, to see that the demo can learn it.

    Raises:
        DemoError: It cannot.
    """
    Environment(name).close()


def _bounds(space: object, name: str, what: str) -> tuple[Array, Array]:
    if not isinstance(space, Box) or len(space.shape) != 1 or not space.is_bounded():
        raise DemoError(
            f"environment {name!r} has no bounded continuous {what} space (it is {space}); "
            "the demo can learn Pendulum-v1, for example"
        )
    box = cast("Any", space)  # Gymnasium leaves the element type of its bounds open
    low, high = np.asarray(box.low, np.float64), np.asarray(box.high, np.float64)
    return (low + high) / 2.0, (high - low) / 2.0


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
