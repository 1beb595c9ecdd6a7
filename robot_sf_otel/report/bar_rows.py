"""The rows of the live bar, painted by rich for the width of the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from robot_sf_otel.manifest.formats import coarse_duration, fraction, number, one_line, rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from robot_sf_otel.instrument.runtime import StepView
    from robot_sf_otel.report.terminal import Terminal

_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_SPINNER: Final = "|/-\\"
_ROOMY: Final = 100
"""Columns from which the bar is long; below `_TIGHT` there is no bar."""
_TIGHT: Final = 60


class RowPainter:
    """Turns what runs into rows of text with their colours.

    Args:
        terminal: Its width, encoding and colours.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._frame = 0
        self._console = Console(
            file=terminal.stream,
            force_terminal=True,
            no_color=not terminal.colour,
            width=terminal.size().columns,
            _environ=terminal.environ,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def paint(self, views: Sequence[StepView], footer: str) -> list[str]:
        """Return a row for each step and one for the run, narrower than the terminal.

        Args:
            views: The running steps.
            footer: What the last row says.
        """
        self._frame += 1
        columns = self._terminal.size().columns
        # The last column stays free: a character there makes some terminals wrap.
        self._console.width = columns - 1
        with self._console.capture() as captured:
            if views:
                self._console.print(self._table(views, columns), end="")
            text = Text(f"  {footer}", style="dim", no_wrap=True, overflow="ellipsis")
            self._console.print(text)
        rows = captured.get().splitlines()
        if not self._terminal.unicode:
            rows = [row.replace("…", "~").replace("–", "-") for row in rows]
        return rows

    def _table(self, views: Sequence[StepView], columns: int) -> Table:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        if columns >= _TIGHT:
            table.add_column(width=20 if columns >= _ROOMY else 10)
        for _ in range(3):
            table.add_column(justify="right", no_wrap=True)
        for view in views:
            table.add_row(*self._cells(view, columns))
        return table

    def _cells(self, view: StepView, columns: int) -> list[RenderableType]:
        frames = _SPINNER if self._terminal.unicode else _PLAIN_SPINNER
        spinner = frames[self._frame % len(frames)]
        place = f"{view.position}/{view.total_steps} " if view.position is not None else ""
        title = Text.assemble((spinner, "cyan"), " ", (place, "bold"), one_line(view.title), end="")
        unit = one_line(view.unit, 12)
        done = fraction(view.done, view.total)
        if view.total is not None:
            count = f"{number(view.done)}/{number(view.total)} {unit}"
        else:
            count = f"{number(view.done)} {unit}" if view.done else ""
        speed = rate(view.rate) if view.rate is not None else ""
        cells: list[RenderableType] = [title]
        if columns >= _TIGHT:
            pulse = done is None
            cells.append(
                ProgressBar(
                    total=None if pulse else 1.0,
                    completed=done or 0.0,
                    pulse=pulse,
                    animation_time=self._frame,
                )
            )
        return [*cells, Text(count), Text(speed), Text(coarse_duration(view.elapsed_seconds))]
