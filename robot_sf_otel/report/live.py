"""The picture of `watch`: a run on one screen, whatever its size.

Pure: a view and a size give lines. What does not fit is left out from the bottom of each section
upwards; the header, the running steps and the keys are left out last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.facts import exact_phrase
from robot_sf_otel.manifest.formats import (
    coarse_duration,
    duration,
    fraction,
    number,
    progress,
    rate,
    telemetry_value,
)
from robot_sf_otel.manifest.outline import outline
from robot_sf_otel.report import tables
from robot_sf_otel.report.canvas import (
    ASCII,
    UNICODE,
    Glyphs,
    Line,
    bar,
    clip,
    sparkline,
    spread,
    width_of,
)
from robot_sf_otel.report.page import plain

if TYPE_CHECKING:
    from datetime import datetime

    from robot_sf_otel.manifest.schema import (
        PipelineRunRecord,
        StepExecutionEntry,
        TelemetrySnapshot,
    )

SPAN_SECONDS: Final = 300
"""How much of the past the curves show at most."""
_ROOMY: Final = 16
"""Lines from which sections have blank lines between them."""
_NARROW: Final = 60
_BARLESS: Final = 36
"""Columns below which there are no bars."""
_HEADROOM: Final = 1.2
"""Top of a curve without a known limit, as a multiple of its highest value."""
_MOST_FINDINGS: Final = 3
_READINGS: Final = (
    ("CPU", "cpu_percent_process", 100.0),
    ("Memory", "memory_rss_mb", None),
    ("GPU", "gpu_util_percent", 100.0),
    ("GPU mem", "gpu_mem_used_mb", None),
)
_STATUS: Final = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "skipped": "dim",
    "pending": "dim",
    "critical": "red",
    "warning": "yellow",
    "info": "blue",
}
_WEIGHT: Final = {"critical": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is to be shown.

    Attributes:
        record: The run.
        samples: Its newest samples, oldest first.
        log: Its last log lines.
        now: The present.
        position: Which of the runs it is, `2 of 12`.
        note: Something to be said at the bottom.
    """

    record: PipelineRunRecord
    samples: Sequence[TelemetrySnapshot]
    log: Sequence[str]
    now: datetime
    position: str = ""
    note: str = ""
    unicode: bool = True
    keys: bool = True


