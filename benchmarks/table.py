"""The results as people and programs read them: plain text, Markdown, JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from benchmarks.machine import Machine
from benchmarks.results import Figure, Row, Stat

HEADINGS: Final = ("what", "wall", "p95", "CPU", "p95", "ratio", "figure", "limit", "")
UNKNOWN: Final = "--"
_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


class Report(msgspec.Struct, frozen=True):
    """Everything that one call of the command measured.

    Attributes:
        machine: What it was measured on.
        rows: The table.
        failed: Why what could not be measured could not.
        date: When it began, UTC.
        load_after: The load average of the last 15 minutes at its end.
    """

    machine: Machine
    rows: list[Row]
    failed: dict[str, str] = {}
    date: str | None = None
    load_after: float | None = None


def as_json(report: Report) -> str:
    """Return the report as JSON; times in seconds."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def as_text(report: Report) -> str:
    """Return the report as aligned columns, one block a group."""
    cells = [_cells(row) for row in report.rows]
    widths = [
        max(len(line[index]) for line in [HEADINGS, *cells]) for index in range(len(HEADINGS))
    ]
    lines = [*header(report), "", _aligned(HEADINGS, widths)]
    group = ""
    for row, line in zip(report.rows, cells, strict=True):
        if row.group != group:
            group = row.group
            lines += ["", group]
        lines.append(_aligned(line, widths))
    return "\n".join([*lines, *_footer(report)])


def as_markdown(report: Report) -> str:
    """Return the report as one Markdown table below a list of facts."""
    lines = [*(f"- {fact}" for fact in header(report)), ""]
    lines += [_piped(HEADINGS), _piped(["---", *["---:"] * 6, "---", "---"])]
    group = ""
    for row in report.rows:
        if row.group != group:
            group = row.group
            lines.append(_piped([f"**{group}**", *[""] * (len(HEADINGS) - 1)]))
        lines.append(_piped(_cells(row)))
    return "\n".join([*lines, *_footer(report)])


FORMATS: Final[dict[str, Callable[[Report], str]]] = {
    "text": as_text,
    "markdown": as_markdown,
    "json": as_json,
}


def seconds(value: float | None) -> str:
    """Return a time in the unit that suits it, three digits long; unknown is `--`."""
    if value is None:
        return UNKNOWN
    factor, unit = next((u for u in _UNITS if abs(value) >= u[0]), _UNITS[-1])
    scaled = value / factor
    digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2  # noqa: PLR2004 - three digits
    return f"{scaled:.{digits}f} {unit}"


def _cells(row: Row) -> list[str]:
    bounds = [
        f"{kind} < {seconds(limit)}"
        for kind, limit in (("wall", row.limit_wall), ("CPU", row.limit_cpu))
        if limit is not None
    ]
    if row.figure is not None and row.limit_figure is not None:
        bounds.append(f"< {row.limit_figure:g} {row.figure.unit}")
    verdict = "OVER" if row.exceeded else "undecided" if row.undecided else "within"
    marks = [verdict] if bounds else []
    return [
        row.name,
        *_pair(row.wall),
        *_pair(row.cpu),
        UNKNOWN if row.ratio is None else f"{row.ratio:.3g}×",
        _figure(row.figure),
        ", ".join(bounds),
        "; ".join([*marks, *([row.note] if row.note else [])]),
    ]


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return UNKNOWN
    shown = f"{figure.value:.3g} {figure.unit}"
    if figure.low is None or figure.high is None:
        return shown
    return f"{shown} ({figure.low:.2f} to {figure.high:.2f})"


def _pair(stat: Stat | None) -> tuple[str, str]:
    if stat is None:
        return UNKNOWN, UNKNOWN
    return seconds(stat.median), seconds(stat.p95)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    last = len(cells) - 2
    columns = [
        cell.ljust(width) if index == 0 or index >= last else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(columns).rstrip()


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def header(report: Report) -> list[str]:
    """Return the facts that the figures depend on, a line each."""
    machine = report.machine
    usable = f", {machine.usable_cores} usable" if machine.usable_cores else ""
    load = UNKNOWN if machine.load is None else f"{machine.load:.2f}"
    after = UNKNOWN if report.load_after is None else f"{report.load_after:.2f}"
    when = [f"measured on {report.date}; load average over the last 15 minutes: {after}"]
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    return [
        f"CPU: {machine.cpu}; {machine.cores or UNKNOWN} cores{usable}; load {load}",
        f"{machine.python}; {machine.system}",
        *(when if report.date else []),
        versions,
        *(
            f"synced append of 200 bytes, {label}: {seconds(stat.median)} (p95 {seconds(stat.p95)})"
            for label, stat in machine.syncs.items()
        ),
        (
            "medians and 95th percentiles; the things of a group were measured in turn; a ratio is "
            "to the row of its group that is 1×"
        ),
    ]


def _footer(report: Report) -> list[str]:
    over = [row for row in report.rows if row.exceeded]
    lines = [f"over its limit: {row.name} ({row.group})" for row in over]
    lines += [f"could not be measured: {name}: {why}" for name, why in report.failed.items()]
    return ["", *lines] if lines else []
