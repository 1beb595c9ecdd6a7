"""Opening runs: a new one, or a part in the run that the code is already in."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from robot_sf_otel import guard, semconv
from robot_sf_otel.instrument import context, spans
from robot_sf_otel.instrument.child_process import published
from robot_sf_otel.instrument.ctrl_c import CtrlCHeld
from robot_sf_otel.instrument.live_run import LiveRun
from robot_sf_otel.instrument.live_step import OUTSIDE_RUN, begin_step
from robot_sf_otel.instrument.pipeline import (
    INERT_RUN,
    FinalStatus,
    PipelineSpec,
    PlanEntry,
    RunHandle,
)
from robot_sf_otel.instrument.run_steps import plan_step
from robot_sf_otel.instrument.step import StepSpec
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import clip

if TYPE_CHECKING:
    from robot_sf_otel.instrument.runtime import Joined, Runtime


class NestedPipeline:
    """A pipeline inside a run: a step of it, or what gives a `robot-sf-otel run` its name."""

    def __init__(self, runtime: Runtime, run: LiveRun, step_id: str | None) -> None:
        """Make `run` the current one and, with a `step_id`, begin a step in it."""
        self._run = run
        self._token = context.run_var.set(run)
        self._step = begin_step(runtime, StepSpec(step_id=step_id)) if step_id else None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the run's
        """Return the enclosing run's own attribute."""
        return getattr(self._run, name)

    def plan(self, steps: Iterable[PlanEntry]) -> None:
        """Replace the plan where this pipeline is the run's; inside a step nothing is planned."""
        if self._step is None:
            self._run.plan(steps)

    def finish(self, status: FinalStatus = "completed", reason: str | None = None) -> None:
        """End the step that this pipeline is."""
        errors = {"failed": RuntimeError, "cancelled": CancelledError}
        self.end(errors[status](reason or status) if status in errors else None)

    def end(self, error: BaseException | None) -> None:
        """End the step that this pipeline is; the run goes on."""
        if self._step is not None:
            self._step.end(error)
        try:
            context.run_var.reset(self._token)
        except ValueError:  # ended in another context than it was begun in
            if context.run_var.get() is self._run:
                context.run_var.set(None)


def begin_pipeline(runtime: Runtime, spec: PipelineSpec) -> RunHandle:
    """Open a run, or take part in the one that this code is already in. Never raises."""
    with guard.shielded("run start"):
        enclosing = context.run_var.get()
        if enclosing is None or enclosing.ended:
            enclosing = next((run for run in context.process.live_runs if not run.owner), None)
        if enclosing is None:
            return _open_undisturbed(runtime, spec)
        if enclosing.adoptable and not enclosing.parent_is_step and not enclosing.running_steps():
            return _adopt(runtime, enclosing, spec)
        return cast("RunHandle", NestedPipeline(runtime, enclosing, spec.name))
    guard.take_as_said(OUTSIDE_RUN)
    return INERT_RUN


def _open_undisturbed(runtime: Runtime, spec: PipelineSpec) -> RunHandle:
    """Open a new run; a signal that comes meanwhile finds either no run or one that it can end."""
    opened: LiveRun | None = None
    observer = runtime.observer
    try:
        with CtrlCHeld(), observer.opening() if observer is not None else nullcontext():
            opened = open_run(runtime, spec)
    except BaseException as error:
        if opened is not None:  # nobody else has got it
            opened.end(error)
        raise
    return cast("RunHandle", opened)


def _adopt(runtime: Runtime, run: LiveRun, spec: PipelineSpec) -> RunHandle:
    """Give a run that `robot-sf-otel run` opened this pipeline's name, plan and parameters."""
    run.adoptable = False  # a pipeline inside this one is a step
    plan = [plan_step(entry) for entry in spec.plan]
    run.steps.plan.replace(plan)
    ids = run.ids()
    run.record(
        e.PlanChanged(plan=plan, pipeline=spec.name, scenario_config_path=spec.scenario, **ids),
        e.ParamsLogged(
            params=run.clean(spec.params), seeds=run.clean(spec.seeds), tags=list(spec.tags), **ids
        ),
    )
    return cast("RunHandle", NestedPipeline(runtime, run, None))


