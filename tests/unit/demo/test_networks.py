"""The perceptron, its gradient, and Adam."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from robot_sf_otel.demo.networks import Adam, Perceptron, parameter_count
from tests.unit.demo.differences import differences

SIZES = (3, 5, 4, 2)


def network(seed: int = 0) -> Perceptron:
    return Perceptron.initial(SIZES, np.random.default_rng(seed), output_gain=1.0)


def test_parameters_are_the_weights_and_biases_of_all_layers() -> None:
    assert parameter_count(SIZES) == (3 * 5 + 5) + (5 * 4 + 4) + (4 * 2 + 2)
    assert network().parameters.shape == (parameter_count(SIZES),)


def test_a_perceptron_is_tanh_layers_and_a_linear_output() -> None:
    parameters = np.arange(parameter_count((1, 2, 1)), dtype=np.float64) / 10.0
    hidden = np.tanh(np.array([[0.0, 0.1]]) * 3.0 + np.array([0.2, 0.3]))

    output = Perceptron((1, 2, 1), parameters)(np.array([[3.0]]))

    assert output == pytest.approx(hidden @ np.array([[0.4], [0.5]]) + 0.6)


def test_the_gradient_is_that_of_finite_differences() -> None:
    net = network()
    rng = np.random.default_rng(1)
    inputs, wanted = rng.standard_normal((7, 3)), rng.standard_normal((7, 2))

    def loss() -> float:
        return 0.5 * float(np.sum((net(inputs) - wanted) ** 2))

    activations = net.activations(inputs)
    gradient = net.gradient(activations, activations[-1] - wanted)

    assert gradient == pytest.approx(differences(loss, net.parameters), rel=1e-5, abs=1e-7)


def test_a_small_output_gain_gives_small_first_outputs() -> None:
    quiet = Perceptron.initial(SIZES, np.random.default_rng(0), output_gain=0.01)

    assert np.max(np.abs(quiet(np.ones((1, 3))))) < 0.1


def test_a_change_of_the_flat_parameters_reaches_the_layers_of_a_pickled_copy_too() -> None:
    copy: Perceptron = pickle.loads(pickle.dumps(network()))  # noqa: S301 - our own bytes
    inputs = np.ones((1, 3))

    assert np.array_equal(copy(inputs), network()(inputs))
    copy.parameters[:] = 0.0
    assert np.array_equal(copy(inputs), np.zeros((1, 2)))


def test_the_first_step_of_adam_has_the_length_of_the_learning_rate() -> None:
    parameters = np.array([1.0, -2.0])

    Adam(parameters).descend(np.array([100.0, -0.01]), 0.1)

    assert parameters == pytest.approx(np.array([0.9, -1.9]), abs=1e-6)


def test_adam_finds_the_minimum_of_a_quadratic() -> None:
    parameters = np.array([5.0, -3.0])
    optimizer = Adam(parameters)

    for step in range(2000):
        optimizer.descend(np.array([1.0, 30.0]) * (parameters - 1.0), 0.1 * (1.0 - step / 2000))

    assert parameters == pytest.approx(np.array([1.0, 1.0]), abs=1e-3)


def test_a_gradient_that_is_too_long_is_shortened_and_keeps_its_direction() -> None:
    clipped, short = np.zeros(2), np.zeros(2)
    first, second = Adam(clipped, largest_norm=1.0), Adam(short)

    for factor in (1.0, 50.0):  # after two steps the lengths of both matter, not only the signs
        gradient = np.array([3.0, 4.0]) * factor
        first.descend(gradient, 0.1)
        second.descend(gradient / np.linalg.norm(gradient), 0.1)

    assert clipped == pytest.approx(short)
