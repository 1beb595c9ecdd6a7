"""Opening runs: a new one, one that was stopped, or a part in the run that the code is in."""

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

from robot_sf_otel import guard
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
from robot_sf_otel.manifest.plan import Plan
from robot_sf_otel.semconv.spans import run_name, run_started
from robot_sf_otel.store.resuming import CannotResume

if TYPE_CHECKING:
    from robot_sf_otel.instrument.runtime import RunRecorder, Runtime
    from robot_sf_otel.manifest.state import RunState


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
    run.name = spec.name
    plan = [plan_step(entry) for entry in spec.plan]
    run.steps.plan.replace(plan)
    ids = run.ids()
    run.record(
        e.PlanChanged(plan=plan, pipeline=spec.name, scenario_config_path=spec.scenario, **ids),
        _declared(run, spec, ids),
    )
    return cast("RunHandle", NestedPipeline(runtime, run, None))


def open_run(runtime: Runtime, spec: PipelineSpec, *, adoptable: bool = False) -> LiveRun:
    """Open a run and make it the current one: the one to be resumed, else a new one.

    Args:
        runtime: The live runtime.
        spec: What is declared of the pipeline.
        adoptable: Whether a pipeline in a child process gives this run its name and plan.
    """
    wanted, runtime.resume = runtime.resume, None  # only the first run is the one that goes on
    if wanted is not None:
        try:
            return resume_run(runtime, wanted, spec, adoptable=adoptable)
        except CannotResume as error:
            guard.warn(f"{error}; a new run is started instead")
    return _open_new(runtime, spec, adoptable=adoptable)


def _open_new(runtime: Runtime, spec: PipelineSpec, *, adoptable: bool) -> LiveRun:
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
        runtime.outgoing.text(run_name(spec.name)),
        context=current,
        kind=SpanKind.SERVER,
        attributes=_attributes(runtime, spec, spec.name, recorder),
        links=links,
    )
    plan = Plan(plan_step(entry) for entry in spec.plan)
    run = _owned(runtime, recorder, span, spec.name, plan)
    run.scenario = spec.scenario
    run.open(
        e.RunStarted(
            **_at(run, now_ns),
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
            plan=plan.steps,
            process=runtime.process,
            parent_span_id=trace.format_span_id(outer.span_id) if outer.is_valid else None,
            linked_run_id=runtime.linked_run_id,
            adoptable=adoptable,
        )
    )
    return run


def _owned(
    runtime: Runtime, recorder: RunRecorder, span: trace.Span, name: str, plan: Plan
) -> LiveRun:
    return LiveRun(
        runtime,
        recorder,
        span,
        owner=True,
        name=name,
        parent_span_id=trace.format_span_id(span.get_span_context().span_id),
        plan=plan,
    )


def resume_run(
    runtime: Runtime,
    wanted: str,
    spec: PipelineSpec,
    *,
    adoptable: bool = False,
    any_pipeline: bool = False,
) -> LiveRun:
    """Go on with a run that was stopped: the same run id and trace, under a new root span.

    Args:
        runtime: The live runtime.
        wanted: Id, unique prefix or path of the run, or `latest`.
        spec: What is declared of the pipeline; what it adds to the record counts from now on.
        adoptable: Whether a pipeline in a child process gives this run its name and plan.
        any_pipeline: Whether the run may be one of another pipeline than `spec` names.

    Raises:
        CannotResume: There is no such run, or it cannot be resumed; the message says why.
    """
    now_ns = runtime.clock.time_ns()
    name = None if any_pipeline else spec.name
    recorder, state = runtime.recorder.resume_run(wanted, now_ns, name)
    before = spans.parse_traceparent(f"00-{state.started.trace_id}-{state.span_id}-01")
    settings: dict[str, Any] = {
        "kind": SpanKind.SERVER,
        "attributes": _attributes(runtime, spec, state.pipeline, recorder),
    }
    title = runtime.outgoing.text(run_name(state.pipeline))
    if before is None:  # recorded by a program that has no traces
        span = runtime.tracer.start_span(title, **settings)
    else:
        links = [trace.Link(before)]
        span = spans.start_root(runtime.tracer, before.trace_id, title, links=links, **settings)
    run = _owned(runtime, recorder, span, state.pipeline, state.plan)
    run.scenario = spec.scenario or state.started.scenario_config_path
    run.go_on(state)
    ids = _at(run, now_ns)
    opening: list[e.Event] = [
        e.RunResumed(
            process=runtime.process,
            argv=_redacted(runtime, sys.orig_argv),
            cwd=_cwd(),
            previous_span_id=state.span_id,
            duration_seconds=state.elapsed_seconds,
            adoptable=adoptable,
            **ids,
        )
    ]
    if spec.plan or spec.scenario:
        if spec.plan:
            run.steps.take_plan(plan_step(entry) for entry in spec.plan)
        opening.append(
            e.PlanChanged(plan=run.steps.plan.steps, scenario_config_path=spec.scenario, **ids)
        )
    if spec.params or spec.seeds or spec.tags:
        opening.append(_declared(run, spec, ids))
    run.open(*opening)
    return run


def _at(run: LiveRun, time_unix_nano: int) -> dict[str, Any]:
    return {**run.ids(), "time_unix_nano": time_unix_nano}


def _declared(run: LiveRun, spec: PipelineSpec, ids: dict[str, Any]) -> e.ParamsLogged:
    return e.ParamsLogged(
        params=run.clean(spec.params), seeds=run.clean(spec.seeds), tags=list(spec.tags), **ids
    )


def _attributes(
    runtime: Runtime, spec: PipelineSpec, pipeline: str, recorder: RunRecorder
) -> dict[str, Any]:
    url = recorder.run_dir.as_uri()
    attributes = run_started(pipeline, recorder.run_id, url, spec.scenario, spec.tags)
    return runtime.outgoing.attributes(attributes)


def _redacted(runtime: Runtime, argv: Iterable[str]) -> list[str]:
    return runtime.redact.argv([clip(argument) for argument in argv])


def _cwd() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # the folder was deleted under the process
        return None


def join_run(
    runtime: Runtime, recorder: RunRecorder, state: RunState, traceparent: str | None
) -> LiveRun:
    """Take part in a run of another process; steps here become part of it.

    Raises:
        ValueError: The run has no valid trace id.
    """
    started = state.started
    root = spans.parse_traceparent(f"00-{started.trace_id}-{state.span_id}-01")
    parent = spans.parse_traceparent(traceparent)
    if parent is None or (root is not None and parent.trace_id != root.trace_id):
        parent = root
    if parent is None:
        msg = f"run {started.run_id} has no valid trace id"
        raise ValueError(msg)
    run = LiveRun(
        runtime,
        recorder,
        spans.remote_span(parent),
        owner=False,
        name=state.pipeline,
        parent_span_id=trace.format_span_id(parent.span_id),
        plan=state.plan,
        root_span_id=state.span_id,
        adoptable=state.adoptable,
    )
    run.go_on(state)  # "elapsed" is the run's, not this process's
    context.process.live_runs.append(run)
    published.open(run)  # a child of this process is told of the step that starts it
    return run
