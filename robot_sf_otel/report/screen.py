"""A terminal screen that is drawn over and over, and is as it was before when that is over.

It is the terminal's alternate screen (xterm's mode 1049), as `less` and `top` use: whatever size it
gets, drawing from its first cell is right, and what stood there before comes back at the end. Where
the terminal has none, the picture stays above what comes next. Each picture is one write of the
rows that differ from the last, between the marks of synchronized output (mode 2026), which
terminals that do not know them ignore.

Keys are read from the same terminal, without waiting for Enter and without showing them; Ctrl-C and
Ctrl-Z stay signals.
"""

from __future__ import annotations

import os
import select
import signal
import termios
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from robot_sf_otel.report.capabilities import Capabilities, capabilities

if TYPE_CHECKING:
    from types import FrameType, TracebackType

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Alternate screen, no cursor, no wrapping at the right edge."""
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_TAKE: Final = "\x1b[2J\x1b[?25l\x1b[?7l"
"""Where there is no alternate screen."""
_BEGIN: Final = "\x1b[?2026h"
_END: Final = "\x1b[?2026l"
_KEYS: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1bOC": "right",
    "\x1bOD": "left",
    "\r": "enter",
    "\n": "enter",
    "\t": "right",
    "\x1b": "escape",
}
_NO_ROWS: Final[list[str]] = []


class Screen:
    """The screen of a terminal while the block goes on.

    Args:
        stream: The terminal.
        keyboard: What keys are read from; None, or no terminal, reads none.
        able: What the terminal can do; by default found out.
    """

    def __init__(
        self, stream: TextIO, keyboard: TextIO | None = None, able: Capabilities | None = None
    ) -> None:
        self._stream = stream
        self.able = capabilities(stream, os.environ) if able is None else able
        self._drawn: list[str] = _NO_ROWS
        self._size: os.terminal_size | None = None
        self._keyboard = _descriptor(keyboard)
        self._pending = ""
        self._modes: list[Any] | None = None
        self._taken = False

    def __enter__(self) -> Self:
        """Take the screen; being stopped (Ctrl-Z) or ended by a signal gives it back first."""
        self._before = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGTERM, self._on_termination),
                (signal.SIGHUP, self._on_termination),
                (signal.SIGTSTP, self._on_stop),
            )
        }
        try:
            self._take()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the screen back as it was."""
        try:
            self._give_back()
        finally:
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
        if not self._is_ours():
            return
        size = self.size()
        rows = text.rstrip("\n").split("\n")
        room = max(1, size.lines)
        if len(rows) > room:
            left_out = len(rows) - room + 1
            rows = [*rows[: room - 1], f"({left_out} more lines do not fit)"]
        if size != self._size:
            self._drawn, self._size = _NO_ROWS, size
        changed = [
            f"\x1b[{index + 1};1H{row}\x1b[K"
            for index, row in enumerate(rows)
            if index >= len(self._drawn) or self._drawn[index] != row
        ]
        below = f"\x1b[{len(rows) + 1};1H\x1b[J" if len(rows) < room else ""
        if changed or len(rows) != len(self._drawn):
            begin, end = (_BEGIN, _END) if self.able.alternate else ("", "")
            self._write(f"{begin}{''.join(changed)}{below}{end}")
            self._drawn = rows

    def key(self, seconds: float) -> str | None:
        """Wait for a key: its character, or `up`, `down`, `left`, `right`, `enter`, `escape`.

        Args:
            seconds: How long at most; None is returned then.

        Raises:
            EOFError: The terminal is gone.
        """
        if self._keyboard is None or not self._is_ours():
            select.select([], [], [], seconds)
            return None
        if not self._pending:
            if not select.select([self._keyboard], [], [], seconds)[0]:
                return None
            try:
                data = os.read(self._keyboard, 256)
            except OSError as error:
                raise EOFError from error
            if not data:
                raise EOFError
            self._pending = data.decode("utf-8", "replace")
        return self._next_key()

    def _next_key(self) -> str:
        for sequence, name in _KEYS.items():
            if self._pending.startswith(sequence):
                if sequence == "\x1b" and len(self._pending) > 1:
                    self._pending = ""  # a key that means nothing here
                    return ""
                self._pending = self._pending[len(sequence) :]
                return name
        key, self._pending = self._pending[0], self._pending[1:]
        return key

    def _is_ours(self) -> bool:
        """Return whether the terminal is ours to use; take it when the job is in front again."""
        if self._taken:
            return True
        if in_foreground(self._stream.fileno()):
            self._take()
        return self._taken

    def _take(self) -> None:
        if not in_foreground(self._stream.fileno()):
            return
        self._taken = True
        self._drawn = _NO_ROWS
        if self._keyboard is not None:
            self._modes = termios.tcgetattr(self._keyboard)
            modes = termios.tcgetattr(self._keyboard)
            modes[3] &= ~(termios.ICANON | termios.ECHO)
            modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, modes)
        self._write(_ENTER if self.able.alternate else _TAKE)

    def _give_back(self) -> None:
        if not self._taken:
            return
        self._taken = False
        try:
            if self.able.alternate:
                self._write(_LEAVE)
            else:
                self._write(f"\x1b[{max(1, len(self._drawn))};1H\x1b[?7h\x1b[?25h\r\n")
        finally:
            if self._keyboard is not None and self._modes is not None:
                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._modes)

    def _write(self, text: str) -> None:
        """Write past the stream's buffer: a signal may come while another write is under way.

        Raises:
            OSError: The terminal is gone.
        """
        encoding = (self._stream.encoding or "ascii") if self.able.unicode else "ascii"
        data = text.encode(encoding, "replace")
        while data:
            data = data[os.write(self._stream.fileno(), data) :]

    def _on_termination(self, number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        # Here the job goes on: SIGCONT. In the background the terminal is left alone until then.
        signal.signal(signal.SIGTSTP, self._on_stop)
        self._take()


def _descriptor(keyboard: TextIO | None) -> int | None:
    try:
        return keyboard.fileno() if keyboard is not None and keyboard.isatty() else None
    except (OSError, ValueError):
        return None


def in_foreground(descriptor: int) -> bool:
    """Return whether this job is the one that its terminal listens to; True where that is unknown.

    Args:
        descriptor: Of the terminal.
    """
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:  # not the controlling terminal
        return True
