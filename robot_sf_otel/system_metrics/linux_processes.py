"""Finds the processes of a tree in /proc, and reads them with descriptors that stay open.

Finding is what costs, so it is done in portions. At every sample: the list of children of each main
thread. The fewer processes the host has, the more often: a scan of those that are new on it, which
finds orphans and children of other threads. Between scans: the lists of the other threads, less
often the more there are.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from robot_sf_otel.system_metrics.files import exists, read_file
from robot_sf_otel.system_metrics.linux_process import (
    LinuxProcess,
    ProcessGoneError,
    Stat,
    parse_stat,
)

if TYPE_CHECKING:
    from robot_sf_otel.system_metrics.process_accounting import ProcessReading

_THREADS_A_SAMPLE: Final = 64
"""Reading the children of one thread costs 7 µs."""
_PIDS_A_SCAN: Final = 300
"""Listing one process of the host costs 0.5 µs."""
_NEW_PIDS_A_SCAN: Final = 64
"""Looking at one process that is new on the host costs 15 µs."""
_PASSES: Final = 8
_FILES_A_PROCESS: Final = 3
_DISK_AT_A_BOUNDARY: Final = 12
"""Reading what one process read and wrote costs 3 µs."""
_KEPT_DESCRIPTORS: Final = 192


class LinuxProcesses:
    """The processes of a tree, found and read in /proc.

    Args:
        root_pid: The process at the root.
        proc: Where procfs is mounted; another directory in tests.
        marker: Returns a `NAME=value` of the environment that marks orphans as ours, or None.
    """

    def __init__(
        self,
        root_pid: int,
        *,
        proc: str = "/proc",
        marker: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        self._root_pid = root_pid
        self._proc = proc
        self._marker = marker
        self._known: dict[int, LinuxProcess] = {}
        self._last: dict[int, ProcessReading] = {}
        self._foreign: set[int] | None = None
        self._seen_once: set[int] = set()
        self._groups: dict[int, int] = {}
        self._ignored: set[int] = set()
        self._sample = 0
        self._next_scan = 0
        self._scans = 0
        self._start_time = 0
        self._own_children = b""
        self._ancestors: frozenset[int] = frozenset()
        self._ancestors_of = 0
        self._has_lists = exists(f"{proc}/{root_pid}/task/{root_pid}/children")
        soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        share = soft_limit // 8 if soft_limit > 0 else _KEPT_DESCRIPTORS
        self._keep_processes = min(_KEPT_DESCRIPTORS, share) // _FILES_A_PROCESS
        self._find_root()

    # ------------------------------------------------------------------------------------ reading

    def read(self) -> dict[int, ProcessReading]:
        """Look for new processes and read all of them.

        Returns:
            The readings, parents before children, such that no process is counted twice: when one
            is found to have gone, its ancestors are read once more and now have its bill.
        """
        self._discover()
        readings: dict[int, ProcessReading] = {}
        for _ in range(_PASSES):
            readings, gone = self._pass(full=True)
            for pid in gone:
                self._known.pop(pid).close()
            if self._last.keys().isdisjoint(gone):  # who was never billed needs no account
                break
        self._last = readings
        return dict(readings)

    def read_counters(self) -> dict[int, ProcessReading]:
        """Read the counters and the memory of the known processes, and forget none of them.

        New are only the children that the main thread of this process started since. Disk counters
        are read of this process and of the twelve others that were found first; of the rest they
        are those of the last sample.
        """
        self._add_own_children()
        gone: set[int] = set()
        readings: dict[int, ProcessReading] = {}
        for _ in range(_PASSES):
            readings, newly_gone = self._pass(full=False, skip=gone)
            gone |= newly_gone
            if self._last.keys().isdisjoint(newly_gone):
                break
        return readings

    def io_denied(self) -> bool:
        """Return whether some process does not tell what it read and wrote."""
        return any(process.io_denied for process in self._known.values())

    def ignore(self, pid: int) -> None:
        """Never count that process: the watchdog, which has our environment but is not the run."""
        self._ignored.add(pid)
        process = self._known.pop(pid, None)
        if process is not None:
            process.close()

    def close(self) -> None:
        """Give all descriptors back."""
        for process in self._known.values():
            process.close()
        self._known.clear()

    def _pass(
        self, *, full: bool, skip: Iterable[int] = ()
    ) -> tuple[dict[int, ProcessReading], set[int]]:
        readings: dict[int, ProcessReading] = {}
        gone: set[int] = set()
        own = os.getpid()
        for pid, process in self._known.items():
            if pid in skip:
                continue
            if not full and pid == own:  # alive, and its times need no file
                readings[pid] = process.own_counters()
                continue
            try:
                stat = process.stat()
            except ProcessGoneError:
                gone.add(pid)
                continue
            except (OSError, ValueError):  # no descriptors left, say: it is still there
                if pid in self._last:
                    readings[pid] = self._last[pid]
                continue
            if not process.same(stat):
                gone.add(pid)
                continue
            if full:
                process.note(stat)
                readings[pid] = process.reading(stat)
            else:
                ask_disk = len(readings) <= _DISK_AT_A_BOUNDARY
                readings[pid] = process.counters(stat, ask_disk=ask_disk)
        return readings, gone

    # ------------------------------------------------------------------------------------ finding

    def _find_root(self) -> None:
        if not self._start_time and self._add(self._root_pid):
            self._start_time = self._known[self._root_pid].start_time

    def _discover(self) -> None:
        self._sample += 1
        self._find_root()
        # Listed before the walk: who is started in between is then new to the next scan.
        pids = self._listed() if self._sample >= self._next_scan else None
        if self._has_lists:
            self._walk(all_threads=self._sample == 1)
        complete = False
        if pids is not None:
            budget = _PIDS_A_SCAN if self._has_lists else _PIDS_A_SCAN * 8
            self._next_scan = self._sample + 1 + len(pids) // budget
            complete = self._scan(pids)
        if self._has_lists and not complete:
            threads = sum(process.threads for process in self._known.values())
            if self._sample % (1 + threads // _THREADS_A_SAMPLE) == 0:
                self._walk(all_threads=True)

    def _add(self, pid: int) -> bool:
        keep = len(self._known) < self._keep_processes
        try:
            self._known[pid] = LinuxProcess(self._proc, pid, keep=keep)
        except (ProcessGoneError, OSError, ValueError):
            return False
        return True

    def _add_own_children(self) -> None:
        own = self._known.get(os.getpid())
        children = own.children() if own is not None and self._has_lists else b""
        if children == self._own_children:
            return
        self._own_children = children
        for child in map(int, children.split()):
            if child not in self._known and child not in self._ignored:
                self._add(child)

    def _walk(self, *, all_threads: bool) -> None:
        """Follow the lists of children, which the kernel keeps for each thread."""
        queue = list(self._known)
        for pid in queue:  # grows while it is walked
            threads = [str(pid)]
            if all_threads and self._known[pid].threads > 1:
                try:
                    threads = os.listdir(f"{self._proc}/{pid}/task")  # noqa: PTH208 - five times the speed
                except OSError:
                    continue
            for thread in threads:
                for word in read_file(f"{self._proc}/{pid}/task/{thread}/children").split():
                    child = int(word)
                    known = child in self._known or child in self._ignored
                    if not known and self._add(child):
                        queue.append(child)

    def _listed(self) -> set[int] | None:
        try:
            names = os.listdir(self._proc)  # noqa: PTH208 - five times the speed
        except OSError:  # no descriptor left, say: that is no reason to forget anybody
            return None
        return {int(name) for name in names if name.isdecimal()}

    def _scan(self, pids: set[int]) -> bool:
        """Look at the processes that are new on the host, for children and orphans of ours.

        Returns:
            Whether all of them were looked at.
        """
        self._scans += 1
        left = 0
        self._remember_groups()
        if self._foreign is None:
            # Before the first scan nothing can have been orphaned while we watched.
            self._foreign = set()
            if self._has_lists:
                self._foreign = pids - self._known.keys()
                return True
            new = sorted(pids - self._known.keys())
        else:
            self._foreign &= pids
            self._seen_once &= pids
            self._ignored &= pids
            # The newest first: they have the highest numbers until those are used up.
            new = sorted(pids - self._known.keys() - self._foreign - self._ignored, reverse=True)
            if self._has_lists:
                left = len(new) - _NEW_PIDS_A_SCAN
                new = new[:_NEW_PIDS_A_SCAN]
        candidates: dict[int, Stat] = {}
        for pid in new:
            content = read_file(f"{self._proc}/{pid}/stat")
            try:
                candidates[pid] = parse_stat(content)
            except ValueError:
                continue  # gone, or hidden from us
        self._take_children(candidates)
        for pid, stat in candidates.items():
            if pid in self._known or (self._is_orphan_of_ours(pid, stat) and self._add(pid)):
                continue
            # A look right after the fork is too early: the environment comes with exec, the
            # process group with setpgid. So twice.
            if pid in self._seen_once or stat.start_time < self._start_time:
                self._foreign.add(pid)
            self._seen_once.add(pid)
        self._take_children(candidates)
        return left <= 0

    def _take_children(self, candidates: dict[int, Stat]) -> None:
        found = True
        while found:
            found = False
            for pid, stat in candidates.items():
                ours = stat.parent in self._known and pid not in self._ignored
                if ours and pid not in self._known:
                    found = self._add(pid) or found

    def _remember_groups(self) -> None:
        """Note the process groups that a process of the tree leads, while they have members."""
        for process in self._known.values():
            if process.group in self._known or process.group in self._groups:
                self._groups[process.group] = self._scans
        self._groups = {g: seen for g, seen in self._groups.items() if seen >= self._scans - 1}

    def _is_orphan_of_ours(self, pid: int, stat: Stat) -> bool:
        if stat.start_time < self._start_time:
            return False
        if stat.group in self._groups and stat.parent in self._adopters():
            return True
        marker = self._marker()
        if marker is None:
            return False
        return marker in read_file(f"{self._proc}/{pid}/environ").split(b"\0")

    def _adopters(self) -> frozenset[int]:
        """Return who an orphan of ours can have got as its parent: init, or a reaper above us.

        Not our own parent: in `python train.py | tee log` it is that of both, which share a group.
        """
        root = self._known.get(self._root_pid)
        parent = root.parent if root is not None else 0
        if parent != self._ancestors_of or not self._ancestors:
            above = {1}
            self._ancestors_of = pid = parent
            while pid > 0:
                try:
                    pid = parse_stat(read_file(f"{self._proc}/{pid}/stat")).parent
                except ValueError:
                    break
                if pid in above - {1}:
                    break
                above.add(pid)
            self._ancestors = frozenset(above - {parent, 0})
        return self._ancestors
