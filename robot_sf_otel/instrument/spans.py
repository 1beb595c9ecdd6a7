"""What capture does with OpenTelemetry spans: parents, trace context in text form, errors."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from robot_sf_otel.semconv import logs
from robot_sf_otel.semconv.spans import EXCEPTION, exception

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.instrument.live_step import LiveStep
    from robot_sf_otel.instrument.outcome import Outcome
    from robot_sf_otel.instrument.runtime import Runtime
    from robot_sf_otel.manifest.schema import ErrorInfo
    from robot_sf_otel.semconv.spans import Value

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def parse_traceparent(text: str | None) -> SpanContext | None:
    """Return the span context of a W3C `traceparent`, None where it is missing or invalid."""
    match = _TRACEPARENT.match((text or "").strip().lower())
    if match is None:
        return None
    parsed = SpanContext(
        trace_id=int(match[1], 16),
        span_id=int(match[2], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(match[3], 16)),
    )
    return parsed if parsed.is_valid else None


def format_traceparent(span: SpanContext) -> str:
    """Return a span context as W3C `traceparent`."""
    return (
        f"00-{trace.format_trace_id(span.trace_id)}-{trace.format_span_id(span.span_id)}"
        f"-{span.trace_flags:02x}"
    )


def remote_span(parent: SpanContext) -> Span:
    """Return a span that stands for one of another process."""
    return NonRecordingSpan(parent)


class _InTrace:
    """An id generator that puts spans without parent into a trace that exists.

    Args:
        ids: Generates the ids of spans.
        trace_id: The trace.
    """

    def __init__(self, ids: Any, trace_id: int) -> None:  # noqa: ANN401 - the SDK's protocol
        self._trace_id = trace_id
        self.generate_span_id = ids.generate_span_id
        self.is_trace_id_random = getattr(ids, "is_trace_id_random", lambda: False)

    def generate_trace_id(self) -> int:
        """Return the id of the trace."""
        return self._trace_id


def start_root(tracer: Tracer, trace_id: int, name: str, **settings: Any) -> Span:  # noqa: ANN401 - what start_span takes
    """Start a span without parent in a trace that exists already; a root span that goes on."""
    settings["context"] = trace.set_span_in_context(trace.INVALID_SPAN)
    # A copy, because other threads start spans with the tracer meanwhile.
    mine: Any = copy.copy(tracer)
    if hasattr(mine, "id_generator"):
        mine.id_generator = _InTrace(mine.id_generator, trace_id)
    span: Span = mine.start_span(name, **settings)
    return span


def live_context(span: Span) -> SpanContext:
    """Return the context of a span that has not ended, else an invalid one."""
    ended = getattr(span, "end_time", None) is not None
    return trace.INVALID_SPAN_CONTEXT if ended else span.get_span_context()


def parent_context(run: LiveRun, parent: LiveStep | None) -> Context:
    """Return the context in which a step of `run` begins.

    The current one where its span belongs to the run's trace, so that spans of the application in
    between stay in between; code without context gets the parent step's or the run's.
    """
    current = trace.get_current_span().get_span_context()
    if current.is_valid and current.trace_id == run.span.get_span_context().trace_id:
        return otel_context.get_current()
    return trace.set_span_in_context(parent.span if parent is not None else run.span)


def close(
    runtime: Runtime,
    span: Span,
    attributes: Mapping[str, Value],
    outcome: Outcome,
) -> None:
    """Say on a span how it ended, and end it.

    Args:
        runtime: Tells what may leave the machine.
        span: The span of a run or step.
        attributes: What its end adds.
        outcome: How it ended. KeyboardInterrupt and SystemExit would otherwise leave the status
            unset, like a success.
    """
    span.set_attributes(runtime.outgoing.attributes(attributes))
    if outcome.status not in ("completed", "skipped"):
        kind = outcome.error.type if outcome.error is not None else outcome.result
        reason = runtime.outgoing.detail(outcome.reason or outcome.result, kind)
        span.set_status(Status(StatusCode.ERROR, reason))
        if outcome.error is not None:
            _report(runtime, span, outcome.error)
    span.end()


def _report(runtime: Runtime, span: Span, error: ErrorInfo) -> None:
    """Report an exception where OpenTelemetry's variable says: on the span, in the logs or both."""
    if runtime.exceptions != "logs":
        span.add_event(
            EXCEPTION,
            runtime.outgoing.attributes(exception(error.type, error.message, error.stacktrace)),
        )
    if runtime.exceptions != "spans" and runtime.events is not None:
        event = logs.exception(error.type, error.message, error.stacktrace)
        runtime.events.emit(event, span.get_span_context(), runtime.clock.time_ns())
