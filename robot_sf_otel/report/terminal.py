"""A few rows at the bottom of a terminal that are ours; everything else scrolls above them.

The rows lie outside the terminal's scrolling region (DECSTBM), as those of apt do. So whatever
else writes to the terminal, the pipeline's own prints, Loguru, tqdm and child processes, needs no
redirection and never tears the bar: `sys.stdout` and `sys.stderr` stay the objects that they were.
Every change is one write, the cursor is saved and restored within it, and nothing is written that
the terminal would not take at once (Ctrl-S), nor while the process is in the background.

Source of the sequences: ECMA-48 and the VT510 reference (DECSC, DECRC, DECSTBM, IND).
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SAVE: Final = "\x1b7"
_RESTORE: Final = "\x1b8"
_WHOLE_SCREEN: Final = "\x1b[r"
_DOWN: Final = "\x1bD"
_ERASE_BELOW: Final = "\x1b[J"
_ERASE_LINE: Final = "\x1b[2K"
RESTORE: Final = f"{_SAVE}{_WHOLE_SCREEN}{_RESTORE}{_ERASE_BELOW}"
"""What gives every row back, whoever writes it: for the terminal of a process that was killed."""
_LEAST_HEIGHT: Final = 8
_LEAST_WIDTH: Final = 30
_BUFFER: Final = 1500
"""Characters; terminals take 4096 bytes before they let a writer wait."""
_PATIENCE_SECONDS: Final = 0.2
_INCAPABLE: Final = frozenset({"", "dumb", "unknown"})


class Terminal:
    """The terminal behind a stream, with `rows` of its bottom reserved.

    Args:
        stream: A terminal.
        environ: Says what it can do: TERM, NO_COLOR.
    """

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self.stream = stream
        self.environ = environ
        self.unicode = (stream.encoding or "").lower().replace("-", "").startswith("utf")
        self.colour = not environ.get("NO_COLOR")
        self.rows = 0
        self._fd = stream.fileno()
        self._size = self.size()

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> Terminal | None:
        """Return the terminal behind a stream, or None where no bar can be drawn on it."""
        try:
            if environ.get("TERM", "").lower() in _INCAPABLE or not stream.isatty():
                return None
            terminal = cls(stream, environ)
        except (OSError, ValueError, AttributeError):
            return None
        return terminal if terminal.large_enough() and terminal.in_foreground() else None

    def size(self) -> os.terminal_size:
        """Return columns and lines as they are now; zeros where the terminal does not tell."""
        try:
            return os.get_terminal_size(self._fd)
        except OSError:
            return os.terminal_size((0, 0))

    def large_enough(self) -> bool:
        """Return whether there is room for a bar."""
        columns, lines = self.size()
        return columns >= _LEAST_WIDTH and lines >= _LEAST_HEIGHT

    def in_foreground(self) -> bool:
        """Return whether this process may write here; a terminal that is not ours has no jobs."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True

    def draw(self, rows: Sequence[str], scrolled: Sequence[str] = ()) -> int | None:
        """Show `rows` at the bottom, after `scrolled` went above them as permanent lines.

        Args:
            rows: Each of them narrower than the terminal, with its styles closed.
            scrolled: Lines that stay.

        Returns:
            How many of the lines were written: what a terminal takes at once without waiting.
            None where it takes nothing now.
        """
        if not self._writable():
            return None
        columns, lines = size = self.size()
        text = ""
        if self.rows and size != self._size:
            # Terminals forget the region when they are resized. Below the cursor is only the bar.
            text += RESTORE
            self.rows = 0
        self._size = size
        rows = rows[: max(0, lines - _LEAST_HEIGHT + 2)]
        if len(rows) < self.rows:
            text += self._give_back(len(rows), lines)
        now = _as_many_as_fit(scrolled)
        text += _permanent(now, columns)
        if len(rows) > self.rows:
            text += self._reserve(len(rows), lines)
        if rows:
            top = lines - len(rows) + 1
            body = "".join(
                f"\x1b[{top + index};1H{_ERASE_LINE}{row}" for index, row in enumerate(rows)
            )
            text += f"{_SAVE}{body}{_RESTORE}"
        self._write(text)
        return len(now)

    def leave(self, scrolled: Sequence[str] = ()) -> None:
        """Give every row back and say the last lines, as far as the terminal takes them."""
        if not self.in_foreground() and self._stops_background_writers():
            return
        if self.rows:
            self._write(RESTORE)
            self.rows = 0
        left = list(scrolled)
        while left and self._takes_more(_PATIENCE_SECONDS):
            now = _as_many_as_fit(left)
            self._write(_permanent(now, self.size().columns))
            del left[: len(now)]

    def _reserve(self, count: int, lines: int) -> str:
        """Take rows: what stands there scrolls up first, and the cursor with it."""
        more = count - self.rows
        self.rows = count
        region = f"{_SAVE}\x1b[1;{lines - count}r{_RESTORE}"
        return f"{_DOWN * more}\x1b[{more}A{region}"

    def _give_back(self, count: int, lines: int) -> str:
        first = lines - self.rows + 1
        cleared = "".join(
            f"\x1b[{first + index};1H{_ERASE_LINE}" for index in range(self.rows - count)
        )
        region = f"\x1b[1;{lines - count}r" if count else _WHOLE_SCREEN
        self.rows = count
        return f"{_SAVE}{cleared}{region}{_RESTORE}"

    def _writable(self) -> bool:
        return self.in_foreground() and self._takes_more(0)

    def _takes_more(self, seconds: float) -> bool:
        """Return whether the terminal takes output, after waiting for it at most so long."""
        try:  # poll() does not know terminals on macOS, select() no high descriptors
            return bool(select.select([], [self._fd], [], seconds)[1])
        except ValueError:
            return True

    def _stops_background_writers(self) -> bool:
        """Return whether the terminal stops jobs that write from the background (stty tostop)."""
        import termios

        try:
            attributes = termios.tcgetattr(self._fd)
        except termios.error:
            return False
        return bool(attributes[3] & termios.TOSTOP)

    def _write(self, text: str) -> None:
        data = text.encode(self.stream.encoding or "ascii", "replace")
        while data:
            data = data[os.write(self._fd, data) :]


def _as_many_as_fit(lines: Sequence[str]) -> Sequence[str]:
    """Return the first lines that a terminal's buffer holds: writing more could block."""
    room = _BUFFER
    for index, line in enumerate(lines):
        room -= len(line) + 5
        if room < 0 and index:
            return lines[:index]
    return lines


def _permanent(lines: Sequence[str], columns: int) -> str:
    """Put lines on lines of their own, even where somebody printed half a line before.

    A width of blanks wraps to the next line unless the cursor stands at the left edge; zsh does
    the same before its prompt.
    """
    if not lines:
        return ""
    return f"{' ' * max(0, columns - 1)}\r" + "".join(f"{line}\x1b[K\r\n" for line in lines)
