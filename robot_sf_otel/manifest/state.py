"""What a process needs to know of a run that began in another one, to take part or go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robot_sf_otel.manifest.schema import TERMINAL_RUN

if TYPE_CHECKING:
    from robot_sf_otel.manifest.events import RunStarted
    from robot_sf_otel.manifest.fold import RunFold
    from robot_sf_otel.manifest.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run as it stands.

    Attributes:
        started: How it began.
        pipeline: Name of the pipeline.
        span_id: Root span of its last session, None where it has none.
        resumed: Whether that is not its first one.
        adoptable: Whether a pipeline in a child process gives it name and plan.
        plan: The plan, with its skips.
        begun: Top-level steps that began.
        completed: Top-level steps that have completed.
        elapsed_seconds: How long it has run, without pauses.
        closed: Whether it has ended.
    """

    started: RunStarted
    pipeline: str
    span_id: str | None
    resumed: bool
    adoptable: bool
    plan: Plan
    begun: frozenset[str]
    completed: frozenset[str]
    elapsed_seconds: float
    closed: bool


def state_of(fold: RunFold, now_ns: int) -> RunState | None:
    """Return the state of a run at a time in Unix nanoseconds, None before its start was seen."""
    if fold.started is None:
        return None
    closed = fold.status in TERMINAL_RUN
    ran = fold.sessions.duration() if closed else fold.sessions.ran_until(now_ns)
    return RunState(
        started=fold.started,
        pipeline=fold.pipeline or fold.started.pipeline,
        span_id=fold.sessions.span_id,
        resumed=fold.sessions.resumed,
        adoptable=fold.sessions.adoptable,
        plan=fold.plan,
        begun=fold.begun(),
        completed=fold.completed(),
        elapsed_seconds=ran or 0.0,
        closed=closed,
    )
