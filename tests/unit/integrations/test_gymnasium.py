from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gymnasium
import pytest

from robot_sf_otel import pipeline, step
from robot_sf_otel.integrations import gymnasium as integration
from robot_sf_otel.integrations.gymnasium import TelemetryWrapper, _Frames
from robot_sf_otel.testing import CapturedRuns, FakeClock, capture_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[CapturedRuns]:
    with capture_run(tmp_path) as captured:
        yield captured


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(integration, "_frames", _Frames(clock.monotonic))
    return clock


def environment(seed: int = 7) -> gymnasium.Env[Any, Any]:
    env: gymnasium.Env[Any, Any] = gymnasium.make("CartPole-v1")
    wrapped: gymnasium.Env[Any, Any] = TelemetryWrapper(env)
    wrapped.reset(seed=seed)
    wrapped.action_space.seed(seed)
    return wrapped


def play(env: gymnasium.Env[Any, Any], frames: int, clock: FakeClock | None = None) -> list[float]:
    rewards: list[float] = []
    for _ in range(frames):
        if clock is not None:
            clock.advance(0.01)
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        rewards.append(float(reward))
        if terminated or truncated:
            env.reset()
    return rewards


def test_frames_a_second_reach_the_running_step(runs: CapturedRuns, clock: FakeClock) -> None:
    with pipeline("p"), step("collect"):
        play(environment(), 60, clock)
    assert runs.record.steps[0].metrics == {"fps": pytest.approx(100)}


def test_the_frames_of_several_environments_add_up(runs: CapturedRuns, clock: FakeClock) -> None:
    with pipeline("p"), step("collect"):
        environments = [environment(seed) for seed in range(4)]
        for _ in range(60):
            clock.advance(0.01)
            for env in environments:
                play(env, 1)
    assert runs.record.steps[0].metrics == {"fps": pytest.approx(400, rel=0.02)}


@pytest.mark.parametrize(
    ("frames", "metrics"), [(40, {}), (120, {"fps": pytest.approx(100)})], ids=["short", "long"]
)
def test_the_time_before_the_first_frame_of_a_step_does_not_count(
    runs: CapturedRuns, clock: FakeClock, frames: int, metrics: dict[str, float]
) -> None:
    env = environment()
    with pipeline("p"):
        with step("warm up"):
            play(env, 3, clock)
        clock.advance(6)
        with step("collect"):
            clock.advance(6)
            play(env, frames, clock)
    assert [each.metrics for each in runs.record.steps] == [{}, metrics]


def test_frames_of_a_step_inside_are_its_own(runs: CapturedRuns, clock: FakeClock) -> None:
    env = environment()
    with pipeline("p"), step("outer"):
        play(env, 60, clock)
        with step("inner"):
            clock.advance(6)
            play(env, 3, clock)
        play(env, 3, clock)
    assert [each.metrics for each in runs.record.steps[:1]] == [{"fps": pytest.approx(100)}]


def test_outside_a_run_the_environment_is_as_it_was() -> None:
    plain = gymnasium.make("CartPole-v1")
    plain.reset(seed=7)
    plain.action_space.seed(7)
    assert play(environment(), 200) == play(plain, 200)


def test_a_wrapped_environment_can_be_made_again_from_its_specification() -> None:
    env = environment()
    assert env.spec is not None
    again = gymnasium.make(env.spec)
    assert isinstance(again, TelemetryWrapper)
    again.close()
    env.close()
