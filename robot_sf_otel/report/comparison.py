"""Runs side by side, for a terminal: what `compare` shows."""

from __future__ import annotations

from string import ascii_uppercase
from typing import TYPE_CHECKING, Final

from rich.text import Text

from robot_sf_otel.manifest.facts import exact_phrase
from robot_sf_otel.manifest.formats import UNKNOWN, duration
from robot_sf_otel.manifest.schema import Usage
from robot_sf_otel.manifest.usage import ALL, Column
from robot_sf_otel.report.page import Page, plain, status_text
from robot_sf_otel.report.tables import local_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robot_sf_otel.analysis.comparison import Comparison, ParameterRow, StepCell, StepRow

MARKED: Final = 0.1
"""Share by which a duration has to change to get a colour: less is noise on most machines."""
_NAME: Final = 40
_VALUE: Final = 60
_STEPS: Final = 200
_DIFFERS: Final = "*"


def add_comparison(page: Page, comparison: Comparison, *, everything: bool) -> None:
    """Add the runs, their steps, what those used, and their parameters.

    Args:
        page: Where.
        comparison: The runs.
        everything: Whether parameters that are equal are shown too.
    """
    labels = [label(index) for index in range(len(comparison.runs))]
    _add_runs(page, comparison, labels)
    steps = comparison.steps[:_STEPS]
    if steps:
        page.heading("Durations of steps")
        rows: list[list[str | Text]] = [[_title(row), *map(_duration, row.runs)] for row in steps]
        page.table(["STEP", *(f"{name}:" for name in labels)], rows, wrap=0)
    bills = [row for step in steps for row in _bill_rows(step)]
    if bills:
        page.heading("Usage")
        page.table(["STEP", "WHAT", *(f"{name}:" for name in labels)], bills, wrap=0)
    if len(comparison.steps) > _STEPS:
        page.line(f"… {len(comparison.steps) - _STEPS:,} more steps; all with --format json", "dim")
    _add_parameters(page, comparison.parameters, labels, everything=everything)


def label(index: int) -> str:
    """Return the name of a column: A to Z, then A1, B1, …."""
    letter = ascii_uppercase[index % len(ascii_uppercase)]
    turn = index // len(ascii_uppercase)
    return f"{letter}{turn or ''}"


def duration_text(cell: StepCell) -> str:
    """Return the duration of the completed executions, and of how many where there were several."""
    text = duration(cell.duration_seconds)
    if cell.executions > 1:
        text += f" in {cell.completed}"
        if missing := cell.executions - cell.completed:
            text += f", {missing} more did not complete"
    return text


def _add_runs(page: Page, comparison: Comparison, labels: Sequence[str]) -> None:
    rows: list[list[str | Text]] = []
    for name, run, change in zip(labels, comparison.runs, comparison.changes, strict=True):
        rows.append(
            [
                name,
                plain(run.run_id),
                status_text(run.status),
                local_time(run.created_at),
                duration(run.duration_seconds),
                _changed(change) if change is not None else "",
            ]
        )
    page.table(["", "RUN", "STATUS", "STARTED", "DURATION:", "CHANGE:"], rows, wrap=1)


def _title(row: StepRow) -> str:
    nested = "  " * max(0, row.depth - 1) + ("↳ " if row.depth else "")
    return nested + plain(row.display_name, _NAME)


def _duration(cell: StepCell | None) -> Text:
    if cell is None:
        return Text(UNKNOWN, "dim")
    if cell.duration_seconds is None:
        return status_text(cell.status)
    text = Text(duration_text(cell))
    if cell.change is not None:
        text.append(" ").append_text(_changed(cell.change))
    return text


def _changed(change: float) -> Text:
    style = "" if abs(change) < MARKED else "red" if change > 0 else "green"
    return Text(f"{change:+.0%}".replace("-0%", "+0%"), style)


def _bill_rows(row: StepRow) -> list[list[str | Text]]:
    """Return a line for each entry of the bill that some run used."""
    bills = [Usage() if cell is None else cell.usage for cell in row.runs]
    used = [column for column in ALL if any(getattr(bill, column.field) for bill in bills)]
    return [
        [_title(row) if column is used[0] else "", column.title, *_bill_cells(column, bills)]
        for column in used
    ]


def _bill_cells(column: Column, bills: Sequence[Usage]) -> list[Text]:
    first: float | None = getattr(bills[0], column.field)
    cells: list[Text] = []
    for index, bill in enumerate(bills):
        value: float | None = getattr(bill, column.field)
        cell = Text(column.of(bill), "dim" if value is None else "")
        if index and first and value is not None:
            cell.append(" ").append_text(_changed(value / first - 1))
        cells.append(cell)
    return cells


def _add_parameters(
    page: Page, rows: Sequence[ParameterRow], labels: Sequence[str], *, everything: bool
) -> None:
    shown = [row for row in rows if everything or row.differs]
    equal = len(rows) - len(shown)
    if shown:
        page.heading("Parameters")
        page.table(["NAME", *labels], [_parameter(row) for row in shown], wrap=len(labels))
        page.line(f"{_DIFFERS} differs from {labels[0]}", "dim")
    if equal:
        page.line()
        what = "1 equal parameter is" if equal == 1 else f"{equal} equal parameters are"
        page.line(f"{what} left out; --all shows them", "dim")


def _parameter(row: ParameterRow) -> list[str | Text]:
    cells: list[str | Text] = [plain(row.name, _NAME)]
    first = (row.recorded[0], row.values[0])
    for recorded, value in zip(row.recorded, row.values, strict=True):
        cell = Text(plain(exact_phrase(value), _VALUE) if recorded else UNKNOWN)
        if (recorded, value) != first:
            cell.append(f" {_DIFFERS}", "yellow")
        cells.append(cell)
    return cells
