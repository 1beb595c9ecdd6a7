"""What the SDK hands to exporters, in the neutral form that the rest of the package reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from robot_sf_otel.manifest.points import MetricPoint
from robot_sf_otel.manifest.spans import (
    ERROR,
    NO_ATTRIBUTES,
    OK,
    UNSET,
    RecordedSpan,
    SpanEvent,
)

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.trace import ReadableSpan

_STATUS = {StatusCode.UNSET: UNSET, StatusCode.OK: OK, StatusCode.ERROR: ERROR}


def recorded(span: ReadableSpan) -> RecordedSpan | None:
    """Return an ended span; None for one that has no context or has not ended."""
    if span.context is None or span.end_time is None:
        return None
    scope = span.instrumentation_scope
    return RecordedSpan(
        trace_id=format_trace_id(span.context.trace_id),
        span_id=format_span_id(span.context.span_id),
        parent_span_id=format_span_id(span.parent.span_id) if span.parent is not None else None,
        is_local_root=span.parent is None or span.parent.is_remote,
        name=span.name,
        start_ns=span.start_time or 0,
        end_ns=span.end_time,
        attributes=span.attributes or NO_ATTRIBUTES,
        status=_STATUS[span.status.status_code],
        status_message=span.status.description or "",
        events=tuple(
            SpanEvent(event.name, event.timestamp or 0, event.attributes or NO_ATTRIBUTES)
            for event in span.events
        ),
        links=tuple(
            (format_trace_id(link.context.trace_id), format_span_id(link.context.span_id))
            for link in span.links
        ),
        resource=span.resource.attributes,
        scope=scope.name if scope is not None else None,
    )


def points_of(data: MetricsData) -> Iterator[MetricPoint]:
    """Yield what metric readers collected; of a histogram its count, sum, minimum and maximum."""
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield from _values(metric.name, point)


def _values(name: str, point: Any) -> Iterator[MetricPoint]:  # noqa: ANN401 - one of three point types
    attributes = point.attributes or NO_ATTRIBUTES
    times = (point.time_unix_nano, getattr(point, "start_time_unix_nano", None) or 0)
    if hasattr(point, "value"):
        yield MetricPoint(name, point.value, attributes, *times)
        return
    yield MetricPoint(name, point.count, attributes, *times, part="count")
    if point.count:
        for part in ("sum", "min", "max"):
            yield MetricPoint(name, getattr(point, part), attributes, *times, part=part)
