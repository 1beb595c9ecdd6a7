"""Adds up what a tree of processes used, including those that ended. Pure: readings in, totals out.

The kernel credits a process that ended to the parent that waited for it, and to nobody where the
parent ignored it or had ended itself. So the total is that of the living, with what they were
credited for, plus the last reading of every vanished process that no ancestor was credited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class ProcessReading(NamedTuple):
    """One process at one moment; None where it cannot be had. Counters begin with the process."""

    parent: int
    cpu_seconds: float
    """User and system time of all its threads, ended ones included."""
    reaped_cpu_seconds: float | None
    """The same of the children that it waited for, and of theirs."""
    read_bytes: int | None = None
    """From disks, not from caches, with the children that it waited for."""
    write_bytes: int | None = None
    rss_bytes: int | None = None
    threads: int | None = None
    running: bool = True
    """False for a zombie, which has a bill but neither memory nor threads."""
    peak_rss_bytes: int | None = None
    """The most that was resident so far; told at step boundaries, of the calling process only."""


class Totals(NamedTuple):
    """What the tree used so far."""

    cpu_seconds: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0

    def plus(self, cpu_seconds: float, read_bytes: int, write_bytes: int) -> Totals:
        """Return the sum."""
        return Totals(
            self.cpu_seconds + cpu_seconds,
            self.read_bytes + read_bytes,
            self.write_bytes + write_bytes,
        )


Readings = Mapping[int, ProcessReading]


class Ledger:
    """Keeps the last reading of each process, and the bill of those that nobody was credited for.

    Each set of readings must be consistent: a process in it was read after its ancestors, and the
    ancestors of a process that is missing were read after it had gone.
    """

    def __init__(self) -> None:
        self._last: Readings = {}
        self._lost = Totals()
        # Where the platform does not tell what a process was credited for, it is counted here.
        self._credited: dict[int, float] = {}

    @property
    def last(self) -> Readings:
        """The readings that were settled last."""
        return self._last

    def settle(self, readings: Readings) -> Totals:
        """Take the readings as the new state and return the totals."""
        self._lost, self._credited = self._close_accounts(readings)
        self._last = readings
        return _sum(readings, self._lost, self._credited)

    def peek(self, readings: Readings) -> Totals:
        """Return what `settle` would, without changing anything."""
        return _sum(readings, *self._close_accounts(readings))

    def _close_accounts(self, now: Readings) -> tuple[Totals, dict[int, float]]:
        """Return the bill of the lost and the credits of the living, after these readings."""
        vanished: dict[int | None, list[int]] = {}
        for pid in self._last:
            if pid not in now:
                vanished.setdefault(self._living_ancestor(pid, now), []).append(pid)
        lost, credited = self._lost, self._credited
        if vanished:
            credited = {pid: cpu for pid, cpu in credited.items() if pid in now}
        for ancestor, pids in vanished.items():
            bill = Totals()
            for pid in pids:
                last = self._last[pid]
                cpu = last.cpu_seconds + (last.reaped_cpu_seconds or 0.0)
                cpu += self._credited.get(pid, 0.0)
                bill = bill.plus(cpu, last.read_bytes or 0, last.write_bytes or 0)
            if ancestor is None:
                lost = lost.plus(*bill)
            elif now[ancestor].reaped_cpu_seconds is None:
                credited[ancestor] = credited.get(ancestor, 0.0) + bill.cpu_seconds
                lost = lost.plus(0.0, bill.read_bytes, bill.write_bytes)
            else:
                lost = lost.plus(*_uncredited(bill, self._last.get(ancestor), now[ancestor]))
        return lost, credited

    def _living_ancestor(self, pid: int, now: Readings) -> int | None:
        """Return the nearest ancestor that lives, as far as the last readings tell."""
        for _ in range(len(self._last)):  # a number used again could close a circle
            last = self._last.get(pid)
            if last is None:
                return None
            pid = last.parent
            if pid in now:
                return pid
        return None


def _uncredited(bill: Totals, before: ProcessReading | None, now: ProcessReading) -> Totals:
    """Return the part of the bill that the ancestor was not credited for.

    Its CPU credit is a counter of its own. Its disk counters are mixed with what it read and wrote
    itself, so the credited share of the CPU decides, as long as the sum does not go down.
    """
    if before is None or before.reaped_cpu_seconds is None or now.reaped_cpu_seconds is None:
        return bill
    credit = now.reaped_cpu_seconds - before.reaped_cpu_seconds
    cpu = max(0.0, bill.cpu_seconds - credit)
    share = cpu / bill.cpu_seconds if bill.cpu_seconds > 0 else 0.0
    grown_read = (now.read_bytes or 0) - (before.read_bytes or 0)
    grown_write = (now.write_bytes or 0) - (before.write_bytes or 0)
    return Totals(
        cpu,
        max(round(bill.read_bytes * share), bill.read_bytes - grown_read, 0),
        max(round(bill.write_bytes * share), bill.write_bytes - grown_write, 0),
    )


def _sum(readings: Readings, lost: Totals, credited: Mapping[int, float]) -> Totals:
    cpu = lost.cpu_seconds
    read, write = lost.read_bytes, lost.write_bytes
    for pid, reading in readings.items():
        cpu += reading.cpu_seconds + (reading.reaped_cpu_seconds or 0.0) + credited.get(pid, 0.0)
        read += reading.read_bytes or 0
        write += reading.write_bytes or 0
    return Totals(cpu, read, write)
