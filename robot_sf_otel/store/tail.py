"""Reading a journal: its events as they come, whatever else stands between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from robot_sf_otel.manifest.codec import decode_event, decode_raw
from robot_sf_otel.store.lines import LineTail, iter_lines

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.events import Event


def iter_raw(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal as plain dicts with all their fields; bad ones are skipped."""
    for line in iter_lines(path):
        raw = _raw(line)
        if raw is not None:
            yield raw


def iter_events(path: Path) -> Iterator[Event]:
    """Yield the events of a journal; lines that are torn, foreign or unknown are skipped."""
    yield from JournalTail(path).events()


def read_event(line: bytes) -> Event | None:
    """Return the event of a line, or None where it is torn, foreign or unknown."""
    try:
        return decode_event(line)
    except ValueError:  # invalid UTF-8
        return None


def _raw(line: bytes) -> dict[str, Any] | None:
    try:
        return decode_raw(line)
    except ValueError:  # invalid UTF-8
        return None


class JournalTail(LineTail):
    """Reads what was added to a journal since the last time.

    Attributes:
        damaged: Lines that hold no JSON object.
        unknown: Lines that hold one that is no event which this version knows.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.damaged = 0
        self.unknown = 0

    @property
    def bad_lines(self) -> int:
        """Lines that could not be read at all."""
        return self.damaged + self.oversized

    def read(self) -> list[Event]:
        """Return the events of the complete lines that are new."""
        return list(self.events())

    def events(self) -> Iterator[Event]:
        """Yield the events of the complete lines that are new."""
        for line in self.lines():
            event = read_event(line)
            if event is not None:
                yield event
            elif _raw(line) is None:
                self.damaged += 1
            else:
                self.unknown += 1
