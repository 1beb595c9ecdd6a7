"""A terminal small enough to read: enough of ECMA-48 to see what a live bar leaves on a screen."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|\x1b([78D])|([\r\n])|([^\x1b\r\n])")


class Screen:
    """Rows of characters, a cursor, a scrolling region, and what scrolled off the top."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns = columns
        self.lines = lines
        self.rows = [""] * lines
        self.history: list[str] = []
        self.row = self.column = 0
        self._saved = (0, 0)
        self.top, self.bottom = 0, lines - 1

    @property
    def text(self) -> list[str]:
        """Everything from the first line that scrolled off to the last that is not blank."""
        found = [row.rstrip() for row in [*self.history, *self.rows]]
        while found and not found[-1]:
            found.pop()
        return found

    def feed(self, data: str) -> None:
        """Take output of a program, with newlines as a terminal driver hands them on."""
        for number, final, escape, control, char in _TOKEN.findall(data):
            if final:
                self._control(number, final)
            elif escape:
                self._escape(escape)
            elif control:
                self._line_end(control)
            else:
                self._put(char)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size as terminals do: the region is forgotten, the cursor stays on screen."""
        while len(self.rows) > lines and self.row < len(self.rows) - 1:
            self.rows.pop()
        while len(self.rows) > lines:
            self.history.append(self.rows.pop(0))
            self.row -= 1
        self.rows += [""] * (lines - len(self.rows))
        self.columns, self.lines = columns, lines
        self.top, self.bottom = 0, lines - 1

    def _control(self, number: str, final: str) -> None:
        values = [int(part) if part else 0 for part in number.split(";")]
        first = max(1, values[0])
        match final:
            case "A":
                self.row = max(self.top, self.row - first)
            case "H":
                self.row, self.column = first - 1, max(1, values[1]) - 1
            case "J":
                self.rows[self.row] = self.rows[self.row][: self.column]
                self.rows[self.row + 1 :] = [""] * (self.lines - self.row - 1)
            case "K":
                self.rows[self.row] = "" if values[0] == 2 else self.rows[self.row][: self.column]
            case "r":
                self.top, self.bottom = (
                    (0, self.lines - 1) if not number else (values[0] - 1, values[1] - 1)
                )
                self.row = self.column = 0
            case "m":
                pass
            case _:
                raise AssertionError(f"unknown sequence CSI {number}{final}")

    def _escape(self, escape: str) -> None:
        if escape == "7":
            self._saved = (self.row, self.column)
        elif escape == "8":
            self.row, self.column = self._saved
        else:
            self._down()

    def _line_end(self, control: str) -> None:
        self.column = 0
        if control == "\n":
            self._down()

    def _down(self) -> None:
        if self.row != self.bottom:
            self.row = min(self.lines - 1, self.row + 1)
            return
        gone = self.rows.pop(self.top)
        if self.top == 0:
            self.history.append(gone)
        self.rows.insert(self.bottom, "")

    def _put(self, char: str) -> None:
        if self.column >= self.columns:
            self.column = 0
            self._down()
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + char + row[self.column + 1 :]
        self.column += 1
