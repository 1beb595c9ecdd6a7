"""What the instruments of machine, process tree and GPUs show of a reading. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from robot_sf_otel import semconv
from robot_sf_otel.system_metrics.reading import cpu_share, throttled_share

if TYPE_CHECKING:
    from robot_sf_otel.system_metrics.gpu import DeviceReading
    from robot_sf_otel.system_metrics.reading import MachineReading


class Point(NamedTuple):
    """One value of an instrument, in the instrument's unit, and what tells it apart."""

    value: float
    attributes: Mapping[str, str] = {}


Points = dict[str, list[Point]]
"""Points by the reading that an instrument names; one that is unknown has none."""


def machine_points(before: MachineReading, now: MachineReading) -> Points:
    """Return the points of the machine, of the process tree and of the GPUs.

    Args:
        before: The reading before `now`, for shares of the time between them.
        now: The last reading.
    """
    host, tree, cgroup = now.host, now.tree, now.cgroup
    points = {
        "own_memory": _one(tree.own_rss_bytes),
        "system_cpu_utilization": _one(_share(host.cpu_percent)),
        "system_memory_limit": _one(host.memory_total_bytes),
        "system_memory_available": _one(host.memory_available_bytes),
        "memory_available": _one(now.memory_available_bytes),
        "disk_free": _one(now.disk_free_bytes),
        "usable_cpus": _one(now.usable_cpus),
        "container_memory": _one(cgroup.memory_usage_bytes),
        "container_working_set": _one(cgroup.memory_working_set_bytes),
        "container_memory_limit": _one(cgroup.memory_limit_bytes),
        "oom_kills": _one(cgroup.oom_kills),
        "throttled_time": _one(cgroup.cpu_throttled_seconds),
        "throttled_share": _one(throttled_share(before, now)),
        "tree_cpu_time": _one(tree.cpu_seconds),
        "tree_cpu_utilization": _one(cpu_share(before, now)),
        "tree_memory": _one(tree.rss_bytes),
        "processes": _one(tree.process_count),
        "threads": _one(tree.thread_count),
        "own_cpu_time": _by(
            semconv.CPU_MODE, user=now.own_user_seconds, system=now.own_system_seconds
        ),
        "system_paging": _by(
            semconv.PAGING_STATE,
            used=host.swap_used_bytes,
            free=_difference(host.swap_total_bytes, host.swap_used_bytes),
        ),
        "pressure": _by(
            semconv.PRESSURE_RESOURCE,
            cpu=_share(host.cpu_pressure_percent),
            io=_share(host.io_pressure_percent),
            memory=_share(host.memory_pressure_percent),
        ),
        "tree_disk_io": _by(semconv.DISK_DIRECTION, read=tree.read_bytes, write=tree.write_bytes),
    }
    return points | _gpu_points(now.gpu.devices)


def _gpu_points(devices: Iterable[DeviceReading]) -> Points:
    points: Points = {}

    def add(reading: str, value: float | None, attributes: Mapping[str, str]) -> None:
        if value is not None:
            points.setdefault(reading, []).append(Point(value, attributes))

    for device in devices:
        which = {semconv.HW_ID: device.uuid or f"gpu{device.index}", semconv.HW_TYPE: "gpu"}
        if device.name is not None:
            which[semconv.HW_NAME] = device.name
        used, total = device.mem_used_bytes, device.mem_total_bytes
        share = used / total if used is not None and total else None
        add("tree_gpu_memory", device.run_mem_used_bytes, which)
        add("gpu_utilization", _share(device.util_percent), {**which, semconv.GPU_TASK: "general"})
        add("gpu_memory", used, which)
        add("gpu_memory_limit", total, which)
        add("gpu_memory_utilization", share, which)
        add("gpu_power", device.power_w, which)
        add("gpu_energy", device.energy_joules, which)
        add("gpu_temperature", device.temperature_c, which)
    return points


def _one(value: float | None) -> list[Point]:
    return [] if value is None else [Point(value)]


def _by(attribute: str, **values: float | None) -> list[Point]:
    return [Point(value, {attribute: kind}) for kind, value in values.items() if value is not None]


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _difference(whole: float | None, part: float | None) -> float | None:
    return None if whole is None or part is None else max(0, whole - part)
