"""The bill of a step: cumulative counters at its end less those at its start, and peaks. Pure.

A bill is that of the machine's counters between two moments, not of one thread: steps that run at
the same time in one process are each billed what the whole tree used meanwhile, and a step that
has steps within it is billed theirs too. Adding up is right for steps one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from robot_sf_otel.manifest.schema import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from robot_sf_otel.manifest.schema import TelemetrySnapshot
    from robot_sf_otel.system_metrics.gpu import GpuCounters
    from robot_sf_otel.system_metrics.process_tree import TreeCounters

MIB: Final = 1024 * 1024


class Counters(NamedTuple):
    """Everything that a step is billed for, at one moment; None where it cannot be had."""

    monotonic: float
    """Seconds on a clock that never runs backwards."""
    tree: TreeCounters | None
    gpu: GpuCounters | None


class StepBill:
    """The running bill of one step: counters at its start, and the peaks seen since.

    Args:
        counters: Returns the counters of this moment, cheaply.
    """

    __slots__ = ("_counters", "_gpu_peak", "_rss_peak", "_start")

    def __init__(self, counters: Callable[[], Counters]) -> None:
        self._counters = counters
        self._start = counters()
        self._rss_peak: float | None = None
        self._gpu_peak: float | None = None

    def observe(self, sample: TelemetrySnapshot) -> None:
        """Take the memory of a telemetry sample into the peaks."""
        self._rss_peak = _highest(self._rss_peak, sample.memory_rss_mb)
        self._gpu_peak = _highest(self._gpu_peak, sample.gpu_mem_used_mb)

    def settle(self) -> Usage:
        """Return what was used since the start; what is not known is None."""
        start, end = self._start, self._counters()
        return Usage(
            **_tree_part(start, end, self._rss_peak),
            **_gpu_part(start.gpu, end.gpu, self._gpu_peak),
        )


def _tree_part(start: Counters, end: Counters, seen: float | None) -> dict[str, float | None]:
    if start.tree is None or end.tree is None:
        return {"memory_rss_peak_mb": seen}
    used = _grown(start.tree.cpu_seconds, end.tree.cpu_seconds)
    seconds = end.monotonic - start.monotonic
    return {
        "cpu_seconds": used,
        "cpu_cores_mean": used / seconds if used is not None and seconds > 0 else None,
        "memory_rss_peak_mb": _rss_peak(start.tree, end.tree, seen),
        "disk_read_mb": _mib(_grown(start.tree.read_bytes, end.tree.read_bytes)),
        "disk_write_mb": _mib(_grown(start.tree.write_bytes, end.tree.write_bytes)),
    }


def _rss_peak(start: TreeCounters, end: TreeCounters, seen: float | None) -> float | None:
    """Return the highest of the samples, of both ends, and of the process's own mark if it rose.

    The mark is one for the whole life of the process: if it rose during the step, it was reached
    in the step, however short that was. Otherwise it says nothing about the step.
    """
    highest = seen
    for resident in (start.rss_bytes, end.rss_bytes):
        highest = _highest(highest, _mib(resident))
    if None not in (start.own_peak_rss_bytes, end.own_peak_rss_bytes):
        before, after = start.own_peak_rss_bytes or 0, end.own_peak_rss_bytes or 0
        if after > before:
            highest = _highest(highest, _mib(after))
    return highest


def _gpu_part(
    start: GpuCounters | None, end: GpuCounters | None, seen: float | None
) -> dict[str, float | None]:
    if start is None or end is None:
        return {}
    highest = seen
    for used in (start.mem_used_bytes, end.mem_used_bytes):
        highest = _highest(highest, _mib(used))
    # These count from 0. Loading the driver takes a second: the first step may begin before that.
    return {
        "gpu_seconds": _grown(start.busy_seconds or 0.0, end.busy_seconds),
        "gpu_mem_peak_mb": highest,
        "energy_joules": _grown(start.energy_joules or 0.0, end.energy_joules),
    }


def _grown(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else max(0.0, now - before)


def _highest(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _mib(value: float | None) -> float | None:
    return None if value is None else round(value / MIB, 3)
