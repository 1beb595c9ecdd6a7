"""Policies of the demo: uniformly random, and Gaussian around the output of a small network.

Observations and actions are normalised: the environment adapter maps the bounds of the spaces to
-1 and 1 (see `rollouts.Environment`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from robot_sf_otel.demo.networks import Array, Perceptron, parameter_count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HALF_LOG_2PI: Final = 0.5 * float(np.log(2.0 * np.pi))


class Policy(Protocol):
    """What a rollout needs: noise for a whole episode, drawn first, and actions from it."""

    def noise(self, rng: np.random.Generator, steps: int) -> Array:
        """Draw the exploration of one episode, shape `(steps, action_size)`."""
        ...

    def act(self, observations: Array, noise: Array) -> Array:
        """Choose actions for a batch of observations; zero noise means the best known action."""
        ...


class RandomPolicy:
    """Uniformly random actions, the floor of the comparison."""

    def __init__(self, action_size: int) -> None:
        """Take the number of action dimensions."""
        self._action_size = action_size

    def noise(self, rng: np.random.Generator, steps: int) -> Array:
        """Draw uniform actions."""
        return rng.uniform(-1.0, 1.0, (steps, self._action_size))

    def act(self, observations: Array, noise: Array) -> Array:  # noqa: ARG002 - it looks at nothing
        """Return the noise itself."""
        return noise


class GaussianPolicy:
    """Normally distributed actions around the output of a network, with a learned deviation.

    Attributes:
        parameters: Weights of the network followed by the logarithm of the standard deviation of
            each action dimension, in one flat vector that an optimizer updates in place.
        network: The mean; its weights are a view of `parameters`.
        log_deviation: A view of `parameters`, shape `(action_size,)`.
    """

    def __init__(self, sizes: Sequence[int], parameters: Array) -> None:
        """Wrap existing parameters; they are shared, not copied."""
        count = parameter_count(sizes)
        self.parameters = parameters
        self.network = Perceptron(sizes, parameters[:count])
        self.log_deviation = parameters[count:]

    @classmethod
    def initial(
        cls, sizes: Sequence[int], rng: np.random.Generator, *, log_deviation: float
    ) -> GaussianPolicy:
        """Draw a fresh policy that acts close to zero, with the given exploration."""
        network = Perceptron.initial(sizes, rng, output_gain=0.01)
        return cls(sizes, np.append(network.parameters, np.full(sizes[-1], log_deviation)))

    def __reduce__(self) -> tuple[type[GaussianPolicy], tuple[tuple[int, ...], Array]]:
        """Pickle sizes and parameters alone: the rest must be views again on the other side."""
        return GaussianPolicy, (self.network.sizes, self.parameters)

    def copy(self, *, log_deviation: float | None = None) -> GaussianPolicy:
        """Return an independent copy, with another exploration if one is given."""
        policy = GaussianPolicy(self.network.sizes, self.parameters.copy())
        if log_deviation is not None:
            policy.log_deviation[:] = log_deviation
        return policy

    def noise(self, rng: np.random.Generator, steps: int) -> Array:
        """Draw standard normal noise."""
        return rng.standard_normal((steps, self.network.sizes[-1]))

    def act(self, observations: Array, noise: Array) -> Array:
        """Return the mean action plus the scaled noise."""
        return self.network(observations) + np.exp(self.log_deviation) * noise

    def log_probability(self, means: Array, actions: Array) -> Array:
        """Return log p(action), shape `(batch,)`, for the means that the network gave."""
        standard = (actions - means) * np.exp(-self.log_deviation)
        constant = float(np.sum(self.log_deviation)) + HALF_LOG_2PI * actions.shape[1]
        exponents: Array = -0.5 * np.sum(standard**2, axis=1)
        exponents -= constant
        return exponents

    def save(self, path: Path) -> None:
        """Write the policy to a `.npz` file that `load` reads."""
        np.savez(path, sizes=np.array(self.network.sizes), parameters=self.parameters)

    @classmethod
    def load(cls, path: Path) -> GaussianPolicy:
        """Read a policy that `save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            return cls([int(size) for size in data["sizes"]], data["parameters"])
