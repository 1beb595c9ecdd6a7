"""Frames: a few seconds of samples as one, so that rules cost the same whatever the pace. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robot_sf_otel.manifest.schema import GpuSample, TelemetrySnapshot

LONGEST_GAP: Final = 120.0
"""Seconds without a sample after which nothing is known of the time between: the machine slept."""

READINGS: Final = (
    "cpu_percent_process",
    "cpu_cores_process",
    "cpu_percent_system",
    "memory_rss_mb",
    "memory_limit_mb",
    "memory_available_mb",
    "swap_used_mb",
    "disk_read_mb_s",
    "disk_write_mb_s",
    "disk_free_mb",
    "cpu_pressure",
    "io_pressure",
    "memory_pressure",
    "cpu_throttled_percent",
    "gpu_util_percent",
    "gpu_mem_used_mb",
)
"""Fields of a sample whose mean a frame holds, in the order of `Frame`."""

_row = attrgetter(*READINGS)


@dataclass(slots=True)
class Frame:
    """The mean of each reading over a few seconds, None where most samples lack it.

    Units are those of `TelemetrySnapshot`; `start` and `end` are Unix seconds.
    """

    start: float
    end: float
    samples: int
    gpus: Sequence[Sequence[GpuSample]]
    """The devices, sample by sample."""
    cpu_percent_process: float | None = None
    cpu_cores_process: float | None = None
    cpu_percent_system: float | None = None
    memory_rss_mb: float | None = None
    memory_limit_mb: float | None = None
    memory_available_mb: float | None = None
    swap_used_mb: float | None = None
    disk_read_mb_s: float | None = None
    disk_write_mb_s: float | None = None
    disk_free_mb: float | None = None
    cpu_pressure: float | None = None
    io_pressure: float | None = None
    memory_pressure: float | None = None
    cpu_throttled_percent: float | None = None
    gpu_util_percent: float | None = None
    gpu_mem_used_mb: float | None = None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start

    @property
    def disk_mb_s(self) -> float | None:
        """What the tree read and wrote, MiB/s."""
        if self.disk_read_mb_s is None and self.disk_write_mb_s is None:
            return None
        return (self.disk_read_mb_s or 0.0) + (self.disk_write_mb_s or 0.0)


class Framing:
    """Makes frames of samples.

    Args:
        seconds: Length of a frame; samples that are further apart are a frame each.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: list[TelemetrySnapshot] = []
        self._start: float | None = None
        self._due = 0.0
        self.broken = False
        """Whether time went by before the last frame of which nothing is known."""

    def add(self, sample: TelemetrySnapshot) -> Frame | None:
        """Take a sample in; return the frame that it completes. Times that go back are ignored."""
        now = sample.timestamp_ms / 1000
        last = self._waiting[-1].timestamp_ms / 1000 if self._waiting else self._start
        if last is None:
            self._begin(now)
        elif now < last:
            return None
        elif now - last > LONGEST_GAP:
            self._waiting.clear()
            self._begin(now)
            self.broken = True
        self._waiting.append(sample)
        return self.close() if now >= self._due else None

    def _begin(self, now: float) -> None:
        self._start = now
        self._due = now + self._seconds

    def close(self) -> Frame | None:
        """Return the frame that is under way, None where there is none."""
        samples, start = self._waiting, self._start
        if not samples or start is None:
            return None
        end = samples[-1].timestamp_ms / 1000
        if end <= start:
            return None
        self._waiting = []
        self._begin(end)
        columns = zip(*map(_row, samples), strict=True)
        gpus = [sample.gpus for sample in samples] if samples[-1].gpus else ()
        return Frame(start, end, len(samples), gpus, *map(_mean, columns))


def _mean(column: tuple[float | None, ...]) -> float | None:
    known = [value for value in column if value is not None]
    # A reading that most samples lack is none: one sample would stand for all.
    return sum(known) / len(known) if 2 * len(known) > len(column) else None
