"""The record types of a run: what manifest.json and telemetry.jsonl hold, validated by msgspec.

Every type is a `msgspec.Struct`: decoding checks it and names the field that is wrong, and the
JSON Schema in `docs/schema/` is generated from here. Durations are seconds, memory is MiB
(`_mb`), percentages lie in [0, 100], times are RFC 3339 strings in UTC. Unknown is None.

The ranges of numbers are in the JSON Schema, and `store.validation` holds producers to them.
Decoding does not: a value out of its range must not make a record unreadable.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

SCHEMA_VERSION: Final = 1
"""Version of the journal and of the manifest; readers accept older and newer ones."""

RunStatus = Literal["pending", "running", "completed", "failed", "cancelled"]
StepStatus = Literal["pending", "running", "completed", "failed", "skipped", "cancelled"]
Severity = Literal["info", "warning", "critical"]
MetricValue = float | str
"""A finite number, or `"NaN"`, `"Infinity"`, `"-Infinity"`: JSON numbers cannot hold those."""

Percentage = Annotated[float, Meta(extra_json_schema={"minimum": 0, "maximum": 100})]
Amount = Annotated[float, Meta(extra_json_schema={"minimum": 0})]
Whole = Annotated[int, Meta(extra_json_schema={"minimum": 0})]

PerfStatus = Literal["passed", "soft-breach", "failed", "no-baseline", "inconclusive"]

TERMINAL_RUN: Final = frozenset({"completed", "failed", "cancelled"})
TERMINAL_STEP: Final = frozenset({"completed", "failed", "skipped", "cancelled"})


class Progress(Struct, kw_only=True):
    """How far a step is: `done` of `total` units, at `rate` units a second."""

    done: Amount = 0
    total: Amount | None = None
    unit: str = "it"
    rate: float | None = None


class ErrorInfo(Struct, kw_only=True):
    """What ended a step or run: the exception as recorded, or the exit code of a command."""

    type: str
    message: str = ""
    stacktrace: str | None = None
    exit_code: int | None = None


class Usage(Struct, kw_only=True):
    """The bill of a step, from cumulative counters read at its start and at its end."""

    cpu_seconds: float | None = None
    cpu_cores_mean: float | None = None
    memory_rss_peak_mb: float | None = None
    disk_read_mb: float | None = None
    disk_write_mb: float | None = None
    gpu_seconds: float | None = None
    gpu_mem_peak_mb: float | None = None
    energy_joules: float | None = None


class Artifact(Struct, kw_only=True):
    """A file or folder that a run produced; `path` is relative to the run directory if inside."""

    path: str
    name: str = ""
    kind: str = "file"
    size_bytes: int | None = None
    sha256: str | None = None
    step_id: str | None = None
    span_id: str | None = None
    logged_at: str | None = None


class PlanStep(Struct, kw_only=True):
    """A step that the pipeline says it will run."""

    step_id: str
    display_name: str | None = None
    expected_seconds: float | None = None
    total: float | None = None


class StepExecutionEntry(Struct, kw_only=True):
    """One execution of a step, or a planned step that was not reached.

    `progress_curve` is how the step went: a few pairs of seconds since its start and units done.
    """

    step_id: str
    display_name: str
    order: int
    status: StepStatus
    attempt: int = 1
    parent_step_id: str | None = None
    span_id: str | None = None
    process: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    duration_seconds: float | None = None
    eta_snapshot_seconds: float | None = None
    progress: Progress = field(default_factory=Progress)
    progress_curve: list[tuple[float, float]] = []
    metrics: dict[str, MetricValue] = {}
    artifacts: list[Artifact] = []
    error: ErrorInfo | None = None
    skip_reason: str | None = None
    usage: Usage = field(default_factory=Usage)


class StepSample(Struct, kw_only=True, omit_defaults=True):
    """Progress of one of several running steps within a telemetry sample."""

    step_id: str
    span_id: str | None = None
    done: Amount = 0
    total: Amount | None = None
    rate: float | None = None


class GpuSample(Struct, kw_only=True, omit_defaults=True):
    """One GPU within a telemetry sample.

    What does not change (`uuid`, `name`, `mem_total_mb`, `power_limit_w`) is on the first sample of
    a run that has the device, and again when it changes.
    """

    index: Whole
    uuid: str | None = None
    name: str | None = None
    util_percent: Percentage | None = None
    mem_used_mb: Amount | None = None
    mem_total_mb: Amount | None = None
    run_mem_used_mb: Amount | None = None
    temperature_c: float | None = None
    power_w: Amount | None = None
    power_limit_w: Amount | None = None
    sm_clock_mhz: Amount | None = None
    energy_joules: Amount | None = None
    throttle_reasons: list[str] = []


class TelemetrySnapshot(Struct, kw_only=True, omit_defaults=True):
    """One line of telemetry.jsonl; a reading that could not be had is left out.

    `process` (`<host>:<pid>`) is on the samples of another process than the run's own, which only
    an imported run has: of other hosts.
    """

    timestamp_ms: Whole
    process: str | None = None
    step_id: str | None = None
    steps_per_sec: float | None = None
    progress_done: Amount | None = None
    progress_total: Amount | None = None
    steps: list[StepSample] = []
    fps: float | None = None
    cpu_percent_process: Percentage | None = None
    cpu_cores_process: Amount | None = None
    cpu_percent_system: Percentage | None = None
    memory_rss_mb: Amount | None = None
    memory_limit_mb: Amount | None = None
    memory_available_mb: Amount | None = None
    swap_used_mb: Amount | None = None
    disk_read_mb_s: Amount | None = None
    disk_write_mb_s: Amount | None = None
    disk_free_mb: Amount | None = None
    process_count: Whole | None = None
    thread_count: Whole | None = None
    cpu_pressure: Percentage | None = None
    io_pressure: Percentage | None = None
    memory_pressure: Percentage | None = None
    cpu_throttled_percent: Percentage | None = None
    gpu_util_percent: Percentage | None = None
    gpu_mem_used_mb: Amount | None = None
    gpus: list[GpuSample] = []
    metrics: dict[str, MetricValue] = {}
    notes: str | None = None


class FieldSummary(Struct, kw_only=True):
    """Count, mean, 95th percentile and maximum of one telemetry field over a run."""

    count: int
    mean: float
    p95: float
    maximum: float


class Anomaly(Struct, kw_only=True):
    """Something unusual that was seen, with the evidence for it."""

    id: str
    trigger: str
    severity: Severity
    message: str
    timestamp_ms: Whole
    step_id: str | None = None
    evidence: dict[str, Any] = {}


class PerformanceRecommendation(Struct, kw_only=True):
    """What to do about an observation; `suggested_actions` is never empty."""

    id: str
    trigger: str
    severity: Severity
    message: str
    suggested_actions: list[str]
    timestamp_ms: Whole
    step_id: str | None = None
    evidence: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Refuse a recommendation that recommends nothing.

        Raises:
            ValueError: `suggested_actions` is empty.
        """
        if not self.suggested_actions:
            msg = "suggested_actions must name at least one action"
            raise ValueError(msg)


