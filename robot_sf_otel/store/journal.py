"""The journal: append-only JSON lines that are on disk when `append` returns.

One system call a record (or a group of records of parallel threads): the file is opened with
`O_DSYNC`, so the write is the sync, because a thread that lets go of the GIL may wait 5 ms to get
it back. After a slow sync (a busy or network disk) records are written without it and synced in
the background. What cannot be written is kept and written when that is possible again.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.manifest.codec import decode_event, decode_raw, encode_event
from robot_sf_otel.manifest.events import RunFinished, RunRecovered
from robot_sf_otel.store.appending import AppendingFile, JournalStats
from robot_sf_otel.store.lines import LineTail, iter_lines

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.events import Event

SLOW_SYNC_SECONDS: Final = 0.02
"""A sync that took longer is followed by syncing in the background."""
BACKGROUND_SYNC_SECONDS: Final = 3.0
"""How long events that need no sync wait for one; flush comes every second or so."""
RETRY_SECONDS: Final = 1.0
"""Time between two attempts to write what could not be written."""
LOCK_SECONDS: Final = 5.0
"""Longest wait of `close` for a sync in the background."""
PENDING_LIMIT: Final = 20_000
"""Appends kept in memory while nothing can be written; the newest beyond that are dropped."""

OnFault = Callable[[str, Exception], None]


class _Batch:
    """One caller's lines, and whether they have been written."""

    __slots__ = ("data", "done", "lines", "sync")

    def __init__(self, data: bytes, lines: int, *, sync: bool) -> None:
        self.data = data
        self.lines = lines
        self.sync = sync
        self.done = False


