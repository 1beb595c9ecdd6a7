"""Lightning: a callback that reports batches and logged metrics."""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# The library is not among the development dependencies: with PyTorch it has some gigabytes.

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.callbacks import Callback

from robot_sf_otel import guard
from robot_sf_otel.integrations.loop import Loop


class TelemetryCallback(Callback):
    """Reports `trainer.fit()` to the step that is running.

    Progress in training batches of the first rank; metrics are what the module logs (`self.log`),
    every `log_every_n_steps` batches and after each epoch and validation. The other ranks of a
    distributed training report nothing.
    """

    def __init__(self) -> None:
        self._loop = Loop("lightning", "batches")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin; a rank other than the first stays inert."""
        if trainer.is_global_zero:
            self._loop.begin(lambda: _batches_left(trainer))

    def on_train_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count a batch."""
        self._loop.advance()
        if (batch_idx + 1) % max(1, trainer.log_every_n_steps) == 0:
            self._report(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Report what was logged for the epoch."""
        self._report(trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Report what was logged in the validation."""
        self._report(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End."""
        self._report(trainer)
        self._loop.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End; the step learns of the exception by itself."""
        self._loop.end()

    def _report(self, trainer: Any) -> None:
        if self._loop.listens:
            with guard.shielded("lightning"):
                for name, value in trainer.callback_metrics.items():
                    self._loop.log(name, value)


def _batches_left(trainer: Any) -> float | None:
    """Return the batches that this training still has, None where nothing limits them."""
    epochs = math.inf if trainer.max_epochs in {None, -1} else trainer.max_epochs
    left = trainer.num_training_batches * (epochs - trainer.current_epoch)
    if trainer.max_steps != -1:
        steps = trainer.max_steps - trainer.global_step
        left = min(left, steps * trainer.accumulate_grad_batches)
    return left if math.isfinite(left) else None
