"""The journal: append-only JSON lines that are on disk when `append` returns.

One system call a record (or a group of records of parallel threads): the file is opened with
`O_DSYNC`, so the write is the sync, because a thread that lets go of the GIL may wait 5 ms to get
it back. After a slow sync (a busy or network disk) records are written without it and synced in
the background. What cannot be written is kept and written when that is possible again.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.manifest.codec import decode_event, decode_raw, encode_event

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.events import Event

SLOW_SYNC_SECONDS: Final = 0.02
"""A sync that took longer is followed by syncing in the background."""
BACKGROUND_SYNC_SECONDS: Final = 4.0
"""Longest time that a record waits for a background sync; flush comes every second or so."""
PENDING_LIMIT: Final = 20_000
"""Lines kept in memory while nothing can be written; the newest beyond that are dropped."""
MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes of a line beyond which it is skipped when read: no event is that long."""
_CHUNK: Final = 1024 * 1024
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_F_FULLFSYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)

OnFault = Callable[[str, Exception], None]


@dataclass(slots=True)
class JournalStats:
    """What writing cost so far."""

    bytes_written: int = 0
    slowest_sync_seconds: float | None = None
    events_dropped: int = 0
    pending: int = 0


class _Ticket:
    """One caller's lines, and whether they have been taken care of."""

    __slots__ = ("data", "done", "lines")

    def __init__(self, data: bytes, lines: int) -> None:
        self.data = data
        self.lines = lines
        self.done = False


class JournalWriter:
    """Appends events to one file; `append` never raises and is safe from any thread."""

    def __init__(
        self, path: Path, *, on_fault: OnFault, pending_limit: int = PENDING_LIMIT
    ) -> None:
        """Open the file if that is possible; otherwise the first record tries again."""
        self.path = path
        self.stats = JournalStats()
        self._on_fault = on_fault
        self._limit = pending_limit
        self._lock = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._kept: list[_Ticket] = []
        self._sync_fd: int | None = None
        self._plain_fd: int | None = None
        self._background = False
        self._unsynced_since: float | None = None
        self._torn = False
        self._closed = False

    def append(self, *events: Event, sync: bool = True) -> None:
        """Write events; with `sync` they are on disk when this returns, if syncing is fast."""
        try:
            data = b"".join([encode_event(event) for event in events])
        except Exception as error:  # noqa: BLE001 - a value that cannot be encoded loses one event
            self._on_fault("journal", error)
            return
        ticket = _Ticket(data, len(events))
        self._waiting.append(ticket)
        with self._lock:
            # Another thread may have written these lines while this one waited for the lock.
            if not ticket.done:
                self._write(sync=sync)

    def flush(self) -> None:
        """Retry what could not be written and sync what was not; called every second or so."""
        with self._lock:
            if self._kept or self._waiting:
                self._write(sync=False)
            since = self._unsynced_since
            if since is not None and time.monotonic() - since >= BACKGROUND_SYNC_SECONDS / 4:
                self._sync()

    def close(self) -> None:
        """Write and sync what is left and close the file."""
        with self._lock:
            if self._kept or self._waiting:
                self._write(sync=False)
            if self._plain_fd is not None:
                self._sync(full=True)
            self._close()

    def abandon(self) -> None:
        """Close the file without writing and without the lock: in a forked child."""
        self._lock = threading.Lock()
        self._waiting, self._kept = [], []
        self._close()

    def _close(self) -> None:
        self._closed = True
        for fd in (self._sync_fd, self._plain_fd):
            if fd is not None:
                os.close(fd)
        self._sync_fd = self._plain_fd = None

    def _open(self) -> None:
        if self._plain_fd is not None:
            return
        self._plain_fd = os.open(self.path, _FLAGS, 0o666)
        dsync: int | None = getattr(os, "O_DSYNC", None)
        if dsync is not None:
            self._sync_fd = os.open(self.path, _FLAGS | dsync, 0o666)
        size = os.fstat(self._plain_fd).st_size
        # A line that an earlier writer left unfinished must not swallow our first one.
        self._torn = size > 0 and os.pread(self._plain_fd, 1, size - 1) != b"\n"

    def _write(self, *, sync: bool) -> None:
        """Write all that waits, in order. The caller holds the lock."""
        taken, self._waiting = self._waiting, []
        tickets = self._kept + taken
        data = b"".join([ticket.data for ticket in tickets])
        began = time.monotonic()
        try:
            if self._closed:
                return
            self._open()
            at_once = sync and not self._background and self._sync_fd is not None
            self._write_all(b"\n" + data if self._torn else data, at_once=at_once)
        except OSError as error:
            self._keep(tickets)
            self._on_fault("journal", error)
            return
        finally:
            for ticket in taken:
                ticket.done = True
        self._kept = []
        self.stats.pending = 0
        if at_once:
            self._took(time.monotonic() - began)
        elif sync and self._sync_fd is None and not self._background:
            self._sync()
        elif self._unsynced_since is None:
            self._unsynced_since = began

    def _write_all(self, data: bytes, *, at_once: bool) -> None:
        fd = self._sync_fd if at_once else self._plain_fd
        assert fd is not None  # noqa: S101 - `_open` has just seen to it
        before = os.fstat(fd).st_size if self._kept else None
        written = os.write(fd, data)
        while written < len(data):
            # A disk that fills up takes a part: what stands there is torn until the rest follows.
            self._torn = True
            try:
                written += os.write(fd, data[written:])
            except OSError:
                self._cut(fd, before, written)
                raise
        self._torn = False
        self.stats.bytes_written += written

    def _cut(self, fd: int, before: int | None, written: int) -> None:
        """Take a half-written group back, so that writing it again repeats nothing."""
        size = os.fstat(fd).st_size
        start = before if before is not None else size - written
        if size - written == start:  # nobody else appended in between
            os.ftruncate(fd, start)
            self._torn = start > 0 and os.pread(self._plain_fd or fd, 1, start - 1) != b"\n"

    def _keep(self, tickets: list[_Ticket]) -> None:
        kept: list[_Ticket] = []
        lines = 0
        for ticket in tickets:
            if lines + ticket.lines > self._limit:
                self.stats.events_dropped += ticket.lines
                continue
            kept.append(ticket)
            lines += ticket.lines
        self._kept = kept
        self.stats.pending = lines

    def _sync(self, *, full: bool = False) -> None:
        fd = self._plain_fd
        if fd is None:
            return
        began = time.monotonic()
        try:
            if full and _F_FULLFSYNC is not None:
                fcntl.fcntl(fd, _F_FULLFSYNC)
            elif hasattr(os, "fdatasync"):
                os.fdatasync(fd)
            else:  # macOS
                os.fsync(fd)
        except OSError as error:
            self._on_fault("journal sync", error)
        self._unsynced_since = None
        self._took(time.monotonic() - began)

    def _took(self, seconds: float) -> None:
        self.stats.slowest_sync_seconds = max(self.stats.slowest_sync_seconds or 0.0, seconds)
        self._background = seconds > SLOW_SYNC_SECONDS