@dataclass(slots=True)
class _Section:
    """Lines of which as many are shown as there is room for."""

    title: str
    lines: list[Line] = field(default_factory=list[Line])
    from_end: bool = False
    shown: int = 0
    focus: int = 0

    def take(self, wanted: int, room: int, overhead: int) -> int:
        """Grow to `wanted` lines as far as there is room; return the room that is left."""
        wanted = min(wanted, len(self.lines))
        cost = overhead if not self.shown and wanted else 0
        more = min(wanted - self.shown, room - cost)
        if more <= 0:
            return room
        self.shown += more
        return room - more - cost

    def chosen(self) -> tuple[list[Line], int, int]:
        """Return the lines that are shown, and from which to which."""
        if self.from_end:
            start = len(self.lines) - self.shown
        else:
            start = max(0, min(self.focus - self.shown // 2, len(self.lines) - self.shown))
        return self.lines[start : start + self.shown], start, start + self.shown


def picture(view: View, width: int, height: int) -> list[Line]:
    """Return the lines of a screen.

    Args:
        view: What is to be shown.
        width: Columns.
        height: Lines.
    """
    glyphs = UNICODE if view.unicode else ASCII
    head = _header(view, width)
    foot = _footer(view, width)
    steps = _Section("Steps", _steps(view, width, glyphs), focus=_focus(view.record))
    readings = _Section("", _readings(view, width, glyphs))
    findings = _Section("Recommendations", _findings(view.record, glyphs))
    log = _Section("Log", [[(line, _level_style(line))] for line in view.log], from_end=True)
    roomy = height >= _ROOMY
    titled = 2 if roomy else 1
    room = height - len(head) - 1
    for section, wanted, overhead in (
        (steps, 3, 1 if roomy else 0),
        (readings, 2, 1 if roomy else 0),
        (findings, 1, titled),
        (log, 2, titled),
        (readings, 9, 0),
        (steps, 12, 0),
        (findings, _MOST_FINDINGS, titled),
        (log, 6, titled),
        (steps, height, 0),
        (log, height, titled),
    ):
        room = section.take(wanted, room, overhead)
    lines = head
    for section in (steps, readings, findings, log):
        if not section.shown:
            continue
        shown, first, last = section.chosen()
        if roomy:
            lines.append([])
        if section in (findings, log):
            lines.append([(section.title, "bold")])
        elif section is steps and len(shown) < len(section.lines) and roomy:
            lines[-1] = [(f"Steps {first + 1} to {last} of {len(section.lines)}", "dim")]
        lines += shown
    lines = lines[: max(0, height - 1)]
    lines += [[] for _ in range(height - 1 - len(lines))]
    return [clip(line, width, glyphs) for line in [*lines, foot]]


def _header(view: View, width: int) -> list[Line]:
    record = view.record
    took = coarse_duration(tables.run_seconds(record, view.now))
    since = "for" if record.status == "running" else "after"
    summary = record.summary
    verdict: Line = [
        (plain(record.pipeline, max(8, width // 3)), "bold"),
        (" ", ""),
        (record.status, _STATUS.get(record.status, "")),
        (f" {since} {took}", ""),
    ]
    far = f"{summary.steps_completed} of {summary.steps_total} steps"
    eta = f"ETA {tables.eta_text(record.eta)}" if record.status == "running" else ""
    where = plain(record.run_id)
    if host := record.host.get("hostname"):
        where += f" on {plain(host, 40)}"
    lines: list[Line]
    if width < _NARROW:
        lines = [verdict, [(far + (f", {eta}" if eta else ""), "")]]
    else:
        lines = [spread([*verdict, (f", {far}", "")], [(eta, "bold")], width), [(where, "dim")]]
    if record.status_reason and record.status not in {"completed", "running"}:
        lines.append([(plain(record.status_reason, 300), "red")])
    return lines


def _footer(view: View, width: int) -> Line:
    keys = "q quit  n/p next, previous run  l runs" if width >= _NARROW else "q quit n/p run l runs"
    left = view.note or (keys if view.keys else "")
    return spread([(left, "dim")], [(view.position, "dim")], width)


def _focus(record: PipelineRunRecord) -> int:
    """Return the row that matters most: the last that runs, else the last that did."""
    rows = outline(record.steps)
    running = [index for index, (_, step) in enumerate(rows) if step.status == "running"]
    begun = [index for index, (_, step) in enumerate(rows) if step.started_at]
    return (running or begun or [0])[-1]


def _steps(view: View, width: int, glyphs: Glyphs) -> list[Line]:
    rows = outline(view.record.steps)
    names = [min(3, depth) * 2 + len(plain(step.display_name, 60)) for depth, step in rows]
    name_width = max(8, min(max(names, default=8), width // 3))
    bar_width = max(6, min(24, width // 5)) if width >= _BARLESS else 0
    return [
        _step(view, step, depth, (width, name_width, bar_width), glyphs) for depth, step in rows
    ]


def _step(
    view: View,
    step: StepExecutionEntry,
    depth: int,
    widths: tuple[int, int, int],
    glyphs: Glyphs,
) -> Line:
    """Return the row of a step; `widths` are those of the row, the name and the bar."""
    width, name_width, bar_width = widths
    style = _STATUS.get(step.status, "")
    name = "  " * min(3, depth) + plain(step.display_name, 60)
    line: Line = [
        (f"{glyphs.marks[step.status]} ", style),
        *clip([(name, "bold" if step.status == "running" else "")], name_width, glyphs, pad=True),
        ("  ", ""),
    ]
    done = step.progress
    part = fraction(done.done, done.total)
    took = duration(tables.step_seconds(step, view.now))
    if step.status == "running":
        if bar_width:
            line += bar(part, bar_width, glyphs)
        details = [f"{part * 100:.0f} %"] if part is not None else []
        details.append(took)
        if (left := _left(step)) is not None:
            details.append(f"{coarse_duration(left)} left")
        if (speed := _speed(view, step)) is not None:
            details.append(rate(speed, done.unit))
        if done.done or done.total:
            details.append(progress(done.done, done.total, ""))
        _add_what_fits(line, [(text, "") for text in details], width, "  " if bar_width else "")
    elif step.status == "pending":
        line.append(("pending", "dim"))
    else:
        line.append((step.status, style))
        done_with: Line = [(took, "")] if step.started_at else []
        if done.rate:
            done_with.append((rate(done.rate, done.unit), "dim"))
        _add_what_fits(line, done_with, width, "  ")
        why = step.skip_reason or (step.error.message if step.error is not None else "")
        if why:
            line.append((f"  {plain(why, 200)}", "dim"))
    return line


def _add_what_fits(line: Line, details: Line, width: int, before: str) -> None:
    """Add details as far as they fit whole."""
    for text, style in details:
        piece = f"{before}{plain(text, 40)}"
        if width_of([*line, (piece, "")]) > width:
            return
        line.append((piece, style))
        before = "  "


def _speed(view: View, step: StepExecutionEntry) -> float | None:
    """Return the rate of a running step as the last sample has it, else its mean."""
    last = view.samples[-1] if view.samples else None
    if last is not None:
        if last.step_id == step.step_id and last.steps_per_sec is not None:
            return last.steps_per_sec
        for one in last.steps:
            if one.span_id == step.span_id and one.rate is not None:
                return one.rate
    return step.progress.rate


def _left(step: StepExecutionEntry) -> float | None:
    done = step.progress
    if not done.rate or done.total is None or done.done > done.total:
        return None
    return (done.total - done.done) / done.rate


def _readings(view: View, width: int, glyphs: Glyphs) -> list[Line]:
    lines: list[Line] = []
    columns = max(4, min(60, width - 30))
    over = _span(view.samples)
    for label, name, top in _READINGS:
        values = [(sample.timestamp_ms / 1000, getattr(sample, name)) for sample in view.samples]
        known = [value for _, value in values if value is not None]
        if not known:
            if name in {"cpu_percent_process", "gpu_util_percent"}:
                lines.append([(f"{label:<8} ", ""), ("unavailable", "dim")])
            continue
        last = next(value for _, value in reversed(values) if value is not None)
        highest = top or _limit(view, name) or max(known) * _HEADROOM
        curve = sparkline(values, columns, highest, over, glyphs)
        text = telemetry_value(name, last)
        if name == "memory_rss_mb" and (limit := _limit(view, name)):
            text += f" of {telemetry_value(name, limit)}"
        lines.append([(f"{label:<8} ", ""), (curve, "cyan"), (f" {text}", "")])
    if lines and view.samples and (metrics := view.samples[-1].metrics):
        shown = "  ".join(
            f"{plain(key, 30)} {number(value) if isinstance(value, float) else exact_phrase(value)}"
            for key, value in list(metrics.items())[:6]
        )
        lines.append([("Metrics  ", ""), (shown, "")])
    return lines


def _span(samples: Sequence[TelemetrySnapshot]) -> float:
    if len(samples) < 2:  # noqa: PLR2004 - a span needs two
        return 1.0
    covered = (samples[-1].timestamp_ms - samples[0].timestamp_ms) / 1000
    return max(1.0, min(float(SPAN_SECONDS), covered))


def _limit(view: View, name: str) -> float | None:
    if name != "memory_rss_mb":
        return None
    limits = [sample.memory_limit_mb for sample in view.samples if sample.memory_limit_mb]
    return limits[-1] if limits else None


def _level_style(line: str) -> str:
    level = line[9:17].split(" ", 1)[0]
    return {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}.get(level, "")


def _findings(record: PipelineRunRecord, glyphs: Glyphs) -> list[Line]:
    ranked = sorted(record.recommendations, key=lambda found: _WEIGHT[found.severity])
    return [
        [
            (f"{glyphs.warn} {found.severity}", _STATUS[found.severity]),
            (f" {plain(found.trigger, 40)}", "bold"),
            (f" ({plain(found.step_id, 40)})" if found.step_id else "", ""),
            (f": {plain(found.message, 300)}", ""),
        ]
        for found in ranked
    ]


def run_list(
    records: Sequence[PipelineRunRecord],
    chosen: int,
    now: datetime,
    size: tuple[int, int],
    *,
    unicode: bool,
) -> list[Line]:
    """Return the screen on which a run is chosen.

    Args:
        records: Newest first.
        chosen: The one that the cursor is on.
        now: The present.
        size: Columns and lines.
        unicode: Whether the terminal has it.
    """
    width, height = size
    glyphs = UNICODE if unicode else ASCII
    room = max(1, height - 2)
    start = max(0, min(chosen - room // 2, len(records) - room))
    ids = max((len(plain(record.run_id)) for record in records), default=8)
    lines: list[Line] = [[("Runs, newest first", "bold")]]
    for index in range(start, min(len(records), start + room)):
        record = records[index]
        line: Line = [
            (f"{glyphs.cursor if index == chosen else ' '} ", "bold"),
            *clip(
                [(plain(record.run_id), "bold" if index == chosen else "")],
                min(ids, max(12, width // 2)),
                glyphs,
                pad=True,
            ),
            (f"  {record.status:<9}", _STATUS.get(record.status, "")),
            (f"  {tables.short_time(record.created_at, now)}", ""),
            (f"  {duration(tables.run_seconds(record, now)):>8}", ""),
            (f"  {plain(record.pipeline, 40)}", "dim"),
        ]
        lines.append(line)
    lines += [[] for _ in range(height - 1 - len(lines))]
    lines.append([("Enter shows it  up/down moves  Esc back  q quit", "dim")])
    return [clip(line, width, glyphs) for line in lines[:height]]


__all__ = ["View", "picture", "run_list"]
