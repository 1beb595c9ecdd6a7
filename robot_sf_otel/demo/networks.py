"""Small neural networks in plain NumPy: a multi-layer perceptron with its gradient, and Adam."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Array: TypeAlias = NDArray[np.float64]


class Perceptron:
    """A fully connected network with tanh hidden layers and a linear output.

    All weights live in one flat vector, of which the layers are views: an optimizer, a pickle or
    a file then handles a single array.

    Attributes:
        sizes: Units of each layer, inputs and outputs included.
        parameters: All weights, shape `(parameter_count(sizes),)`; updated in place.
    """

    def __init__(self, sizes: Sequence[int], parameters: Array) -> None:
        """Wrap existing weights; `parameters` is shared, not copied."""
        self.sizes = tuple(sizes)
        self.parameters = parameters
        self._layers = _layer_views(self.sizes, parameters)

    @classmethod
    def initial(
        cls, sizes: Sequence[int], rng: np.random.Generator, *, output_gain: float
    ) -> Perceptron:
        """Draw Glorot-normal weights; a small `output_gain` makes the first outputs almost zero."""
        network = cls(sizes, np.zeros(parameter_count(sizes)))
        for index, (weights, _) in enumerate(network._layers, start=2):
            gain = output_gain if index == len(network.sizes) else 1.0
            deviation = gain * np.sqrt(2.0 / sum(weights.shape))
            weights[:] = deviation * rng.standard_normal(weights.shape)
        return network

    def __reduce__(self) -> tuple[type[Perceptron], tuple[tuple[int, ...], Array]]:
        """Pickle sizes and weights alone: the layers must be views again on the other side."""
        return Perceptron, (self.sizes, self.parameters)

    def __call__(self, inputs: Array) -> Array:
        """Map inputs of shape `(batch, sizes[0])` to outputs of shape `(batch, sizes[-1])`."""
        return self.activations(inputs)[-1]

    def activations(self, inputs: Array) -> list[Array]:
        """Return the values of every layer, from the inputs to the outputs."""
        values = [inputs]
        for weights, bias in self._layers[:-1]:
            values.append(np.tanh(values[-1] @ weights + bias))
        weights, bias = self._layers[-1]
        values.append(values[-1] @ weights + bias)
        return values

    def gradient(self, activations: Sequence[Array], output_gradient: Array) -> Array:
        """Back-propagate a loss.

        Args:
            activations: What `activations` returned for the batch.
            output_gradient: d(loss)/d(outputs), shape `(batch, sizes[-1])`.

        Returns:
            d(loss)/d(parameters), shape `(parameter_count(sizes),)`.
        """
        gradient = np.empty_like(self.parameters)
        views = _layer_views(self.sizes, gradient)
        flowing = output_gradient
        for index in range(len(views) - 1, -1, -1):
            weights, bias = views[index]
            np.matmul(activations[index].T, flowing, out=weights)
            np.sum(flowing, axis=0, out=bias)
            if index:  # the derivative of tanh(x) is 1 - tanh(x)^2
                flowing = (flowing @ self._layers[index][0].T) * (1.0 - activations[index] ** 2)
        return gradient


class Adam:
    """Adam (Kingma & Ba, 2015, algorithm 1), with the gradient clipped to a largest norm."""

    def __init__(self, parameters: Array, *, largest_norm: float = np.inf) -> None:
        """Optimize `parameters` in place."""
        self._parameters = parameters
        self._largest_norm = largest_norm
        self._mean = np.zeros_like(parameters)
        self._square = np.zeros_like(parameters)
        self._count = 0

    def descend(self, gradient: Array, learning_rate: float) -> None:
        """Take one step against `gradient`."""
        norm = float(np.sqrt(gradient @ gradient))
        if norm > self._largest_norm:
            gradient = gradient * (self._largest_norm / norm)
        self._count += 1
        self._mean += (1.0 - _BETA_1) * (gradient - self._mean)
        self._square += (1.0 - _BETA_2) * (gradient**2 - self._square)
        mean = self._mean / (1.0 - _BETA_1**self._count)
        square = self._square / (1.0 - _BETA_2**self._count)
        self._parameters -= learning_rate * mean / (np.sqrt(square) + _EPSILON)


_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


def parameter_count(sizes: Sequence[int]) -> int:
    """Return how many weights and biases a perceptron with these layer sizes has."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def _layer_views(sizes: Sequence[int], flat: Array) -> list[tuple[Array, Array]]:
    """Cut a flat vector into the (weights, bias) views of each layer."""
    views: list[tuple[Array, Array]] = []
    start = 0
    for inputs, outputs in pairwise(sizes):
        middle, end = start + inputs * outputs, start + (inputs + 1) * outputs
        views.append((flat[start:middle].reshape(inputs, outputs), flat[middle:end]))
        start = end
    return views
