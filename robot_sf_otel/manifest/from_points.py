"""Points of metrics as a telemetry sample: known instruments are fields of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel import semconv
from robot_sf_otel.manifest.codec import clip, metric_value
from robot_sf_otel.manifest.points import (
    ABOUT_RUNS,
    BY,
    GPU,
    LEVELS,
    METRIC,
    MILLISECOND,
    RATES,
    RUN_INFO,
    STEP,
    MetricPoint,
    Place,
)
from robot_sf_otel.manifest.samples import put_progress
from robot_sf_otel.manifest.schema import GpuSample, MetricValue, StepSample, TelemetrySnapshot

if TYPE_CHECKING:
    from robot_sf_otel.redaction import Redactor

MAX_NAME: Final = 200
"""Characters of a metric's name that are kept."""
MAX_METRICS: Final = 200
"""Values in one sample; more would make every line of telemetry.jsonl a page long."""
MAX_STEPS: Final = 100
"""Running steps in one sample."""
_DIGITS: Final = 3
"""Of a field, as sensors round it."""
_TASK: Final = semconv.TASK_NAME


class Growth:
    """What counters had reached, so that their growth is known; of one process.

    The start that a sum names is no point to measure from: the SDK lets a counter of what went on
    long before begin with the first look at it. Only a sum that begins with the sample before, as
    those of recorded runs do, is known to have been 0 then.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._last: dict[tuple[str, str | None], tuple[int, int, float]] = {}
        self._sampled_ns = 0

    def sampled(self, moment_ns: int) -> None:
        """Take note that all points of a moment are taken in."""
        self._sampled_ns = moment_ns

    def rate(self, key: tuple[str, str | None], point: MetricPoint) -> float | None:
        """Return the growth a second since the point before, None where that is not known."""
        last = self._last.get(key)
        self._last[key] = point.start_ns, point.time_ns, point.value
        if last is not None and last[0] == point.start_ns and point.value >= last[2]:
            since, before = last[1], last[2]
        elif point.start_ns == self._sampled_ns:
            since, before = point.start_ns, 0.0
        else:
            return None
        if not 0 < since < point.time_ns:
            return None
        return (point.value - before) * 1e9 / (point.time_ns - since)


@dataclass(slots=True)
class Gathered:
    """What points of one moment say."""

    newest_ns: int = 0
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    metrics: dict[str, MetricValue] = field(default_factory=dict[str, MetricValue])
    left_out: int = 0
    running: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    logged: list[tuple[str | None, str, float]] = field(
        default_factory=list[tuple[str | None, str, float]]
    )
    """Step, name and value of each metric that was logged."""
    gpus: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    complete: bool = False
    """Whether there is more than values that stay from the end of a step on."""

    def steps(self) -> list[StepSample]:
        """Return the steps that run: those that say how long, or how fast; else all of them."""
        at_work = {
            name: told for name, told in self.running.items() if {"elapsed", "rate"} & told.keys()
        }
        return [
            StepSample(
                step_id=name,
                done=told.get("done", 0),
                total=told.get("total"),
                rate=told.get("rate"),
            )
            for name, told in (at_work or self.running).items()
        ]

    def snapshot(self, steps: list[StepSample]) -> TelemetrySnapshot:
        """Return the sample, with the progress of steps that run."""
        at_work = {step.step_id for step in steps}
        metrics = {
            name: metric_value(value)
            for task, name, value in self.logged[:MAX_METRICS]
            if task is None or task in at_work
        }
        gpus = [GpuSample(index=index, **told) for index, told in enumerate(self.gpus.values())]
        notes = f"{self.left_out} metrics beyond {MAX_METRICS} are left out"
        fps = metrics.get("fps")
        made = TelemetrySnapshot(
            timestamp_ms=self.newest_ns // MILLISECOND,
            metrics={**self.metrics, **metrics},
            notes=notes if self.left_out else None,
            fps=fps if isinstance(fps, float) else None,
            gpus=gpus,
            gpu_util_percent=_mean([gpu.util_percent for gpu in gpus]),
            gpu_mem_used_mb=_sum([gpu.mem_used_mb for gpu in gpus]),
            **self.fields,
        )
        put_progress(made, steps)
        return made


def snapshot_of(
    points: Iterable[MetricPoint], redact: Redactor, growth: Growth
) -> TelemetrySnapshot | None:
    """Return points of one moment as a telemetry sample; None where there is no point.

    Instruments of this package fill the fields of the sample. Every other value goes to `metrics`
    under `name{attribute=value,…}`; a histogram as `name.count`, `name.sum`, `name.min` and
    `name.max`.

    Args:
        points: Of one process.
        redact: Masks what looks secret in attributes.
        growth: What the counters of that process had reached before.
    """
    gathered = gather(points, redact, growth)
    return gathered.snapshot(gathered.steps()) if gathered.newest_ns else None


def gather(points: Iterable[MetricPoint], redact: Redactor, growth: Growth) -> Gathered:
    """Take in points of one moment.

    Args:
        points: Of one process.
        redact: Masks what looks secret in attributes.
        growth: What the counters of that process had reached before.
    """
    found = Gathered()
    for point in points:
        found.newest_ns = max(found.newest_ns, point.time_ns)
        if not _take(found, point, growth):
            _take_other(found, point, redact)
    growth.sampled(found.newest_ns)
    return found


def _take(found: Gathered, point: MetricPoint, growth: Growth) -> bool:
    """Take in a point of an instrument of ours; return whether it is one."""
    name, attributes = point.name, point.attributes
    if name in ABOUT_RUNS:
        running = attributes.get(semconv.RUN_STATUS) == "running"
        found.complete |= name == RUN_INFO and running and point.value == 1
        return True
    if name == METRIC:
        return _take_metric(found, attributes, point.value)
    if name in STEP:
        return _take_step(found, attributes, STEP[name], point.value)
    if (gpu := GPU.get(name)) is not None and attributes.get(semconv.HW_TYPE) == "gpu":
        found.complete = True
        return _take_gpu(found, attributes, gpu, point.value)
    which = attributes.get(BY[name]) if name in BY else None
    key = (name, which if isinstance(which, str) else None)
    place = LEVELS.get(key) or RATES.get(key)
    if place is None or len(attributes) != (which is not None):
        return False
    found.complete = True
    value = point.value if key in LEVELS else growth.rate(key, point)
    if value is not None:
        found.fields[place.field] = _in_unit(value, place)
    return True


def _take_metric(found: Gathered, attributes: Mapping[str, Any], value: float) -> bool:
    name, task = attributes.get(semconv.METRIC_NAME), attributes.get(_TASK)
    if isinstance(name, str):
        step = clip(task, MAX_NAME) if isinstance(task, str) else None
        found.logged.append((step, clip(name, MAX_NAME), value))
    return True


def _take_step(found: Gathered, attributes: Mapping[str, Any], what: str, value: float) -> bool:
    task = attributes.get(_TASK)
    if isinstance(task, str) and (task in found.running or len(found.running) < MAX_STEPS):
        found.running.setdefault(clip(task, MAX_NAME), {})[what] = float(value)
    return True


def _take_gpu(found: Gathered, attributes: Mapping[str, Any], place: Place, value: float) -> bool:
    identity = str(attributes.get(semconv.HW_ID))
    if identity not in found.gpus and len(found.gpus) >= MAX_STEPS:
        return True
    device = found.gpus.setdefault(identity, {})
    if not identity.startswith("gpu"):
        device["uuid"] = clip(identity, MAX_NAME)
    if isinstance(name := attributes.get(semconv.HW_NAME), str):
        device["name"] = clip(name, MAX_NAME)
    device[place.field] = _in_unit(value, place)
    return True


def _take_other(found: Gathered, point: MetricPoint, redact: Redactor) -> None:
    found.complete = True
    if len(found.metrics) >= MAX_METRICS:
        found.left_out += 1
        return
    suffix = f".{point.part}" if point.part else ""
    key = f"{point.name}{suffix}{_labels(point.attributes, redact)}"
    found.metrics[clip(key, MAX_NAME)] = metric_value(point.value)


def _in_unit(value: float, place: Place) -> float | int:
    if place.field.endswith("_count"):
        return int(value)
    return round(float(value) * place.factor, _DIGITS)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), _DIGITS) if known else None


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), _DIGITS) if known else None


def _labels(attributes: Mapping[str, Any], redact: Redactor) -> str:
    if not attributes:
        return ""
    shown = (f"{name}={redact.value(name, attributes[name])}" for name in sorted(attributes))
    return f"{{{','.join(shown)}}}"
