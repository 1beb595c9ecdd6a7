"""What a run's processes use together: CPU, memory and disk of the whole tree, ended ones included.

Sources: /proc on Linux, psutil elsewhere, and without psutil the standard library, which knows the
own process only.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from robot_sf_otel.environment_variables import RUN_DIR
from robot_sf_otel.system_metrics.linux_processes import LinuxProcesses
from robot_sf_otel.system_metrics.process_accounting import Ledger, ProcessReading, Totals
from robot_sf_otel.system_metrics.psutil_processes import OwnProcess, PsutilProcesses

_PATIENCE: Final = 0.02
"""Seconds that a step boundary waits for a sample in progress, which takes 2 ms at most."""
_READER_PATIENCE: Final = 1.0
_DEAR: Final = 0.001
"""CPU seconds that a step boundary may take however often it comes."""
_SHARE: Final = 0.01
"""Share of the time that dearer ones may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeReading:
    """One reading of the tree; None where it cannot be had, `notes` says why.

    Counters grow from the start of the processes, not of the run: subtract.
    """

    cpu_seconds: float | None = None
    """User and system time of all processes so far; never goes down."""
    rss_bytes: int | None = None
    """Sum of the resident sets, in which shared pages are counted repeatedly."""
    own_rss_bytes: int | None = None
    """Resident set of the root process alone."""
    read_bytes: int | None = None
    """From disks, not from caches; never goes down."""
    write_bytes: int | None = None
    process_count: int | None = None
    """Without zombies."""
    thread_count: int | None = None
    notes: tuple[str, ...] = ()


class TreeCounters(NamedTuple):
    """The tree at a step boundary: subtract the counters, compare the memory."""

    cpu_seconds: float
    """So far, ended processes included; never goes down."""
    read_bytes: int | None
    """From disks so far; never goes down. None where no process tells."""
    write_bytes: int | None
    rss_bytes: int | None
    """Present sum of the resident sets of the known processes."""
    own_peak_rss_bytes: int | None
    """The most that was resident of the root process so far; None if that is another process."""


class Processes(Protocol):
    """Finds and reads the processes of a tree; never raises."""

    def read(self) -> dict[int, ProcessReading]:
        """Look for new processes and read all of them."""
        ...

    def read_counters(self) -> dict[int, ProcessReading]:
        """Read the counters and the memory of the known processes, and forget none of them."""
        ...

    def io_denied(self) -> bool:
        """Return whether some process does not tell what it read and wrote."""
        ...

    def ignore(self, pid: int) -> None:
        """Never count that process."""
        ...

    def close(self) -> None:
        """Give all descriptors back."""
        ...


