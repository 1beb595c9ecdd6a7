"""Reading a journal: its events as they come, whatever else stands between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, cast

from robot_sf_otel.manifest.codec import decode_event, decode_raw
from robot_sf_otel.manifest.events import NANOSECONDS
from robot_sf_otel.manifest.schema import SCHEMA_VERSION
from robot_sf_otel.store.lines import LineTail, iter_lines

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.events import Event


YEAR_10000: Final = 253_402_300_800
"""Unix seconds from which on no calendar has a date."""
_OUR_VERSION: Final = f'{{"schema_version":{SCHEMA_VERSION},'.encode()
"""How the lines of this version begin."""


MAX_NESTING: Final = 200
"""Depth beyond which a value is damage: what shows or writes it would end in a RecursionError."""
_SUSPICIOUS: Final = 500
"""Brackets from which on it is worth looking how deep they are nested."""


def may_be_deep(data: bytes) -> bool:
    """Return whether JSON could hold values nested too deeply; cheap, and seldom true."""
    return data.count(b"[") + data.count(b"{") > _SUSPICIOUS


def is_too_deep(value: object) -> bool:
    """Return whether a decoded value is nested more than `MAX_NESTING` deep."""
    level = [value]
    for _ in range(MAX_NESTING):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[object, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


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
    """Return the event of a line, or None where it is torn, foreign, unknown or of no time."""
    try:
        event = decode_event(line)
    except ValueError:  # invalid UTF-8
        return None
    if event is None or not 0 <= event.time_unix_nano < YEAR_10000 * NANOSECONDS:
        return None
    return None if may_be_deep(line) and _raw(line) is None else event


def _raw(line: bytes) -> dict[str, Any] | None:
    try:
        raw = decode_raw(line)
    except ValueError:  # invalid UTF-8
        return None
    return None if may_be_deep(line) and is_too_deep(raw) else raw


class JournalTail(LineTail):
    """Reads what was added to a journal since the last time.

    Attributes:
        damaged: Lines that hold no JSON object.
        unknown: Lines that hold one that is no event which this version knows.
        newer: The highest schema version of a line, None where all are of this one or older.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.damaged = 0
        self.unknown = 0
        self.newer: int | None = None

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
            if event is None or not line.startswith(_OUR_VERSION):
                self._look_at(_raw(line), known=event is not None)
            if event is not None:
                yield event

    def _look_at(self, raw: dict[str, Any] | None, *, known: bool) -> None:
        if raw is None:
            self.damaged += 1
            return
        self.unknown += not known
        version = raw.get("schema_version")
        if isinstance(version, int) and version > (self.newer or SCHEMA_VERSION):
            self.newer = version
