"""Hugging Face Transformers: a callback that reports updates and what the Trainer logs."""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# The library is not among the development dependencies: with PyTorch it has some gigabytes.

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from robot_sf_otel.integrations.loop import Loop


class TelemetryCallback(TrainerCallback):
    """Reports `trainer.train()` to the step that is running.

    Progress in updates of the model (the Trainer's "steps"); metrics are the numbers that it logs
    (`loss`, `learning_rate`, `eval_loss`, …). The other processes of a distributed training report
    nothing. A training that goes on from a checkpoint counts what is left.
    """

    def __init__(self) -> None:
        self._loop = Loop("huggingface", "updates")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin; a process other than the first stays inert."""
        if state.is_world_process_zero:
            left = state.max_steps - state.global_step
            self._loop.begin(lambda: left if left > 0 else None)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count an update."""
        self._loop.advance()

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Report the numbers among what is logged."""
        for name, value in (logs or {}).items():
            if isinstance(value, int | float):
                self._loop.log(name, value)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End."""
        self._loop.end()
