"""The ports: what capture needs from the outside world, handed in by `bootstrap` as a `Runtime`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from opentelemetry.trace import Span, SpanContext, Tracer

    from robot_sf_otel.config import ExceptionSignal
    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.instrument.live_step import LiveStep
    from robot_sf_otel.instrument.outcome import Outcome
    from robot_sf_otel.manifest.events import EtaShown, Event
    from robot_sf_otel.manifest.fold import RunFold
    from robot_sf_otel.manifest.schema import (
        Anomaly,
        PerformanceRecommendation,
        SelfCost,
        TelemetrySnapshot,
        Usage,
    )
    from robot_sf_otel.manifest.state import RunState
    from robot_sf_otel.semconv.logs import LogEvent
    from robot_sf_otel.semconv.spans import Value


Looked = TypeVar("Looked")


class Clock(Protocol):
    """Where time comes from."""

    def time_ns(self) -> int:
        """Return Unix time in nanoseconds, for time stamps."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards, for durations."""
        ...


class SystemClock:
    """The machine's clocks."""

    time_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)


class Watcher(Protocol):
    """Follows one run: every event of it and of its child processes, and every sample."""

    def event(self, event: Event, /) -> None:
        """Take an event; in order of time."""
        ...

    def sample(self, sample: TelemetrySnapshot, /) -> None:
        """Take a sample as it was written."""
        ...


class RunRecorder(Protocol):
    """Keeps the record of one run; its methods never raise and never block for long."""

    @property
    def run_id(self) -> str:
        """The run's id."""
        ...

    @property
    def run_dir(self) -> Path:
        """The run's directory."""
        ...

    def record(self, *events: Event, sync: bool = True) -> None:
        """Append events; with `sync` they are on disk when this returns."""
        ...

    def sample(self, snapshot: TelemetrySnapshot) -> None:
        """Append a telemetry sample."""
        ...

    def refresh(self, cost: SelfCost) -> None:
        """Catch up with everything that may wait: derived files, retries. Monitor thread only."""
        ...

    def watch(self, watcher: Watcher) -> None:
        """Tell somebody of every event from now on, at each `refresh`, and of every sample."""
        ...

    def catch_up(self) -> None:
        """Take in what was recorded since the last `refresh`, and write nothing."""
        ...

    def cost(self, base: SelfCost) -> SelfCost:
        """Return what capture cost so far with the recorder's own share filled in."""
        ...

    def look(self, function: Callable[[RunFold], Looked]) -> Looked | None:
        """Return what a function makes of all that was recorded so far.

        None where this process does not own the run, or another thread is busy with it.
        """
        ...

    def shown_eta(self) -> EtaShown | None:
        """Return the ETA that the owner of the run showed last, None where none is known."""
        ...

    def close(self) -> None:
        """Write the final record and let go of the run; may be called again where that failed."""
        ...

    def abandon(self) -> None:
        """Let go without writing: this process is a forked child."""
        ...

    def is_open(self) -> bool:
        """Return whether the run is still held by its owner; False once its end was written."""
        ...


class Recorder(Protocol):
    """Opens records; the entry-point group `robot_sf_otel_recorder` names implementations."""

    def open_run(self, pipeline: str, time_unix_nano: int) -> RunRecorder:
        """Create the record of a new run. Never raises: without a disk it keeps events."""
        ...

    def resume_run(
        self, run: str, time_unix_nano: int, pipeline: str | None
    ) -> tuple[RunRecorder, RunState]:
        """Become the owner of a run that was stopped; `pipeline` None takes one of any.

        Raises:
            CannotResume: There is no such run, or it cannot be resumed.
        """
        ...

    def join_run(self, run_dir: Path, time_unix_nano: int) -> tuple[RunRecorder, RunState] | None:
        """Take part in a run of another process; None where it is unreadable."""
        ...

    def worker(self, run_dir: Path, run_id: str) -> RunRecorder:
        """Return what records a forked child of the process that owns a run."""
        ...


class Bill(Protocol):
    """Running cost of one step, settled at its end."""

    def observe(self, sample: TelemetrySnapshot) -> None:
        """Take a telemetry sample that was read meanwhile into account."""
        ...

    def settle(self) -> Usage:
        """Return what was used since the bill was opened."""
        ...


class Sensors(Protocol):
    """Cumulative counters of the process tree, cheap enough for step boundaries."""

    def open_bill(self) -> Bill:
        """Read the counters at a step's start."""
        ...


@dataclass(frozen=True, slots=True)
class StepView:
    """A running top-level step as the console shows it."""

    step_id: str
    title: str
    position: int | None
    total_steps: int
    done: float
    total: float | None
    unit: str
    rate: float | None
    elapsed_seconds: float


