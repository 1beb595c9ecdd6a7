"""The environment adapter: normalised spaces, and one clear line for what cannot be learned."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box

from robot_sf_otel.demo.environment import Environment, check
from robot_sf_otel.demo.errors import DemoError
from tests.unit.demo.playing import NAME, STEPS, Line, register


@pytest.fixture(autouse=True)
def toy() -> None:
    register()


def test_sizes_and_length_of_episodes_are_those_of_the_spaces() -> None:
    environment = Environment("Pendulum-v1")

    assert (environment.observation_size, environment.action_size) == (3, 1)
    assert environment.episode_steps == 200
    environment.close()


def test_observations_lie_between_minus_one_and_one() -> None:
    environment = Environment(NAME)
    observations = [environment.reset(seed=1)]
    for _ in range(STEPS):
        observation, _, _, _ = environment.step(np.array([-1.0]))
        observations.append(observation)

    # Ends at -2, the lower bound.
    assert observations[-1] == pytest.approx(np.array([-1.0]))
    assert max(np.abs(observations)) <= 1.0


@pytest.mark.parametrize(
    ("action", "executed"), [(-1.0, 0.0), (0.0, 5.0), (0.5, 7.5), (1.0, 10.0), (9.0, 10.0)]
)
def test_actions_are_clipped_and_mapped_to_the_bounds_of_the_space(
    action: float, executed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions: list[float] = []
    inner = Line.step

    def recording(self: Line, action: np.ndarray) -> object:
        actions.append(float(action[0]))
        return inner(self, action)

    monkeypatch.setattr(Line, "step", recording)
    environment = Environment(NAME)
    environment.reset(seed=1)

    environment.step(np.array([action]))

    assert actions == [executed]


def test_an_episode_depends_on_its_seed_alone() -> None:
    one, other = Environment("Pendulum-v1"), Environment("Pendulum-v1")
    other.reset(seed=5)
    other.step(np.array([0.3]))

    assert np.array_equal(one.reset(seed=8), other.reset(seed=8))
    assert not np.array_equal(one.reset(seed=8), other.reset(seed=9))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Nonsense-v0", "'Nonsense-v0' cannot be made"),
        ("CartPole-v1", "no bounded continuous"),
        ("no.such.module:Thing-v0", "cannot be made"),
    ],
)
def test_an_environment_that_cannot_be_learned_is_named_in_one_line(name: str, says: str) -> None:
    with pytest.raises(DemoError) as caught:
        check(name)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_environment_without_a_time_limit_is_refused() -> None:
    endless = register("robot_sf_otel_tests/Endless-v0", max_episode_steps=None)

    with pytest.raises(DemoError, match="episodes without an end"):
        check(endless)


def test_an_unbounded_observation_space_is_refused() -> None:
    class Unbounded(Line):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = Box(-np.inf, np.inf, (1,), np.float64)

    name = register("robot_sf_otel_tests/Unbounded-v0", Unbounded)

    with pytest.raises(DemoError, match="continuous observation space"):
        check(name)
