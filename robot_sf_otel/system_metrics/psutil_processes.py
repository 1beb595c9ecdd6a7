"""Finds and reads the processes of a tree through psutil, where there is no /proc (macOS)."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.system_metrics.process_accounting import ProcessReading

if TYPE_CHECKING:
    import psutil

_PASSES: Final = 4


class PsutilProcesses:
    """The processes of a tree; orphans stay counted if they were seen while they had a parent.

    macOS tells what ended children used only for the calling process. For the others the last
    reading of each ended child counts.

    Args:
        root_pid: The process at the root.

    Raises:
        ImportError: psutil is not installed.
    """

    def __init__(self, root_pid: int) -> None:
        import psutil

        self._psutil = psutil
        self._root_pid = root_pid
        # Process objects are kept: `children()` returns fresh ones that know nothing yet.
        self._known: dict[int, psutil.Process] = {}
        self._last: dict[int, ProcessReading] = {}
        self._ignored: set[int] = set()
        self._denied = False
        try:
            self._known[root_pid] = psutil.Process(root_pid)
        except psutil.Error:
            return

    def read(self) -> dict[int, ProcessReading]:
        """Look for new processes and read all of them, parents before children.

        When one is found to have gone, all are read once more: its parent now has its bill.
        """
        self._discover()
        readings: dict[int, ProcessReading] = {}
        for _ in range(_PASSES):
            readings, gone = self._pass(full=True)
            for pid in gone:
                del self._known[pid]
            if not gone:
                break
        self._last = readings
        return dict(readings)

    def read_counters(self) -> dict[int, ProcessReading]:
        """Read the counters and the memory of the known processes, and forget none of them."""
        gone: set[int] = set()
        readings: dict[int, ProcessReading] = {}
        for _ in range(_PASSES):
            readings, newly_gone = self._pass(full=False, skip=gone)
            gone |= newly_gone
            if not newly_gone:
                break
        return readings

    def io_denied(self) -> bool:
        """Return whether some process does not tell what it read and wrote."""
        return self._denied

    def ignore(self, pid: int) -> None:
        """Never count that process."""
        self._ignored.add(pid)
        self._known.pop(pid, None)

    def close(self) -> None:
        """Nothing is kept open."""

    def _discover(self) -> None:
        root = self._known.get(self._root_pid)
        if root is None:
            return
        try:
            children = root.children(recursive=True)
        except (self._psutil.Error, OSError):
            return
        for child in children:
            known = self._known.get(child.pid)
            if child.pid not in self._ignored and known != child:
                self._known[child.pid] = child

    def _pass(
        self, *, full: bool, skip: Iterable[int] = ()
    ) -> tuple[dict[int, ProcessReading], set[int]]:
        readings: dict[int, ProcessReading] = {}
        gone: set[int] = set()
        self._denied = False
        for pid, process in self._known.items():
            if pid in skip:
                continue
            try:
                if process.is_running():
                    with process.oneshot():
                        readings[pid] = self._reading(process, full=full)
                else:
                    gone.add(pid)
            except self._psutil.ZombieProcess:
                if pid in self._last:
                    readings[pid] = self._last[pid]._replace(
                        running=False, rss_bytes=None, threads=0
                    )
            except self._psutil.NoSuchProcess:
                gone.add(pid)
            except (self._psutil.Error, OSError):  # not ours to look at, for now
                if pid in self._last:
                    readings[pid] = self._last[pid]
        return readings, gone

    def _reading(self, process: psutil.Process, *, full: bool) -> ProcessReading:
        times = process.cpu_times()
        cpu, reaped, peak = times.user + times.system, None, None
        if process.pid == os.getpid():
            own = resource.getrusage(resource.RUSAGE_SELF)
            children = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = own.ru_utime + own.ru_stime
            reaped = children.ru_utime + children.ru_stime
            peak = _peak_bytes(own.ru_maxrss)
        read: int | None = None
        write: int | None = None
        try:
            counters: Any = getattr(process, "io_counters")()  # noqa: B009 - macOS has none
            read, write = counters.read_bytes, counters.write_bytes
        except (AttributeError, self._psutil.AccessDenied):
            self._denied = True
        return ProcessReading(
            process.ppid(),
            cpu,
            reaped,
            read,
            write,
            process.memory_info().rss,
            process.num_threads() if full else None,
            peak_rss_bytes=peak,
        )


class OwnProcess:
    """What the standard library tells: the CPU time of this process and of its ended children.

    And the most memory that it had, but not what it has now.
    """

    def __init__(self, root_pid: int) -> None:
        self._root_pid = root_pid

    def read(self) -> dict[int, ProcessReading]:
        """Read the calling process; another one cannot be read without psutil."""
        return self.read_counters()

    def read_counters(self) -> dict[int, ProcessReading]:
        """Read the CPU time and the greatest memory of the calling process."""
        if self._root_pid != os.getpid():
            return {}
        own = resource.getrusage(resource.RUSAGE_SELF)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu, reaped = own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime
        peak = _peak_bytes(own.ru_maxrss)
        reading = ProcessReading(os.getppid(), cpu, reaped, peak_rss_bytes=peak)
        return {self._root_pid: reading}

    def io_denied(self) -> bool:
        """Return whether some process does not tell what it read and wrote."""
        return True

    def ignore(self, pid: int) -> None:
        """Other processes are not counted anyway."""

    def close(self) -> None:
        """Nothing is kept open."""


def _peak_bytes(ru_maxrss: int) -> int:
    """Return bytes; getrusage(2) tells KiB, but bytes on macOS."""
    return ru_maxrss if sys.platform == "darwin" else ru_maxrss * 1024