class Console(Protocol):
    """Tells the operator what happens; never raises."""

    def run_started(
        self, run_id: str, pipeline: str, run_dir: Path, *, resumed: bool = False
    ) -> None:
        """Say that a run opened."""
        ...

    def run_joined(self) -> None:
        """Show the steps of this process, whose run another process opened and will end."""
        ...

    def step_started(
        self,
        *,
        step_id: str,
        title: str,
        position: int | None,
        total: int,
        eta_seconds: float | None,
        elapsed_seconds: float,
    ) -> None:
        """Say that a top-level step began; `elapsed_seconds` is the run's."""
        ...

    def step_finished(
        self,
        *,
        step_id: str,
        title: str,
        status: str,
        duration_seconds: float,
        position: int | None,
        total: int,
        eta_seconds: float | None,
        elapsed_seconds: float,
    ) -> None:
        """Say that a top-level step ended."""
        ...

    def tick(
        self, steps: Sequence[StepView], eta_seconds: float | None, elapsed_seconds: float
    ) -> None:
        """Draw what is running; called by the monitor thread at each sample."""
        ...

    def silence(self) -> None:
        """Never draw again: this process is a forked child."""
        ...

    def run_finished(
        self,
        status: str,
        duration_seconds: float,
        report_path: Path | None,
        reason: str | None,
        *,
        anomalies: Sequence[Anomaly] = (),
        recommendations: Sequence[PerformanceRecommendation] = (),
    ) -> None:
        """Say how the run ended, what was found, and where its report lies."""
        ...

    def warning(self, text: str) -> None:
        """Say something that is no progress, in every mode."""
        ...


class Outgoing(Protocol):
    """Decides what may leave the machine: for spans and logs, not for the record."""

    @property
    def private(self) -> bool:
        """Whether commands, paths and parameters stay here."""
        ...

    def attributes(self, attributes: Mapping[str, Value], /) -> dict[str, Value]:
        """Return the attributes that may leave, secrets masked."""
        ...

    def text(self, text: str, /) -> str:
        """Return text as it may leave."""
        ...

    def detail(self, text: str, kind: str, /) -> str:
        """Return what is said of an error: all of it, or only its kind."""
        ...


class Events(Protocol):
    """Where events go that somebody far away should know of when they happen."""

    def emit(self, event: LogEvent, span: SpanContext, time_unix_nano: int) -> None:
        """Send an event that belongs to a span. Never waits."""
        ...


class Redact(Protocol):
    """Masks secrets before anything is written."""

    def mapping(self, mapping: Mapping[str, Any], /) -> dict[str, Any]:
        """Return the mapping with secret values masked, at any depth."""
        ...

    def argv(self, argv: Sequence[str], /) -> list[str]:
        """Return a command line with secret arguments masked."""
        ...

    def text(self, text: str, /) -> str:
        """Return text with what looks like a secret masked."""
        ...


@dataclass(slots=True)
class Runtime:
    """Everything that a live capture uses; one a process, replaced whole."""

    tracer: Tracer
    recorder: Recorder
    redact: Redact
    console: Console
    process: str
    outgoing: Outgoing
    events: Events | None = None
    exceptions: ExceptionSignal = "spans"
    """Where exceptions are reported."""
    sensors: Sensors | None = None
    clock: Clock = field(default_factory=SystemClock)
    observer: Observer | None = None
    resume: str | None = None
    """The run that the next one to be opened goes on with."""
    linked_run_id: str | None = None
    """The closed run whose directory this process inherited; new runs are linked to it."""


class Outward(Protocol):
    """What is told of runs by OpenTelemetry, besides spans."""

    def run_left(self, run: LiveRun) -> None:
        """Take the last values of a run of another process, which goes on without this one."""
        ...

    def step_ended(self, run: LiveRun, step: LiveStep, outcome: Outcome) -> None:
        """Take the last values of a step that has ended."""
        ...

    def found(self, run: LiveRun, finding: Anomaly | PerformanceRecommendation, span: Span) -> None:
        """Take what the rules found of the run or step that a span is of."""
        ...


class Observer(Protocol):
    """The monitor as a run sees it."""

    def opening(self) -> AbstractContextManager[None]:
        """Let SIGTERM wait while a run is opened: from its first byte on somebody closes it."""
        ...

    def run_opened(self, run: LiveRun) -> None:
        """Take the first sample of a run and watch it from now on."""
        ...

    def run_joined(self, run: LiveRun) -> None:
        """Take part in a run of another process, until `run_left`."""
        ...

    def run_left(self, run: LiveRun) -> None:
        """Take part in it no longer."""
        ...

    def run_closing(self, run: LiveRun) -> None:
        """Take the last sample of a run; its facts are in when this returns."""
        ...

    def cost(self, run: LiveRun) -> SelfCost:
        """Return what the monitor and the capture cost the run so far."""
        ...

    def run_closed(self, run: LiveRun, outcome: Outcome) -> None:
        """Let go of a run that has ended."""
        ...

    def eta_seconds(self, run: LiveRun) -> float | None:
        """Return the seconds to the end of a run as of a step's start or end, None if unknown."""
        ...

    @property
    def outward(self) -> Outward:
        """What is told of runs by OpenTelemetry besides spans."""
        ...

    def step_began(self) -> None:
        """Make sure that somebody samples: in a child process the first step starts that."""
        ...
