"""What metric readers collect as a telemetry sample: known instruments are fields of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.manifest.codec import clip, metric_value
from robot_sf_otel.manifest.schema import MetricValue, TelemetrySnapshot
from robot_sf_otel.semconv.instruments import INSTRUMENTS
from robot_sf_otel_manifest.translate import MAX_NAME

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData

    from robot_sf_otel.redaction import Redactor

MAX_METRICS: Final = 200
"""Values in one sample; more would make every line of telemetry.jsonl a page long."""

_MIB: Final = 1 << 20

# reading of `semconv.instruments` -> (field of a sample, factor to the field's unit)
_FIELDS: Final = {
    "container_memory_limit": ("memory_limit_mb", 1 / _MIB),
    "tree_cpu_utilization": ("cpu_percent_process", 100.0),
    "tree_memory": ("memory_rss_mb", 1 / _MIB),
    "processes": ("process_count", 1),
    "threads": ("thread_count", 1),
    "progress_done": ("progress_done", 1.0),
    "progress_rate": ("steps_per_sec", 1.0),
}
_FIELD_OF: Final = {
    (instrument.name, frozenset(instrument.attributes)): _FIELDS[instrument.reading]
    for instrument in INSTRUMENTS
    if instrument.reading in _FIELDS
}


def snapshot_of(data: MetricsData, redact: Redactor) -> TelemetrySnapshot | None:
    """Return what metric readers collected as a telemetry sample; None where there is no point.

    Instruments of this package fill the fields of the sample. Every other value goes to `metrics`
    under `name{attribute=value,…}`; a histogram as `name.count`, `name.sum`, `name.min` and
    `name.max`.
    """
    newest = 0
    fields: dict[str, Any] = {}
    metrics: dict[str, MetricValue] = {}
    left_out = 0
    for metric in _metrics_in(data):
        for point in metric.data.data_points:
            newest = max(newest, point.time_unix_nano)
            for suffix, value in _values(point):
                field = _FIELD_OF.get((metric.name, frozenset(point.attributes or ())))
                if field is not None and not suffix:
                    fields[field[0]] = _in_unit(value, *field)
                elif len(metrics) < MAX_METRICS:
                    key = f"{metric.name}{suffix}{_labels(point.attributes or {}, redact)}"
                    metrics[clip(key, MAX_NAME)] = metric_value(value)
                else:
                    left_out += 1
    if not newest:
        return None
    notes = f"{left_out} metrics beyond {MAX_METRICS} are left out" if left_out else None
    return TelemetrySnapshot(
        timestamp_ms=newest // 1_000_000, metrics=metrics, notes=notes, **fields
    )


def _metrics_in(data: MetricsData) -> Iterator[Metric]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics


def _values(point: Any) -> Iterator[tuple[str, float]]:  # noqa: ANN401 - one of three point types
    if hasattr(point, "value"):
        yield "", point.value
        return
    yield ".count", point.count
    if point.count:
        yield from ((f".{name}", getattr(point, name)) for name in ("sum", "min", "max"))


def _in_unit(value: float, field: str, factor: float) -> float | int:
    return int(value) if field.endswith("_count") else float(value) * factor


def _labels(attributes: Mapping[str, Any], redact: Redactor) -> str:
    if not attributes:
        return ""
    shown = (f"{name}={redact.value(name, attributes[name])}" for name in sorted(attributes))
    return f"{{{','.join(shown)}}}"
