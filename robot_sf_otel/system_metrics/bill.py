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
        start: The counters at its start.
        counters: Returns the counters of this moment, cheaply.
    """

    __slots__ = ("_counters", "_gpu_peak", "_rss_peak", "_start")

    def __init__(self, start: Counters, counters: Callable[[], Counters]) -> None:
        self._counters = counters
        self._start = start
        self._rss_peak: float | None = None
        self._gpu_peak: float | None = None

    def observe(self, sample: TelemetrySnapshot) -> None:
        """Take the memory of a telemetry sample into the peaks."""
        self._rss_peak = _highest(self._rss_peak, sample.memory_rss_mb)
        self._gpu_peak = _highest(self._gpu_peak, sample.gpu_mem_used_mb)

    def settle(self) -> Usage:
        """Return what was used since the start; what is not known is None."""
        start, end = self._start, self._counters()
        usage = Usage(memory_rss_peak_mb=self._rss_peak)
        if start.tree is not None and end.tree is not None:
            _bill_tree(usage, start.tree, end.tree, end.monotonic - start.monotonic)
        if start.gpu is not None and end.gpu is not None:
            usage.gpu_mem_peak_mb = self._gpu_peak
            _bill_gpu(usage, start.gpu, end.gpu)
        return usage


def _bill_tree(usage: Usage, start: TreeCounters, end: TreeCounters, seconds: float) -> None:
    used = max(0.0, end.cpu_seconds - start.cpu_seconds)
    usage.cpu_seconds = used
    if seconds > 0:
        usage.cpu_cores_mean = used / seconds
    usage.disk_read_mb = _mib(_grown(start.read_bytes, end.read_bytes))
    usage.disk_write_mb = _mib(_grown(start.write_bytes, end.write_bytes))
    highest = _highest(start.rss_bytes, end.rss_bytes)
    # The process's own mark is one for its whole life: if it rose during the step it was reached
    # in the step, however short that was. Otherwise it says nothing about the step.
    before, after = start.own_peak_rss_bytes, end.own_peak_rss_bytes
    if before is not None and after is not None and after > before:
        highest = _highest(highest, after)
    usage.memory_rss_peak_mb = _highest(usage.memory_rss_peak_mb, _mib(highest))


def _bill_gpu(usage: Usage, start: GpuCounters, end: GpuCounters) -> None:
    # These count from 0. Loading the driver takes a second: the first step may begin before that.
    usage.gpu_seconds = _grown(start.busy_seconds or 0.0, end.busy_seconds)
    usage.energy_joules = _grown(start.energy_joules or 0.0, end.energy_joules)
    highest = _highest(start.mem_used_bytes, end.mem_used_bytes)
    usage.gpu_mem_peak_mb = _highest(usage.gpu_mem_peak_mb, _mib(highest))


def _grown(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else max(0.0, now - before)


def _highest(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def _mib(value: float | None) -> float | None:
    return None if value is None else round(value / MIB, 3)
