"""One execution of a step, as its events tell of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from robot_sf_otel.manifest.curve import ProgressCurve
from robot_sf_otel.manifest.events import NANOSECONDS, StepFinished, rfc3339
from robot_sf_otel.manifest.schema import (
    Artifact,
    ErrorInfo,
    MetricValue,
    Progress,
    StepExecutionEntry,
    Usage,
)

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import StepStatus


@dataclass(slots=True)
class Execution:
    """One execution of a step as seen so far; times in Unix nanoseconds, durations in seconds."""

    step_id: str
    display_name: str
    started_ns: int
    span_id: str | None = None
    parent_span_id: str | None = None
    process: str | None = None
    status: StepStatus = "running"
    result: str | None = None
    """`cicd.pipeline.task.run.result`, None where it did not say how it ended."""
    ended_ns: int | None = None
    duration: float | None = None
    progress: Progress = field(default_factory=Progress)
    expected_seconds: float | None = None
    curve: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    measured: ProgressCurve = field(default_factory=ProgressCurve)
    metrics: dict[str, MetricValue] = field(default_factory=dict[str, MetricValue])
    artifacts: list[Artifact] = field(default_factory=list[Artifact])
    error: ErrorInfo | None = None
    skip_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    eta_seconds: float | None = None

    def measure(self, progress: Progress, time_ns: int) -> None:
        """Take its progress at a time; units without a rate were done before it began."""
        self.progress = progress
        before = progress.rate is None
        self.measured.add(0.0 if before else _seconds(self.started_ns, time_ns), progress.done)

    def finish(self, event: StepFinished) -> None:
        """Take what it said at its end."""
        self.status = event.status
        self.result = event.result
        self.ended_ns = event.time_unix_nano
        self.duration = event.duration_seconds
        self.progress = event.progress or self.progress
        # Its own, and nothing measured: a reading taken meanwhile may stand before or after this.
        self.curve, self.measured = event.progress_curve, ProgressCurve()
        self.error = event.error
        self.skip_reason = event.skip_reason
        self.usage = event.usage or self.usage

    def close(self, now_ns: int, status: StepStatus, reason: str | None) -> None:
        """End it in its place: it did not say how it ended."""
        self.status = status
        self.ended_ns = now_ns
        self.duration = _seconds(self.started_ns, now_ns)
        if status == "failed":
            self.error = ErrorInfo(type="lost", message=reason or "ended without reporting")

    def entry(self, parent: Execution | None, attempt: int) -> StepExecutionEntry:
        """Return its entry in the record; `order` is the caller's to fill in."""
        return StepExecutionEntry(
            step_id=self.step_id,
            display_name=self.display_name,
            order=0,
            status=self.status,
            attempt=attempt,
            parent_step_id=parent.step_id if parent else None,
            span_id=self.span_id,
            process=self.process,
            started_at=rfc3339(self.started_ns),
            ended_at=rfc3339(self.ended_ns) if self.ended_ns is not None else None,
            duration_seconds=self.duration,
            eta_snapshot_seconds=self.eta_seconds,
            progress=self.progress,
            progress_curve=self.curve or self.measured.points(),
            metrics=self.metrics,
            artifacts=self.artifacts,
            error=self.error,
            skip_reason=self.skip_reason,
            usage=self.usage,
        )


def _seconds(since_ns: int, until_ns: int) -> float:
    return max(0.0, (until_ns - since_ns) / NANOSECONDS)


def units(executions: Iterable[Execution]) -> float:
    """Return the units of progress that were done in executions.

    A further attempt may begin where the one before it was: only its rate tells what it did itself.
    """
    seen: set[str] = set()
    done = 0.0
    for run in executions:
        rate = run.progress.rate if run.step_id in seen else None
        done += run.progress.done if rate is None else rate * (run.duration or 0.0)
        seen.add(run.step_id)
    return done
