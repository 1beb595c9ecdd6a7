"""Which charts a report has, and what is marked in them: limits, thresholds, findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.formats import (
    TELEMETRY_FIELDS,
    mebibytes,
    number,
    one_line,
    percent,
    telemetry_label,
)
from robot_sf_otel.report.evidence import field_of, window_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation
    from robot_sf_otel.report.html.readings import Readings
    from robot_sf_otel.report.html.series import Values
    from robot_sf_otel.report.html.timeline import Timeline

PERCENT: Final = "percent"
MIB: Final = "mib"
NUMBER: Final = "number"
SECONDS: Final = "seconds"
TEXT_OF: Final[dict[str, Callable[[float | None], str]]] = {
    PERCENT: percent,
    MIB: mebibytes,
    NUMBER: number,
}
_SPREAD: Final = 50.0
"""Ratio of the rates of two steps beyond which their chart has a logarithmic scale."""
_NEAR: Final = 2.5
"""A limit is drawn where it lies within this many times the largest reading."""
_ROWS: Final = 24


@dataclass(slots=True)
class Line:
    """One curve of a chart, with a value for each moment of the chart's axis."""

    label: str
    ys: Values
    latest: str = ""
    colour: int = 0

    @property
    def edges(self) -> tuple[float, float]:
        """Return the least and the largest value; there is one."""
        return (
            min(value for value in self.ys.low if value is not None),
            max(value for value in self.ys.high if value is not None),
        )


@dataclass(slots=True)
class Mark:
    """A finding in a chart: the time of its evidence, and its threshold if that can be drawn."""

    anchor: str
    severity: str
    a: float
    b: float
    threshold: float | None


@dataclass(slots=True)
class Chart:
    """A chart over the time axis of the run.

    Attributes:
        anchor: Its id in the page.
        kind: How its values are written: `percent`, `mib`, `number`.
        unit: What follows a value, such as `/s`.
        limits: Horizontal lines with what they are.
        note: What people should know of it.
    """

    anchor: str
    title: str
    kind: str
    unit: str = ""
    lines: list[Line] = field(default_factory=list[Line])
    limits: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    marks: list[Mark] = field(default_factory=list[Mark])
    note: str = ""
    logarithmic: bool = False
    columns: tuple[str, ...] = ()

    def text(self, value: float | None) -> str:
        """Return a value as people read it."""
        written = TEXT_OF[self.kind](value)
        return written if value is None else written + self.unit


_PLAIN: Final[tuple[tuple[str, str, str, str, tuple[tuple[str, str], ...]], ...]] = (
    (
        "cpu",
        "CPU",
        PERCENT,
        "",
        (("cpu_percent_process", "run, of usable CPUs"), ("cpu_percent_system", "whole host")),
    ),
    ("memory", "Memory", MIB, "", (("memory_rss_mb", "run (RSS)"),)),
    ("throughput", "Throughput", NUMBER, "/s", (("steps_per_sec", "running step"),)),
    (
        "disk",
        "Disk",
        MIB,
        "/s",
        (("disk_read_mb_s", "read"), ("disk_write_mb_s", "written")),
    ),
)
_IF_NEEDED: Final = (
    ("swap_used_mb", 1.0),
    ("cpu_throttled_percent", 1.0),
    ("cpu_pressure", 5.0),
    ("io_pressure", 5.0),
    ("memory_pressure", 1.0),
)
"""Fields that have a chart only where they came to something, and to how much."""
_GPU: Final = (
    ("util_percent", "gpu", "GPU utilization", PERCENT, "", "gpu_util_percent"),
    ("mem_used_mb", "gpu-memory", "GPU memory", MIB, "", "gpu_mem_used_mb"),
    ("power_w", "gpu-power", "GPU power", NUMBER, " W", None),
    ("temperature_c", "gpu-temperature", "GPU temperature", NUMBER, " °C", None),
)


def charts_of(readings: Readings) -> list[Chart]:
    """Return the charts that the samples have something for; no finding is marked yet."""
    found = [
        chart
        for anchor, title, kind, unit, columns in _PLAIN
        if (chart := _chart(readings, anchor, title, columns, (kind, unit))) is not None
    ]
    for chart in found:
        if chart.anchor == "chart-memory":
            _limit_memory(chart, readings)
        elif chart.anchor == "chart-throughput":
            rates = [rate for rate in readings.rates.values() if rate > 0]
            if len(rates) > 1 and max(rates) > _SPREAD * min(rates):
                chart.logarithmic = True
                chart.note = "logarithmic scale: the units of the steps differ"
    found[min(2, len(found)) : min(2, len(found))] = _gpu_charts(readings)
    for index, (name, key) in enumerate(readings.metrics.items()):
        title = one_line(name, 60) or "metric"
        chart = _chart(readings, f"metric-{index}", title, ((key, "last logged"),))
        # A value that never changes is no curve; it stands among the results.
        if chart is not None and chart.lines[0].edges[0] < chart.lines[0].edges[1]:
            found.append(chart)
    for name, least in _IF_NEEDED:
        chart = chart_of_field(readings, name)
        if chart is not None and chart.lines[0].edges[1] >= least:
            found.append(chart)
    return found


