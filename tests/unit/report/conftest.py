"""A terminal for the tests of the live bar: a real pseudo-terminal and a screen behind it."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
from typing import TYPE_CHECKING, Final, TextIO

import pytest

from tests.data.vt_screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

UTF8: Final = {"TERM": "xterm-256color"}


class PseudoTerminal:
    """What a program writes to `stream` appears on `screen`."""

    def __init__(self, columns: int = 80, lines: int = 24, encoding: str = "utf-8") -> None:
        self._master, slave = os.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding=encoding, errors="replace")
        self.screen = Screen(columns, lines)
        self._set_size(columns, lines)
        self.raw = ""

    def _set_size(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.stream.fileno(), termios.TIOCSWINSZ, size)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the terminal."""
        self.show()
        self.screen.resize(columns, lines)
        self._set_size(columns, lines)

    def print(self, text: str, end: str = "\n") -> None:
        """Write to the terminal as somebody else does."""
        self.show()
        os.write(self.stream.fileno(), (text + end).encode())

    def show(self) -> Screen:
        """Return the screen after all that was written."""
        while select.select([self._master], [], [], 0)[0]:
            text = os.read(self._master, 65536).decode()
            self.raw += text
            self.screen.feed(text)
        return self.screen

    def close(self) -> None:
        """Close both ends."""
        self.stream.close()
        os.close(self._master)


@pytest.fixture
def pseudo_terminal() -> Iterator[PseudoTerminal]:
    terminal = PseudoTerminal()
    yield terminal
    terminal.close()


@pytest.fixture
def small_terminal() -> Iterator[PseudoTerminal]:
    terminal = PseudoTerminal(60, 12)
    yield terminal
    terminal.close()


@pytest.fixture
def ascii_terminal() -> Iterator[PseudoTerminal]:
    terminal = PseudoTerminal(encoding="ascii")
    yield terminal
    terminal.close()
