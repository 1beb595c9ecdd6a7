"""The time axis of a report: seconds that the run has run, pauses between its sessions left out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from robot_sf_otel.manifest.events import (
    NANOSECONDS,
    RunFinished,
    RunRecovered,
    RunResumed,
    RunStarted,
    unix_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from robot_sf_otel.manifest.schema import PipelineRunRecord


class Session(NamedTuple):
    """A stretch without a pause: Unix seconds, and the seconds that the run had run before."""

    begun: float
    ended: float
    before: float


class Pause(NamedTuple):
    """Where on the axis a run was closed and went on later."""

    at: float
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Maps the clock onto the axis.

    Attributes:
        sessions: In the order of time; at least one.
        pauses: Between them.
    """

    sessions: tuple[Session, ...]
    pauses: tuple[Pause, ...] = ()

    @property
    def end(self) -> float:
        """Return how many seconds the run has run."""
        last = self.sessions[-1]
        return max(0.0, last.before + last.ended - last.begun)

    def at(self, moment: float) -> float:
        """Return where a Unix time in seconds lies, within 0 and `end`."""
        for session in reversed(self.sessions):
            if moment >= session.begun:
                inside = min(moment, session.ended) - session.begun
                return min(self.end, session.before + max(0.0, inside))
        return 0.0


def timeline_of(
    record: PipelineRunRecord, marks: Iterable[object], until: float | None
) -> Timeline:
    """Return the axis of a run.

    Args:
        record: The run.
        marks: Its events; those that open and close sessions count.
        until: Unix seconds of its last sign of life, for a run that is not closed.
    """
    begun: list[tuple[float, float | None]] = []
    closed: list[tuple[float, str]] = []
    for event in marks:
        if isinstance(event, RunStarted | RunResumed):
            before = event.duration_seconds if isinstance(event, RunResumed) else 0.0
            begun.append((event.time_unix_nano / NANOSECONDS, before))
        elif isinstance(event, RunFinished | RunRecovered):
            closed.append((event.time_unix_nano / NANOSECONDS, event.reason or event.status))
    last = _end(record, until)
    if not begun:
        start = _start(record, until)
        return Timeline((Session(start, max(start, last or start), 0.0),))
    edges = [*(moment for moment, _ in begun), float("inf")]
    sessions: list[Session] = []
    reasons: list[str] = []
    for (moment, said), (low, high) in zip(begun, pairwise(edges), strict=True):
        end = next(((at, why) for at, why in closed if low <= at <= high), None)
        ended, why = end if end is not None else (min(high, max(last or low, low)), "not closed")
        before = said
        if before is None:
            before = sessions[-1].before + sessions[-1].ended - sessions[-1].begun
        sessions.append(Session(moment, max(moment, ended), max(0.0, before)))
        reasons.append(why)
    pauses = [
        Pause(later.before, max(0.0, later.begun - earlier.ended), why)
        for (earlier, later), why in zip(pairwise(sessions), reasons, strict=False)
    ]
    return Timeline(tuple(sessions), tuple(pauses))


def _start(record: PipelineRunRecord, until: float | None) -> float:
    known = [
        unix_seconds(record.created_at),
        *(unix_seconds(step.started_at) for step in record.steps),
    ]
    return next((moment for moment in known if moment is not None), until or 0.0)


def _end(record: PipelineRunRecord, until: float | None) -> float | None:
    if (closed := unix_seconds(record.completed_at)) is not None:
        return closed
    known = [unix_seconds(step.ended_at) or unix_seconds(step.started_at) for step in record.steps]
    return max((moment for moment in (*known, until) if moment is not None), default=None)
