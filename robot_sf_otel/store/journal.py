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
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from robot_sf_otel import guard
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.manifest.events import RunFinished, RunRecovered
from robot_sf_otel.store.appending import AppendingFile, JournalStats
from robot_sf_otel.store.gap import Gap
from robot_sf_otel.store.lines import iter_lines
from robot_sf_otel.store.tail import JournalTail, iter_events, iter_raw, read_event

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
SPACE_TRIES: Final = 10
"""How often `close` looks whether a full disk has room again, for the end of the record."""
SPACE_SECONDS: Final = 0.1
"""Time between two such looks."""
PENDING_LIMIT: Final = 20_000
"""Appends kept in memory while nothing can be written; the newest beyond that are dropped."""

OnFault = Callable[[str, Exception], None]


class _Batch:
    """One caller's lines, where in the file they end, and whether they have been written."""

    __slots__ = ("data", "done", "end", "lines", "sync")

    def __init__(self, data: bytes, lines: int, *, sync: bool) -> None:
        self.data = data
        self.lines = lines
        self.sync = sync
        self.end: int | None = None
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
        wait: Sleeps for some seconds; between the looks of `close` at a full disk.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_fault: OnFault,
        pending_limit: int = PENDING_LIMIT,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.path = path
        self._on_fault = on_fault
        self._limit = pending_limit
        self._clock = clock
        self._wait = wait
        self._lock = threading.RLock()
        self._file_in_use = threading.Lock()
        self._queue: deque[_Batch] = deque()
        self._file = AppendingFile(path)
        # Ctrl-C may come after any call: what was written is told by the size of the file, and
        # each batch knows where it ends there, so that taking written ones out repeats nothing.
        self._placed = False
        self._certain = False
        self._size = 0
        self._end = 0
        self._busy = False
        self._failing: str | None = None
        self._failed_at = 0.0
        self._background = False
        self._unsynced_since: float | None = None
        self._closed = False
        self._bytes_written = 0
        self._dropped = 0
        self._gap = Gap("events")
        self._space_tries = SPACE_TRIES
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
            for event in events:
                self._gap.add(event.time_unix_nano, self._failing or "closed")
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
            elif not self._busy and (error := self._file.look_after()):
                self._report(error)
        if self._queue:
            self._drain(None, force=True)
        since = self._unsynced_since
        if since is not None and (
            self._background or self._clock() - since >= BACKGROUND_SYNC_SECONDS
        ):
            self._sync_written()

    def take_gap(self, *, end: bool = False) -> Gap | None:
        """Return the events that were dropped since the last time, once that is over.

        Args:
            end: Whether no later moment will come, so that it is over in any case.
        """
        if not self._gap.count or (self._failing is not None and not end):
            return None
        gap, self._gap = self._gap, Gap("events")
        return gap

    def finish(self) -> bool:
        """Write and sync what is left; return whether all of it is in the file, and that there.

        A full disk is given a second to have room again: it may be the last chance of what waits.
        """
        self._write_rest()
        self._sync_written(full=True)
        return not self._queue and not self._file.is_deleted

    def close(self) -> None:
        """Write and sync what is left and close the file; later events are dropped."""
        if self._closed:
            return
        self.finish()
        self._closed = True
        left = sum(batch.lines for batch in list(self._queue))
        self._dropped += left
        if left and self._bytes_written:
            guard.warn(
                f"the end of the record is lost: the last {left} events could not be written to "
                f"{self.path} ({self._failing})"
            )
        if self._file_in_use.acquire(timeout=LOCK_SECONDS):
            self._file.close()
            self._file_in_use.release()

    def abandon(self) -> None:
        """Close the file without writing and without the lock: in a forked child."""
        self._closed = True
        self._lock, self._file_in_use = threading.RLock(), threading.Lock()
        self._queue = deque()
        self._file.close()

    def _write_rest(self) -> None:
        for tries in range(1 + self._space_tries):
            if not self._queue or (tries and self._failing not in {"ENOSPC", "EDQUOT"}):
                return
            if tries:
                self._wait(SPACE_SECONDS)
            self._drain(None, force=True)
        self._space_tries = 0  # whoever comes again does not wait again

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
        """Write all that waits with one system call."""
        if not self._file.is_open:
            self._placed = False
            self._file.open()
        if not self._placed:
            self._place()
        if not self._certain:
            self._settle()
        self._take_out()
        group = [self._queue[index] for index in range(len(self._queue))]
        for batch in group:
            if batch.end is None:
                batch.end = self._end = self._end + len(batch.data)
        if not group:
            return
        data = b"".join([batch.data for batch in group])
        data = data[len(data) - (self._end - self._size) :]
        sync = not self._background and any(batch.sync for batch in group)
        began = self._clock()
        self._certain = False
        written = self._file.write(data, sync=sync)
        self._size += written
        self._certain = True
        self._bytes_written += written
        self._take_out()
        if not sync:
            if self._unsynced_since is None:
                self._unsynced_since = began
            return
        if not self._file.syncs_on_write:
            self._file.sync(full=False)
        self._took(self._clock() - began)

    def _place(self) -> None:
        """Let the queue begin at the end of the file, on a line of its own."""
        size = self._file.size()
        for index in range(len(self._queue)):
            self._queue[index].end = None
        if size and self._file.read(size - 1, 1) != b"\n":
            self._queue.appendleft(_Batch(b"\n", 0, sync=False))
        self._size = self._end = size
        self._placed = self._certain = True

    def _settle(self) -> None:
        """Find out how much was written by a call that an error or Ctrl-C cut short.

        A write can fail or be interrupted after the file has taken a part of the data or all.
        """
        size = self._file.size()
        written = size - self._size
        batches = [self._queue[index] for index in range(len(self._queue))]
        data = b"".join([batch.data for batch in batches if batch.end is not None])
        data = data[len(data) - (self._end - self._size) :]
        if 0 <= written <= len(data) and self._file.read(self._size, written) == data[:written]:
            self._bytes_written += written
            self._size = size
            self._certain = True
        else:  # somebody else wrote here: say it twice rather than lose it
            self._place()

    def _take_out(self) -> None:
        """Take out of the queue what is in the file."""
        while self._queue:
            end = self._queue[0].end
            if end is None or end > self._size:
                return
            self._queue.popleft().done = True

    def _lost_file(self) -> None:
        """Somebody closed our descriptors or replaced the file: open it again the next time."""
        self._placed = False
        self._file.close()

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
