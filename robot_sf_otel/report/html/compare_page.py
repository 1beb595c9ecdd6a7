"""Runs side by side as a page: timelines and curves on one axis, durations, bills, parameters."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.manifest.formats import UNKNOWN, duration, one_line, telemetry_label
from robot_sf_otel.manifest.usage import ALL
from robot_sf_otel.report.comparison import duration_text, label
from robot_sf_otel.report.html import charts as c
from robot_sf_otel.report.html.axis import ticks
from robot_sf_otel.report.html.document import render
from robot_sf_otel.report.html.gantt import lanes_of
from robot_sf_otel.report.html.parts import Cell, Table, count, said, table, value
from robot_sf_otel.report.html.run_page import chart_data, moment
from robot_sf_otel.report.html.run_tables import changed, chart_table
from robot_sf_otel.report.html.series import Thinner
from robot_sf_otel.report.html.source import read_timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robot_sf_otel.analysis.comparison import Comparison, StepCell, StepRow, Verdict
    from robot_sf_otel.report.html.timeline import Timeline
    from robot_sf_otel.store.reader import LoadedRun

_FIELDS: Final = (
    "cpu_percent_process",
    "memory_rss_mb",
    "gpu_util_percent",
    "gpu_mem_used_mb",
    "steps_per_sec",
    "disk_write_mb_s",
)
_MOST_METRICS: Final = 12
_MOST_CURVES: Final = 8
"""Runs whose samples are drawn: there are as many colours."""


def render_comparison(
    runs: Sequence[LoadedRun],
    comparison: Comparison,
    verdicts: Sequence[Verdict],
    *,
    everything: bool,
    command: str,
) -> bytes:
    """Return the page of a comparison as UTF-8.

    Args:
        runs: The runs, in the order of the comparison.
        comparison: What they came to.
        verdicts: What the limits of the call say.
        everything: Whether parameters that are equal are shown too.
        command: What makes this page again, for its foot.
    """
    labels = [label(index) for index in range(len(runs))]
    timelines = [read_timeline(run)[1] for run in runs]
    end = max(timeline.end for timeline in timelines)
    thinner, metrics = _read(runs[:_MOST_CURVES], timelines, end)
    charts = _charts(thinner, labels, metrics)
    axis = thinner.axis()
    names = list(dict.fromkeys(said(run.record.pipeline, 60) for run in runs))
    lanes = [lanes_of(run.record, timeline) for run, timeline in zip(runs, timelines, strict=True)]
    data: dict[str, Any] = {
        "end": round(max(end, 1e-3), 3),
        "sessions": [],
        "steps": [],
        "x": [round(at, 3) for at in axis],
        "charts": [chart_data(chart) for chart in charts],
        "eta": None,
        "joined": True,
    }
    equal = sum(not row.differs for row in comparison.parameters)
    return render(
        "compare.html.j2",
        data,
        title=f"Comparison of {count(len(runs), 'run')}: {', '.join(names)}",
        heading=", ".join(names),
        subject=count(len(runs), "run"),
        runs=_runs(comparison, labels),
        verdicts=[(verdict.breached, said(verdict.message, 500)) for verdict in verdicts],
        timelines=[
            (name, said(run.record.run_id, 120), found, left_out, timeline.pauses)
            for name, run, (found, left_out), timeline in zip(
                labels, runs, lanes, timelines, strict=True
            )
        ],
        ticks=ticks(end),
        end=max(end, 1e-3),
        charts=charts,
        chart_tables=[chart_table(chart, axis, end) for chart in charts],
        curves_left_out=max(0, len(runs) - _MOST_CURVES),
        steps=_steps(comparison, labels),
        usage=_usage(comparison, labels),
        parameters=_parameters(comparison, labels, everything=everything),
        equal_left_out=0 if everything else equal,
        problems=list(dict.fromkeys(said(text, 500) for run in runs for text in run.problems)),
        command=command,
    )


def _read(
    runs: Sequence[LoadedRun], timelines: Sequence[Timeline], end: float
) -> tuple[Thinner, list[str]]:
    """Return the samples of all runs on one axis, columns `<run>.<field>`; and their metrics."""
    metrics: dict[str, None] = {}
    thinner = Thinner(end)
    streams = [
        _values(index, run, timeline, metrics)
        for index, (run, timeline) in enumerate(zip(runs, timelines, strict=False))
    ]
    for at, values in heapq.merge(*streams, key=lambda pair: pair[0]):
        thinner.add(at, values)
    return thinner, list(metrics)


def _values(
    index: int, run: LoadedRun, timeline: Timeline, metrics: dict[str, None]
) -> Iterator[tuple[float, dict[str, float]]]:
    for sample in run.telemetry():
        values: dict[str, float] = {}
        for name in _FIELDS:
            found = getattr(sample, name)
            if found is not None and math.isfinite(found):
                values[f"{index}.{name}"] = float(found)
        for name, found in sample.metrics.items():
            if isinstance(found, str) or (name not in metrics and len(metrics) >= _MOST_METRICS):
                continue
            metrics[name] = None
            values[f"{index}.metric.{name}"] = float(found)
        yield timeline.at(sample.timestamp_ms / 1000), values


def _charts(thinner: Thinner, labels: Sequence[str], metrics: Sequence[str]) -> list[c.Chart]:
    charts: list[c.Chart] = []
    wanted = [(name, telemetry_label(name), *c.kind_of(name)) for name in _FIELDS]
    wanted += [(f"metric.{name}", one_line(name, 60), c.NUMBER, "") for name in metrics]
    for number, (name, title, kind, unit) in enumerate(wanted):
        lines = [
            c.Line(text, thinner.column(f"{index}.{name}"), colour=index)
            for index, text in enumerate(labels[:_MOST_CURVES])
        ]
        lines = [line for line in lines if any(found is not None for found in line.ys.mean)]
        if len({edge for line in lines for edge in line.edges}) > 1:
            chart = c.Chart(f"chart-{number}", title, kind, unit, lines)
            c.summarise(chart)
            charts.append(chart)
    return charts


def _runs(comparison: Comparison, labels: Sequence[str]) -> Table | None:
    rows: list[list[str | Cell]] = [
        [
            name,
            Cell(said(run.run_id), kind="code"),
            Cell(run.status, kind=f"status {run.status}"),
            moment(run.created_at) or UNKNOWN,
            duration(run.duration_seconds),
            changed(change),
        ]
        for name, run, change in zip(labels, comparison.runs, comparison.changes, strict=True)
    ]
    return table("Runs", ["", "Run", "Status", "Started", "Duration:", "Change:"], rows)


def _title(row: StepRow) -> Cell:
    text = ("↳ " if row.depth else "") + said(row.display_name, 120)
    return Cell(text, kind=f"depth-{min(row.depth, 4)}")


def _steps(comparison: Comparison, labels: Sequence[str]) -> Table | None:
    head = ["Step", f"{labels[0]}:"]
    for name in labels[1:]:
        head += [f"{name}:", f"{name} to {labels[0]}:"]
    rows: list[list[str | Cell]] = []
    for row in comparison.steps:
        cells: list[str | Cell] = [_title(row), _duration(row.runs[0])]
        for cell in row.runs[1:]:
            cells += [_duration(cell), changed(None if cell is None else cell.change)]
        rows.append(cells)
    return table("Durations of steps", head, rows)


def _duration(cell: StepCell | None) -> Cell:
    if cell is None:
        return Cell(UNKNOWN)
    if cell.duration_seconds is None:
        return Cell(cell.status, kind=f"status {cell.status}")
    return Cell(duration_text(cell))


def _usage(comparison: Comparison, labels: Sequence[str]) -> Table | None:
    rows: list[list[str | Cell]] = []
    for row in comparison.steps:
        used = [
            column
            for column in ALL
            if any(cell is not None and getattr(cell.usage, column.field) for cell in row.runs)
        ]
        rows += [
            [
                _title(row),
                column.title,
                *(UNKNOWN if cell is None else column.of(cell.usage) for cell in row.runs),
            ]
            for column in used
        ]
    return table("Bills of steps", ["Step", "What", *(f"{name}:" for name in labels)], rows)


def _parameters(comparison: Comparison, labels: Sequence[str], *, everything: bool) -> Table | None:
    rows: list[list[str | Cell]] = []
    for row in comparison.parameters:
        if not (everything or row.differs):
            continue
        first = (row.recorded[0], row.values[0])
        cells = [
            Cell(
                value(found) if recorded else "not recorded",
                kind="differs" if (recorded, found) != first else "",
            )
            for recorded, found in zip(row.recorded, row.values, strict=True)
        ]
        rows.append([said(row.name), *cells])
    return table("Parameters and surroundings", ["Name", *labels], rows)
