"""The original tracker's samples and durations, put right where its clock was set back.

It measured by the wall clock: a step in which that was set back has a duration of 0 or one that is
too short. Its samples came at a fixed pace, so they tell how long it really took.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.codec import metric_value
from robot_sf_otel.manifest.events import NANOSECONDS
from robot_sf_otel.manifest.schema import TelemetrySnapshot

if TYPE_CHECKING:
    from robot_sf_otel.store.legacy import OldStep

JUMP_SECONDS: Final = 1.0
"""How far a clock may go back, by synchronisation, without being taken as set."""
PARENT_ONLY: Final = (
    "CPU and memory are those of the parent process alone (metrics parent_*): the original tracker "
    "did not read its children"
)
OTHER_MEANING: Final = {
    "cpu_percent_process": "parent_cpu_percent",
    "memory_rss_mb": "parent_memory_rss_mb",
    "steps_per_sec": "pipeline_steps_per_sec",
}
"""Readings that mean something else here, and the metric that each becomes."""


def usual_interval(samples: Sequence[TelemetrySnapshot]) -> float | None:
    """Return the usual time between two samples in seconds, None where nothing tells."""
    stamps = [sample.timestamp_ms for sample in samples]
    forward = [later - earlier for earlier, later in pairwise(stamps) if later > earlier]
    return median(forward) / 1000 if forward else None


def seconds_of(
    step: OldStep, samples: Sequence[TelemetrySnapshot], interval: float | None
) -> tuple[float | None, str | None]:
    """Return how long an ended step took, None where that is unknown; and what was put right.

    Args:
        step: The step.
        samples: All samples of the run, as they were recorded.
        interval: The usual seconds between two of them.
    """
    started, ended = step.started_ns, step.ended_ns
    mine = [sample.timestamp_ms for sample in samples if sample.step_id == step.step_id]
    back = any(later < earlier - JUMP_SECONDS * 1000 for earlier, later in pairwise(mine))
    if back or (started is not None and ended is not None and ended < started):
        told = f"the clock was set back during step {step.step_id}: its duration is"
        if mine and interval is not None:
            return len(mine) * interval, f"{told} counted in samples"
        return None, f"{told} unknown, and recorded as 0"
    if step.duration_seconds or started is None or ended is None:
        return step.duration_seconds, None
    return (ended - started) / NANOSECONDS, None


def our_samples(samples: Sequence[TelemetrySnapshot]) -> Iterator[TelemetrySnapshot]:
    """Yield samples with times that only go forward, and readings under names that fit them."""
    pace = round((usual_interval(samples) or 1.0) * 1000)
    shift = 0
    last: int | None = None
    for sample in samples:
        stamp = sample.timestamp_ms + shift
        if last is not None and stamp < last:
            shift += last + pace - stamp
            stamp = last + pace
        notes = [PARENT_ONLY if last is None else None, sample.notes]
        last = stamp
        metrics = dict(sample.metrics)
        for name, metric in OTHER_MEANING.items():
            value = getattr(sample, name)
            if value is not None:
                metrics[metric] = metric_value(value)
        yield TelemetrySnapshot(
            timestamp_ms=stamp,
            step_id=sample.step_id,
            fps=sample.fps,
            cpu_percent_system=sample.cpu_percent_system,
            gpu_util_percent=sample.gpu_util_percent,
            gpu_mem_used_mb=sample.gpu_mem_used_mb,
            metrics=metrics,
            notes="; ".join(note for note in notes if note) or None,
        )
