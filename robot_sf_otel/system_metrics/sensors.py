"""All sensors of a run together: one telemetry reading, and the bill of a step."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from robot_sf_otel.manifest.schema import TelemetrySnapshot, Usage
from robot_sf_otel.system_metrics.cgroup import CgroupSensor
from robot_sf_otel.system_metrics.host import HostSensor, usable_cpus
from robot_sf_otel.system_metrics.process_tree import ProcessTree

MIB: Final = 1024 * 1024


class _Counters(NamedTuple):
    """What only grows, at one moment; rates are differences of two of these."""

    time: float
    cpu_seconds: float | None
    read_bytes: int | None
    write_bytes: int | None
    periods: int | None
    throttled_periods: int | None


class StepBill:
    """Cumulative counters at a step's start; `settle` subtracts them from those at its end."""

    __slots__ = ("_cpu", "_sensors", "_time")

    def __init__(self, sensors: SystemSensors) -> None:
        """Read the counters."""
        self._sensors = sensors
        self._time = time.monotonic()
        self._cpu = sensors.cpu_seconds()

    def settle(self) -> Usage:
        """Return what the process tree used since; what is not known is None."""
        seconds = time.monotonic() - self._time
        cpu = self._sensors.cpu_seconds()
        if cpu is None or self._cpu is None:
            return Usage()
        used = max(0.0, cpu - self._cpu)
        return Usage(cpu_seconds=used, cpu_cores_mean=used / seconds if seconds > 0 else None)


class SystemSensors:
    """Reads the machine for the monitor thread, and the CPU counters for step boundaries."""

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        """Find out what can be read here; nothing is read yet."""
        self._now_ms = now_ms
        self._tree = ProcessTree()
        self._host = HostSensor()
        self._cgroup = CgroupSensor()
        self._lock = threading.Lock()
        self._before: _Counters | None = None
        self._notes: str | None = None
        self.last: dict[str, float] = {}

    def open_bill(self) -> StepBill:
        """Read the counters at a step's start."""
        return StepBill(self)

    def cpu_seconds(self) -> float | None:
        """Return the CPU seconds of the process tree so far, cheaply."""
        return self._tree.cpu_seconds_now()

    def close(self) -> None:
        """Give all descriptors back; later readings have only what is known by then."""
        self._tree.close()
        self._host.close()

    def read(self) -> TelemetrySnapshot:
        """Return a reading of the machine; each sensor fails alone to None.

        Readings with a rate (CPU) are None until there are two of them. `notes` says why others
        are missing, on the first reading and whenever that changes.
        """
        with self._lock:
            return self._read()

    def _read(self) -> TelemetrySnapshot:
        now = time.monotonic()
        tree = self._tree.read()
        host = self._host.read()
        limits = self._cgroup.read()
        cpus = usable_cpus()
        counters = _Counters(
            now,
            tree.cpu_seconds,
            tree.read_bytes,
            tree.write_bytes,
            limits.cpu_periods,
            limits.cpu_throttled_periods,
        )
        before, self._before = self._before or counters, counters
        cores = _rate(before.cpu_seconds, counters.cpu_seconds, now - before.time)
        share = min(1.0, cores / cpus) if cores is not None and cpus else None
        throttled = _rate(
            before.throttled_periods,
            counters.throttled_periods,
            (counters.periods or 0) - (before.periods or 0),
        )
        snapshot = TelemetrySnapshot(
            timestamp_ms=self._now_ms(),
            cpu_percent_process=_rounded(share * 100) if share is not None else None,
            cpu_cores_process=_rounded(cores),
            cpu_percent_system=_rounded(host.cpu_percent),
            memory_rss_mb=_mib(tree.rss_bytes),
            memory_limit_mb=_mib(limits.memory_limit_bytes),
            memory_available_mb=_mib(host.memory_available_bytes),
            swap_used_mb=_mib(host.swap_used_bytes),
            disk_read_mb_s=_mib(_rate(before.read_bytes, counters.read_bytes, now - before.time)),
            disk_write_mb_s=_mib(
                _rate(before.write_bytes, counters.write_bytes, now - before.time)
            ),
            cpu_pressure=_rounded(host.cpu_pressure_percent),
            io_pressure=_rounded(host.io_pressure_percent),
            memory_pressure=_rounded(host.memory_pressure_percent),
            cpu_throttled_percent=None
            if throttled is None
            else _rounded(min(100.0, throttled * 100)),
            process_count=tree.process_count,
            thread_count=tree.thread_count,
            notes=self._changed_notes([*tree.notes, *host.notes, *limits.notes]),
        )
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.last = {
            name: float(value)
            for name, value in {
                "own_cpu_seconds": usage.ru_utime + usage.ru_stime,
                "own_rss_bytes": tree.own_rss_bytes,
                "cpu_seconds": tree.cpu_seconds,
                "cpu_utilization": share,
                "rss_bytes": tree.rss_bytes,
                "process_count": tree.process_count,
                "memory_limit_bytes": limits.memory_limit_bytes,
            }.items()
            if value is not None
        }
        return snapshot

    def _changed_notes(self, notes: list[str]) -> str | None:
        text = "; ".join(dict.fromkeys(notes)) or None
        if text == self._notes:
            return None
        self._notes = text
        return text or "all sensors read again"


def _rate(before: float | None, now: float | None, by: float) -> float | None:
    """Return the growth of a counter by each unit of `by`, None where it cannot be told."""
    if before is None or now is None or by <= 0:
        return None
    return max(0.0, now - before) / by


def _mib(value: float | None) -> float | None:
    return None if value is None else round(value / MIB, 3)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
