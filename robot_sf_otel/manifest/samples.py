"""What a telemetry sample says of one run: its progress, and of constants only what changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import GpuSample, StepSample, TelemetrySnapshot

_CONSTANT: Final = ("uuid", "name", "mem_total_mb", "power_limit_w")
"""Fields of a GPU that hardly ever change."""


def put_progress(snapshot: TelemetrySnapshot, samples: Sequence[StepSample]) -> None:
    """Put the progress of the running steps into a sample.

    Args:
        snapshot: The sample, changed in place.
        samples: The running steps, in the order in which they began. The last one that reports a
            rate is the step of the sample, else the last one; all are listed where several run.
    """
    if not samples:
        return
    shown = next((sample for sample in reversed(samples) if sample.rate is not None), samples[-1])
    snapshot.step_id = shown.step_id
    snapshot.steps_per_sec = shown.rate
    if shown.total is not None or shown.done:
        snapshot.progress_done = shown.done
        snapshot.progress_total = shown.total
    snapshot.steps = list(samples) if len(samples) > 1 else []


class OnlyChanges:
    """Leaves out of the samples of one run what its last sample said already.

    `notes` and the constants of the GPUs would be most of every line otherwise.
    """

    def __init__(self) -> None:
        """Begin a run: its first sample says everything."""
        self._notes: str | None = None
        self._gpus: dict[int, tuple[object, ...]] = {}

    def apply(self, snapshot: TelemetrySnapshot) -> None:
        """Change a sample in place; a run's samples come in their order."""
        said, self._notes = self._notes, snapshot.notes
        if snapshot.notes == said:
            snapshot.notes = None
        elif snapshot.notes is None:
            snapshot.notes = "all sensors read again"
        snapshot.gpus = [self._gpu(gpu) for gpu in snapshot.gpus]

    def _gpu(self, gpu: GpuSample) -> GpuSample:
        constants = tuple(getattr(gpu, name) for name in _CONSTANT)
        if self._gpus.get(gpu.index) == constants:
            return replace(gpu, **dict.fromkeys(_CONSTANT))
        self._gpus[gpu.index] = constants
        return gpu
