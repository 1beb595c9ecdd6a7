"""Tells of runs, steps and findings in events when they begin or happen: spans come at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_sf_otel.instrument import context
from robot_sf_otel.manifest.events import NANOSECONDS
from robot_sf_otel.manifest.schema import Anomaly
from robot_sf_otel.semconv import logs

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.instrument.live_step import LiveStep
    from robot_sf_otel.manifest.schema import PerformanceRecommendation


class Announcements:
    """Emits each event once, off the pipeline's own threads where there may be many."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def run_opened(self, run: LiveRun) -> None:
        """Tell that a run began."""
        runtime = run.runtime
        if runtime.events is not None:
            event = logs.run_started(run.name, run.run_id, run.url, run.scenario)
            runtime.events.emit(event, run.span.get_span_context(), runtime.clock.time_ns())

    def steps(self) -> None:
        """Tell of the steps that run and were not told of. Monitor thread only.

        A step that is shorter than the interval is not told of: its span is on its way already,
        and a pipeline of thousands of such steps pays nothing.
        """
        running: set[str] = set()
        for run in list(context.process.live_runs):
            for step in run.running_steps():
                running.add(step.span_id)
                if step.span_id not in self._told:
                    _tell_of(run, step)
        self._told = running

    def found(self, run: LiveRun, one: Anomaly | PerformanceRecommendation, span: Span) -> None:
        """Tell what the rules found."""
        events = run.runtime.events
        if events is None:
            return
        event = logs.finding(
            anomaly=isinstance(one, Anomaly),
            identity=one.id,
            severity=one.severity,
            message=one.message,
            pipeline=run.name,
            run_id=run.run_id,
            step_id=one.step_id,
            actions=() if isinstance(one, Anomaly) else one.suggested_actions,
        )
        events.emit(event, span.get_span_context(), one.timestamp_ms * 1_000_000)


def _tell_of(run: LiveRun, step: LiveStep) -> None:
    runtime = run.runtime
    if runtime.events is None:
        return
    event = logs.step_started(run.name, run.run_id, step.step_id, step.span_id)
    since = round(step.elapsed() * NANOSECONDS)
    runtime.events.emit(event, step.span.get_span_context(), runtime.clock.time_ns() - since)
