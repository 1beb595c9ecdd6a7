"""The callback as an on-policy algorithm calls it; tests/frameworks has the real library."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import pipeline, step
from robot_sf_otel.testing import capture_run

if TYPE_CHECKING:
    from pathlib import Path


class BaseCallback:
    """What the callback uses of the library's class of this name."""

    def __init__(self, verbose: int = 0) -> None:
        self.verbose = verbose
        self.model: Any = None
        self.locals: dict[str, Any] = {}
        self.num_timesteps = 0

    @property
    def logger(self) -> Any:  # noqa: ANN401 - a stand-in
        return self.model.logger


@pytest.fixture
def callback(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - of a module made here
    callbacks = ModuleType("stable_baselines3.common.callbacks")
    callbacks.__dict__["BaseCallback"] = BaseCallback
    for name in ("stable_baselines3", "stable_baselines3.common"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, callbacks.__name__, callbacks)
    integration = "robot_sf_otel.integrations.stable_baselines3"
    # Set first: so that it is taken out again afterwards.
    monkeypatch.setitem(sys.modules, integration, ModuleType(integration))
    del sys.modules[integration]
    return import_module(integration).TelemetryCallback()


def learn(callback: Any, rollouts: int) -> None:  # noqa: ANN401 - as above
    """Call it in the order of `OnPolicyAlgorithm.learn`."""
    figures: dict[str, float] = {}
    callback.model = SimpleNamespace(
        n_envs=1,
        n_steps=2,
        rollout_buffer=None,
        ep_info_buffer=[],
        logger=SimpleNamespace(name_to_value=figures),
    )
    callback.locals = {"total_timesteps": 2 * rollouts}
    callback._on_training_start()
    for rollout in range(1, rollouts + 1):
        callback._on_rollout_start()
        assert callback._on_step()
        assert callback._on_step()
        figures["time/fps"] = 7.0
        figures.clear()  # dump_logs
        figures["train/loss"] = 1.0 / rollout
    callback._on_training_end()


@pytest.mark.parametrize("rollouts", [1, 4])
def test_the_figures_of_the_last_training_are_reported(
    tmp_path: Path,
    callback: Any,  # noqa: ANN401 - as above
    rollouts: int,
) -> None:
    with capture_run(tmp_path) as runs:
        with pipeline("p"), step("train"):
            learn(callback, rollouts)
        record = runs.record
    assert record.steps[0].metrics == {"train/loss": 1.0 / rollouts}
    assert record.steps[0].progress.done == 2 * rollouts
    assert record.self_cost.faults == []
