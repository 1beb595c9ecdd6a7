"""Text for a terminal, a file or a pipe: width, colour and characters as the stream can take them.

Everything is painted first and written at once. Names come from outside: rich markup in them is
not interpreted, and what goes into a cell has gone through `one_line`.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from robot_sf_otel.manifest.formats import block, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PIPE_WIDTH: Final = 160
"""Columns where nobody says how wide it is: a pipe or a file."""
_NARROWEST: Final = 40
_PLAIN: Final = str.maketrans(
    {"✓": "+", "✗": "x", "↳": ">", "–": "-", "…": "...", "·": "-", "×": "x", "━": "=", "─": "-"}
    | {"•": "*", "┤": "|", "│": "|"}
)
_COLOURS: Final = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "skipped": "dim",
    "pending": "dim",
    "critical": "bold red",
    "warning": "yellow",
    "info": "blue",
}


class Page:
    """A page that grows from top to bottom and is written once.

    Args:
        stream: Where it will be written.
        environ: NO_COLOR, COLUMNS and TERM of the reader.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str] = os.environ) -> None:
        terminal = stream.isatty() and environ.get("TERM", "") not in {"", "dumb"}
        self._stream = stream
        self._unicode = (stream.encoding or "utf-8").lower().replace("-", "").startswith("utf")
        self._painted = io.StringIO()
        self._console = Console(
            file=self._painted,
            force_terminal=terminal,
            no_color=not terminal or bool(environ.get("NO_COLOR")),
            width=_width(stream, environ),
            _environ=environ,
            markup=False,
            highlight=False,
            emoji=False,
        )

    @property
    def width(self) -> int:
        """Columns of the page."""
        return self._console.width

    def line(self, text: str | Text = "", style: str = "") -> None:
        """Add a line; long ones wrap between words."""
        shown = text if isinstance(text, Text) else Text(text)
        if style:
            shown.stylize(style)
        self._console.print(shown, soft_wrap=False)

    def heading(self, text: str) -> None:
        """Add the heading of a section, with a blank line before it."""
        self.line()
        self.line(text, "bold")

    def bullet(self, text: str | Text, indent: int = 2) -> None:
        """Add a paragraph whose further lines hang below its first."""
        grid = Table.grid(padding=0)
        grid.add_column(width=indent)
        grid.add_column(overflow="fold")
        grid.add_row("", text if isinstance(text, Text) else Text(text))
        self._console.print(grid)

    def block(self, text: str, style: str = "dim") -> None:
        """Add text of several lines as it is: a traceback."""
        for line in block(text).split("\n"):
            self._console.print(Text(f"    {line}", style=style), soft_wrap=True)

    def table(
        self, head: Sequence[str], rows: Iterable[Sequence[str | Text]], *, wrap: int | None = None
    ) -> None:
        """Add a table without lines.

        Args:
            head: Names of columns; one that ends with `:` holds numbers and is set to the right.
            rows: Cells.
            wrap: The column that gives way when the page is too narrow; others stay whole.
        """
        table = Table(box=None, padding=(0, 1), pad_edge=False, show_edge=False)
        for index, name in enumerate(head):
            elastic = index == wrap
            table.add_column(
                Text(name.removesuffix(":"), style="dim"),
                justify="right" if name.endswith(":") else "left",
                no_wrap=not elastic,
                overflow="fold" if elastic else "ellipsis",
            )
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
        self._console.print(table)

    def text(self) -> str:
        """Return what is on the page."""
        painted = "\n".join(line.rstrip() for line in self._painted.getvalue().split("\n"))
        return painted if self._unicode else painted.translate(_PLAIN)

    def write(self) -> None:
        """Write the page.

        Raises:
            OSError: The stream cannot be written to.
        """
        write_text(self._stream, self.text())


def write_text(stream: TextIO, text: str) -> None:
    """Write text and flush; characters that the stream cannot encode become `?`.

    Raises:
        OSError: The stream cannot be written to.
    """
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding, "replace"))
    stream.flush()


def status_text(status: str) -> Text:
    """Return a status or severity in its colour."""
    return Text(status, style=_COLOURS.get(status, ""))


def plain(text: object, limit: int | None = None) -> str:
    """Return outside text as one line that is safe on a terminal."""
    return one_line(str(text), limit)


def _width(stream: TextIO, environ: Mapping[str, str]) -> int:
    if (columns := environ.get("COLUMNS", "")).isdigit() and int(columns) > 0:
        return max(_NARROWEST, int(columns))
    try:
        found = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):
        found = 0
    return max(_NARROWEST, found) if found else _PIPE_WIDTH
