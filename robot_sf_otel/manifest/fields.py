"""What each field of the telemetry and of a step's bill means: unit, source, when it is unknown.

The reference page is written from these tables, and whatever shows a field takes its unit here.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Field(NamedTuple):
    """The meaning of one field."""

    unit: str
    """As people write it; empty for text."""
    meaning: str
    source: str
    unknown: str
    """When it is left out, or null."""


_STEP: Final = "no step is running"
_RATE: Final = "the step reports no progress"
_TREE: Final = "/proc; psutil elsewhere"
_FIRST: Final = "on the first sample, as it takes two"
_NO_TREE: Final = "no process of the tree can be read"
_PSI: Final = "Linux PSI, `/proc/pressure`"
_NO_PSI: Final = "the kernel has no PSI"
_GPU: Final = 'no NVIDIA driver, `gpu="off"`, no device visible to the run, or it does not tell'
_NVML: Final = "NVML"
_IO: Final = "`/proc/<pid>/io`"
_NO_IO: Final = "no process tells: not on Linux, or not permitted"
_ALWAYS: Final = "never"
_NO_LIMIT: Final = "no limit is set, or there is no cgroup"

TELEMETRY: Final[dict[str, Field]] = {
    "timestamp_ms": Field("ms", "Unix time of the sample.", "the clock", _ALWAYS),
    "process": Field(
        "", "Whose sample it is, `<host>:<pid>`.", "import", "it is of the run's own process"
    ),
    "step_id": Field("", "The running step that progress is shown of.", "capture", _STEP),
    "steps_per_sec": Field(
        "units/s", "Rate of that step's progress since the last sample.", "`advance`", _RATE
    ),
    "progress_done": Field("units", "Units of progress done.", "`advance`, `track`", _RATE),
    "progress_total": Field("units", "Units that there are.", "`total=`", "no total is declared"),
    "steps": Field(
        "", "Progress of each step, where several run.", "capture", "at most one step is running"
    ),
    "fps": Field("1/s", "The metric `fps`, if one is logged.", "`log_metric`", "none is logged"),
    "cpu_percent_process": Field(
        "%",
        "Share of the CPUs that the run may use which its process tree used.",
        f"{_TREE}; affinity and cgroup quota",
        _FIRST,
    ),
    "cpu_cores_process": Field("CPUs", "CPUs that the process tree kept busy.", _TREE, _FIRST),
    "cpu_percent_system": Field(
        "%",
        "Share of all CPUs of the host that was busy.",
        "`/proc/stat`; psutil elsewhere",
        "it cannot be read, or no time has passed",
    ),
    "memory_rss_mb": Field(
        "MiB",
        "Resident memory of the tree; shared pages count once for each process.",
        _TREE,
        _NO_TREE,
    ),
    "memory_limit_mb": Field("MiB", "What the container may use.", "cgroup v1, v2", _NO_LIMIT),
    "memory_available_mb": Field(
        "MiB",
        "What can still be had: of the host without swapping, or what the container's limit "
        "leaves, whichever is less.",
        "`/proc/meminfo`, cgroup; psutil elsewhere",
        "it cannot be read",
    ),
    "swap_used_mb": Field(
        "MiB",
        "Swap in use on the host.",
        "`/proc/meminfo`; psutil elsewhere",
        "it cannot be read",
    ),
    "disk_read_mb_s": Field(
        "MiB/s", "What the tree read from disks, caches apart.", _IO, f"{_FIRST}; {_NO_IO}"
    ),
    "disk_write_mb_s": Field("MiB/s", "What the tree wrote to disks.", _IO, f"{_FIRST}; {_NO_IO}"),
    "disk_free_mb": Field(
        "MiB",
        "Free space of the artifact root's file system.",
        "statvfs(3)",
        "it cannot be read",
    ),
    "process_count": Field("", "Living processes of the tree.", _TREE, _NO_TREE),
    "thread_count": Field("", "Threads of the tree.", _TREE, _NO_TREE),
    "cpu_pressure": Field(
        "%",
        "Share of the last 10 s in which some task of the host waited for a CPU.",
        _PSI,
        _NO_PSI,
    ),
    "io_pressure": Field("%", "The same for I/O.", _PSI, _NO_PSI),
    "memory_pressure": Field("%", "The same for memory.", _PSI, _NO_PSI),
    "cpu_throttled_percent": Field(
        "%",
        "Share of the CPU quota's periods in which the container was stopped.",
        "cgroup v1, v2",
        "no quota is set, no period has passed, or there is no cgroup",
    ),
    "gpu_util_percent": Field(
        "%",
        "Share of the time in which a kernel ran, mean over the devices of the run.",
        _NVML,
        f"{_GPU}; MIG",
    ),
    "gpu_mem_used_mb": Field(
        "MiB",
        "Memory in use on the devices of the run, without the driver's reserve.",
        _NVML,
        _GPU,
    ),
    "gpus": Field("", "The devices one by one; see below.", _NVML, _GPU),
    "metrics": Field("", "The last value of each logged metric.", "`log_metric`", "none is logged"),
    "notes": Field(
        "",
        "Why readings are missing.",
        "the sensors",
        "nothing has changed since the last sample of the run",
    ),
}
"""The fields of a `TelemetrySnapshot`."""

GPU: Final[dict[str, Field]] = {
    "index": Field("", "Position among the devices that the run may use.", "capture", _ALWAYS),
    "uuid": Field("", "The device's UUID.", _NVML, "said already in this run, or unknown"),
    "name": Field("", "The device's model.", _NVML, "said already in this run, or unknown"),
    "util_percent": Field(
        "%", "Share of the time in which a kernel ran.", _NVML, "MIG, or it does not tell"
    ),
    "mem_used_mb": Field(
        "MiB",
        "Memory in use, by whomever, without the driver's reserve.",
        _NVML,
        "it does not tell",
    ),
    "mem_total_mb": Field("MiB", "Memory.", _NVML, "said already in this run, or unknown"),
    "run_mem_used_mb": Field(
        "MiB",
        "Memory that processes of the run hold.",
        _NVML,
        "the driver does not say whose memory it is: in most containers",
    ),
    "temperature_c": Field("°C", "Temperature.", _NVML, "it does not tell"),
    "power_w": Field("W", "Power.", _NVML, "it does not tell"),
    "power_limit_w": Field("W", "Power limit.", _NVML, "said already in this run, or unknown"),
    "sm_clock_mhz": Field("MHz", "Clock of the multiprocessors.", _NVML, "it does not tell"),
    "energy_joules": Field(
        "J",
        "Energy since telemetry began.",
        "NVML's power, integrated; its energy counter",
        "it does not tell",
    ),
    "throttle_reasons": Field(
        "", "Why the clock is held back.", _NVML, "it is not, or it does not tell"
    ),
}
"""The fields of a `GpuSample`."""

_NO_GPU_BILL: Final = f"{_GPU}; steps of child processes"

USAGE: Final[dict[str, Field]] = {
    "cpu_seconds": Field("s", "CPU time of the tree, ended children included.", _TREE, _NO_TREE),
    "cpu_cores_mean": Field("CPUs", "CPU time by duration.", _TREE, _NO_TREE),
    "memory_rss_peak_mb": Field(
        "MiB",
        "Highest resident memory of the tree: of the samples, of both ends of the step, and the "
        "process's own high-water mark where that rose.",
        f"{_TREE}; getrusage(2)",
        _NO_TREE,
    ),
    "disk_read_mb": Field("MiB", "What the tree read from disks, caches apart.", _IO, _NO_IO),
    "disk_write_mb": Field("MiB", "What the tree wrote to disks.", _IO, _NO_IO),
    "gpu_seconds": Field(
        "s",
        "Utilization by time, summed over the devices of the run.",
        _NVML,
        f"{_NO_GPU_BILL}; MIG",
    ),
    "gpu_mem_peak_mb": Field(
        "MiB",
        "Highest memory in use on the devices of the run, by whomever.",
        _NVML,
        _NO_GPU_BILL,
    ),
    "energy_joules": Field(
        "J", "Energy of the devices of the run, by whomever it was used.", _NVML, _NO_GPU_BILL
    ),
}
"""The fields of a step's `usage`."""

