"""The trainer: it learns, keeps the best validated policy, and depends on its seed alone."""

from __future__ import annotations

import msgspec
import numpy as np

from robot_sf_otel.demo.policies import GaussianPolicy
from robot_sf_otel.demo.scenario import Reinforcement
from robot_sf_otel.demo.training import Trainer
from tests.unit.demo.playing import InProcess

SETTINGS = Reinforcement(
    iterations=12,
    episodes=10,
    discount=0.9,
    learning_rate=0.01,
    exploration=0.5,
    validate_every=4,
    validation_episodes=10,
)


def beginner() -> GaussianPolicy:
    return GaussianPolicy.initial((1, 8, 1), np.random.default_rng(0), log_deviation=0.0)


def trainer(player: InProcess, settings: Reinforcement = SETTINGS, seed: int = 1) -> Trainer:
    return Trainer(player, beginner(), settings, reward_scale=1.0, seed=seed, purpose="test")


def test_training_improves_the_validated_return() -> None:
    training = trainer(InProcess())
    training.improve()
    at_first = training.best_return
    for _ in range(SETTINGS.iterations - 1):
        training.improve()

    assert training.best_return > at_first + 1.0


def test_the_best_policy_is_the_first_one_as_long_as_nothing_is_better() -> None:
    # A learning rate of next to nothing: the policy cannot become better.
    settings = msgspec.structs.replace(SETTINGS, learning_rate=1e-300, validate_every=1)
    training = trainer(InProcess(), settings)
    training.improve()
    first = training.best
    training.improve()

    assert training.best is first
    assert np.array_equal(training.best.network.parameters, beginner().network.parameters)


def test_the_given_policy_is_not_changed() -> None:
    policy = beginner()
    training = Trainer(InProcess(), policy, SETTINGS, reward_scale=1.0, seed=1, purpose="test")
    training.improve()

    assert np.array_equal(policy.parameters, beginner().parameters)


def test_during_the_warm_up_of_the_value_function_the_policy_stays() -> None:
    settings = msgspec.structs.replace(SETTINGS, value_warmup=2, validate_every=1)
    player = InProcess()
    training = trainer(player, settings)
    training.improve()
    training.improve()
    after_warm_up = training.best.network.parameters.copy()
    for _ in range(6):
        training.improve()

    assert np.array_equal(after_warm_up, beginner().network.parameters)
    assert not np.array_equal(training.best.network.parameters, after_warm_up)


def test_an_iteration_reports_what_it_played_and_validations_come_when_due() -> None:
    player = InProcess()
    training = trainer(player)
    iteration = training.improve()

    assert 0 < iteration.timesteps <= 10 * 15
    assert iteration.mean_return < 0.0
    assert player.played == 10 + 10  # validated before the first
    for _ in range(3):
        training.improve()
    assert player.played == 4 * 10 + 2 * 10  # … and after every fourth


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not() -> None:
    def parameters(seed: int) -> bytes:
        training = trainer(InProcess(), seed=seed)
        for _ in range(4):
            training.improve()
        return training.best.parameters.tobytes()

    assert parameters(1) == parameters(1)
    assert parameters(1) != parameters(2)