class ProcessTree:
    """Reads a process, its descendants and the orphans among them; thread-safe, never raises.

    Orphans are counted when they were seen while they had a parent in the tree, or have our run
    directory in their environment, or belong to a process group that the tree leads.

    Args:
        root_pid: The process at the root; the calling one by default.
        processes: What finds and reads processes; by default what this platform has.
        environ: Returns the run directory that marks orphans; by default this process's own
            `ROBOT_SF_OTEL_RUN_DIR`, looked up at each scan as it is set when a run starts.
        clock: Returns monotonic seconds.
        cpu_clock: Returns the CPU seconds of the calling thread.
    """

    def __init__(
        self,
        root_pid: int | None = None,
        *,
        processes: Processes | None = None,
        environ: Callable[[], str | None] = lambda: os.environ.get(RUN_DIR),
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._root_pid = os.getpid() if root_pid is None else root_pid
        self._environ = environ
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._good_until = -math.inf
        self._processes = self._platform() if processes is None else processes
        self._ledger = Ledger()
        self._lock = threading.Lock()
        self._most = Totals()
        self._settled = False
        self._tells_disk = False
        self._known: tuple[TreeCounters | None, float | None] = None, None
        """What was last known, and the CPU seconds of this process then if it is in the tree."""
        self._pids: frozenset[int] = frozenset()

    def read(self) -> TreeReading:
        """Return the present state of the tree; meant for one thread, at every sample."""
        # With a limit, as a signal handler may ask while the code that it interrupted reads.
        if not self._lock.acquire(timeout=_READER_PATIENCE):
            return TreeReading(notes=("processes: another reading takes too long",))
        try:
            readings = self._settle()
            return self._reading(readings)
        finally:
            self._lock.release()

    def counters_now(self) -> TreeCounters | None:
        """Return the counters so far and the present memory, cheaply, for step boundaries.

        Known processes are read afresh (10 µs each); new ones are left to the next sample, and so
        is what all but the first dozen processes read and wrote. Waits 20 ms at most for a sample
        in progress. In a tree of hundreds of processes this would slow a pipeline of short steps:
        what took over 1 ms of CPU time is good for a hundred times that. In both cases what this
        process itself has used since is added to what was last known of the tree.

        Returns:
            None while no process of the tree could ever be read.
        """
        if self._clock() < self._good_until or not self._lock.acquire(timeout=_PATIENCE):
            return self._counters_carried_on()
        try:
            if not self._settled:
                self._settle()
            began = self._cpu_clock()
            readings = self._processes.read_counters()
            self._take(self._ledger.peek(readings), readings)
            took = self._cpu_clock() - began
            if took > _DEAR:
                self._good_until = self._clock() + took / _SHARE
            return self._known[0]
        finally:
            self._lock.release()

    def _counters_carried_on(self) -> TreeCounters | None:
        counters, own = self._known
        if counters is None or own is None:
            return counters
        # Without the children that it waited for: they may be in the counters as living ones.
        used = max(0.0, _own_cpu_seconds() - own)
        return counters._replace(cpu_seconds=counters.cpu_seconds + used)

    def pids(self) -> frozenset[int]:
        """Return the processes that the last reading found; costs nothing and never waits."""
        return self._pids

    def ignore(self, pid: int) -> None:
        """Never count that process: the watchdog, say."""
        with self._lock:
            self._processes.ignore(pid)

    def close(self) -> None:
        """Give all descriptors back; later readings have only what is known by then."""
        with self._lock:
            self._processes.close()

    def _platform(self) -> Processes:
        if sys.platform == "linux":
            return LinuxProcesses(self._root_pid, marker=self._marker)
        try:
            return PsutilProcesses(self._root_pid)
        except ImportError:
            return OwnProcess(self._root_pid)

    def _marker(self) -> bytes | None:
        directory = self._environ()
        return None if not directory else f"{RUN_DIR}=".encode() + os.fsencode(directory)

    def _settle(self) -> dict[int, ProcessReading]:
        readings = self._processes.read()
        self._settled = self._settled or bool(readings)
        self._take(self._ledger.settle(readings), readings)
        self._pids = frozenset(readings)
        return readings

    def _take(self, totals: Totals, readings: dict[int, ProcessReading]) -> None:
        """Keep what is known now; counters never go down, whatever a process stops telling."""
        cpu = max(self._most.cpu_seconds, totals.cpu_seconds)
        read = max(self._most.read_bytes, totals.read_bytes)
        write = max(self._most.write_bytes, totals.write_bytes)
        self._most = Totals(cpu, read, write)
        if not self._tells_disk:
            self._tells_disk = any(one.read_bytes is not None for one in readings.values())
        if not self._settled:
            return
        root = readings.get(self._root_pid)
        counters = TreeCounters(
            cpu,
            read if self._tells_disk else None,
            write if self._tells_disk else None,
            _sum_resident(readings),
            root.peak_rss_bytes if root is not None else None,
        )
        own = readings.get(os.getpid())
        self._known = counters, own.cpu_seconds if own is not None else None

    def _reading(self, readings: dict[int, ProcessReading]) -> TreeReading:
        notes: list[str] = []
        if not readings:
            notes.append("processes: none of the tree can be read")
        running = [reading for reading in readings.values() if reading.running]
        resident = _sum_resident(readings)
        threads = [r.threads for r in running if r.threads is not None]
        counts = bool(threads) or not readings
        if readings and resident is None:
            notes.append("processes: memory cannot be read")
        if readings and not self._tells_disk:
            notes.append("processes: disk reads and writes cannot be read")
        elif self._processes.io_denied():
            notes.append("processes: disk reads and writes of some cannot be read")
        root = readings.get(self._root_pid)
        return TreeReading(
            cpu_seconds=self._most.cpu_seconds if self._settled else None,
            rss_bytes=resident,
            own_rss_bytes=root.rss_bytes if root is not None else None,
            read_bytes=self._most.read_bytes if self._tells_disk else None,
            write_bytes=self._most.write_bytes if self._tells_disk else None,
            process_count=len(running) if counts and self._settled else None,
            thread_count=sum(threads) if counts and self._settled else None,
            notes=tuple(notes),
        )


def _own_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _sum_resident(readings: dict[int, ProcessReading]) -> int | None:
    resident = [r.rss_bytes for r in readings.values() if r.running and r.rss_bytes is not None]
    return sum(resident) if resident else None
