"""telemetry.jsonl: one sample a line, written by the monitor thread, read as a stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.codec import decode_snapshot, encode_snapshot
from robot_sf_otel.manifest.statistics import TelemetrySummary
from robot_sf_otel.store.journal import iter_lines

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import FieldSummary, TelemetrySnapshot

_TAIL: Final = 256 * 1024
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class TelemetryWriter:
    """Appends samples; a sample that cannot be written is lost and counted. Never raises."""

    def __init__(self, path: Path, *, on_fault: Callable[[str, Exception], None]) -> None:
        """Open nothing yet."""
        self._path = path
        self._on_fault = on_fault
        self._fd: int | None = None
        self._torn = False
        self.bytes_written = 0
        self.samples_lost = 0

    def append(self, snapshot: TelemetrySnapshot) -> None:
        """Write a sample with one system call, unsynced."""
        try:
            if self._fd is None:
                self._fd = os.open(self._path, _FLAGS, 0o666)
            line = encode_snapshot(snapshot)
            if self._torn:
                line = b"\n" + line
            written = os.write(self._fd, line)
            self._torn = written < len(line)
            self.bytes_written += written
        except (OSError, ValueError) as error:
            self.samples_lost += 1
            self._on_fault("telemetry.jsonl", error)

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    abandon = close


def iter_snapshots(path: Path) -> Iterator[TelemetrySnapshot]:
    """Yield the samples of a file; bad lines are skipped, a missing file has none."""
    for line in iter_lines(path):
        snapshot = decode_snapshot(line)
        if snapshot is not None:
            yield snapshot


def last_snapshot(path: Path) -> TelemetrySnapshot | None:
    """Return the last sample, reading the end of the file only."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return None
    return next((s for line in reversed(lines) if (s := decode_snapshot(line)) is not None), None)


def summarise(path: Path) -> dict[str, FieldSummary]:
    """Return count, mean, 95th percentile and maximum of each field of a file."""
    summary = TelemetrySummary()
    for snapshot in iter_snapshots(path):
        summary.add(snapshot)
    return summary.result()
