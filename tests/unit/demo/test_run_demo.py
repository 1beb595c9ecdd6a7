"""The whole pipeline in one process: what it returns, keeps and refuses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

import msgspec
import numpy as np
import pytest

from robot_sf_otel.demo import DemoError, pipeline, run_demo
from robot_sf_otel.demo.environment import Environment
from robot_sf_otel.demo.policies import GaussianPolicy
from robot_sf_otel.testing import capture_run
from tests.unit.demo.playing import NAME, InProcess, register

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.demo.pipeline import DemoResult

REINFORCEMENT = """
iterations = 10
episodes = 10
discount = 0.9
learning_rate = 0.01
exploration = 0.5
validate_every = 5
validation_episodes = 10
"""
BUDGET = f"""
[MODE.train_expert]{REINFORCEMENT}
[MODE.collect_trajectories]
episodes = 7
[MODE.bc_pretrain]
epochs = 20
minibatch = 32
learning_rate = 0.01
[MODE.finetune]{REINFORCEMENT}
[MODE.compare]
episodes = 20
"""
SCENARIO = f"""
environment = "{NAME}"
seed = 3
hidden_layers = [8]
reward_scale = 1.0
{BUDGET.replace("MODE", "quick")}
{BUDGET.replace("MODE", "full")}
"""


class InProcessWorkers(InProcess):
    """What stands for `workers.Workers` where no process is to be started."""

    def __init__(self, environment: str, **options: object) -> None:
        super().__init__(environment)
        probe = Environment(environment)
        self.observation_size = probe.observation_size
        self.action_size = probe.action_size
        self.episode_steps = probe.episode_steps

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    monkeypatch.setattr(pipeline, "Workers", InProcessWorkers)


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "line.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    return path


def bits(result: DemoResult) -> bytes:
    return msgspec.json.encode(result.comparison)


def test_the_policies_are_compared_on_the_same_episodes_and_learning_pays(scenario: Path) -> None:
    result = run_demo(quick=True, scenario=scenario)

    assert [s.policy for s in result.comparison.scores] == [
        "random",
        "expert",
        "cloned",
        "finetuned",
    ]
    assert {s.episodes for s in result.comparison.scores} == {20}
    assert result.comparison.mean("expert") > result.comparison.mean("random")
    assert result.comparison.mean("cloned") > result.comparison.mean("random")
    assert result.seed == 3
    assert result.mode == "quick"


def test_with_telemetry_off_the_result_is_the_same_and_nothing_is_written(
    scenario: Path, tmp_path: Path
) -> None:
    off = run_demo(quick=True, scenario=scenario)
    written = list(tmp_path.iterdir())
    with capture_run(tmp_path / "output"):
        on = run_demo(quick=True, scenario=scenario)

    assert bits(on) == bits(off)
    assert off.run_dir is None
    assert off.run_id is None
    assert written == [scenario]


def test_another_seed_gives_another_result(scenario: Path) -> None:
    assert bits(run_demo(scenario=scenario, seed=4)) != bits(run_demo(scenario=scenario))


def test_the_record_has_the_plan_its_steps_and_what_decided_the_result(
    scenario: Path, tmp_path: Path
) -> None:
    with capture_run(tmp_path / "output") as captured:
        run_demo(quick=True, scenario=scenario, seed=9)
        record = captured.record

    assert record.pipeline == "imitation-demo"
    assert record.status == "completed"
    assert record.scenario_config_path == "line-quick"
    assert record.seeds == {"seed": 9}
    assert record.params["finetune"]["iterations"] == 10
    planned = [s for s in record.steps if s.parent_step_id is None]
    assert [(s.step_id, s.status) for s in planned] == [
        (name, "completed")
        for name in (
            "train_expert",
            "collect_trajectories",
            "bc_pretrain",
            "finetune",
            "compare",
        )
    ]
    assert [s.step_id for s in record.steps if s.parent_step_id == "compare"] == [
        "evaluate_random",
        "evaluate_expert",
        "evaluate_cloned",
        "evaluate_finetuned",
    ]


def test_every_step_reports_how_far_it_came(scenario: Path, tmp_path: Path) -> None:
    with capture_run(tmp_path / "output") as captured:
        run_demo(quick=True, scenario=scenario)
        steps = {s.step_id: s.progress for s in captured.record.steps}

    assert (steps["train_expert"].done, steps["train_expert"].total) == (10, 10)
    assert steps["train_expert"].unit == "iterations"
    assert (steps["collect_trajectories"].done, steps["bc_pretrain"].done) == (7, 20)
    assert steps["finetune"].unit == "timesteps"
    assert steps["finetune"].total == 10 * 10 * 15
    assert (steps["compare"].done, steps["evaluate_cloned"].done) == (4, 20)


def test_policies_trajectories_and_tables_are_artifacts_that_can_be_read(
    scenario: Path, tmp_path: Path
) -> None:
    with capture_run(tmp_path / "output") as captured:
        result = run_demo(quick=True, scenario=scenario)
        record = captured.record

    assert result.run_dir is not None
    folder = result.run_dir / "artifacts"
    assert sorted(path.name for path in folder.iterdir()) == [
        "cloned_policy.npz",
        "comparison.json",
        "comparison.md",
        "expert_policy.npz",
        "finetuned_policy.npz",
        "trajectories.npz",
    ]
    assert len(record.artifacts) == 6
    assert GaussianPolicy.load(folder / "expert_policy.npz").network.sizes == (1, 8, 1)
    with np.load(folder / "trajectories.npz") as trajectories:
        assert trajectories["returns"].shape == (7,)
    assert result.comparison.to_json() == (folder / "comparison.json").read_text()


def test_what_cannot_be_saved_is_no_reason_to_stop(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GaussianPolicy, "save", full)
    with capture_run(tmp_path / "output") as captured:
        result = run_demo(quick=True, scenario=scenario)
        artifacts = captured.record.artifacts

    assert len(result.comparison.scores) == 4
    assert len(artifacts) == 3


@pytest.mark.parametrize("module", ["gymnasium", "numpy"])
def test_a_missing_extra_is_one_line_that_says_what_to_install(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in list(sys.modules):
        if name.startswith("robot_sf_otel.demo."):
            monkeypatch.delitem(sys.modules, name)

    with pytest.raises(DemoError) as caught:
        run_demo(quick=True)

    assert str(caught.value) == (
        f"the demo needs {module}, which is not installed: pip install 'robot-sf-otel[demo]'"
    )


def test_an_environment_that_cannot_be_learned_starts_no_run(
    scenario: Path, tmp_path: Path
) -> None:
    scenario.write_text(SCENARIO.replace(NAME, "CartPole-v1"), encoding="utf-8")

    with capture_run(tmp_path / "output") as captured:
        with pytest.raises(DemoError, match="CartPole-v1"):
            run_demo(quick=True, scenario=scenario)
        assert captured.run_dirs == []
