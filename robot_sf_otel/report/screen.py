"""A terminal screen that is drawn over and over, and is as it was before when that is over.

It is the terminal's alternate screen (xterm's mode 1049), as `less` and `top` use: whatever size it
gets, drawing from its first cell is right, and what stood there before comes back at the end.
Each picture is one write, between the marks of synchronized output (mode 2026), which terminals
that do not know them ignore; one that equals the last is not written.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final, Self, TextIO

if TYPE_CHECKING:
    from types import FrameType, TracebackType

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Alternate screen, no cursor, no wrapping at the right edge."""
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_BEGIN: Final = "\x1b[?2026h\x1b[1;1H"
_END: Final = "\x1b[J\x1b[?2026l"
_TERMINATED: Final = 128 + signal.SIGTERM


class Screen:
    """The screen of a terminal while the block goes on.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = ""

    def __enter__(self) -> Self:
        """Take the screen; being stopped (Ctrl-Z) or ended by SIGTERM gives it back first."""
        self._before = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGTERM, self._on_termination),
                (signal.SIGTSTP, self._on_stop),
            )
        }
        self._write(_ENTER)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the screen back as it was."""
        self._write(_LEAVE)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def size(self) -> os.terminal_size:
        """Return columns and lines as they are now."""
        return os.get_terminal_size(self._stream.fileno())

    def draw(self, text: str) -> None:
        """Show a page; what does not fit below is said to be left out.

        Args:
            text: Lines, none wider than the screen.
        """
        lines = text.rstrip("\n").split("\n")
        room = max(1, self.size().lines)
        if len(lines) > room:
            left_out = len(lines) - room + 1
            lines = [*lines[: room - 1], f"({left_out} more lines do not fit)"]
        picture = "\r\n".join(f"{line}\x1b[K" for line in lines)
        if picture != self._drawn:
            self._write(f"{_BEGIN}{picture}{_END}")
            self._drawn = picture

    def _write(self, text: str) -> None:
        """Write past the stream's buffer: a signal may come while another write is under way.

        Raises:
            OSError: The terminal is gone.
        """
        data = text.encode(self._stream.encoding or "ascii", "replace")
        while data:
            data = data[os.write(self._stream.fileno(), data) :]

    def _on_termination(self, _number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_TERMINATED)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._write(_LEAVE)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        # Here the job goes on: SIGCONT.
        signal.signal(signal.SIGTSTP, self._on_stop)
        self._write(_ENTER)
        self._drawn = ""