def _chart(
    readings: Readings,
    anchor: str,
    title: str,
    columns: Sequence[tuple[str, str]],
    written: tuple[str, str] = (NUMBER, ""),
) -> Chart | None:
    found = [
        Line(label, readings.thinner.column(name), colour=index)
        for index, (name, label) in enumerate(columns)
    ]
    lines = [line for line in found if any(value is not None for value in line.ys.mean)]
    if not lines:
        return None
    chart = Chart(f"chart-{anchor}", title, *written, lines)
    chart.columns = tuple(name for name, _ in columns)
    summarise(chart)
    return chart


def summarise(chart: Chart) -> None:
    """Say beside each curve of a chart between which values it lies."""
    for line in chart.lines:
        low, high = (chart.text(edge) for edge in line.edges)
        line.latest = high if low == high else f"{low} to {high}"


def chart_of_field(readings: Readings, name: str) -> Chart | None:
    """Return a chart of one telemetry field, None where no sample has it."""
    anchor = name.replace("_", "-")
    return _chart(readings, anchor, telemetry_label(name), ((name, "reading"),), kind_of(name))


def kind_of(name: str) -> tuple[str, str]:
    """Return how the values of a telemetry field are written, and what follows them."""
    kind = NUMBER
    unit = ""
    if name.endswith("_mb"):
        kind = MIB
    elif name.endswith("_mb_s"):
        kind, unit = MIB, "/s"
    elif name == "steps_per_sec":
        unit = "/s"
    elif TELEMETRY_FIELDS.get(name, ("", number))[1] is percent:
        kind = PERCENT
    return kind, unit


def _limit_memory(chart: Chart, readings: Readings) -> None:
    column = readings.thinner.column("memory_limit_mb").mean
    limits = [value for value in column if value is not None]
    if not limits:
        return
    limit = limits[-1]
    highest = chart.lines[0].edges[1]
    if limit <= _NEAR * highest:
        chart.limits.append((f"limit {mebibytes(limit)}", limit))
    else:
        chart.note = f"limit {mebibytes(limit)}"


def _gpu_charts(readings: Readings) -> list[Chart]:
    found: list[Chart] = []
    for name, anchor, title, kind, unit, total in _GPU:
        columns = [
            (f"gpu.{index}.{name}", f"GPU {index} {model}".strip())
            for index, model in sorted(readings.gpus.items())
        ]
        chart = _chart(readings, anchor, title, columns, (kind, unit))
        if chart is None and total is not None:
            chart = _chart(readings, anchor, title, ((total, "devices of the run"),), (kind, unit))
        if chart is None:
            continue
        if total is not None:
            chart.columns = (*chart.columns, total)
        if name == "mem_used_mb" and readings.gpu_memory:
            _limit_gpu_memory(chart, max(readings.gpu_memory.values()))
        found.append(chart)
    return found


def _limit_gpu_memory(chart: Chart, total: float) -> None:
    highest = max(line.edges[1] for line in chart.lines)
    if total <= _NEAR * highest:
        chart.limits.append((f"memory of a device {mebibytes(total)}", total))
    else:
        chart.note = f"a device has {mebibytes(total)}"


def mark(
    charts: list[Chart],
    finding: PerformanceRecommendation | Anomaly,
    anchor: str,
    readings: Readings,
    timeline: Timeline,
) -> Chart | None:
    """Mark the evidence of a finding in its chart, which is added if there is none; return it.

    Returns:
        None where the finding names no time, or no sample shows its metric.
    """
    window = window_of(finding)
    if window is None:
        return None
    name = field_of(finding)
    chart = next((chart for chart in charts if name in chart.columns), None)
    if chart is None:
        chart = chart_of_field(readings, name)
        if chart is None:
            return None
        charts.append(chart)
    threshold = finding.evidence.get("threshold")
    drawn = name == finding.evidence.get("metric") and isinstance(threshold, int | float)
    chart.marks.append(
        Mark(
            anchor=anchor,
            severity=finding.severity,
            a=timeline.at(window[0]),
            b=timeline.at(window[1]),
            threshold=float(threshold) if drawn and isinstance(threshold, int | float) else None,
        )
    )
    return chart


def table_of(
    chart: Chart, axis: Sequence[float], end: float
) -> list[tuple[float, float, list[str]]]:
    """Return the data behind a chart: of each stretch of time the least and largest values."""
    width = max(end, 1e-3) / _ROWS
    rows: list[tuple[float, float, list[str]]] = []
    for row in range(_ROWS):
        low, high = row * width, (row + 1) * width
        inside = [
            index
            for index, moment in enumerate(axis)
            if low <= moment < high or (row == _ROWS - 1 and moment >= high)
        ]
        if inside:
            rows.append((low, high, [_range(chart, line, inside) for line in chart.lines]))
    return rows


def _range(chart: Chart, line: Line, inside: Sequence[int]) -> str:
    lows = [value for index in inside if (value := line.ys.low[index]) is not None]
    highs = [value for index in inside if (value := line.ys.high[index]) is not None]
    if not lows or not highs:
        return chart.text(None)
    low, high = chart.text(min(lows)), chart.text(max(highs))
    return low if low == high else f"{low} to {high}"