SELF: Final[dict[str, Field]] = {
    "cpu_seconds": Field(
        "s",
        "CPU time of the monitor and GPU threads and of capture.",
        "the threads' clocks",
        "the run was killed before it was first written",
    ),
    "share_of_run": Field(
        "", "CPU time by the run's duration: a share of one core.", "", "as above"
    ),
    "bytes_written": Field("B", "Journal, telemetry and manifests.", "capture", _ALWAYS),
    "samples_taken": Field("", "Samples of this run.", "the monitor", _ALWAYS),
    "samples_missed": Field(
        "", "Samples that were due while another one took too long.", "the monitor", _ALWAYS
    ),
    "interval_seconds": Field(
        "s",
        "Time between samples at the end: longer than asked for where telemetry would have taken "
        "over 1 % of a core.",
        "the monitor",
        "there was no monitor",
    ),
    "longest_sample_seconds": Field("s", "The longest sample.", "the monitor", "none was taken"),
    "slowest_sync_seconds": Field("s", "The slowest write of an event.", "capture", "none was"),
    "events_dropped": Field(
        "", "Events that could neither be written nor kept in memory.", "capture", _ALWAYS
    ),
    "faults": Field("", "Faults of telemetry itself.", "capture", _ALWAYS),
}
"""The fields of a run's `self`: what telemetry cost."""
