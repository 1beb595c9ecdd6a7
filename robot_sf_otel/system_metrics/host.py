"""How busy the whole machine is: CPU, memory, swap and pressure; and how many CPUs we may use."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, replace
from typing import Final

from robot_sf_otel.system_metrics.cgroup import CgroupSensor
from robot_sf_otel.system_metrics.files import KeptFile

_CGROUP: Final = CgroupSensor()
"""Looks the groups up at its first reading, and again when the process was moved."""
_KIB: Final = 1024
_IDLE: Final = 3
_IOWAIT: Final = 4
_CPU_FIELDS: Final = 8
"""user nice system idle iowait irq softirq steal; guest time is in user already. See proc(5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """One reading of the machine, None where it cannot be had; percentages lie in [0, 100]."""

    cpu_percent: float | None = None
    """Busy share of all CPUs since the reading before; None if no time has passed."""
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    """What can be had without swapping."""
    swap_total_bytes: int | None = None
    swap_used_bytes: int | None = None
    cpu_pressure_percent: float | None = None
    """Share of the last 10 s in which some task waited for a CPU (PSI `some avg10`)."""
    io_pressure_percent: float | None = None
    memory_pressure_percent: float | None = None
    notes: tuple[str, ...] = ()


class HostSensor:
    """Reads the machine; never raises, each field fails alone to None.

    Args:
        source: Where the readings come from; by default what this platform has: /proc on Linux,
            psutil elsewhere.
    """

    def __init__(self, source: LinuxHost | PsutilHost | None = None) -> None:
        default = LinuxHost if sys.platform == "linux" else PsutilHost
        self._source = default() if source is None else source
        self._busy_and_total = self._source.cpu_times()

    def read(self) -> HostReading:
        """Return the present state; CPU since the reading before, or since construction."""
        before, now = self._busy_and_total, self._source.cpu_times()
        reading = replace(self._source.read(), cpu_percent=_share(before, now))
        if now is not None:
            self._busy_and_total = now
            return reading
        return replace(reading, notes=("host: CPU times cannot be read", *reading.notes))

    def close(self) -> None:
        """Give descriptors back; may be called again."""
        self._source.close()


def usable_cpus() -> float:
    """Return how many CPUs this process may use: affinity, and the quota of its container."""
    count = float(os.cpu_count() or 1)
    if sys.platform != "linux":
        return count
    with contextlib.suppress(OSError):
        # Of the main thread: the one that asks may be pinned elsewhere.
        count = float(len(os.sched_getaffinity(os.getpid())))
    quota = _CGROUP.cpu_limit()
    return count if quota is None else min(count, quota)


def disk_free_bytes(path: str | os.PathLike[str]) -> int | None:
    """Return what an ordinary user can still write to the file system of `path`.

    Without the blocks that the file system keeps for root. None where it cannot be asked.
    """
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


class LinuxHost:
    """Reads /proc with descriptors that stay open.

    Args:
        proc: Where procfs is mounted; another directory in tests.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._files: dict[str, KeptFile] = {}

    def read(self) -> HostReading:
        """Return everything but the share of the CPU."""
        notes: list[str] = []
        memory = _memory_table(self._content("meminfo"))
        total, free = memory.get("SwapTotal"), memory.get("SwapFree")
        if not memory:
            notes.append("host: /proc/meminfo cannot be read")
        pressure = {name: self._pressure(name) for name in ("cpu", "io", "memory")}
        if all(value is None for value in pressure.values()):
            notes.append("host: no pressure stall information (PSI)")
        return HostReading(
            memory_total_bytes=memory.get("MemTotal"),
            memory_available_bytes=_available(memory),
            swap_total_bytes=total,
            swap_used_bytes=None if total is None or free is None else max(0, total - free),
            cpu_pressure_percent=pressure["cpu"],
            io_pressure_percent=pressure["io"],
            memory_pressure_percent=pressure["memory"],
            notes=tuple(notes),
        )

    def close(self) -> None:
        """Give descriptors back; may be called again."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _content(self, name: str) -> bytes:
        file = self._files.get(name)
        try:
            if file is None:
                file = self._files[name] = KeptFile(f"{self._proc}/{name}")
            return file.read()
        except OSError:  # not there, no descriptor left, or PSI is switched off: asked again later
            if file is not None:
                self._files.pop(name).close()
            return b""

    def cpu_times(self) -> tuple[int, int] | None:
        """Return (busy, all) ticks of all CPUs since boot."""
        words = self._content("stat").partition(b"\n")[0].split()
        if not words or words[0] != b"cpu":
            return None
        try:
            ticks = [int(word) for word in words[1 : _CPU_FIELDS + 1]]
        except ValueError:
            return None
        if len(ticks) <= _IOWAIT:
            return None
        return sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT], sum(ticks)

    def _pressure(self, name: str) -> float | None:
        """Return `some avg10` in percent; see Documentation/accounting/psi.rst."""
        for word in self._content(f"pressure/{name}").partition(b"\n")[0].split():
            key, _, value = word.partition(b"=")
            if key == b"avg10":
                try:
                    return min(100.0, max(0.0, float(value)))
                except ValueError:
                    return None
        return None