class PerformanceTestResult(Struct, kw_only=True):
    """Throughput of a scenario against its baseline."""

    test_id: str
    metric: str
    unit: str
    throughput_measured: float
    duration_seconds: float
    status: PerfStatus
    matrix: dict[str, Any] = {}
    throughput_baseline: float | None = None
    samples: list[float] = []
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    tolerance: float = 0.25
    recommendations_ref: list[str] = []


class EtaScores(Struct, kw_only=True):
    """How good the ETAs of a completed run were.

    Errors are |predicted total - duration| / duration; None where no ETA was shown then.
    """

    shown: int = 0
    error_after_step_2: float | None = None
    error_at_half_time: float | None = None
    share_inside_band: float | None = None


class Eta(Struct, kw_only=True):
    """Time to the end of a run, with the 80 % interval; None is unknown.

    `scores` are of a run that has completed.
    """

    remaining_seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None
    total_seconds: float | None = None
    basis: str | None = None
    history_runs: int = 0
    scores: EtaScores | None = None


class RunSummary(Struct, kw_only=True):
    """The run in one look; `custom` holds what the pipeline itself put there."""

    total_duration_seconds: float | None = None
    steps_completed: int = 0
    steps_total: int = 0
    avg_steps_per_sec: float | None = None
    recommendation_count: int = 0
    last_completed_step: str | None = None
    running_steps: list[str] = []
    custom: dict[str, Any] = {}


class SelfCost(Struct, kw_only=True):
    """What telemetry itself cost the run."""

    cpu_seconds: float | None = None
    share_of_run: float | None = None
    bytes_written: int = 0
    samples_taken: int = 0
    samples_missed: int = 0
    interval_seconds: float | None = None
    longest_sample_seconds: float | None = None
    slowest_sync_seconds: float | None = None
    events_dropped: int = 0
    faults: list[str] = []


class ImportInfo(Struct, kw_only=True):
    """Where the record of a run came from that was not written by the run itself.

    `digest` is of all that was imported: the same data is recognised by it.
    """

    format: str
    sources: list[str]
    digest: str
    imported_at: str | None = None


class PipelineRunRecord(Struct, kw_only=True):
    """manifest.json: everything that is known about one run.

    `error` is the exception that left the run, whether or not it had left a step before.
    `worker_telemetry` has the figures of processes on other hosts, by `<host>:<pid>`; only an
    imported run has them.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    trace_id: str | None = None
    span_id: str | None = None
    pipeline: str
    created_at: str | None = None
    completed_at: str | None = None
    duration_seconds: float | None = None
    status: RunStatus = "pending"
    status_reason: str | None = None
    error: ErrorInfo | None = None
    initiator: str | None = None
    argv: list[str] = []
    cwd: str | None = None
    scenario_config_path: str | None = None
    params: dict[str, Any] = {}
    seeds: dict[str, Any] = {}
    tags: list[str] = []
    enabled_steps: list[str] = []
    artifact_dir: str | None = None
    host: dict[str, Any] = {}
    vcs: dict[str, Any] = {}
    runtime: dict[str, Any] = {}
    steps: list[StepExecutionEntry] = []
    anomalies: list[Anomaly] = []
    recommendations: list[PerformanceRecommendation] = []
    perf_tests: list[PerformanceTestResult] = []
    artifacts: list[Artifact] = []
    eta: Eta = field(default_factory=Eta)
    summary: RunSummary = field(default_factory=RunSummary)
    telemetry: dict[str, FieldSummary] = {}
    worker_telemetry: dict[str, dict[str, FieldSummary]] = {}
    imported: ImportInfo | None = None
    self_cost: SelfCost = field(default_factory=SelfCost, name="self")
