"""What the GPU sensor publishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReading:
    """One device (or MIG instance) that the run may use; None is unknown.

    Under MIG temperature, clock and throttle reasons are those of the GPU around the instance;
    utilization, power and energy are unknown, because only whole GPUs tell them.
    """

    index: int
    """Position among the devices visible to the run, which is what CUDA calls it: 0 to n-1."""
    nvml_index: int
    """Position of the physical device in NVML."""
    uuid: str | None = None
    name: str | None = None
    util_percent: float | None = None
    mem_used_bytes: int | None = None
    """Of all processes, without the driver's reserve."""
    mem_total_bytes: int | None = None
    run_mem_used_bytes: int | None = None
    """Of the processes of the run, where the driver tells pids that are known here."""
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    sm_clock_mhz: float | None = None
    energy_joules: float | None = None
    """Since the sensor began; never falls."""
    throttle_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One reading of all devices that the run may use; None is unknown."""

    devices: tuple[DeviceReading, ...] = ()
    util_percent: float | None = None
    """Mean over the devices that tell."""
    mem_used_bytes: int | None = None
    """Sum over the devices that tell."""
    mem_total_bytes: int | None = None
    """Likewise."""
    notes: tuple[str, ...] = ()
    """What is missing, and why."""


class GpuCounters(NamedTuple):
    """Cumulative counters since the sensor began, for the bill of a step; None is unknown."""

    busy_seconds: float | None
    """Utilization by time, summed over devices; never falls. While a device does not tell its
    utilization, it counts as idle.
    """
    energy_joules: float | None
    """Of whole GPUs, whoever uses them; never falls."""
    mem_used_bytes: int | None
    """At present."""
