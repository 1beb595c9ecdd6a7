"""A recorded run as its events tell it: sessions, executions, findings, and who ran what."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel import semconv
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.store.identity import ProcessIdentity, instance_id, instance_of
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.lock import read_owner
from robot_sf_otel.store.reader import closing_event, run_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from robot_sf_otel.manifest.execution import Execution
    from robot_sf_otel.manifest.schema import Anomaly, Eta, PerformanceRecommendation

_HEX: Final = re.compile(r"[0-9a-f]+")
_TRACE: Final = 32
_SPAN: Final = 16


@dataclass(slots=True)
class Session:
    """One process that owned the run: from its start or resumption to what closed it."""

    begun_ns: int
    process: str | None
    span_id: str
    previous: str | None = None
    """Root span of the session before it."""
    end: e.RunFinished | e.RunRecovered | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What the rules found, when, and the span that it is of."""

    found_ns: int
    one: Anomaly | PerformanceRecommendation
    span_id: str | None

    @property
    def time_ns(self) -> int:
        """When it was so; where that is not known, when it was found."""
        return self.one.timestamp_ms * 1_000_000 or self.found_ns


@dataclass(slots=True)
class Story:
    """Everything that is sent of a run but its samples."""

    run_id: str
    url: str
    started: e.RunStarted
    trace_id: str
    fold: RunFold
    sessions: list[Session]
    findings: list[Finding]
    etas: list[tuple[int, Eta]]
    identities: dict[str, ProcessIdentity]
    executions: list[Execution] = field(default_factory=list["Execution"])
    """In the order of their start, each with a span id."""

    @property
    def pipeline(self) -> str:
        """The name of the pipeline."""
        return self.fold.pipeline or self.started.pipeline

    @property
    def ended(self) -> e.RunFinished | e.RunRecovered | None:
        """What closed the run, None while it is open."""
        return self.fold.sessions.end

    def session_at(self, time_ns: int) -> Session:
        """Return the session in which a moment lies: the last that had begun, else the first."""
        index = bisect_right([one.begun_ns for one in self.sessions], time_ns)
        return self.sessions[max(0, index - 1)]

    def resource(self, process: str | None) -> dict[str, Any]:
        """Return the resource of a process of the run, as the process itself tells it live."""
        known = self.identities.get(process or "")
        told: dict[str, Any] = {semconv.SERVICE_NAME_KEY: semconv.SERVICE_NAME}
        told[semconv.SERVICE_INSTANCE_ID] = (
            instance_of(f"{self.run_id}/{process or ''}") if known is None else instance_id(known)
        )
        if process is None:
            return told
        host, _, pid = process.rpartition(":")
        told[semconv.HOST_NAME] = host or process
        if pid.isascii() and pid.isdecimal():
            told[semconv.PROCESS_PID] = int(pid)
        told[semconv.WORKER_ID] = process
        told[semconv.WORKER_NAME] = host or process
        return told


def read_story(run_dir: Path, *, dead: bool = False) -> Story | None:
    """Return a run as its journals tell it; None where there is no start of a run.

    Args:
        run_dir: The run's directory.
        dead: Whether its process is gone without having closed the record.
    """
    owner = read_owner(RunPaths(run_dir).lock)
    story = tell(run_events(run_dir), run_dir, owner)
    if story is not None and dead and story.ended is None:
        closing = closing_event(run_dir, story.fold)
        story = tell([*run_events(run_dir), closing], run_dir, owner)
    return story


def tell(  # noqa: C901 - one case an event, nothing else
    events: Iterable[e.Event], run_dir: Path, owner: ProcessIdentity | None = None
) -> Story | None:
    """Return what events tell of a run. Pure.

    Args:
        events: In order of time.
        run_dir: Where the run lies.
        owner: The process that owned it last, where that is known.
    """
    fold = RunFold()
    sessions: list[Session] = []
    findings: list[Finding] = []
    etas: list[tuple[int, Eta]] = []
    identities: dict[str, ProcessIdentity] = {}
    started: e.RunStarted | None = None
    for event in events:
        fold.apply(event)
        match event:
            case e.RunStarted() if started is None:
                started = event
                sessions.append(_first(event))
            case e.RunResumed() if sessions:
                sessions.append(_next(event, sessions[-1].span_id, len(sessions)))
            case e.RunFinished() | e.RunRecovered() if sessions and sessions[-1].end is None:
                sessions[-1].end = event
            case e.AnomalyDetected():
                findings.append(Finding(event.time_unix_nano, event.anomaly, event.span_id))
            case e.RecommendationAdded():
                one = event.recommendation
                findings.append(Finding(event.time_unix_nano, one, event.span_id))
            case e.EtaShown():
                etas.append((event.time_unix_nano, event.eta))
            case e.StepStarted() if event.process is not None and event.identity:
                _identify(identities, event.process, event.identity)
            case _:
                pass
    if started is None:
        return None
    if owner is not None and sessions[-1].process is not None:
        identities.setdefault(sessions[-1].process, owner)
    story = Story(
        run_id=started.run_id,
        url=Path(started.artifact_dir or run_dir).absolute().as_uri(),
        started=started,
        trace_id=hex_id(started.trace_id, _TRACE, started.run_id),
        fold=fold,
        sessions=sessions,
        findings=findings,
        etas=etas,
        identities=identities,
    )
    story.executions = _identified(fold.executions(), started.run_id)
    return story


def _identified(executions: list[Execution], run_id: str) -> list[Execution]:
    """Return executions with span ids that OTLP can hold: those of other producers may be none."""
    made: dict[str | None, str] = {}
    for number, run in enumerate(executions):
        span_id = hex_id(run.span_id, _SPAN, f"{run_id}/{run.span_id}/{number}")
        made[run.span_id], run.span_id = span_id, span_id
    for run in executions:
        parent = made.get(run.parent_span_id, run.parent_span_id)
        run.parent_span_id = parent if parent == hex_id(parent, _SPAN, "") else None
    return executions


def hex_id(known: str | None, digits: int, seed: str) -> str:
    """Return an id if it is one, else one that follows from the seed: the same each time."""
    lower = (known or "").lower()
    if len(lower) == digits and _HEX.fullmatch(lower) and lower.strip("0"):
        return lower
    return hashlib.sha256(seed.encode("utf-8", "backslashreplace")).hexdigest()[:digits]


def _first(event: e.RunStarted) -> Session:
    span_id = hex_id(event.span_id, _SPAN, f"{event.run_id}/root")
    return Session(event.time_unix_nano, event.process, span_id)


def _next(event: e.RunResumed, before: str, number: int) -> Session:
    span_id = hex_id(event.span_id, _SPAN, f"{before}/{number}")
    return Session(event.time_unix_nano, event.process, span_id, previous=before)


def _identify(
    identities: dict[str, ProcessIdentity], process: str, told: Mapping[str, Any]
) -> None:
    try:
        identities[process] = ProcessIdentity(**told)
    except TypeError:  # of a version that tells more
        return
