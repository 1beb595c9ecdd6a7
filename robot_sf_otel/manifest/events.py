"""The events of the journal: one typed, self-contained line each.

A journal is append-only and outlives the code that wrote it, so fields are only ever added.
`Event` is the union that decodes a line; a line with an unknown `event` is kept as it is by
`codec.decode_event`. Times are RFC 3339 UTC with microseconds beside Unix nanoseconds; durations
come from the monotonic clock.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct, field

from robot_sf_otel.manifest.schema import (
    SCHEMA_VERSION,
    Anomaly,
    Artifact,
    ErrorInfo,
    Eta,
    ImportInfo,
    MetricValue,
    PerformanceRecommendation,
    PerformanceTestResult,
    PlanStep,
    Progress,
    RunStatus,
    SelfCost,
    StepStatus,
    Usage,
)

NANOSECONDS: Final = 1_000_000_000


def rfc3339(time_unix_nano: int) -> str:
    """Format Unix nanoseconds as RFC 3339 in UTC with microseconds, `2026-01-31T12:00:00.000000Z`.

    Raises:
        OverflowError: The time lies outside the years 1 to 9999.
    """
    seconds, nanos = divmod(time_unix_nano, NANOSECONDS)
    return f"{_whole_second(seconds)}.{nanos // 1000:06d}Z"


def unix_seconds(timestamp: str | None) -> float | None:
    """Return an RFC 3339 time as Unix seconds, None where it is none; one without zone is UTC."""
    try:
        moment = datetime.fromisoformat(timestamp or "")
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


@functools.lru_cache(maxsize=8)
def _whole_second(seconds: int) -> str:
    """Return a second without zone; the events of one moment share it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:-6]


class _Event(Struct, kw_only=True, omit_defaults=True, tag_field="event"):
    """What every event has: when, and the span that it belongs to."""

    time_unix_nano: int
    trace_id: str | None = None
    span_id: str | None = None


class RunStarted(_Event, tag="run_started"):
    """A run opened; its span is the root span."""

    run_id: str
    pipeline: str
    artifact_dir: str | None = None
    initiator: str | None = None
    argv: list[str] = []
    cwd: str | None = None
    scenario_config_path: str | None = None
    params: dict[str, Any] = {}
    seeds: dict[str, Any] = {}
    tags: list[str] = []
    plan: list[PlanStep] = []
    process: str | None = None
    parent_span_id: str | None = None
    linked_run_id: str | None = None
    adoptable: bool = False
    imported: ImportInfo | None = None


class PlanChanged(_Event, tag="plan_changed"):
    """The plan as it is from now on; `pipeline` and `scenario_config_path` rename the run."""

    plan: list[PlanStep]
    pipeline: str | None = None
    scenario_config_path: str | None = None


class StepStarted(_Event, tag="step_started"):
    """A step began; written and synced before its first line runs.

    `identity` says which process of a run of several it is (host, boot_id, pid_namespace, pid,
    start_time), so that its death can be noticed: in the first step of each child process.
    """

    step_id: str
    display_name: str | None = None
    parent_span_id: str | None = None
    total: float | None = None
    unit: str = "it"
    expected_seconds: float | None = None
    baseline_rate: float | None = None
    process: str | None = None
    identity: dict[str, Any] = {}


class StepProgress(_Event, tag="step_progress"):
    """How far a step of a child process is."""

    progress: Progress


class StepFinished(_Event, tag="step_finished"):
    """A step ended; `result` is `cicd.pipeline.task.run.result`.

    `progress_curve` holds pairs of seconds since the step's start and units done by then.
    """

    status: StepStatus
    result: str
    duration_seconds: float
    progress: Progress | None = None
    progress_curve: list[tuple[float, float]] = []
    error: ErrorInfo | None = None
    skip_reason: str | None = None
    usage: Usage | None = None


class StepSkipped(_Event, tag="step_skipped"):
    """A planned step will not run."""

    step_id: str
    reason: str | None = None


class ArtifactLogged(_Event, tag="artifact_logged"):
    """A file of the run, or of the step whose span this is."""

    artifact: Artifact


class MetricLogged(_Event, tag="metric_logged"):
    """The last values of the metrics of a step or run."""

    metrics: dict[str, MetricValue]


class ParamsLogged(_Event, tag="params_logged"):
    """Parameters, and facts of the environment that took time to gather."""

    params: dict[str, Any] = {}
    seeds: dict[str, Any] = {}
    tags: list[str] = []
    host: dict[str, Any] = {}
    vcs: dict[str, Any] = {}
    runtime: dict[str, Any] = {}
    summary: dict[str, Any] = {}


class EtaShown(_Event, tag="eta_shown"):
    """An ETA that somebody saw; `elapsed_seconds` is how long the run had run, without pauses."""

    eta: Eta
    elapsed_seconds: float | None = None


class AnomalyDetected(_Event, tag="anomaly_detected"):
    """An anomaly, as soon as it was seen."""

    anomaly: Anomaly


class RecommendationAdded(_Event, tag="recommendation_added"):
    """A recommendation, as soon as its rule fired."""

    recommendation: PerformanceRecommendation


class PerfTestRecorded(_Event, tag="perf_test_recorded"):
    """The result of a performance test."""

    result: PerformanceTestResult


class WorkerLost(_Event, tag="worker_lost"):
    """A child process ended without ending its steps."""

    process: str
    reason: str | None = None


class TelemetryFault(_Event, tag="telemetry_fault"):
    """Something in telemetry itself failed; the pipeline went on."""

    where: str
    message: str
    count: int = 1


class RunFinished(_Event, tag="run_finished"):
    """The run ended by itself; `result` is `cicd.pipeline.result`."""

    status: RunStatus
    result: str
    duration_seconds: float | None = None
    reason: str | None = None
    error: ErrorInfo | None = None
    self_cost: SelfCost | None = field(default=None, name="self")


class RunRecovered(_Event, tag="run_recovered"):
    """The run was found dead and closed by somebody else: the watchdog or a reader."""

    status: RunStatus
    result: str
    reason: str | None = None
    error: ErrorInfo | None = None
    duration_seconds: float | None = None


class RunResumed(_Event, tag="run_resumed"):
    """A closed run goes on in another process, under a new root span of the same trace.

    `previous_span_id` is the root span that the new one is linked to, `duration_seconds` how long
    the run had run until then, without pauses.
    """

    process: str | None = None
    argv: list[str] = []
    cwd: str | None = None
    previous_span_id: str | None = None
    duration_seconds: float | None = None
    adoptable: bool = False


Event = (
    RunStarted
    | PlanChanged
    | StepStarted
    | StepProgress
    | StepFinished
    | StepSkipped
    | ArtifactLogged
    | MetricLogged
    | ParamsLogged
    | EtaShown
    | AnomalyDetected
    | RecommendationAdded
    | PerfTestRecorded
    | WorkerLost
    | TelemetryFault
    | RunFinished
    | RunRecovered
    | RunResumed
)
"""Any event of a journal."""

__all__ = [
    "NANOSECONDS",
    "SCHEMA_VERSION",
    "AnomalyDetected",
    "ArtifactLogged",
    "EtaShown",
    "Event",
    "MetricLogged",
    "ParamsLogged",
    "PerfTestRecorded",
    "PlanChanged",
    "RecommendationAdded",
    "RunFinished",
    "RunRecovered",
    "RunResumed",
    "RunStarted",
    "StepFinished",
    "StepProgress",
    "StepSkipped",
    "StepStarted",
    "TelemetryFault",
    "WorkerLost",
    "rfc3339",
]
