"""What all sensors said at one moment, and the telemetry sample that follows from two. Pure.

Limits and shares are those of the container where there is one: a run in a container with half a
CPU that uses all of it is at 100 %, and what is available to it is what its limit leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.schema import GpuSample, TelemetrySnapshot

if TYPE_CHECKING:
    from robot_sf_otel.system_metrics.cgroup import CgroupReading
    from robot_sf_otel.system_metrics.gpu import DeviceReading, GpuReading
    from robot_sf_otel.system_metrics.host import HostReading
    from robot_sf_otel.system_metrics.process_tree import TreeReading

MIB: Final = 1024 * 1024
SHORTEST: Final = 0.05
"""Seconds between two readings below which a rate says nothing: ticks of CPU time are 10 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReading:
    """All sensors at one moment; what cannot be had is None in each of them."""

    monotonic: float
    """Seconds on a clock that never runs backwards."""
    tree: TreeReading
    host: HostReading
    cgroup: CgroupReading
    gpu: GpuReading
    usable_cpus: float | None = None
    """CPUs that the run may use: affinity, and the quota of its container."""
    own_user_seconds: float | None = None
    """CPU time of the instrumented process alone, in user mode."""
    own_system_seconds: float | None = None
    disk_free_bytes: int | None = None
    """On the file system of the artifact root."""

    @property
    def memory_available_bytes(self) -> int | None:
        """What the run can still get: of the host, or what its container's limit leaves."""
        left = [self.host.memory_available_bytes]
        limit, used = self.cgroup.memory_limit_bytes, self.cgroup.memory_working_set_bytes
        if limit is not None and used is not None:
            left.append(max(0, limit - used))
        return min((value for value in left if value is not None), default=None)

    def notes(self) -> str | None:
        """Return why readings are missing, None where none is."""
        said = [*self.tree.notes, *self.host.notes, *self.cgroup.notes, *self.gpu.notes]
        return "; ".join(dict.fromkeys(said)) or None


def cpu_cores(before: MachineReading, now: MachineReading) -> float | None:
    """Return how many CPUs the process tree kept busy between two readings."""
    return _rate(before.tree.cpu_seconds, now.tree.cpu_seconds, _seconds(before, now))


def cpu_share(before: MachineReading, now: MachineReading) -> float | None:
    """Return the share (0 to 1) of the CPUs that the run may use which the tree kept busy."""
    cores = cpu_cores(before, now)
    if cores is None or not now.usable_cpus:
        return None
    return min(1.0, cores / now.usable_cpus)


def throttled_share(before: MachineReading, now: MachineReading) -> float | None:
    """Return the share (0 to 1) of the quota's periods in which the container was stopped."""
    periods = (now.cgroup.cpu_periods or 0) - (before.cgroup.cpu_periods or 0)
    share = _rate(before.cgroup.cpu_throttled_periods, now.cgroup.cpu_throttled_periods, periods)
    return None if share is None else min(1.0, share)


def snapshot(before: MachineReading, now: MachineReading, timestamp_ms: int) -> TelemetrySnapshot:
    """Return the sample of a moment; rates are those since the reading before.

    Args:
        before: The reading before, or `now` itself: rates are None then.
        now: The reading of the sample.
        timestamp_ms: Unix time in milliseconds.
    """
    seconds = _seconds(before, now)
    tree, host, gpu = now.tree, now.host, now.gpu
    return TelemetrySnapshot(
        timestamp_ms=timestamp_ms,
        cpu_percent_process=_percent(cpu_share(before, now)),
        cpu_cores_process=_rounded(cpu_cores(before, now)),
        cpu_percent_system=_rounded(host.cpu_percent),
        memory_rss_mb=_mib(tree.rss_bytes),
        memory_limit_mb=_mib(now.cgroup.memory_limit_bytes),
        memory_available_mb=_mib(now.memory_available_bytes),
        swap_used_mb=_mib(host.swap_used_bytes),
        disk_read_mb_s=_mib(_rate(before.tree.read_bytes, tree.read_bytes, seconds)),
        disk_write_mb_s=_mib(_rate(before.tree.write_bytes, tree.write_bytes, seconds)),
        disk_free_mb=_mib(now.disk_free_bytes, digits=0),
        process_count=tree.process_count,
        thread_count=tree.thread_count,
        cpu_pressure=_rounded(host.cpu_pressure_percent),
        io_pressure=_rounded(host.io_pressure_percent),
        memory_pressure=_rounded(host.memory_pressure_percent),
        cpu_throttled_percent=_percent(throttled_share(before, now)),
        gpu_util_percent=_rounded(gpu.util_percent),
        gpu_mem_used_mb=_mib(gpu.mem_used_bytes),
        gpus=[_gpu(device) for device in gpu.devices],
        notes=now.notes(),
    )


def _gpu(device: DeviceReading) -> GpuSample:
    return GpuSample(
        index=device.index,
        uuid=device.uuid,
        name=device.name,
        util_percent=_rounded(device.util_percent),
        mem_used_mb=_mib(device.mem_used_bytes),
        mem_total_mb=_mib(device.mem_total_bytes),
        run_mem_used_mb=_mib(device.run_mem_used_bytes),
        temperature_c=_rounded(device.temperature_c),
        power_w=_rounded(device.power_w),
        power_limit_w=_rounded(device.power_limit_w),
        sm_clock_mhz=_rounded(device.sm_clock_mhz),
        energy_joules=_rounded(device.energy_joules),
        throttle_reasons=list(device.throttle_reasons),
    )


def _seconds(before: MachineReading, now: MachineReading) -> float:
    """Return the time between two readings, 0 if it is too short for a rate."""
    seconds = now.monotonic - before.monotonic
    return seconds if seconds >= SHORTEST else 0.0


def _rate(before: float | None, now: float | None, by: float) -> float | None:
    """Return the growth of a counter by each unit of `by`, None where it cannot be told."""
    if before is None or now is None or by <= 0:
        return None
    return max(0.0, now - before) / by


def _mib(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value / MIB, digits)


def _percent(share: float | None) -> float | None:
    return None if share is None else round(share * 100, 3)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
