"""The callback in real trainings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import current_step, pipeline, step
from robot_sf_otel.testing import CapturedRuns, capture_run
from tests.frameworks.training import MISSING, run_program, told

if TYPE_CHECKING:
    from pathlib import Path

sb3: Any = pytest.importorskip("stable_baselines3", reason=MISSING)

ROLLOUT = 128
"""Timesteps of a rollout."""


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[CapturedRuns]:
    with capture_run(tmp_path) as captured:
        yield captured


def callback() -> Any:  # noqa: ANN401 - the framework's class, which is not installed everywhere
    from robot_sf_otel.integrations.stable_baselines3 import TelemetryCallback

    return TelemetryCallback()


def ppo(**settings: Any) -> Any:  # noqa: ANN401 - as above
    small = {"n_steps": ROLLOUT, "batch_size": 64, "n_epochs": 2, "seed": 7, "device": "cpu"}
    return sb3.PPO("MlpPolicy", "CartPole-v1", **{**small, **settings})


def test_ppo_reports_timesteps_rewards_and_losses(runs: CapturedRuns) -> None:
    with pipeline("p"), step("train"):
        ppo().learn(4 * ROLLOUT, callback=callback())
        assert current_step().done == 4 * ROLLOUT
    record = runs.record
    assert told(record) == {"done": 512, "total": 512, "unit": "timesteps"}
    metrics = record.steps[0].metrics
    assert float(metrics["episode_reward"]) == float(metrics["episode_length"]) > 5
    assert {"train/loss", "train/value_loss", "train/approx_kl"} <= set(metrics)
    assert record.self_cost.faults == []


def test_the_last_training_reports_its_losses_too(runs: CapturedRuns) -> None:
    with pipeline("p"), step("train"):
        model = ppo()
        model.learn(ROLLOUT, callback=callback())
    metrics = runs.record.steps[0].metrics
    assert metrics["train/loss"] == pytest.approx(model.logger.name_to_value["train/loss"])


def test_a_total_that_is_no_whole_rollout_is_what_will_be_done(runs: CapturedRuns) -> None:
    with pipeline("p"), step("train"):
        ppo().learn(ROLLOUT + 1, callback=callback())
    assert told(runs.record) == {"done": 256, "total": 256, "unit": "timesteps"}


def test_a_training_that_goes_on_counts_what_it_does_itself(runs: CapturedRuns) -> None:
    with pipeline("p"), step("train"):
        model = ppo()
        model.learn(ROLLOUT, callback=callback())
        model.learn(2 * ROLLOUT, callback=callback(), reset_num_timesteps=False)
    assert told(runs.record) == {"done": 384, "total": 384, "unit": "timesteps"}


def test_an_off_policy_algorithm_reports_every_frame(runs: CapturedRuns) -> None:
    with pipeline("p"), step("train"):
        model = sb3.DQN("MlpPolicy", "CartPole-v1", learning_starts=50, seed=7, device="cpu")
        model.learn(200, callback=callback())
    assert told(runs.record) == {"done": 200, "total": 200, "unit": "timesteps"}


def test_several_environments_count_together(runs: CapturedRuns) -> None:
    environments = sb3.common.env_util.make_vec_env("CartPole-v1", n_envs=4, seed=7)
    with pipeline("p"), step("train"):
        model = sb3.PPO("MlpPolicy", environments, n_steps=32, batch_size=64, device="cpu")
        model.learn(300, callback=callback())
    assert told(runs.record) == {"done": 384, "total": 384, "unit": "timesteps"}


def test_a_training_that_fails_fails_its_step_alone(runs: CapturedRuns) -> None:
    def fail(local: dict[str, Any], others: dict[str, Any]) -> bool:
        message = "reward is NaN"
        raise ValueError(message)

    failing = sb3.common.callbacks.ConvertCallback(fail)
    with pipeline("p"):
        with pytest.raises(ValueError, match="reward is NaN"), step("train"):
            ppo().learn(ROLLOUT, callback=[callback(), failing])
        with step("again"):
            ppo().learn(ROLLOUT, callback=callback())
    first, second = runs.record.steps
    assert (first.status, second.status) == ("failed", "completed")
    assert (second.progress.done, second.progress.total) == (ROLLOUT, ROLLOUT)


SEEDED = """
import hashlib
import torch
from stable_baselines3 import PPO
from robot_sf_otel import configure, pipeline, step

torch.set_num_threads(1)
mode = MODE
callback = None
if mode != "plain":
    from robot_sf_otel.integrations.stable_baselines3 import TelemetryCallback
    callback = TelemetryCallback()
if mode == "recorded":
    configure(console="off", interval=0.1)
with pipeline("p"), step("train"):
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=256, batch_size=64, seed=7, device="cpu")
    model.learn(1024, callback=callback)
digest = hashlib.sha256()
for name, value in sorted(model.policy.state_dict().items()):
    digest.update(name.encode() + value.numpy().tobytes())
digest.update(repr([one["r"] for one in model.ep_info_buffer]).encode())
print("weights", digest.hexdigest())
"""


def test_a_seeded_training_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    weights: dict[str, str] = {}
    for mode in ("plain", "off", "recorded"):
        folder = tmp_path / mode
        folder.mkdir()
        done = run_program(SEEDED.replace("MODE", repr(mode)), folder)
        weights[mode] = done.stdout.splitlines()[-1]
    assert weights["plain"].startswith("weights ")
    assert set(weights.values()) == {weights["plain"]}
    assert (tmp_path / "recorded/output/run-tracker").is_dir()
    assert not (tmp_path / "off/output").exists()
