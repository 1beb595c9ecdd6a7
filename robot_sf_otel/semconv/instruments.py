"""The tables of the instruments: name, kind, unit, source, attributes."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from robot_sf_otel import semconv

Kind = Literal["gauge", "counter", "updowncounter", "histogram"]


class Instrument(NamedTuple):
    """One instrument, as a row of the tables below."""

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
_GPU: Final = (semconv.HW_ID, semconv.HW_TYPE, semconv.HW_NAME)
_CAPTURE: Final = "capture"
_ETA: Final = "ETA"
_NO_ETA: Final = "the run is not open, or its ETA is unknown"
_PROGRESS: Final = "`advance`, `track`"
_NO_PROGRESS: Final = "no progress is reported"
_NO_RUN_YET: Final = "the process has opened no run of the pipeline"
_NO_RUN_ENDED: Final = "no run has ended"
_RUN: Final = (semconv.PIPELINE_NAME,)
_STEP: Final = (semconv.PIPELINE_NAME, semconv.TASK_NAME)

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
        (semconv.CPU_MODE,),
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
        (semconv.PAGING_STATE,),
    ),
    Instrument(
        "robot_sf.pressure.utilization",
        "gauge",
        "1",
        "pressure",
        "Share of the last 10 s in which some task of the host waited for the resource.",
        "Linux PSI, /proc/pressure",
        "the kernel has no PSI",
        (semconv.PRESSURE_RESOURCE,),
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
        "robot_sf.memory.available",
        "updowncounter",
        "By",
        "memory_available",
        "Memory that the run can still get: of the host, or what its container's limit leaves.",
        "/proc/meminfo, cgroup; psutil elsewhere",
        "it cannot be read",
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
        "robot_sf.container.cpu.throttled.utilization",
        "gauge",
        "1",
        "throttled_share",
        "Share of the quota's periods in which the container was stopped because it was used up.",
        "cgroup v1, v2",
        f"{_NO_GROUP}; {_FIRST}",
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
        (semconv.DISK_DIRECTION,),
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
        (*_GPU, semconv.GPU_TASK),
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
    # -- the runs of this process
    Instrument(
        "robot_sf.run.info",
        "gauge",
        "{run}",
        "run_info",
        "1 for each run, open or ended, with the status and name that it has; 0 for those it had.",
        _CAPTURE,
        "the process has opened no run; of the last 100 runs only",
        (
            semconv.PIPELINE_NAME,
            semconv.PIPELINE_RUN_ID,
            semconv.RUN_TRACE_ID,
            semconv.RUN_STATUS,
            semconv.RUN_SCENARIO,
        ),
    ),
    Instrument(
        "robot_sf.run.member",
        "gauge",
        "{run}",
        "run_member",
        "1 for each run that the process reports to: its own, or that of the process it works for.",
        _CAPTURE,
        "the process takes part in no run; of the last 100 runs only",
        (semconv.PIPELINE_RUN_ID,),
    ),
    Instrument(
        "cicd.pipeline.run.active",
        "updowncounter",
        "{run}",
        "active_runs",
        "Runs that this process has open; 0 from the end of the last one on.",
        _CAPTURE,
        "the process has opened no run of the pipeline",
        (semconv.PIPELINE_NAME, semconv.RUN_STATE),
    ),
    Instrument(
        "robot_sf.run.elapsed",
        "gauge",
        "s",
        "run_elapsed",
        "How long the pipeline's last run has run; stays from its end on.",
        _CAPTURE,
        _NO_RUN_YET,
        _RUN,
    ),
    Instrument(
        "robot_sf.run.eta.remaining",
        "gauge",
        "s",
        "eta_remaining",
        "Predicted time to the end of the run.",
        _ETA,
        _NO_ETA,
        _RUN,
    ),
    Instrument(
        "robot_sf.run.eta.low",
        "gauge",
        "s",
        "eta_low",
        "Lower end of the 80 % interval of that time.",
        _ETA,
        _NO_ETA,
        _RUN,
    ),
    Instrument(
        "robot_sf.run.eta.high",
        "gauge",
        "s",
        "eta_high",
        "Upper end of the 80 % interval of that time.",
        _ETA,
        _NO_ETA,
        _RUN,
    ),
    Instrument(
        "robot_sf.run.steps.completed",
        "gauge",
        "{step}",
        "steps_completed",
        "Top-level steps of the run that have completed, each once; stays from its end on.",
        _CAPTURE,
        _NO_RUN_YET,
        _RUN,
    ),
    Instrument(
        "robot_sf.run.steps.planned",
        "gauge",
        "{step}",
        "steps_planned",
        "Top-level steps of the run, without skipped ones; stays from its end on.",
        _CAPTURE,
        "nothing is planned and no step has begun",
        _RUN,
    ),
    # -- its steps
    Instrument(
        "robot_sf.step.elapsed",
        "gauge",
        "s",
        "step_elapsed",
        "How long a running step has run.",
        _CAPTURE,
        "the step is not running",
        _STEP,
    ),
    Instrument(
        "robot_sf.run.progress.done",
        "gauge",
        "{unit}",
        "progress_done",
        "Units of progress done in a step; stays from its end on.",
        _PROGRESS,
        _NO_PROGRESS,
        _STEP,
    ),
    Instrument(
        "robot_sf.run.progress.total",
        "gauge",
        "{unit}",
        "progress_total",
        "Units of progress that there are in a step; stays from its end on.",
        "`total=`",
        "no total is known",
        _STEP,
    ),
    Instrument(
        "robot_sf.run.progress.rate",
        "gauge",
        "{unit}/s",
        "progress_rate",
        "Units of progress a second in a running step.",
        _PROGRESS,
        f"{_NO_PROGRESS}; the step is not running",
        _STEP,
    ),
    Instrument(
        "robot_sf.step.metric",
        "gauge",
        "{value}",
        "step_metrics",
        "The last value of a logged metric, by its name; stays from the end of the step on.",
        "`log_metric`",
        "none is logged; beyond 100 names",
        (*_STEP, semconv.METRIC_NAME),
    ),
)
"""Instruments that are observed; every reader sees the same last reading."""

DURATION_BUCKETS: Final = (
    *(0.01, 0.1, 1, 10, 60, 300, 900, 3600),
    *(3 * 3600, 8 * 3600, 24 * 3600, 72 * 3600, 168 * 3600),
)
"""Seconds: a step takes anything from milliseconds, and a run up to a week."""

RUN_DURATION: Final = "cicd.pipeline.run.duration"
RUN_ERRORS: Final = "cicd.pipeline.run.errors"
STEP_DURATION: Final = "robot_sf.step.duration"
RUN_FINDINGS: Final = "robot_sf.run.findings"

WRITTEN: Final = (
    Instrument(
        RUN_DURATION,
        "histogram",
        "s",
        "",
        "Duration of a pipeline run.",
        "the end of a run",
        _NO_RUN_ENDED,
        (
            semconv.PIPELINE_NAME,
            semconv.RUN_STATE,
            semconv.PIPELINE_RESULT,
            semconv.ERROR_TYPE,
        ),
    ),
    Instrument(
        RUN_ERRORS,
        "counter",
        "{error}",
        "",
        "Pipeline runs that failed.",
        "the end of a run that failed",
        "none has failed",
        (semconv.PIPELINE_NAME, semconv.ERROR_TYPE),
    ),
    Instrument(
        STEP_DURATION,
        "histogram",
        "s",
        "",
        "Duration of a step.",
        "the end of a step",
        "none has ended",
        (*_STEP, semconv.TASK_RUN_RESULT),
    ),
    Instrument(
        RUN_FINDINGS,
        "counter",
        "{finding}",
        "",
        "What the rules found in the runs.",
        "a recommendation or an anomaly",
        "nothing was found",
        (
            semconv.PIPELINE_NAME,
            semconv.FINDING_ID,
            semconv.FINDING_SEVERITY,
            semconv.FINDING_KIND,
        ),
    ),
)
"""Instruments that are written when something happens."""
