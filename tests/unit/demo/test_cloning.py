"""Behaviour cloning: the data and that the clone learns the executed actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robot_sf_otel.demo.cloning import Demonstrations, clone
from robot_sf_otel.demo.policies import GaussianPolicy
from robot_sf_otel.demo.rollouts import Episode
from robot_sf_otel.demo.scenario import Cloning

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Cloning(epochs=150, minibatch=32, learning_rate=0.01)


def expert() -> GaussianPolicy:
    """A policy with actions far beyond the bounds: bang-bang where it is executed."""
    policy = GaussianPolicy.initial((2, 8, 1), np.random.default_rng(1), log_deviation=0.0)
    policy.parameters *= 40.0
    return policy


def demonstrations() -> Demonstrations:
    rng = np.random.default_rng(2)
    episodes = [
        Episode(
            rng.uniform(-1, 1, (51, 2)), rng.uniform(-1, 1, (50, 1)), np.ones(50), terminated=False
        )
        for _ in range(6)
    ]
    return Demonstrations.label(episodes, expert())


def test_the_labels_are_the_expert_s_executed_actions_without_noise() -> None:
    data = demonstrations()

    assert data.observations.shape == (300, 2)
    assert data.actions == pytest.approx(np.clip(expert().network(data.observations), -1.0, 1.0))
    assert data.returns == pytest.approx(np.full(6, 50.0))


def test_the_error_falls_until_the_clone_does_what_the_expert_does() -> None:
    data = demonstrations()
    policy = GaussianPolicy.initial((2, 8, 1), np.random.default_rng(3), log_deviation=0.0)

    losses = list(clone(policy, data, SETTINGS, np.random.default_rng(4)))

    assert len(losses) == SETTINGS.epochs
    assert losses[-1] < 0.05 * losses[0]
    executed = np.clip(policy.network(data.observations), -1.0, 1.0)
    assert np.mean((executed - data.actions) ** 2) == pytest.approx(losses[-1], rel=0.5)


def test_cloning_leaves_the_exploration_alone() -> None:
    policy = GaussianPolicy.initial((2, 8, 1), np.random.default_rng(3), log_deviation=-0.7)

    next(clone(policy, demonstrations(), SETTINGS, np.random.default_rng(4)))

    assert policy.log_deviation == pytest.approx(np.array([-0.7]))


def test_saved_demonstrations_hold_every_array(tmp_path: Path) -> None:
    data = demonstrations()
    data.save(tmp_path / "trajectories.npz")

    with np.load(tmp_path / "trajectories.npz") as loaded:
        assert sorted(loaded) == ["actions", "observations", "returns"]
        assert np.array_equal(loaded["observations"], data.observations)