class PsutilHost:
    """Reads through psutil; without it there is nothing to tell."""

    def read(self) -> HostReading:
        """Return everything but the share of the CPU."""
        try:
            import psutil
        except ImportError:
            return HostReading(notes=("host: psutil is not installed",))
        notes: list[str] = []
        available = memory_total = swap_total = swap_used = None
        try:
            memory = psutil.virtual_memory()
            memory_total, available = memory.total, memory.available
        except (OSError, RuntimeError, psutil.Error) as error:
            notes.append(f"host: memory: {type(error).__name__}")
        try:
            swap = psutil.swap_memory()
            swap_total, swap_used = swap.total, swap.used
        except (OSError, RuntimeError, psutil.Error) as error:
            notes.append(f"host: swap: {type(error).__name__}")
        return HostReading(
            memory_total_bytes=memory_total,
            memory_available_bytes=available,
            swap_total_bytes=swap_total,
            swap_used_bytes=swap_used,
            notes=(*notes, "host: no pressure stall information (PSI)"),
        )

    def cpu_times(self) -> tuple[float, float] | None:
        """Return (busy, all) seconds of all CPUs since boot."""
        try:
            import psutil

            times: dict[str, float] = psutil.cpu_times()._asdict()
        except (ImportError, OSError, RuntimeError):
            return None
        guests = times.get("guest", 0.0) + times.get("guest_nice", 0.0)  # in user already
        total = sum(times.values()) - guests
        return total - times["idle"] - times.get("iowait", 0.0), total

    def close(self) -> None:
        """Nothing is kept open."""


def _share(before: tuple[float, float] | None, now: tuple[float, float] | None) -> float | None:
    if before is None or now is None or now[1] <= before[1]:
        return None
    # Counters of idle time can run backwards, see proc(5): a share stays one.
    return min(100.0, max(0.0, 100.0 * (now[0] - before[0]) / (now[1] - before[1])))


def _memory_table(content: bytes) -> dict[str, int]:
    """Read lines of `Name:   123 kB` into bytes."""
    table: dict[str, int] = {}
    for line in content.splitlines():
        words = line.split()
        if len(words) > 1 and words[1].isdigit():
            table[words[0].rstrip(b":").decode("ascii", "replace")] = int(words[1]) * _KIB
    return table


def _available(memory: dict[str, int]) -> int | None:
    """Kernels before 3.14 do not say; free memory and caches are close enough then."""
    if "MemAvailable" in memory:
        return memory["MemAvailable"]
    if "MemFree" not in memory:
        return None
    return memory["MemFree"] + memory.get("Buffers", 0) + memory.get("Cached", 0)
