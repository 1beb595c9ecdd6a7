"""Every span attribute, instrument and service name that this package emits, in one place.

The names come from OpenTelemetry's semantic conventions (CI/CD, process, system, hardware); what
has no convention lies under `robot_sf.`. They are written out here because reading and writing
runs must not need OpenTelemetry; a test compares them with the installed conventions package.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

SERVICE_NAME: Final = "robot-sf-otel"
SCOPE: Final = "robot_sf_otel"

PIPELINE_NAME: Final = "cicd.pipeline.name"
PIPELINE_ACTION_NAME: Final = "cicd.pipeline.action.name"
PIPELINE_RESULT: Final = "cicd.pipeline.result"
PIPELINE_RUN_ID: Final = "cicd.pipeline.run.id"
PIPELINE_RUN_URL: Final = "cicd.pipeline.run.url.full"
TASK_NAME: Final = "cicd.pipeline.task.name"
TASK_RUN_ID: Final = "cicd.pipeline.task.run.id"
TASK_RUN_RESULT: Final = "cicd.pipeline.task.run.result"
TASK_RUN_URL: Final = "cicd.pipeline.task.run.url.full"
ERROR_TYPE: Final = "error.type"
SERVICE_NAME_KEY: Final = "service.name"

RUN_STATE: Final = "cicd.pipeline.run.state"
CPU_MODE: Final = "cpu.mode"
DISK_DIRECTION: Final = "disk.io.direction"
PAGING_STATE: Final = "system.paging.state"
HW_ID: Final = "hw.id"
HW_NAME: Final = "hw.name"
HW_TYPE: Final = "hw.type"
GPU_TASK: Final = "hw.gpu.task"

STEP_TITLE: Final = "robot_sf.step.title"
STEP_UNIT: Final = "robot_sf.step.progress.unit"
STEP_TOTAL: Final = "robot_sf.step.progress.total"
STEP_DONE: Final = "robot_sf.step.progress.done"
STEP_SKIP_REASON: Final = "robot_sf.step.skip_reason"
RUN_SCENARIO: Final = "robot_sf.run.scenario"
RUN_TAGS: Final = "robot_sf.run.tags"
PRESSURE_RESOURCE: Final = "robot_sf.pressure.resource"
RECOMMENDATION: Final = "robot_sf.recommendation"
"""Name of a span event; those of its attributes follow."""
ANOMALY: Final = "robot_sf.anomaly"
FINDING_ID: Final = "robot_sf.finding.id"
FINDING_SEVERITY: Final = "robot_sf.finding.severity"
FINDING_MESSAGE: Final = "robot_sf.finding.message"

Result = Literal["success", "failure", "error", "cancellation", "skip", "timeout"]
"""Values of `cicd.pipeline.result` and, with `skip`, of `cicd.pipeline.task.run.result`."""

Kind = Literal["gauge", "counter", "updowncounter"]


class Instrument(NamedTuple):
    """One observable instrument, as a row of the table below."""

    name: str
    kind: Kind
    unit: str
    """UCUM, as the conventions have it; ratios are 0 to 1 with unit `1`."""
    reading: str
    """Which reading it shows."""
    description: str
    source: str
    """Where the reading comes from."""
    absent: str
    """When it has no point."""
    attributes: tuple[str, ...] = ()
    """What tells its points apart."""


_NEVER: Final = "never"
_PROC: Final = "/proc; psutil elsewhere"
_NO_TREE: Final = "no process of the tree can be read"
_FIRST: Final = "there is only one reading yet"
_NO_LIMIT: Final = "no limit is set, or no cgroup"
_NO_GROUP: Final = "no cgroup has that controller"
_NO_GPU: Final = 'no NVIDIA driver, `gpu="off"`, or the device does not tell'
_NVML: Final = "NVML"
_GPU: Final = (HW_ID, HW_TYPE, HW_NAME)
_NO_RUN: Final = "no run, or no step with progress"
_STEP: Final = (PIPELINE_NAME, TASK_NAME)

INSTRUMENTS: Final = (
    # -- the instrumented process alone
    Instrument(
        "process.cpu.time",
        "counter",
        "s",
        "own_cpu_time",
        "CPU time of the instrumented process alone.",
        "getrusage(2)",
        _NEVER,
        (CPU_MODE,),
    ),
    Instrument(
        "process.memory.usage",
        "updowncounter",
        "By",
        "own_memory",
        "Resident memory of the instrumented process alone.",
        _PROC,
        _NO_TREE,
    ),
    # -- the whole machine
    Instrument(
        "system.cpu.utilization",
        "gauge",
        "1",
        "system_cpu_utilization",
        "Share of all CPUs of the host that was busy: neither idle nor waiting for I/O.",
        "/proc/stat; psutil elsewhere",
        _FIRST,
    ),
    Instrument(
        "system.memory.limit",
        "updowncounter",
        "By",
        "system_memory_limit",
        "Memory of the host.",
        "/proc/meminfo; psutil elsewhere",
        "it cannot be read",
    ),
    Instrument(
        "system.memory.linux.available",
        "updowncounter",
        "By",
        "system_memory_available",
        "Memory of the host that can be had without swapping.",
        "/proc/meminfo",
        "not on Linux",
    ),
    Instrument(
        "system.paging.usage",
        "updowncounter",
        "By",
        "system_paging",
        "Swap space of the host.",
        "/proc/meminfo; psutil elsewhere",
        "it cannot be read",
        (PAGING_STATE,),
    ),
    Instrument(
        "robot_sf.pressure.utilization",
        "gauge",
        "1",
        "pressure",
        "Share of the last 10 s in which some task of the host waited for the resource.",
        "Linux PSI, /proc/pressure",
        "the kernel has no PSI",
        (PRESSURE_RESOURCE,),
    ),
    Instrument(
        "robot_sf.filesystem.free",
        "updowncounter",
        "By",
        "disk_free",
        "Free space of the artifact root's file system.",
        "statvfs(3)",
        "it cannot be read",
    ),
    # -- the container, or what the run may use
    Instrument(
        "robot_sf.cpu.usable",
        "updowncounter",
        "{cpu}",
        "usable_cpus",
        "CPUs that the run may use: affinity, and the quota of its container.",
        "sched_getaffinity(2), cgroup",
        "it cannot be told",
    ),
    Instrument(
        "container.memory.usage",
        "updowncounter",
        "By",
        "container_memory",
        "Memory of the container, page cache included.",
        "cgroup v1, v2",
        _NO_GROUP,
    ),
    Instrument(
        "container.memory.working_set",
        "updowncounter",
        "By",
        "container_working_set",
        "Memory of the container without the inactive page cache.",
        "cgroup v1, v2",
        _NO_GROUP,
    ),
    Instrument(
        "robot_sf.container.memory.limit",
        "updowncounter",
        "By",
        "container_memory_limit",
        "Memory that the container may use.",
        "cgroup v1, v2",
        _NO_LIMIT,
    ),
    Instrument(
        "robot_sf.container.memory.oom_kills",
        "counter",
        "{process}",
        "oom_kills",
        "Processes of the container that the kernel killed for memory.",
        "cgroup v1, v2",
        _NO_GROUP,
    ),
    Instrument(
        "robot_sf.container.cpu.throttled.time",
        "counter",
        "s",
        "throttled_time",
        "Time in which the container was stopped because its CPU quota was used up.",
        "cgroup v1, v2",
        _NO_GROUP,
    ),
    # -- the process tree of the run
    Instrument(
        "robot_sf.process_tree.cpu.time",
        "counter",
        "s",
        "tree_cpu_time",
        "CPU time of the process tree, ended children included.",
        _PROC,
        _NO_TREE,
    ),
    Instrument(
        "robot_sf.process_tree.cpu.utilization",
        "gauge",
        "1",
        "tree_cpu_utilization",
        "Share of the CPUs that the run may use which the tree used.",
        _PROC,
        _FIRST,
    ),
    Instrument(
        "robot_sf.process_tree.memory.usage",
        "updowncounter",
        "By",
        "tree_memory",
        "Resident memory of the process tree; shared pages count once for each process.",
        _PROC,
        _NO_TREE,
    ),
    Instrument(
        "robot_sf.process_tree.disk.io",
        "counter",
        "By",
        "tree_disk_io",
        "Bytes that the process tree read from and wrote to disks, caches apart.",
        "/proc/<pid>/io",
        "no process tells: not on Linux, or not permitted",
        (DISK_DIRECTION,),
    ),
    Instrument(
        "robot_sf.process_tree.process.count",
        "updowncounter",
        "{process}",
        "processes",
        "Living processes of the tree.",
        _PROC,
        _NO_TREE,
    ),
    Instrument(
        "robot_sf.process_tree.thread.count",
        "updowncounter",
        "{thread}",
        "threads",
        "Threads of the tree.",
        _PROC,
        _NO_TREE,
    ),
    Instrument(
        "robot_sf.process_tree.gpu.memory.usage",
        "updowncounter",
        "By",
        "tree_gpu_memory",
        "Memory of a GPU that processes of the tree hold.",
        _NVML,
        "the driver does not say whose memory it is: in most containers",
        _GPU,
    ),
    # -- GPUs that the run may use
    Instrument(
        "hw.gpu.utilization",
        "gauge",
        "1",
        "gpu_utilization",
        "Share of the time in which a kernel ran on the GPU.",
        _NVML,
        f"{_NO_GPU}; MIG",
        (*_GPU, GPU_TASK),
    ),
    Instrument(
        "hw.gpu.memory.usage",
        "updowncounter",
        "By",
        "gpu_memory",
        "Memory of the GPU in use, without the driver's reserve.",
        _NVML,
        _NO_GPU,
        _GPU,
    ),
    Instrument(
        "hw.gpu.memory.limit",
        "updowncounter",
        "By",
        "gpu_memory_limit",
        "Memory of the GPU.",
        _NVML,
        _NO_GPU,
        _GPU,
    ),
    Instrument(
        "hw.gpu.memory.utilization",
        "gauge",
        "1",
        "gpu_memory_utilization",
        "Share of the GPU's memory in use.",
        _NVML,
        _NO_GPU,
        _GPU,
    ),
    Instrument(
        "hw.power",
        "gauge",
        "W",
        "gpu_power",
        "Power that the GPU draws.",
        _NVML,
        _NO_GPU,
        _GPU,
    ),
    Instrument(
        "hw.energy",
        "counter",
        "J",
        "gpu_energy",
        "Energy of the GPU since telemetry began.",
        _NVML,
        _NO_GPU,
        _GPU,
    ),
    Instrument(
        "hw.temperature",
        "gauge",
        "Cel",
        "gpu_temperature",
        "Temperature of the GPU.",
        _NVML,
        _NO_GPU,
        _GPU,
    ),
    # -- the run itself
    Instrument(
        "cicd.pipeline.run.active",
        "updowncounter",
        "{run}",
        "active_runs",
        "Runs that this process has open.",
        "capture",
        "no run is open",
        (PIPELINE_NAME, RUN_STATE),
    ),
    Instrument(
        "robot_sf.run.progress.done",
        "gauge",
        "{unit}",
        "progress_done",
        "Units of progress done in a running step.",
        "`advance`, `track`",
        _NO_RUN,
        _STEP,
    ),
    Instrument(
        "robot_sf.run.progress.rate",
        "gauge",
        "{unit}/s",
        "progress_rate",
        "Units of progress a second in a running step.",
        "`advance`, `track`",
        _NO_RUN,
        _STEP,
    ),
)
"""Instruments that the monitor feeds; every reader sees the same last reading."""

RUN_DURATION: Final = "cicd.pipeline.run.duration"
"""Histogram in seconds, recorded when a run ends; pipeline, result and state tell points apart."""
RUN_ERRORS: Final = "cicd.pipeline.run.errors"
"""Counter of `{error}`, one when a run fails; pipeline and `error.type` tell points apart."""