class JournalWriter:
    """Appends events to one file; `append` never raises and is safe from any thread.

    A signal handler may append too: lines that it adds while its own thread is writing are written
    by the interrupted call. The lock is re-entrant for that reason.

    Args:
        path: The file; it is created by the first event, and its folder must exist by then.
        on_fault: Told once when writing begins to fail, and again when it fails otherwise.
        pending_limit: Appends kept in memory while nothing can be written.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_fault: OnFault,
        pending_limit: int = PENDING_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._on_fault = on_fault
        self._limit = pending_limit
        self._clock = clock
        self._lock = threading.RLock()
        self._file_in_use = threading.Lock()
        self._queue: deque[_Batch] = deque()
        self._file = AppendingFile(path)
        self._start: int | None = None
        self._head_written = 0
        self._busy = False
        self._failing: str | None = None
        self._failed_at = 0.0
        self._background = False
        self._unsynced_since: float | None = None
        self._closed = False
        self._bytes_written = 0
        self._dropped = 0
        self._slowest: float | None = None
        self._last: float | None = None

    @property
    def stats(self) -> JournalStats:
        """What writing cost so far, and what waits to be written."""
        queue = self._queue
        waiting = [queue[index].lines for index in range(len(queue))] if self._failing else []
        return JournalStats(
            bytes_written=self._bytes_written,
            slowest_sync_seconds=self._slowest,
            last_sync_seconds=self._last,
            events_dropped=self._dropped,
            pending=sum(waiting),
        )

    @property
    def in_background(self) -> bool:
        """Whether the last sync was slow, so that syncing follows in `flush`."""
        return self._background

    def append(self, *events: Event, sync: bool = True) -> None:
        """Write events; with `sync` they are on disk when this returns, if syncing is fast."""
        lines: list[bytes] = []
        for event in events:
            try:
                lines.append(encode_event(event))
            except Exception as error:  # noqa: BLE001 - a value that JSON cannot hold loses one event
                self._dropped += 1
                self._report(error)
        if not lines:
            return
        # The end of the run is kept whatever else had to go.
        final = isinstance(events[-1], RunFinished | RunRecovered)
        full = self._failing is not None and len(self._queue) >= self._limit
        if self._closed or (full and not final):
            self._dropped += len(lines)
            return
        batch = _Batch(b"".join(lines), len(lines), sync=sync)
        self._queue.append(batch)
        self._drain(batch)

    def flush(self) -> None:
        """Retry what could not be written and sync what was not; called every second or so."""
        if self._closed:
            return
        with self._lock:
            if not self._busy and not self._file.is_ours():
                self._lost_file()
        if self._queue:
            self._drain(None, force=True)
        since = self._unsynced_since
        if since is not None and (
            self._background or self._clock() - since >= BACKGROUND_SYNC_SECONDS
        ):
            self._sync_written()

    def close(self) -> None:
        """Write and sync what is left and close the file; later events are dropped."""
        if self._closed:
            return
        if self._queue:
            self._drain(None, force=True)
        self._sync_written(full=True)
        self._closed = True
        for batch in list(self._queue):
            self._dropped += batch.lines
        if self._file_in_use.acquire(timeout=LOCK_SECONDS):
            self._file.close()
            self._file_in_use.release()

    def abandon(self) -> None:
        """Close the file without writing and without the lock: in a forked child."""
        self._closed = True
        self._lock, self._file_in_use = threading.RLock(), threading.Lock()
        self._queue = deque()
        self._file.close()

    def _drain(self, batch: _Batch | None, *, force: bool = False) -> None:
        while True:
            # `with`, because Ctrl-C cannot come between taking the lock and entering the block.
            with self._lock:
                # Another thread may have written these lines while this one waited; and the
                # call that a signal handler interrupted writes those of the handler.
                if self._busy or (batch is not None and batch.done):
                    return
                self._busy = True
                try:
                    drained, error = self._write_queue(force=force)
                finally:
                    self._busy = False
            if error is not None:
                self._report(error)
            # A handler may have left lines after the last look at the queue.
            if not drained or not self._queue:
                return
            batch = None

    def _write_queue(self, *, force: bool) -> tuple[bool, OSError | None]:
        """Write all that waits, in order; return whether that worked, and a new error."""
        waited = self._clock() - self._failed_at
        if self._failing is not None and not force and waited < RETRY_SECONDS:
            return False, None
        try:
            self._settle()
            while self._queue:
                self._write_group()
        except OSError as error:
            self._failed_at = self._clock()
            if error.errno in {errno.EBADF, errno.ESTALE}:
                self._lost_file()
            kind = errno.errorcode.get(error.errno or 0, str(error))
            new = kind != self._failing
            self._failing = kind
            return False, error if new else None
        self._failing = None
        return True, None

    def _write_group(self) -> None:
        if self._file.open():
            # Perhaps another file than the one that took the first part of a line.
            self._head_written = 0
            if self._file.torn:
                self._queue.appendleft(_Batch(b"\n", 0, sync=False))
        group = [self._queue[index] for index in range(len(self._queue))]
        data = b"".join([batch.data for batch in group])[self._head_written :]
        sync = not self._background and any(batch.sync for batch in group)
        began = self._clock()
        self._start = self._file.size
        written = self._file.write(data, sync=sync)
        self._took_out(written)
        if not sync:
            if self._unsynced_since is None:
                self._unsynced_since = began
            return
        if not self._file.syncs_on_write:
            self._file.sync(full=False)
        self._took(self._clock() - began)

    def _settle(self) -> None:
        """Find out how much of a group was written that an error or Ctrl-C cut short."""
        start, self._start = self._start, None
        if start is None or not self._queue:
            return
        data = b"".join([self._queue[index].data for index in range(len(self._queue))])
        self._start = start
        self._took_out(self._file.written_since(start, data[self._head_written :]))

    def _took_out(self, written: int) -> None:
        """Take `written` bytes from the front of the queue."""
        self._start = None
        self._bytes_written += written
        written += self._head_written
        while self._queue and written >= len(self._queue[0].data):
            batch = self._queue.popleft()
            written -= len(batch.data)
            batch.done = True
        self._head_written = written

    def _lost_file(self) -> None:
        """Somebody closed our descriptors or deleted the file: open it again the next time."""
        self._file.close()
        self._start = None

    def _sync_written(self, *, full: bool = False) -> None:
        """Sync outside the lock, so that nobody who appends waits for it."""
        if not self._file_in_use.acquire(timeout=LOCK_SECONDS if full else 0):
            return
        began = self._clock()
        since, self._unsynced_since = self._unsynced_since, None
        try:
            if self._file.is_open and (since is not None or full):
                self._file.sync(full=full)
                self._took(self._clock() - began)
        except OSError as error:
            self._unsynced_since = since
            self._report(error)
        finally:
            self._file_in_use.release()

    def _took(self, seconds: float) -> None:
        self._last = seconds
        self._slowest = max(self._slowest or 0.0, seconds)
        self._background = seconds > SLOW_SYNC_SECONDS

    def _report(self, error: Exception) -> None:
        with suppress(Exception):
            self._on_fault("journal", error)


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


__all__ = [
    "PENDING_LIMIT",
    "JournalStats",
    "JournalTail",
    "JournalWriter",
    "iter_events",
    "iter_lines",
    "iter_raw",
    "read_event",
]
