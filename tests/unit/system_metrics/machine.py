"""A machine that is made up, for the tests of what is made of its readings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from robot_sf_otel.system_metrics.cgroup import CgroupReading
from robot_sf_otel.system_metrics.gpu import DeviceReading, GpuReading
from robot_sf_otel.system_metrics.host import HostReading
from robot_sf_otel.system_metrics.process_tree import TreeReading
from robot_sf_otel.system_metrics.reading import MIB, MachineReading

DEVICE: Final = DeviceReading(
    index=0,
    nvml_index=2,
    uuid="GPU-a",
    name="NVIDIA H100",
    util_percent=75.0,
    mem_used_bytes=20 * MIB,
    mem_total_bytes=80 * MIB,
    run_mem_used_bytes=15 * MIB,
    temperature_c=61.0,
    power_w=350.5,
    power_limit_w=700.0,
    sm_clock_mhz=1980.0,
    energy_joules=1234.5,
    throttle_reasons=("sw_power_cap",),
)
EVERYTHING: Final = MachineReading(
    monotonic=1000.0,
    tree=TreeReading(
        cpu_seconds=10.0,
        rss_bytes=200 * MIB,
        own_rss_bytes=100 * MIB,
        read_bytes=0,
        write_bytes=0,
        process_count=3,
        thread_count=7,
    ),
    host=HostReading(
        cpu_percent=50.0,
        memory_total_bytes=64 * MIB,
        memory_available_bytes=8 * MIB,
        swap_total_bytes=10 * MIB,
        swap_used_bytes=4 * MIB,
        cpu_pressure_percent=3.0,
        io_pressure_percent=2.0,
        memory_pressure_percent=1.0,
    ),
    cgroup=CgroupReading(
        memory_limit_bytes=16 * MIB,
        memory_usage_bytes=15 * MIB,
        memory_working_set_bytes=12 * MIB,
        cpu_limit=4.0,
        cpu_periods=100,
        cpu_throttled_periods=90,
        cpu_throttled_seconds=2.5,
        oom_kills=1,
    ),
    gpu=GpuReading(
        devices=(DEVICE,),
        util_percent=75.0,
        mem_used_bytes=20 * MIB,
        mem_total_bytes=80 * MIB,
    ),
    usable_cpus=4.0,
    own_user_seconds=7.0,
    own_system_seconds=1.0,
    disk_free_bytes=1000 * MIB,
)
"""A reading in which nothing is missing."""
NOTHING: Final = MachineReading(
    monotonic=1000.0,
    tree=TreeReading(),
    host=HostReading(),
    cgroup=CgroupReading(),
    gpu=GpuReading(),
)
"""A reading in which everything is."""


def later(reading: MachineReading, seconds: float, **changed: dict[str, Any]) -> MachineReading:
    """Return the reading after some time, with fields of its parts changed."""
    parts = {name: replace(getattr(reading, name), **fields) for name, fields in changed.items()}
    return replace(reading, monotonic=reading.monotonic + seconds, **parts)
