"""Telemetry samples as named numbers on the time axis of a report."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.formats import one_line
from robot_sf_otel.manifest.schema import TelemetrySnapshot
from robot_sf_otel.report.html.series import Thinner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from robot_sf_otel.report.html.timeline import Timeline

FIELDS: Final = tuple(
    name
    for name in TelemetrySnapshot.__struct_fields__
    if name not in {"timestamp_ms", "step_id", "steps", "gpus", "metrics", "notes", "fps"}
)
_READ: Final = attrgetter(*FIELDS)
GPU_FIELDS: Final = ("util_percent", "mem_used_mb", "power_w", "temperature_c")
MOST_METRICS: Final = 24
_MOST_GPUS: Final = 16
_MOST_NOTES: Final = 20


class Readings:
    """What the samples of a run say.

    Attributes:
        thinner: The columns: fields by name, `gpu.<index>.<field>`, `metric.<name>`.
        notes: What the sensors said, with the second on the axis.
        metrics: Names of the metrics that are kept, in the order in which they came.
        metrics_left_out: How many are not.
        gpus: Index and model of each device.
        rates: Largest rate of each step that was shown.
    """

    def __init__(self, samples: Iterable[TelemetrySnapshot], timeline: Timeline) -> None:
        self.thinner = Thinner(timeline.end)
        self.notes: list[tuple[float, str]] = []
        self.metrics: dict[str, str] = {}
        self.gpus: dict[int, str] = {}
        self.gpu_memory: dict[int, float] = {}
        self.rates: dict[str, float] = {}
        self._ignored: set[str] = set()
        for sample in samples:
            self._take(sample, timeline.at(sample.timestamp_ms / 1000))

    @property
    def metrics_left_out(self) -> int:
        """Return how many metrics have no column."""
        return len(self._ignored)

    def _take(self, sample: TelemetrySnapshot, now: float) -> None:
        values = {
            name: float(value)
            for name, value in zip(FIELDS, _READ(sample), strict=True)
            if value is not None and math.isfinite(value)
        }
        if sample.gpus:
            self._take_gpus(sample, values)
        for name, value in sample.metrics.items():
            key = self._metric(name)
            if key is not None and not isinstance(value, str):
                values[key] = float(value)
        if sample.step_id is not None and sample.steps_per_sec is not None:
            best = self.rates.get(sample.step_id, 0.0)
            self.rates[sample.step_id] = max(best, sample.steps_per_sec)
        if sample.notes and len(self.notes) < _MOST_NOTES:
            self.notes.append((now, one_line(sample.notes, 300)))
        self.thinner.add(now, values)

    def _take_gpus(self, sample: TelemetrySnapshot, values: dict[str, float]) -> None:
        for gpu in sample.gpus[:_MOST_GPUS]:
            if gpu.name or gpu.index not in self.gpus:
                self.gpus[gpu.index] = one_line(gpu.name or "", 60)
            if gpu.mem_total_mb is not None:
                self.gpu_memory[gpu.index] = gpu.mem_total_mb
            for name in GPU_FIELDS:
                value = getattr(gpu, name)
                if value is not None and math.isfinite(value):
                    values[f"gpu.{gpu.index}.{name}"] = value

    def _metric(self, name: str) -> str | None:
        if name in self.metrics:
            return self.metrics[name]
        if len(self.metrics) >= MOST_METRICS:
            self._ignored.add(name[:200])
            return None
        self.metrics[name] = f"metric.{name}"
        return self.metrics[name]
