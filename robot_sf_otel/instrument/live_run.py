"""A run that is recorded: its root span, its plan, its journal events; owned here or joined."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry import trace

from robot_sf_otel import guard
from robot_sf_otel.instrument import context, spans
from robot_sf_otel.instrument.artifacts import describe, keep
from robot_sf_otel.instrument.child_process import published
from robot_sf_otel.instrument.ctrl_c import CtrlCHeld
from robot_sf_otel.instrument.live_step import LiveStep, detach
from robot_sf_otel.instrument.outcome import COMPLETED, Outcome, of_exception
from robot_sf_otel.instrument.run_steps import RunSteps
from robot_sf_otel.instrument.run_telemetry import RunTelemetry
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import jsonable
from robot_sf_otel.manifest.plan import Plan
from robot_sf_otel.semconv.spans import run_ended, run_name, run_started
from robot_sf_otel.store.layout import make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.trace import Span

    from robot_sf_otel.instrument.artifacts import Loggable
    from robot_sf_otel.instrument.pipeline import FinalStatus, PlanEntry
    from robot_sf_otel.instrument.runtime import RunRecorder, Runtime
    from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation
    from robot_sf_otel.manifest.state import RunState

F = TypeVar("F", bound=Callable[..., Any])

ABANDONED: Final = Outcome("cancelled", "cancellation", reason="still running when the run ended")


class LiveRun:
    """The handle of a run that is being recorded by this process, its owner or a joined child."""

    def __init__(
        self,
        runtime: Runtime,
        recorder: RunRecorder,
        span: Span,
        *,
        owner: bool,
        name: str,
        parent_span_id: str,
        plan: Plan | None = None,
        root_span_id: str | None = None,
        adoptable: bool = False,
    ) -> None:
        """Take over a recorder and a span; `parent_span_id` is the parent of top-level steps."""
        self.runtime = runtime
        self.span = span
        self.owner = owner
        self.name = name
        self.scenario: str | None = None
        self.former: frozenset[tuple[str, str | None]] = frozenset()
        self.parent_span_id = parent_span_id
        self.parent_is_step = root_span_id is not None and parent_span_id != root_span_id
        self.trace_id: str = trace.format_trace_id(span.get_span_context().trace_id)
        self.adoptable = adoptable
        self.resumed = False
        self.ended = False
        self._end_recorded = False
        self._concluding = threading.Lock()
        self._concluded = threading.Event()
        self.interrupted_by: str | None = None
        self.capture_cpu_seconds = 0.0
        self.anomalies: dict[str, Anomaly] = {}
        self.recommendations: dict[str, PerformanceRecommendation] = {}
        self._recorder = recorder
        self.url = recorder.run_dir.as_uri()
        self.steps = RunSteps(runtime, plan or Plan(), self._eta)
        self._opened = self.steps.opened
        self._took: float | None = None
        self.telemetry = RunTelemetry(self)
        self._generation = context.process.generation
        self._tokens: tuple[contextvars.Token[Any], contextvars.Token[Any]] | None = None

    @property
    def recorder(self) -> RunRecorder:
        """What keeps the record."""
        return self._recorder

    def become_child(self, recorder: RunRecorder) -> None:
        """In a forked child: write a journal of its own; the parent's steps are not ours to end."""
        self._recorder = recorder
        self.owner = False
        self.adoptable = False
        self.steps.forget()

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._recorder.run_id

    @property
    def completed_steps(self) -> frozenset[str]:
        """The top-level steps that have completed, in earlier sessions of a resumed run too."""
        return frozenset(self.steps.completed)

    @property
    def run_dir(self) -> Path:
        """The run's directory."""
        return self._recorder.run_dir

    @property
    def artifacts_dir(self) -> Path | None:
        """The run's own folder for artifacts, created when asked for; None where that fails."""
        folder = self.run_dir / "artifacts"
        try:
            make_folder(folder)
        except OSError as error:
            guard.storage_fault("artifacts folder", error)
            return None
        return folder

    def traceparent(self, step: LiveStep | None) -> str:
        """Return the W3C trace context of a step, or of the run."""
        if step is not None:  # the ids are there as text already
            flags = step.span.get_span_context().trace_flags
            return f"00-{self.trace_id}-{step.span_id}-{flags:02x}"
        return spans.format_traceparent(self.span.get_span_context())

    # -- what the pipeline says -----------------------------------------------------------------

    def plan(self, steps: Iterable[PlanEntry]) -> None:
        """Replace the plan; steps that began already stay in it, in front."""
        with guard.shielded("plan"):
            self.steps.replan(steps)
            self.record(e.PlanChanged(plan=self.steps.plan.steps, **self.ids()))

    def skip(self, step_id: PlanEntry, reason: str | None = None) -> None:
        """Mark a planned step as one that will not run."""
        with guard.shielded("skip"):
            name = self.steps.skip(step_id, reason)
            self.record(e.StepSkipped(step_id=name, reason=reason, **self.ids()))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Add parameters to the run's record."""
        with guard.shielded("log_params"):
            self.record(e.ParamsLogged(params=self.clean(params), **self.ids()))

    def add_facts(self, facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Add what is known of host, runtime and version control."""
        with guard.shielded("facts"):
            known: dict[str, Any] = {name: self.clean(values) for name, values in facts.items()}
            self.record(e.ParamsLogged(**known, **self.ids()))

    def log_metric(self, name: str, value: float) -> None:
        """Report a value of the run as a whole; the last one of each name is kept."""
        self.telemetry.log_metric(name, value)

    def log_artifact(
        self,
        path: Loggable,
        *,
        kind: str | None = None,
        name: str | None = None,
        copy: bool = False,
    ) -> None:
        """Record a file or folder that the run produced."""
        with guard.shielded("log_artifact"):
            self.record_artifact(path, kind, name, None, copy=copy)

    def record_artifact(
        self,
        what: Loggable,
        kind: str | None,
        name: str | None,
        step: LiveStep | None,
        *,
        copy: bool,
    ) -> None:
        """Write an artifact of the run, or of one of its steps, to the journal."""
        found = keep(what, kind, name, lambda: self.artifacts_dir, copy=copy)
        if found is None:
            return
        ids = self.ids()
        artifact = describe(*found, self.run_dir, ids["time_unix_nano"])
        if step is not None:
            artifact.step_id, artifact.span_id = step.step_id, step.span_id
            ids["span_id"] = step.span_id
        self.record(e.ArtifactLogged(artifact=artifact, **ids))

    def bind(self, function: F) -> F:
        """Return `function` bound to this run and step, for threads that have no context."""
        captured = contextvars.copy_context()
        captured.run(context.run_var.set, self)

        @functools.wraps(function)
        def bound(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any signature passes through
            return captured.copy().run(function, *args, **kwargs)

        return cast("F", bound)

    def finish(self, status: FinalStatus = "completed", reason: str | None = None) -> None:
        """End a run that `start()` opened."""
        if status == "completed":
            self._finish(COMPLETED)
        elif status == "cancelled":
            self._finish(Outcome("cancelled", "cancellation", reason=reason))
        else:
            self._finish(Outcome("failed", "failure", reason=reason))

    def end(self, error: BaseException | None) -> None:
        """End the run as the exception that left it says."""
        self._finish(self.outcome(error))

    def finish_as(self, outcome: Outcome) -> None:
        """End the run with an outcome that is known otherwise: the exit code of a command."""
        self._finish(outcome)

    # -- life -----------------------------------------------------------------------------------

    def go_on(self, state: RunState) -> None:
        """Take what happened before in another process: its time and its steps."""
        self.resumed = self.owner or state.resumed
        self.steps.opened -= state.elapsed_seconds
        self.steps.begun |= state.begun
        self.steps.completed |= state.completed

    def open(self, *opening: e.Event) -> None:
        """Record the start and become the current run."""
        self.record(*opening)
        context.process.live_runs.append(self)
        self._tokens = (
            context.run_var.set(self),
            otel_context.attach(trace.set_span_in_context(self.span)),
        )
        with guard.shielded("run start"):  # the run is open, whatever fails from here on
            published.open(self)
        with guard.shielded("run start"):
            self.runtime.console.run_started(
                self.run_id, self.name, self.run_dir, resumed=self.resumed
            )
            if self.runtime.observer is not None:
                self.runtime.observer.run_opened(self)

    def outcome(self, error: BaseException | None) -> Outcome:
        """Classify what left the run or a step; after a signal a failure is a cancellation."""
        outcome = of_exception(error, self.runtime.redact.text)
        if outcome.status == "failed" and self.interrupted_by is not None:
            return Outcome("cancelled", "cancellation", reason=self.interrupted_by)
        return outcome

    def wait_concluded(self, seconds: float) -> None:
        """Wait until another thread that is closing this run has done so."""
        self._concluded.wait(seconds)

    def _finish(self, outcome: Outcome) -> None:
        self._leave()
        if self._generation == context.process.generation and self.owner:
            with guard.shielded("run end"):
                self.conclude(outcome)

    def _leave(self) -> None:
        tokens, self._tokens = self._tokens, None
        if tokens is None or self._generation != context.process.generation:
            return
        try:
            context.run_var.reset(tokens[0])
        except ValueError:  # finished in another context than it was started in
            if context.run_var.get() is self:
                context.run_var.set(None)
            return
        detach(tokens[1])

    def leave(self) -> None:
        """Take part no longer in a run of another process; it goes on."""
        with guard.shielded("leave"):
            self.telemetry.report()
            if self.runtime.observer is not None:
                self.runtime.observer.outward.run_left(self)
        self.ended = True
        if self in context.process.live_runs:
            context.process.live_runs.remove(self)
        published.close(self)
        if self.runtime.observer is not None:
            self.runtime.observer.run_left(self)
        self._recorder.close()

    def conclude(self, outcome: Outcome) -> None:
        """Close the record and the span, once; also from the monitor thread after a signal."""
        if self._concluded.is_set() or not self._concluding.acquire(blocking=False):
            return
        try:
            with CtrlCHeld():
                self._conclude(outcome)
                self._concluded.set()
        except Exception:
            self._let_go()
            self._concluded.set()
            raise
        except BaseException:  # a second Ctrl-C: the end of the interpreter tries again
            self._concluding.release()
            raise

    def _conclude(self, outcome: Outcome) -> None:
        if not self._end_recorded:
            self._record_end(outcome)
        with guard.shielded("run span"):
            kind = outcome.error.type if outcome.error is not None else None
            spans.close(self.runtime, self.span, run_ended(outcome.result, kind), outcome)
        with guard.shielded("run end"):
            self._recorder.close()
        self._let_go()
        if self.runtime.observer is not None:
            self.runtime.observer.run_closed(self, outcome)
        report = self.run_dir / "manifest.md"
        self.runtime.console.run_finished(
            outcome.status,
            self.elapsed(),
            report if report.exists() else None,
            outcome.reason,
            anomalies=list(self.anomalies.values()),
            recommendations=list(self.recommendations.values()),
        )

    def _record_end(self, outcome: Outcome) -> None:
        """Write the end of the steps that are open and of the run; later events are refused."""
        now_ns = self.runtime.clock.time_ns()
        left = outcome if outcome.status == "cancelled" else ABANDONED
        for step in self.running_steps():
            with guard.shielded("step end"):
                step.conclude(left, now_ns)
                step.close_span(left)
        # Whatever fails here, the end of the run is written.
        observer = self.runtime.observer
        cost = None
        if observer is not None:
            with guard.shielded("run end"):
                observer.run_closing(self)
                cost = self._recorder.cost(observer.cost(self))
        self.ended = True
        self._took = max(0.0, self.steps.elapsed())
        closing = [*self.telemetry.faults(), *self.telemetry.take_metrics()]
        closing.append(
            e.RunFinished(
                status=outcome.status if outcome.status != "skipped" else "completed",
                result=outcome.result,
                duration_seconds=self._took,
                reason=outcome.reason,
                error=outcome.error,
                self_cost=cost,
                **self.ids(),
            )
        )
        with guard.shielded("run end"):
            self._recorder.record(*closing)
        self._end_recorded = True

    def _let_go(self) -> None:
        self.ended = True
        if self in context.process.live_runs:
            context.process.live_runs.remove(self)
        published.close(self)

    def record(self, *events: e.Event) -> None:
        """Append events to the journal unless the run has ended."""
        if not self.ended:
            self._recorder.record(*events)

    def ids(self) -> dict[str, Any]:
        """Return the time and the span of an event of the run as a whole."""
        return {
            "time_unix_nano": self.runtime.clock.time_ns(),
            "trace_id": self.trace_id,
            "span_id": trace.format_span_id(self.span.get_span_context().span_id),
        }

    def clean(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values as JSON holds them, secrets masked."""
        plain: dict[str, Any] = jsonable(dict(values))
        return self.runtime.redact.mapping(plain)

    # -- steps ----------------------------------------------------------------------------------

    def _eta(self) -> float | None:
        """Return the seconds to the end of the run as of a step's start or end."""
        observer = self.runtime.observer
        return observer.eta_seconds(self) if observer is not None else None

    def rename(self, pipeline: str, scenario: str | None) -> None:
        """Take the name and the scenario that a child process gave to the run."""
        self.former = (self.former | {(self.name, self.scenario)}) - {(pipeline, scenario)}
        self.name, self.scenario = pipeline, scenario
        self.span.update_name(self.runtime.outgoing.text(run_name(pipeline)))
        named = run_started(pipeline, self.run_id, self.url, scenario)
        self.span.set_attributes(self.runtime.outgoing.attributes(named))

    @property
    def ending(self) -> bool:
        """Whether its end is being written, or was."""
        return self._concluding.locked()

    def elapsed(self) -> float:
        """Return the seconds that the run has run, without pauses; at its end what was recorded."""
        return self.steps.elapsed() if self._took is None else self._took

    def elapsed_here(self) -> float:
        """Return the seconds since this process opened the run."""
        return self.runtime.clock.monotonic() - self._opened

    def running_steps(self) -> list[LiveStep]:
        """Return the steps that this process runs now, in the order in which they began."""
        return self.steps.running()

    def step_began(self, step: LiveStep) -> None:
        """Take a step into the running ones."""
        self.steps.began(step)
        published.update(self, step)
        if self.runtime.observer is not None:
            self.runtime.observer.step_began()

    def step_ended(self, step: LiveStep, outcome: Outcome) -> None:
        """Take a step out of the running ones."""
        self.steps.ended(step, outcome)
        published.update(self, context.live_step(self))
