"""The callback in real trainings, in one process and in two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.frameworks.training import MISSING, records, run_program, told

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("transformers", reason=MISSING)

PROGRAM = """
import torch
from transformers import Trainer, TrainingArguments
from robot_sf_otel import configure, pipeline, step
from robot_sf_otel.integrations.huggingface import TelemetryCallback
from robot_sf_otel.integrations.ranks import first_rank_only

SETTINGS

class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x, labels):
        predicted = self.layer(x)
        return {"loss": torch.nn.functional.mse_loss(predicted, labels), "logits": predicted}


@pipeline("huggingface", steps=["train"])
def main():
    data = [{"x": torch.tensor([i / 64]), "labels": torch.tensor([i / 32])} for i in range(64)]
    arguments = TrainingArguments(
        output_dir="trainer", use_cpu=True, report_to=[], disable_tqdm=True, logging_steps=2,
        per_device_train_batch_size=8, seed=7, ARGUMENTS
    )
    with step("train"):
        trainer = Trainer(
            Line(), arguments, train_dataset=data, eval_dataset=data,
            callbacks=[TelemetryCallback()],
        )
        trainer.train(RESUME)
        EVALUATE


if __name__ == "__main__":
    main()
"""


def program(
    arguments: str, settings: str = "configure(console='off')", evaluate: str = "", resume: str = ""
) -> str:
    return (
        PROGRAM.replace("ARGUMENTS", arguments)
        .replace("SETTINGS", settings)
        .replace("EVALUATE", evaluate)
        .replace("RESUME", resume)
    )


@pytest.mark.parametrize(
    ("arguments", "updates"),
    [
        pytest.param("save_strategy='no', max_steps=10", 10, id="steps"),
        pytest.param("save_strategy='no', num_train_epochs=2", 16, id="epochs"),
        pytest.param(
            "save_strategy='no', num_train_epochs=2, gradient_accumulation_steps=2",
            8,
            id="accumulated",
        ),
    ],
)
def test_updates_and_logged_numbers_are_reported(
    arguments: str, updates: int, tmp_path: Path
) -> None:
    run_program(program(arguments), tmp_path)
    (record,) = records(tmp_path)
    assert told(record) == {"done": updates, "total": updates, "unit": "updates"}
    metrics: dict[str, Any] = record.steps[0].metrics
    assert {"loss", "learning_rate", "train_loss"} <= set(metrics)
    assert record.self_cost.faults == []


def test_a_training_that_goes_on_from_a_checkpoint_counts_what_is_left(tmp_path: Path) -> None:
    run_program(program("max_steps=6, save_steps=6"), tmp_path)
    resumed = program("max_steps=10, save_steps=6", resume="resume_from_checkpoint=True")
    run_program(resumed, tmp_path)
    first, second = sorted(records(tmp_path), key=lambda record: record.created_at or "")
    assert (told(first)["done"], told(first)["total"]) == (6, 6)
    assert (told(second)["done"], told(second)["total"]) == (4, 4)


def test_two_processes_leave_one_record_of_the_first_rank(tmp_path: Path) -> None:
    text = program(
        "save_strategy='no', max_steps=6, ddp_backend='gloo'",
        "first_rank_only()\nconfigure(console='off')",
    )
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    run_program(text, tmp_path, *launcher)
    (record,) = records(tmp_path)
    assert told(record) == {"done": 6, "total": 6, "unit": "updates"}
    assert record.status == "completed"


def test_processes_of_a_tracked_launcher_leave_one_step(tmp_path: Path) -> None:
    text = program("save_strategy='no', max_steps=6, ddp_backend='gloo'", "first_rank_only()")
    launcher = ["-m", "robot_sf_otel.cli.main", "run", "--pipeline", "ddp", "--"]
    launched = ["python", "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    run_program(text, tmp_path, *launcher, *launched)
    (record,) = records(tmp_path)
    trained = [one for one in record.steps if one.step_id == "train"]
    assert [(one.progress.done, one.status) for one in trained] == [(6, "completed")]


def test_without_telemetry_nothing_is_written(tmp_path: Path) -> None:
    run_program(program("save_strategy='no', max_steps=2", settings="pass"), tmp_path)
    assert not (tmp_path / "output").exists()
