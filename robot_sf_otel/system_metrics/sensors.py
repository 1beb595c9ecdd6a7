"""All sensors of a run together: a telemetry reading, and the bill of a step."""

from __future__ import annotations

import resource
import threading
import time
from typing import TYPE_CHECKING, Final

from robot_sf_otel.system_metrics.bill import Counters, StepBill
from robot_sf_otel.system_metrics.cgroup import CgroupSensor
from robot_sf_otel.system_metrics.gpu import GpuReading, GpuSensor
from robot_sf_otel.system_metrics.host import HostSensor, disk_free_bytes, usable_cpus
from robot_sf_otel.system_metrics.process_tree import ProcessTree
from robot_sf_otel.system_metrics.reading import SHORTEST, MachineReading, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robot_sf_otel.manifest.schema import TelemetrySnapshot

JUST_NOW: Final = 0.002
"""Seconds for which the counters at a step's end are good as those of the next one's start."""


class SystemSensors:
    """Reads the machine for the monitor thread, and the counters for step boundaries.

    Args:
        interval: Seconds between readings; how fresh those of the GPUs are.
        gpu: Whether GPUs are read.
        disk: Whose file system's free space is read; none by default.
        now_ms: Returns Unix time in milliseconds.
    """

    def __init__(
        self,
        interval: float = 1.0,
        *,
        gpu: bool = False,
        disk: Path | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Find out what can be read here; nothing is read yet."""
        self._now_ms = now_ms
        self._disk = disk
        self._tree = ProcessTree()
        self._host = HostSensor()
        self._cgroup = CgroupSensor()
        self._gpu = GpuSensor(interval=interval, pids=self._tree.pids) if gpu else None
        self._last_counters: Counters | None = None
        self._lock = threading.Lock()
        self._resting = False
        self.last: tuple[MachineReading, MachineReading] | None = None
        """The last two readings, which the instruments show; the same one twice at first."""

    def start(self) -> None:
        """Begin to read what needs a thread of its own: the GPUs. Again does nothing."""
        if self._gpu is not None:
            self._gpu.start()

    def rest(self) -> None:
        """Say that no run is open: the rates of the next one begin with its first reading."""
        self._resting = True

    @property
    def cpu_seconds(self) -> float:
        """What the GPU thread has cost so far, in seconds of CPU time."""
        return 0.0 if self._gpu is None else self._gpu.cpu_seconds

    def open_bill(self) -> StepBill:
        """Return the bill of a step that starts now.

        One that starts where another has just ended begins with the counters at that end: so
        nothing between the two is lost, and they are read once instead of twice.
        """
        start = self._last_counters
        if start is None or time.monotonic() - start.monotonic > JUST_NOW:
            start = self.counters()
        return StepBill(start, self.counters)

    def counters(self) -> Counters:
        """Return what a step is billed for as of now; cheap enough for a step's start and end."""
        gpu = None if self._gpu is None else self._gpu.counters()
        self._last_counters = Counters(time.monotonic(), self._tree.counters_now(), gpu)
        return self._last_counters

    def ignore(self, pid: int) -> None:
        """Never count that process: it belongs to telemetry, not to the run."""
        self._tree.ignore(pid)

    def close(self) -> None:
        """Give all descriptors back; later readings have only what is known by then."""
        if self._gpu is not None:
            self._gpu.close()
        self._tree.close()
        self._host.close()

    def read(self) -> TelemetrySnapshot:
        """Return a reading of the machine; each sensor fails alone to None.

        Readings with a rate (CPU) are None until there are two of them. `notes` says why others
        are missing, on every reading.
        """
        with self._lock:
            now = self._read()
            older, before = self.last if self.last and not self._resting else (now, now)
            self._resting = False
            if now.monotonic - before.monotonic < SHORTEST:  # the last sample of a run, say
                before = older
            self.last = before, now
            return snapshot(before, now, self._now_ms())

    def _read(self) -> MachineReading:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return MachineReading(
            monotonic=time.monotonic(),
            tree=self._tree.read(),
            host=self._host.read(),
            cgroup=self._cgroup.read(),
            gpu=GpuReading() if self._gpu is None else self._gpu.read(),
            usable_cpus=usable_cpus(),
            own_user_seconds=usage.ru_utime,
            own_system_seconds=usage.ru_stime,
            disk_free_bytes=None if self._disk is None else disk_free_bytes(self._disk),
        )
