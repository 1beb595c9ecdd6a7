"""The callback in real trainings, in one process and in two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.frameworks.training import MISSING, records, run_program, told

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("lightning", reason=MISSING)

PROGRAM = """
import lightning, torch
from torch.utils.data import DataLoader, TensorDataset
from robot_sf_otel import configure, pipeline, step
from robot_sf_otel.integrations.lightning import TelemetryCallback
from robot_sf_otel.integrations.ranks import first_rank_only

SETTINGS

class Line(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        FAIL
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, index):
        self.log("val_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


@step("train")
def train():
    lightning.seed_everything(7)
    x = torch.linspace(0, 1, 64).reshape(-1, 1)
    data = TensorDataset(x, 2 * x)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        enable_progress_bar=False, log_every_n_steps=2, callbacks=[TelemetryCallback()], ARGUMENTS
    )
    trainer.fit(Line(), DataLoader(data, batch_size=8), DataLoader(data, batch_size=32))


@pipeline("lightning", steps=[train])
def main():
    train()


if __name__ == "__main__":
    main()
"""


def program(arguments: str, settings: str = "configure(console='off')", fail: str = "pass") -> str:
    return (
        PROGRAM.replace("ARGUMENTS", arguments).replace("SETTINGS", settings).replace("FAIL", fail)
    )


@pytest.mark.parametrize(
    ("arguments", "batches"),
    [
        pytest.param("max_epochs=2", 16, id="epochs"),
        pytest.param("max_steps=10", 10, id="steps"),
        pytest.param("max_epochs=2, accumulate_grad_batches=2, max_steps=5", 10, id="accumulated"),
        pytest.param("max_epochs=3, limit_train_batches=4", 12, id="limited"),
    ],
)
def test_batches_and_logged_metrics_are_reported(
    arguments: str, batches: int, tmp_path: Path
) -> None:
    run_program(program(arguments), tmp_path)
    (record,) = records(tmp_path)
    assert told(record) == {"done": batches, "total": batches, "unit": "batches"}
    metrics: dict[str, Any] = record.steps[0].metrics
    assert metrics["loss"] > 0
    assert metrics["val_loss"] > 0
    assert record.self_cost.faults == []


def test_a_training_that_nothing_limits_has_no_total(tmp_path: Path) -> None:
    endless = program("max_epochs=-1, max_time={'seconds': 1}")
    run_program(endless, tmp_path)
    (record,) = records(tmp_path)
    assert told(record)["total"] is None
    assert told(record)["done"] > 8


def test_two_processes_leave_one_record_of_the_first_rank(tmp_path: Path) -> None:
    settings = "first_rank_only()\nconfigure(console='off')"
    run_program(program("max_epochs=2, devices=2, strategy='ddp'", settings), tmp_path)
    (record,) = records(tmp_path)
    assert told(record) == {"done": 8, "total": 8, "unit": "batches"}
    assert record.status == "completed"


def test_without_telemetry_nothing_is_written(tmp_path: Path) -> None:
    run_program(program("max_epochs=1", settings="pass"), tmp_path)
    assert not (tmp_path / "output").exists()


def test_a_training_that_fails_fails_as_it_would(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="loss is NaN"):
        run_program(program("max_epochs=1", fail="raise ValueError('loss is NaN')"), tmp_path)
    (record,) = records(tmp_path)
    assert (record.status, record.steps[0].status) == ("failed", "failed")
