"""A step that is recorded: its span, its journal events, its progress."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from robot_sf_otel import guard, semconv
from robot_sf_otel.instrument import context
from robot_sf_otel.instrument.child_process import run_child
from robot_sf_otel.instrument.outcome import COMPLETED, SKIPPED, Outcome, of_exception
from robot_sf_otel.instrument.spans import close, parent_context
from robot_sf_otel.instrument.step import MAX_NAME, InertStep, StepHandle, StepSpec, is_finite
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import clip, metric_value
from robot_sf_otel.manifest.curve import ProgressCurve
from robot_sf_otel.manifest.schema import MetricValue, Progress, StepSample
from robot_sf_otel.semconv.spans import step_ended, step_started

if TYPE_CHECKING:
    import subprocess
    from contextvars import Token
    from os import PathLike

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from robot_sf_otel.instrument.artifacts import Loggable
    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.instrument.runtime import Runtime
    from robot_sf_otel.manifest.schema import TelemetrySnapshot
    from robot_sf_otel.semconv.spans import Value

OUTSIDE_RUN: Final = "step-outside-run"
"""Key of the warning that a step belongs to no run."""
MAX_METRICS: Final = 200
"""Metric names kept for one step; more would make every sample a page long."""


class LiveStep:
    """The handle of a step that is being recorded."""

    __slots__ = (
        "_base",
        "_bill",
        "_curve",
        "_generation",
        "_goes_on",
        "_mark",
        "_otel_token",
        "_skip_reason",
        "_skipped",
        "_span",
        "_spec",
        "_token",
        "_took",
        "done",
        "ended",
        "metrics",
        "nested",
        "of_run",
        "rate",
        "span_id",
        "started",
        "total",
        "tracked",
        "unit",
    )

    def __init__(
        self, run: LiveRun, spec: StepSpec, span: Span, span_id: str, *, nested: bool
    ) -> None:
        """Take over a span that has just begun."""
        self.of_run = run
        self.span_id = span_id
        self.nested = nested
        self.done: float = 0
        self.total = spec.total
        self.unit = spec.unit
        self.rate: float | None = None
        self.metrics: dict[str, MetricValue] = {}
        self.tracked = False
        self.ended = False
        self.started = run.runtime.clock.monotonic()
        self._spec = spec
        self._span = span
        self._mark = (0.0, self.started)
        self._took: float | None = None
        self._base = 0.0
        self._curve = ProgressCurve()
        # In a resumed run: what its first report says was done is what was done before.
        self._goes_on = run.resumed and spec.step_id in run.steps.begun
        self._skipped = False
        self._skip_reason: str | None = None
        self._generation = context.process.generation
        self._token: Token[LiveStep | None] | None = None
        self._otel_token: Token[Context] | None = None
        sensors = run.runtime.sensors
        self._bill = sensors.open_bill() if sensors is not None else None

    @property
    def step_id(self) -> str:
        """The step's name."""
        return self._spec.step_id

    @property
    def title(self) -> str:
        """What people read."""
        return self._spec.title or self._spec.step_id

    @property
    def span(self) -> Span:
        """The step's span."""
        return self._span

    def advance(self, n: float = 1) -> None:
        """Count `n` more units as done. An addition: no lock, no I/O."""
        self.done += n

    def set_progress(self, done: float, total: float | None = None) -> None:
        """Say how many units are done and, if it changed, how many there are."""
        if total is not None:
            self._set_total(total)
        if not is_finite(done) or done < 0:
            guard.warn_once("bad-progress", f"set_progress: done={done!r} is ignored")
            return
        self.done = done
        if self._goes_on:
            self._goes_on = False
            self._go_on_from(done)

    def _go_on_from(self, done: float) -> None:
        """Take units as done in an earlier session: they are no speed of this one."""
        self._base = done
        self._mark = (done, self._mark[1])
        self._curve.add(0.0, done)
        with guard.shielded("set_progress"):
            self.of_run.recorder.record(
                e.StepProgress(
                    time_unix_nano=self.of_run.runtime.clock.time_ns(),
                    trace_id=self.of_run.trace_id,
                    span_id=self.span_id,
                    progress=Progress(done=done, total=self.total, unit=self.unit),
                ),
                sync=False,
            )

    def _set_total(self, total: float) -> None:
        if is_finite(total) and total >= 0:
            self.total = total
        else:
            guard.warn_once("bad-total", f"step {self.step_id!r}: total={total!r} is ignored")

    def begin_track(self, total: float | None, unit: str) -> None:
        """Let an outermost `track` drive the progress; successive ones add up."""
        self.tracked = True
        if self._spec.total is None and total is not None:
            self.total = self.done + total
        if self._spec.unit == "it" and unit != "it":
            self.unit = unit

    def log_metric(self, name: str, value: float) -> None:
        """Report a value; the last one of each name goes with the next telemetry sample."""
        try:
            if name not in self.metrics and len(self.metrics) >= MAX_METRICS:
                guard.warn_once(
                    "too-many-metrics",
                    f"step {self.step_id!r} reports over {MAX_METRICS} metrics; {name!r} and "
                    "later names are left out",
                )
                return
            self.metrics[clip(str(name), MAX_NAME)] = metric_value(value)
        except (TypeError, ValueError, OverflowError) as error:
            guard.warn_once(f"metric:{name}", f"metric {name!r} is left out: {error}")

    def log_artifact(
        self,
        path: Loggable,
        *,
        kind: str | None = None,
        name: str | None = None,
        copy: bool = False,
    ) -> None:
        """Record a file or folder that this step produced."""
        with guard.shielded("log_artifact"):
            self.of_run.record_artifact(path, kind, name, self, copy=copy)

    def mark_skipped(self, reason: str | None = None) -> None:
        """End this step as skipped, whatever it returns."""
        self._skipped = True
        self._skip_reason = reason

    def run(
        self,
        argv: Sequence[str | PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command that joins the run; see `child_process.run_child`."""
        return run_child(argv, env=env, check=check, timeout=timeout)

    def elapsed(self) -> float:
        """Return the seconds since the start; of a step that has ended what was recorded."""
        if self._took is not None:
            return self._took
        return max(0.0, self.of_run.runtime.clock.monotonic() - self.started)

    def progress(self, now: float) -> Progress:
        """Return the progress with the mean rate since the start; `now` is monotonic seconds."""
        seconds = now - self.started
        own = self.done - self._base
        rate = own / seconds if own > 0 and seconds > 0 else None
        return Progress(done=self.done, total=self.total, unit=self.unit, rate=rate)

    def course(self, now: float) -> tuple[float, list[tuple[float, float]]]:
        """Return the seconds since the start, and the progress over them; `now` is monotonic."""
        return now - self.started, self._curve.points()

    def observe(self, sample: TelemetrySnapshot) -> None:
        """Take a telemetry sample into the bill. Monitor thread only."""
        if self._bill is not None:
            self._bill.observe(sample)

    def measure(self, now: float) -> StepSample:
        """Return a sample with the rate since the last one. Monitor thread only."""
        done, (before, then) = self.done, self._mark
        self._curve.add(now - self.started, done)
        if now > then and (self.total is not None or done or before):
            self.rate = (done - before) / (now - then)
            self._mark = (done, now)
        return StepSample(
            step_id=self.step_id,
            span_id=self.span_id,
            done=done,
            total=self.total,
            rate=self.rate,
        )

    def enter(self, otel: Context) -> None:
        """Make this the current step and its span the current span."""
        self._token = context.step_var.set(self)
        self._otel_token = otel_context.attach(trace.set_span_in_context(self._span, otel))

    def end(self, error: BaseException | None) -> None:
        """End the step; in a process that merely inherited it, only leave it."""
        began = time.thread_time()
        self._leave()
        if self.ended or self._generation != context.process.generation:
            return
        with guard.shielded("step end"):
            outcome = self._outcome(error)
            self.conclude(outcome, self.of_run.runtime.clock.time_ns())
            self.close_span(outcome)
            self.of_run.step_ended(self, outcome)
        self.of_run.capture_cpu_seconds += time.thread_time() - began

    def _leave(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            try:
                context.step_var.reset(token)
            except ValueError:  # begun in another context: an async generator closed elsewhere
                if context.step_var.get() is self:
                    context.step_var.set(None)
        otel_token, self._otel_token = self._otel_token, None
        if otel_token is not None:
            detach(otel_token)

    def _outcome(self, error: BaseException | None) -> Outcome:
        outcome = self.of_run.outcome(error)
        return SKIPPED if self._skipped and outcome is COMPLETED else outcome

    def conclude(self, outcome: Outcome, now_ns: int) -> None:
        """Write the end of the step to the journal, once."""
        if self.ended:
            return
        self.ended = True
        now = self.of_run.runtime.clock.monotonic()
        self._took = max(0.0, now - self.started)
        closing: list[e.Event] = []
        ids: dict[str, Any] = {
            "time_unix_nano": now_ns,
            "trace_id": self.of_run.trace_id,
            "span_id": self.span_id,
        }
        if self.metrics:
            closing.append(e.MetricLogged(metrics=dict(self.metrics), **ids))
        closing.append(
            e.StepFinished(
                status=outcome.status,
                result=outcome.result,
                duration_seconds=self._took,
                progress=self.progress(now),
                progress_curve=self._curve.points(),
                error=outcome.error,
                skip_reason=self._skip_reason if outcome.status == "skipped" else None,
                usage=self._bill.settle() if self._bill is not None else None,
                **ids,
            )
        )
        self.of_run.record(*closing)
        observer = self.of_run.runtime.observer
        if observer is not None:
            observer.outward.step_ended(self.of_run, self, outcome)

    def close_span(self, outcome: Outcome) -> None:
        """End the span, saying how the step ended."""
        attributes = step_ended(
            outcome.result,
            outcome.error.type if outcome.error is not None else None,
            done=self.done,
            total=self.total,
            skip_reason=self._skip_reason,
        )
        close(self.of_run.runtime, self._span, attributes, outcome)


class PlainStep(InertStep):
    """A step outside any run: a span and nothing else."""

    __slots__ = ("_runtime", "_span", "_token")

    def __init__(self, runtime: Runtime, spec: StepSpec) -> None:
        """Begin the span and make it current."""
        self._runtime = runtime
        self._span = runtime.tracer.start_span(
            runtime.outgoing.text(spec.step_id),
            attributes=runtime.outgoing.attributes(_attributes(spec)),
        )
        self._token = otel_context.attach(trace.set_span_in_context(self._span))

    def end(self, error: BaseException | None) -> None:
        """End the span."""
        detach(self._token)
        with guard.shielded("step end"):
            outcome = of_exception(error, self._runtime.redact.text)
            kind = outcome.error.type if outcome.error is not None else None
            close(self._runtime, self._span, step_ended(outcome.result, kind), outcome)


def detach(token: Token[Context]) -> None:
    """Detach a context, quietly where it was attached elsewhere: an async generator, a notebook.

    OpenTelemetry's own `detach` logs a traceback then, which is nobody's error.
    """
    with suppress(ValueError):
        token.var.reset(token)


def _attributes(spec: StepSpec, run: LiveRun | None = None) -> dict[str, Value]:
    return step_started(
        spec.step_id,
        pipeline=run.name if run is not None else None,
        run_id=run.run_id if run is not None else None,
        url=run.url if run is not None else None,
        title=spec.title,
        total=spec.total,
        unit=spec.unit,
    )


def begin_step(runtime: Runtime, spec: StepSpec) -> StepHandle:
    """Begin a step in the run that the calling code belongs to. Never raises."""
    with guard.shielded("step start"):
        run = context.live_run()
        if run is not None and not run.owner and not run.recorder.is_open():
            run.leave()  # a pool that outlived the run that it was made for
            run = None
        if run is None:
            guard.warn_once(
                OUTSIDE_RUN,
                f"step {spec.step_id!r} runs outside any run: it becomes a span and is not "
                "recorded; open a run with @pipeline or `with pipeline(...)`",
            )
            return PlainStep(runtime, spec)
        began = time.thread_time()
        handle = _begin_in(run, spec)
        run.capture_cpu_seconds += time.thread_time() - began
        return handle
    return InertStep()


def _begin_in(run: LiveRun, spec: StepSpec) -> LiveStep:
    runtime = run.runtime
    if len(spec.step_id) > MAX_NAME:
        spec = replace(spec, step_id=spec.step_id[:MAX_NAME])
    parent = context.live_step(run) if context.step_var.get() is not None else None
    otel = parent_context(run, parent)
    attributes = runtime.outgoing.attributes(_attributes(spec, run))
    span = runtime.tracer.start_span(
        runtime.outgoing.text(spec.step_id),
        context=otel,
        kind=SpanKind.INTERNAL,
        attributes=attributes,
    )
    span_id = trace.format_span_id(span.get_span_context().span_id)
    span.set_attribute(semconv.TASK_RUN_ID, span_id)
    nested = parent is not None or run.parent_is_step
    handle = LiveStep(run, spec, span, span_id, nested=nested)
    run.record(
        e.StepStarted(
            time_unix_nano=runtime.clock.time_ns(),
            trace_id=run.trace_id,
            span_id=span_id,
            step_id=spec.step_id,
            display_name=spec.title,
            parent_span_id=parent.span_id if parent is not None else run.parent_span_id,
            total=spec.total,
            unit=spec.unit,
            expected_seconds=spec.expected_seconds,
            baseline_rate=spec.baseline_rate,
            process=runtime.process,
        )
    )
    handle.enter(otel)
    run.step_began(handle)
    return handle
