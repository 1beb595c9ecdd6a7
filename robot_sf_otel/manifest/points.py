"""Telemetry samples as points of the instruments, and which instrument fills which field.

The one table of both directions: what goes out under an instrument's name comes back by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from robot_sf_otel import semconv
from robot_sf_otel.manifest.spans import NO_ATTRIBUTES
from robot_sf_otel.semconv.instruments import INSTRUMENTS

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import GpuSample, TelemetrySnapshot

MIB: Final = 1 << 20
MILLISECOND: Final = 1_000_000
"""Nanoseconds."""


class MetricPoint(NamedTuple):
    """One value of a metric; times are Unix nanoseconds."""

    name: str
    value: float
    attributes: Mapping[str, Any] = NO_ATTRIBUTES
    time_ns: int = 0
    start_ns: int = 0
    """Where a sum began; 0 is unknown, or not a sum."""
    part: str = ""
    """Of a histogram: `count`, `sum`, `min` or `max`."""


Labels = tuple[tuple[str, Any], ...]
SeriesKey = tuple[str, Labels]
"""Name and attributes of a series."""
Points = list[tuple[int, int, float]]
"""Start, time and value of each."""
Series = dict[SeriesKey, Points]


class Place(NamedTuple):
    """Where a value stands in a sample."""

    field: str
    factor: float = 1
    """What the instrument's unit is multiplied by for the field's."""
    whole: bool = False
    """Whether the instrument's value is a whole number."""


_NAMES: Final = {row.reading: row.name for row in INSTRUMENTS}
BY: Final[Mapping[str, str]] = {
    _NAMES["system_paging"]: semconv.PAGING_STATE,
    _NAMES["pressure"]: semconv.PRESSURE_RESOURCE,
    _NAMES["tree_disk_io"]: semconv.DISK_DIRECTION,
}
"""The attribute that tells the points of an instrument apart which fill several fields."""

_MB: Final = 1 / MIB
LEVELS: Final[Mapping[tuple[str, str | None], Place]] = {
    (_NAMES["tree_cpu_utilization"], None): Place("cpu_percent_process", 100),
    (_NAMES["system_cpu_utilization"], None): Place("cpu_percent_system", 100),
    (_NAMES["tree_memory"], None): Place("memory_rss_mb", _MB, whole=True),
    (_NAMES["container_memory_limit"], None): Place("memory_limit_mb", _MB, whole=True),
    (_NAMES["memory_available"], None): Place("memory_available_mb", _MB, whole=True),
    (_NAMES["system_paging"], "used"): Place("swap_used_mb", _MB, whole=True),
    (_NAMES["disk_free"], None): Place("disk_free_mb", _MB, whole=True),
    (_NAMES["processes"], None): Place("process_count", whole=True),
    (_NAMES["threads"], None): Place("thread_count", whole=True),
    (_NAMES["pressure"], "cpu"): Place("cpu_pressure", 100),
    (_NAMES["pressure"], "io"): Place("io_pressure", 100),
    (_NAMES["pressure"], "memory"): Place("memory_pressure", 100),
    (_NAMES["throttled_share"], None): Place("cpu_throttled_percent", 100),
}
"""Instruments and the value of their attribute, with the field that each fills."""
RATES: Final[Mapping[tuple[str, str | None], Place]] = {
    (_NAMES["tree_cpu_time"], None): Place("cpu_cores_process"),
    (_NAMES["tree_disk_io"], "read"): Place("disk_read_mb_s", _MB),
    (_NAMES["tree_disk_io"], "write"): Place("disk_write_mb_s", _MB),
}
"""Counters, whose growth a second fills the field."""
GPU: Final[Mapping[str, Place]] = {
    _NAMES["gpu_utilization"]: Place("util_percent", 100),
    _NAMES["gpu_memory"]: Place("mem_used_mb", _MB, whole=True),
    _NAMES["gpu_memory_limit"]: Place("mem_total_mb", _MB, whole=True),
    _NAMES["tree_gpu_memory"]: Place("run_mem_used_mb", _MB, whole=True),
    _NAMES["gpu_temperature"]: Place("temperature_c"),
    _NAMES["gpu_power"]: Place("power_w"),
    _NAMES["gpu_energy"]: Place("energy_joules"),
}
STEP: Final[Mapping[str, str]] = {
    _NAMES["progress_done"]: "done",
    _NAMES["progress_total"]: "total",
    _NAMES["progress_rate"]: "rate",
    _NAMES["step_elapsed"]: "elapsed",
}
"""Instruments of a running step."""
METRIC: Final = _NAMES["step_metrics"]
RUN_INFO: Final = _NAMES["run_info"]
ABOUT_RUNS: Final = (
    frozenset(
        _NAMES[reading]
        for reading in (
            *("run_info", "active_runs", "run_elapsed", "eta_remaining", "eta_low", "eta_high"),
            *("run_member", "steps_completed", "steps_planned", "gpu_memory_utilization"),
        )
    )
    | {"cicd.pipeline.run.duration", "cicd.pipeline.run.errors", "robot_sf.step.duration"}
    | {"robot_sf.run.findings"}
)
"""Instruments that say what the spans say, or what follows from another one."""


