"""What a change of a step that was made by hand means as journal events. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import (
    TERMINAL_STEP,
    Artifact,
    ErrorInfo,
    Eta,
    Progress,
    StepExecutionEntry,
    StepStatus,
)

_RESULTS: Final = {
    "completed": "success",
    "failed": "failure",
    "cancelled": "cancellation",
    "skipped": "skip",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """What shall become of a step; None means unchanged."""

    step_id: str
    status: StepStatus | None = None
    display_name: str | None = None
    duration_seconds: float | None = None
    eta_snapshot_seconds: float | None = None
    progress: Progress | None = None
    error: ErrorInfo | None = None
    skip_reason: str | None = None
    artifacts: Sequence[Artifact] = ()

    @property
    def reports(self) -> bool:
        """Whether it says how an execution went."""
        plain = self.status is None or self.status == "running"
        return self.progress is not None or self.error is not None or not plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Where and when: Unix nanoseconds, the trace, the span, the process."""

    time_unix_nano: int
    trace_id: str | None
    span_id: str | None
    process: str


def changes_of(
    change: StepChange,
    before: StepExecutionEntry | None,
    stamp: Stamp,
    new_span_id: Callable[[], str],
) -> list[e.Event]:
    """Return the events that bring a change about.

    Args:
        change: What shall become of the step.
        before: Its last execution, None if it is not in the plan.
        stamp: The present, with the root span.
        new_span_id: Makes the id of a new execution.

    Raises:
        ValueError: The step has ended, which is final, or shall be pending again.
    """
    _check(change, before)
    running = before is not None and before.status == "running"
    if change.status == "skipped" and not running:
        return [
            e.StepSkipped(
                time_unix_nano=stamp.time_unix_nano,
                trace_id=stamp.trace_id,
                span_id=stamp.span_id,
                step_id=change.step_id,
                reason=change.skip_reason,
            )
        ]
    if change.status == "pending":
        return []
    if before is not None and (running or (_ended(before) and change.status is None)):
        at = replace(stamp, span_id=before.span_id)
        return _reported(change, at, _unix_nano(before.started_at, stamp.time_unix_nano))
    at = replace(stamp, span_id=new_span_id())
    began = at.time_unix_nano - int((change.duration_seconds or 0.0) * e.NANOSECONDS)
    start = e.StepStarted(
        time_unix_nano=began,
        trace_id=at.trace_id,
        span_id=at.span_id,
        step_id=change.step_id,
        display_name=change.display_name,
        process=at.process,
    )
    return [start, *_reported(change, at, began)]


def _check(change: StepChange, before: StepExecutionEntry | None) -> None:
    if before is None or before.status == "pending":
        return
    if change.status == "pending":
        raise ValueError(f"status: step {change.step_id!r} has started and cannot be pending again")
    if _ended(before) and change.reports and change.status != "running":
        raise ValueError(
            f"status: step {change.step_id!r} is {before.status}, which is final; "
            "'running' begins a further attempt"
        )


def _ended(entry: StepExecutionEntry) -> bool:
    return entry.status in TERMINAL_STEP


def _reported(change: StepChange, at: Stamp, began_ns: int) -> list[e.Event]:
    time, trace, span = at.time_unix_nano, at.trace_id, at.span_id
    events: list[e.Event] = []
    if change.eta_snapshot_seconds is not None:
        eta = Eta(remaining_seconds=change.eta_snapshot_seconds)
        events.append(e.EtaShown(time_unix_nano=time, trace_id=trace, span_id=span, eta=eta))
    events.extend(
        e.ArtifactLogged(time_unix_nano=time, trace_id=trace, span_id=span, artifact=artifact)
        for artifact in change.artifacts
    )
    if change.progress is not None:
        events.append(
            e.StepProgress(
                time_unix_nano=time, trace_id=trace, span_id=span, progress=change.progress
            )
        )
    if change.status in TERMINAL_STEP:
        measured = max(0.0, (time - began_ns) / e.NANOSECONDS)
        given = change.duration_seconds
        events.append(
            e.StepFinished(
                time_unix_nano=time,
                trace_id=trace,
                span_id=span,
                status=change.status,
                result=_RESULTS[change.status],
                duration_seconds=measured if given is None else given,
                progress=change.progress,
                error=change.error,
                skip_reason=change.skip_reason,
            )
        )
    return events


def _unix_nano(moment: str | None, default: int) -> int:
    if moment is None:
        return default
    return round(datetime.fromisoformat(moment).timestamp() * e.NANOSECONDS)