def open_run(runtime: Runtime, spec: PipelineSpec, *, adoptable: bool = False) -> LiveRun:
    """Open a new run and make it the current one.

    Args:
        runtime: The live runtime.
        spec: What is declared of the pipeline.
        adoptable: Whether a pipeline in a child process gives this run its name and plan.
    """
    current = otel_context.get_current()
    outer = spans.live_context(trace.get_current_span(current))
    if not outer.is_valid:  # of a run that ended in another context, say
        current = trace.set_span_in_context(trace.INVALID_SPAN, current)
    parent = spans.parse_traceparent(published.inherited_traceparent())
    links: list[trace.Link] = []
    if parent is not None and runtime.linked_run_id is not None:
        links.append(trace.Link(parent))
    elif parent is not None and not outer.is_valid:
        outer = parent
        current = trace.set_span_in_context(spans.remote_span(parent), current)
    now_ns = runtime.clock.time_ns()
    recorder = runtime.recorder.open_run(spec.name, now_ns)
    span = runtime.tracer.start_span(
        f"RUN {spec.name}",
        context=current,
        kind=SpanKind.SERVER,
        attributes=_attributes(spec, recorder.run_id, recorder.run_dir),
        links=links,
    )
    span_id = trace.format_span_id(span.get_span_context().span_id)
    run = LiveRun(
        runtime,
        recorder,
        span,
        owner=True,
        name=spec.name,
        parent_span_id=span_id,
        plan=[plan_step(entry) for entry in spec.plan],
    )
    run.open(
        e.RunStarted(
            time_unix_nano=now_ns,
            trace_id=run.trace_id,
            span_id=span_id,
            run_id=recorder.run_id,
            pipeline=spec.name,
            artifact_dir=str(recorder.run_dir),
            initiator=" ".join(_redacted(runtime, sys.argv)) or None,
            argv=_redacted(runtime, sys.orig_argv),
            cwd=_cwd(),
            scenario_config_path=spec.scenario,
            params=run.clean(spec.params),
            seeds=run.clean(spec.seeds),
            tags=list(spec.tags),
            plan=run.steps.plan.steps,
            process=runtime.process,
            parent_span_id=trace.format_span_id(outer.span_id) if outer.is_valid else None,
            linked_run_id=runtime.linked_run_id,
            adoptable=adoptable,
        )
    )
    return run


def _attributes(spec: PipelineSpec, run_id: str, run_dir: Path) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        semconv.PIPELINE_NAME: spec.name,
        semconv.PIPELINE_ACTION_NAME: "RUN",
        semconv.PIPELINE_RUN_ID: run_id,
        semconv.PIPELINE_RUN_URL: run_dir.as_uri(),
    }
    if spec.scenario:
        attributes[semconv.RUN_SCENARIO] = spec.scenario
    if spec.tags:
        attributes[semconv.RUN_TAGS] = spec.tags
    return attributes


def _redacted(runtime: Runtime, argv: Iterable[str]) -> list[str]:
    return runtime.redact.argv([clip(argument) for argument in argv])


def _cwd() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # the folder was deleted under the process
        return None


def join_run(runtime: Runtime, joined: Joined, traceparent: str | None) -> LiveRun:
    """Take part in a run of another process; steps here become part of it.

    Raises:
        ValueError: The run has no valid trace id.
    """
    started = joined.started
    root = spans.parse_traceparent(f"00-{started.trace_id}-{started.span_id}-01")
    parent = spans.parse_traceparent(traceparent)
    if parent is None or (root is not None and parent.trace_id != root.trace_id):
        parent = root
    if parent is None:
        msg = f"run {started.run_id} has no valid trace id"
        raise ValueError(msg)
    run = LiveRun(
        runtime,
        joined.recorder,
        spans.remote_span(parent),
        owner=False,
        name=started.pipeline,
        parent_span_id=trace.format_span_id(parent.span_id),
        plan=joined.plan,
        root_span_id=started.span_id,
        adoptable=started.adoptable,
    )
    # "Elapsed" is the run's, not this process's.
    run.steps.opened -= max(0.0, (runtime.clock.time_ns() - started.time_unix_nano) / e.NANOSECONDS)
    context.process.live_runs.append(run)
    published.open(run)  # a child of this process is told of the step that starts it
    return run
