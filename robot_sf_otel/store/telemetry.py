"""telemetry.jsonl: one sample a line, written by the monitor thread, read as a stream."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.codec import decode_snapshot, encode_snapshot
from robot_sf_otel.manifest.statistics import TelemetrySummary
from robot_sf_otel.store.files import deleted, is_deleted, write_again
from robot_sf_otel.store.gap import Gap
from robot_sf_otel.store.lines import iter_lines, last_lines
from robot_sf_otel.store.tail import YEAR_10000

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import FieldSummary, TelemetrySnapshot

_TAIL: Final = 256 * 1024
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class TelemetryWriter:
    """Appends samples; a sample that cannot be written is lost and counted. Never raises.

    Attributes:
        bytes_written: Bytes that the file took.
        samples_lost: Samples that it did not take, or not whole.
    """

    def __init__(self, path: Path, *, on_fault: Callable[[str, Exception], None]) -> None:
        """Open nothing yet."""
        self._path = path
        self._on_fault = on_fault
        self._fd: int | None = None
        self._torn = False
        self._closed = False
        self._gap = Gap("samples")
        self._failing = False
        self.bytes_written = 0
        self.samples_lost = 0

    def append(self, snapshot: TelemetrySnapshot) -> None:
        """Write a sample with one system call, unsynced."""
        if self._closed:
            self.samples_lost += 1
            return
        try:
            line = encode_snapshot(snapshot)
            fd = self._opened()
            if self._torn:
                line = b"\n" + line
            written = os.write(fd, line)
            self.bytes_written += written
            self._torn = written < len(line)
            self._failing = self._torn
            if self._torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))  # noqa: TRY301 - a short write is the disk's way to say so
        except Exception as error:  # noqa: BLE001 - the pipeline goes on whatever a sample holds
            self.samples_lost += 1
            self._failing = True
            self._gap.add(snapshot.timestamp_ms * 1_000_000, error)
            if isinstance(error, OSError) and error.errno in {errno.EBADF, errno.ESTALE}:
                self._fd = None  # somebody closed it; the number may be another file's by now
            with suppress(Exception):
                self._on_fault("telemetry.jsonl", error)

    def _opened(self) -> int:
        if self._fd is None:
            fd = os.open(self._path, _FLAGS, 0o666)
            size = os.fstat(fd).st_size
            # A sample that an earlier process left unfinished must not swallow our first one.
            self._torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            self._fd = fd
        return self._fd

    def take_gap(self, *, end: bool = False) -> Gap | None:
        """Return the samples that were lost since the last time, once that is over.

        Args:
            end: Whether the file is about to be closed, so that it is over in any case.
        """
        if not self._gap.count or (self._failing and not end):
            return None
        gap, self._gap = self._gap, Gap("samples")
        return gap

    def look_after(self) -> None:
        """Write the file again if it was deleted while it is open. Never raises."""
        if self._fd is None or not is_deleted(self._fd):
            return
        try:
            write_again(self._fd, self._path)
            os.close(self._fd)
            self._fd = None
            self._on_fault("telemetry.jsonl", deleted(self._path))
        except OSError as error:  # samples go to the deleted file meanwhile
            self._on_fault("telemetry.jsonl", error)

    def close(self) -> None:
        """Close the file; later samples are lost."""
        self._closed = True
        fd, self._fd = self._fd, None
        if fd is not None:
            with suppress(OSError):
                os.close(fd)

    abandon = close


def read_snapshot(line: bytes) -> TelemetrySnapshot | None:
    """Return the sample of a line, None where it holds none."""
    try:
        snapshot = decode_snapshot(line)
    except ValueError:  # invalid UTF-8
        return None
    if snapshot is None or not 0 <= snapshot.timestamp_ms < YEAR_10000 * 1000:
        return None
    return snapshot


def iter_snapshots(path: Path) -> Iterator[TelemetrySnapshot]:
    """Yield the samples of a file; bad lines are skipped, a missing file has none."""
    for line in iter_lines(path):
        snapshot = read_snapshot(line)
        if snapshot is not None:
            yield snapshot


def own_samples(snapshots: Iterable[TelemetrySnapshot]) -> Iterator[TelemetrySnapshot]:
    """Yield the samples of the run's own process and its tree, without those of other hosts."""
    return (snapshot for snapshot in snapshots if snapshot.process is None)


def last_snapshot(path: Path) -> TelemetrySnapshot | None:
    """Return the last sample of the run's own process, reading the end of the file only."""
    for line in last_lines(path, _TAIL):
        snapshot = read_snapshot(line)
        if snapshot is not None and snapshot.process is None:
            return snapshot
    return None


def summarise(path: Path) -> dict[str, FieldSummary]:
    """Return count, mean, 95th percentile and maximum of each field, of the run's own process."""
    summary = TelemetrySummary()
    for snapshot in own_samples(iter_snapshots(path)):
        summary.add(snapshot)
    return summary.result()


def summarise_workers(path: Path) -> dict[str, dict[str, FieldSummary]]:
    """Return the same of each process on another host, by its name."""
    found: dict[str, TelemetrySummary] = {}
    for snapshot in iter_snapshots(path):
        if snapshot.process is not None:
            found.setdefault(snapshot.process, TelemetrySummary()).add(snapshot)
    return {process: found[process].result() for process in sorted(found)}
