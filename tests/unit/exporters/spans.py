"""Ended spans as an exporter gets them, with ids and times that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from robot_sf_otel_manifest.readable import recorded

if TYPE_CHECKING:
    from robot_sf_otel.manifest.spans import RecordedSpan

T0 = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z in Unix nanoseconds."""
TRACE = 0xABC
ROOT = 1


def make_span(
    name: str,
    span_id: int,
    parent: int | None = ROOT,
    *,
    trace: int = TRACE,
    start: float = 0.0,
    end: float = 1.0,
    attributes: Mapping[str, Any] | None = None,
    status: StatusCode = StatusCode.UNSET,
    description: str | None = None,
    events: Sequence[Event] = (),
    scope: str = "somebody.else",
    resource: Mapping[str, Any] | None = None,
    remote: bool = False,
) -> ReadableSpan:
    """Return a span that ended; times in seconds after T0, `parent` a span id."""
    return ReadableSpan(
        name=name,
        context=_context(trace, span_id, remote=False),
        parent=None if parent is None else _context(trace, parent, remote=remote),
        resource=Resource(dict(resource or {"service.name": "shop"})),
        attributes=attributes,
        events=events,
        status=Status(status, description),
        start_time=T0 + round(start * 1e9),
        end_time=T0 + round(end * 1e9),
        instrumentation_scope=InstrumentationScope(scope),
    )


def make_root(name: str = "nightly", **changes: Any) -> ReadableSpan:  # noqa: ANN401 - whatever make_span takes
    """Return a root span that lasted from 0 to 10 s."""
    given: dict[str, Any] = {"span_id": ROOT, "parent": None, "start": 0.0, "end": 10.0}
    return make_span(name, **(given | changes))


def recorded_span(*given: Any, **changes: Any) -> RecordedSpan:  # noqa: ANN401 - whatever make_span takes
    """Return a span that ended, in the neutral form."""
    made = recorded(make_span(*given, **changes))
    assert made is not None
    return made


def recorded_root(*given: Any, **changes: Any) -> RecordedSpan:  # noqa: ANN401 - whatever make_root takes
    """Return a root span, in the neutral form."""
    made = recorded(make_root(*given, **changes))
    assert made is not None
    return made


def exception(kind: str, message: str = "", stack: str = "") -> Event:
    """Return the event of a recorded exception."""
    return Event(
        "exception",
        {
            "exception.type": kind,
            "exception.message": message,
            "exception.stacktrace": stack,
            "exception.escaped": "False",
        },
    )


def _context(trace: int, span_id: int, *, remote: bool) -> SpanContext:
    return SpanContext(trace, span_id, is_remote=remote, trace_flags=TraceFlags(1))