def iter_lines(path: Path) -> Iterator[bytes]:
    """Yield the complete lines of a file without their newline; a missing file has none."""
    yield from JournalTail(path).lines()


def iter_raw(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal as plain dicts with all their fields; bad ones are skipped."""
    for line in iter_lines(path):
        raw = decode_raw(line)
        if raw is not None:
            yield raw


def iter_events(path: Path) -> Iterator[Event]:
    """Yield the events of a journal; lines that are torn, foreign or unknown are skipped."""
    for line in iter_lines(path):
        event = decode_event(line)
        if event is not None:
            yield event


class JournalTail:
    """Reads what was added to a journal since the last time."""

    def __init__(self, path: Path) -> None:
        """Begin at the start; the file need not exist yet."""
        self.path = path
        self.bad_lines = 0
        self.torn = False
        self._position = 0

    def read(self) -> list[Event]:
        """Return the events of the complete lines that are new."""
        events: list[Event] = []
        for line in self.lines():
            event = decode_event(line)
            if event is not None:
                events.append(event)
            elif decode_raw(line) is None:
                self.bad_lines += 1
        return events

    def lines(self) -> Iterator[bytes]:
        """Yield the complete lines that are new; the last one waits for its newline."""
        rest = b""
        skipping = False
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                while chunk := file.read(_CHUNK):
                    *complete, rest = (rest + chunk).split(b"\n")
                    for line in complete:
                        self._position += len(line) + 1
                        if not skipping and line.strip(b"\0 \r"):
                            yield line
                        skipping = False
                    if len(rest) > MAX_LINE:  # no event is that long: read on to its end
                        self._position += len(rest)
                        self.bad_lines += 1
                        rest, skipping = b"", True
        except OSError:
            return
        self.torn = bool(rest.strip(b"\0 \r"))
