"""Reading and writing runs from Python: notebooks, tests, producers that are not decorated code.

The same files and the same rules as everywhere: validation errors name the field, a terminal status
is final, and a process that does not own a run appends to a worker journal of its own. Without
OpenTelemetry; ids come from the operating system.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from robot_sf_otel import environment_variables as env
from robot_sf_otel import guard
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import jsonable
from robot_sf_otel.manifest.plan import Plan
from robot_sf_otel.manifest.schema import (
    TERMINAL_RUN,
    Artifact,
    ErrorInfo,
    PerformanceRecommendation,
    PerformanceTestResult,
    PlanStep,
    Progress,
    RunStatus,
    StepStatus,
    TelemetrySnapshot,
)
from robot_sf_otel.redaction import Redactor
from robot_sf_otel.store import history, producer, timespec
from robot_sf_otel.store.layout import RunPaths, create_run_dir
from robot_sf_otel.store.reader import LoadedRun, fold_run
from robot_sf_otel.store.reader import load_run as _load
from robot_sf_otel.store.step_changes import Stamp, StepChange, changes_of
from robot_sf_otel.store.telemetry import TelemetryWriter
from robot_sf_otel.store.validation import not_negative, one_of, required, valid

if TYPE_CHECKING:
    from robot_sf_otel.manifest.fold import RunFold

RunRef = str | Path | LoadedRun
"""A run: its id, a unique prefix, a path, `latest`, or what `load_run` and `start_run` return."""
Root = str | Path | None

_RESULTS: Final = {
    "completed": "success",
    "failed": "failure",
    "cancelled": "cancellation",
    "skipped": "skip",
}


def _root(artifact_root: Root) -> Path:
    return (
        Path(artifact_root or os.environ.get(env.ARTIFACT_ROOT) or "output").expanduser().absolute()
    )


def _resolve(run: RunRef, artifact_root: Root) -> Path:
    if isinstance(run, LoadedRun):
        return run.run_dir
    return history.resolve_run([_root(artifact_root)], str(run))


def list_runs(  # noqa: PLR0917 - the signature of the original contract
    limit: int | None = 20,
    status: RunStatus | None = None,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    scenario: str | None = None,
    pipeline: str | None = None,
    host: str | None = None,
    tag: str | None = None,
    *,
    artifact_root: Root = None,
) -> list[LoadedRun]:
    """Return runs, newest first.

    Args:
        limit: How many at most; None for all.
        status: Only runs with this status.
        since: Only runs that began then or later: a time, RFC 3339, a date, or `24h`, `7d`.
        until: Only runs that began before.
        scenario: Only runs of this scenario.
        pipeline: Only runs of this pipeline.
        host: Only runs on this host.
        tag: Only runs with this tag.
        artifact_root: Where to look; `ROBOT_SF_ARTIFACT_ROOT` or `output` by default.

    Raises:
        ValueError: A time, the status or the limit is none.
    """
    if status is not None:
        one_of("status", status, get_args(RunStatus))
    if limit is not None and limit < 0:
        raise ValueError(f"limit: {limit} must not be negative")
    return history.list_loaded(
        [_root(artifact_root)],
        limit=limit,
        status=status,
        since_ns=_moment("since", since),
        until_ns=_moment("until", until),
        scenario=scenario,
        pipeline=pipeline,
        host=host,
        tag=tag,
    )


def _moment(field: str, value: str | datetime | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return int(value.timestamp() * e.NANOSECONDS)
    try:
        return timespec.parse_since(value, datetime.now(UTC).astimezone())
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def load_run(run: RunRef = history.LATEST, *, artifact_root: Root = None) -> LoadedRun:
    """Return a run: its record's fields as attributes, `.telemetry()`, `.journal()`.

    Raises:
        LookupError: There is none of that name, or several; the message names the closest.
        ValueError: The directory holds no readable run.
    """
    return _load(_resolve(run, artifact_root))


def start_run(
    *,
    initiator: str,
    enabled_steps: Sequence[str],
    run_id: str | None = None,
    scenario_config_path: str | Path | None = None,
    pipeline: str | None = None,
    artifact_root: Root = None,
) -> LoadedRun:
    """Open a run that this process owns, until `update_run` gives it a terminal status.

    Args:
        initiator: Who or what starts it, such as a command line.
        enabled_steps: The planned steps in order.
        run_id: Directory name instead of a generated one; one that exists gets `-2`, `-3`, ….
        scenario_config_path: The scenario's configuration file.
        pipeline: Name of the pipeline; the initiator's first word by default.
        artifact_root: Where it is created; `ROBOT_SF_ARTIFACT_ROOT` or `output` by default.

    Raises:
        ValueError: A field is not valid; the message names it.
        OSError: The run cannot be created.
    """
    if not initiator.strip():
        raise ValueError("initiator: must not be empty")
    plan = [valid("enabled_steps", {"step_id": name}, PlanStep) for name in enabled_steps]
    try:
        Plan(plan)
    except ValueError as error:
        raise ValueError(f"enabled_steps: {error}") from None
    now_ns = time.time_ns()
    name = pipeline or Path(initiator.split(maxsplit=1)[0]).stem
    try:
        run_dir = create_run_dir(_root(artifact_root), pipeline=name, now_ns=now_ns, name=run_id)
    except ValueError as error:
        raise ValueError(f"run_id: {error}") from None
    producer.own(run_dir)
    redact = _redactor()
    started = e.RunStarted(
        time_unix_nano=now_ns,
        trace_id=os.urandom(16).hex(),
        span_id=_span_id(),
        run_id=run_dir.name,
        pipeline=name,
        artifact_dir=str(run_dir),
        initiator=redact.text(initiator),
        argv=redact.argv(sys.argv),
        scenario_config_path=None if scenario_config_path is None else str(scenario_config_path),
        plan=plan,
        process=producer.process_name(),
    )
    producer.append(run_dir, started)
    return _load(run_dir)


def update_run(
    run: RunRef,
    *,
    status: RunStatus | None = None,
    summary: Mapping[str, Any] | None = None,
    reason: str | None = None,
    artifact_root: Root = None,
) -> LoadedRun:
    """Add to a run's summary, and end it with a terminal status.

    Raises:
        LookupError: There is no such run.
        ValueError: The status is none, or the run has ended: a terminal status is final.
    """
    run_dir, fold = _open_fold(run, artifact_root)
    if status is not None:
        one_of("status", status, get_args(RunStatus))
    if status == "pending":
        raise ValueError("status: a run that has started cannot be pending again")
    changes: list[e.Event] = []
    if summary:
        shown = jsonable(_redactor().mapping(summary))
        changes.append(e.ParamsLogged(summary=shown, **_ids(fold)))
    if status in TERMINAL_RUN:
        final = cast("RunStatus", status)
        changes.append(
            e.RunFinished(status=final, result=_RESULTS[final], reason=reason, **_ids(fold))
        )
    producer.append(run_dir, *changes)
    if status in TERMINAL_RUN:
        producer.let_go(run_dir)
    return _load(run_dir)


def update_step(
    run: RunRef,
    step_id: str,
    *,
    status: StepStatus | None = None,
    display_name: str | None = None,
    duration_seconds: float | None = None,
    eta_snapshot_seconds: float | None = None,
    progress: Mapping[str, Any] | Progress | None = None,
    error: Mapping[str, Any] | ErrorInfo | None = None,
    skip_reason: str | None = None,
    artifacts: Iterable[str | Mapping[str, Any] | Artifact] = (),
    artifact_root: Root = None,
) -> LoadedRun:
    """Start, advance or end a step; `running` after its end is a further attempt.

    Raises:
        LookupError: There is no such run.
        ValueError: A field is not valid (the message names it), or the run has ended.
    """
    if status is not None:
        one_of("status", status, get_args(StepStatus))
    valid("step_id", {"step_id": step_id}, PlanStep)
    if not step_id.strip():
        raise ValueError("step_id: must not be empty")
    not_negative("duration_seconds", duration_seconds)
    not_negative("eta_snapshot_seconds", eta_snapshot_seconds)
    change = StepChange(
        step_id=step_id,
        status=status,
        display_name=display_name,
        duration_seconds=duration_seconds,
        eta_snapshot_seconds=eta_snapshot_seconds,
        progress=None if progress is None else valid("progress", progress, Progress),
        error=None if error is None else valid("error", error, ErrorInfo),
        skip_reason=skip_reason,
        artifacts=[_artifact(item) for item in artifacts],
    )
    run_dir, fold = _open_fold(run, artifact_root)
    named = [step for step in fold.record().steps if step.step_id == step_id]
    stamp = Stamp(**_ids(fold), process=producer.process_name())
    events = changes_of(change, named[-1] if named else None, stamp, _span_id)
    producer.append(run_dir, *events)
    return _load(run_dir)


def append_telemetry(
    run: RunRef,
    snapshots: Iterable[Mapping[str, Any] | TelemetrySnapshot],
    *,
    artifact_root: Root = None,
) -> int:
    """Append samples to a run that has not ended; return how many.

    Raises:
        LookupError: There is no such run.
        ValueError: A field of a sample is not valid (the message names it), or the run has ended.
        OSError: They cannot be written.
    """
    checked = [
        valid(f"snapshots[{index}]", snapshot, TelemetrySnapshot)
        for index, snapshot in enumerate(snapshots)
    ]
    run_dir, _ = _open_fold(run, artifact_root)
    failures: list[Exception] = []
    writer = TelemetryWriter(
        RunPaths(run_dir).telemetry, on_fault=lambda _, error: failures.append(error)
    )
    for snapshot in checked:
        writer.append(snapshot)
    writer.close()
    producer.samples_added(run_dir)
    if failures:
        raise failures[0]
    return len(checked)


def append_recommendations(
    run: RunRef,
    recommendations: Iterable[Mapping[str, Any] | PerformanceRecommendation],
    *,
    artifact_root: Root = None,
) -> LoadedRun:
    """Add recommendations to a run that has not ended.

    The `evidence` of each names the `metric` and its `value`, and as far as they are known
    `threshold`, `unit`, `window_start`, `window_end` (RFC 3339) and `samples`.

    Raises:
        LookupError: There is no such run.
        ValueError: A field is not valid (the message names it), or the run has ended.
    """
    checked = [
        valid(f"recommendations[{index}]", item, PerformanceRecommendation)
        for index, item in enumerate(recommendations)
    ]
    for index, item in enumerate(checked):
        required(f"recommendations[{index}].evidence", item.evidence, ("metric", "value"))
    run_dir, fold = _open_fold(run, artifact_root)
    producer.append(
        run_dir, *(e.RecommendationAdded(recommendation=r, **_ids(fold)) for r in checked)
    )
    return _load(run_dir)


def record_perf_test(
    run: RunRef,
    result: Mapping[str, Any] | PerformanceTestResult,
    *,
    artifact_root: Root = None,
) -> LoadedRun:
    """Add the result of a performance test to a run that has not ended.

    Raises:
        LookupError: There is no such run.
        ValueError: A field is not valid (the message names it), or the run has ended.
    """
    checked = valid("result", result, PerformanceTestResult)
    if checked.status != "passed" and not checked.recommendations_ref:
        raise ValueError("result.recommendations_ref: must not be empty unless passed")
    run_dir, fold = _open_fold(run, artifact_root)
    producer.append(run_dir, e.PerfTestRecorded(result=checked, **_ids(fold)))
    return _load(run_dir)


def _span_id() -> str:
    return os.urandom(8).hex()


def _redactor() -> Redactor:
    try:
        return Redactor(os.environ.get(env.REDACT) or None)
    except ValueError as error:
        guard.warn_once("runs.redact", f"{env.REDACT} is ignored: {error}")
        return Redactor()


def _artifact(item: str | Mapping[str, Any] | Artifact) -> Artifact:
    return valid("artifacts", {"path": item} if isinstance(item, str) else item, Artifact)


def _ids(fold: RunFold) -> dict[str, Any]:
    started = fold.started
    return {
        "time_unix_nano": time.time_ns(),
        "trace_id": started.trace_id if started else None,
        "span_id": fold.sessions.span_id,
    }


def _open_fold(run: RunRef, artifact_root: Root) -> tuple[Path, RunFold]:
    """Return the directory and the fold of a run that may still be written to.

    Raises:
        LookupError: There is no such run.
        ValueError: It has ended, or cannot be read.
    """
    run_dir = _resolve(run, artifact_root)
    fold, _ = fold_run(run_dir)
    if fold.started is None:
        raise ValueError(f"run: {run_dir.name} has no readable start")
    if fold.status in TERMINAL_RUN:
        raise ValueError(f"status: run {run_dir.name} is {fold.status}, which is final")
    return run_dir, fold


__all__ = [
    "LoadedRun",
    "append_recommendations",
    "append_telemetry",
    "list_runs",
    "load_run",
    "record_perf_test",
    "start_run",
    "update_run",
    "update_step",
]