def name_of(reading: str) -> str:
    """Return the name of the instrument that shows a reading."""
    return _NAMES[reading]


def _key(name: str, which: str | None) -> SeriesKey:
    return (name, ()) if which is None else (name, ((BY[name], which),))


_LEVEL_ROWS: Final = [
    (attrgetter(place.field), _key(*where), 1 / place.factor, place.whole)
    for where, place in LEVELS.items()
]
_RATE_ROWS: Final = [
    (attrgetter(place.field), _key(*where), 1 / place.factor) for where, place in RATES.items()
]
_GPU_ROWS: Final = [
    (name, place.field, 1 / place.factor, place.whole) for name, place in GPU.items()
]
_UTILIZATION: Final = _NAMES["gpu_utilization"]


class MachinePoints:
    """Turns the samples of one process into points of the machine's instruments, in their order.

    Rates become sums that grow by them; where a rate is not known a new sum begins.
    """

    def __init__(self) -> None:
        """Begin with the first sample."""
        self._sums: dict[SeriesKey, tuple[int, float]] = {}
        self._before: int | None = None
        self._first: int = 0
        self._gpus: dict[int, dict[str, Any]] = {}

    def add(self, snapshot: TelemetrySnapshot, series: Series) -> None:
        """Add the points of a sample to series."""
        now = snapshot.timestamp_ms * MILLISECOND
        self._first = self._first or now
        for get, key, factor, whole in _LEVEL_ROWS:
            value = get(snapshot)
            if value is not None:
                scaled = value * factor
                series.setdefault(key, []).append((0, now, round(scaled) if whole else scaled))
        before, self._before = self._before, now
        for get, key, factor in _RATE_ROWS:
            rate = get(snapshot)
            if rate is None or before is None or now <= before:
                self._sums.pop(key, None)
                continue
            start, total = self._sums.get(key, (before, 0.0))
            total += rate * factor * (now - before) / 1e9
            self._sums[key] = start, total
            series.setdefault(key, []).append((start, now, total))
        for gpu in snapshot.gpus:
            self._add_gpu(gpu, now, series)

    def _add_gpu(self, gpu: GpuSample, now: int, series: Series) -> None:
        """Add the points of a device; what does not change stands in its first sample only."""
        known = self._gpus.setdefault(gpu.index, {})
        for name in ("uuid", "name", "mem_total_mb"):
            if (value := getattr(gpu, name)) is not None:
                known[name] = value
        labels: Labels = ((semconv.HW_ID, known.get("uuid") or f"gpu{gpu.index}"),)
        labels += ((semconv.HW_TYPE, "gpu"),)
        if "name" in known:
            labels += ((semconv.HW_NAME, known["name"]),)
        for name, field, factor, whole in _GPU_ROWS:
            value = known.get(field) if field == "mem_total_mb" else getattr(gpu, field)
            if value is None:
                continue
            scaled = value * factor
            task = ((semconv.GPU_TASK, "general"),) if name == _UTILIZATION else ()
            start = self._first if field == "energy_joules" else 0
            series.setdefault((name, labels + task), []).append(
                (start, now, round(scaled) if whole else scaled)
            )
