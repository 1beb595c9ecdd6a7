"""The progress of the running steps within a telemetry sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import StepSample, TelemetrySnapshot


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
