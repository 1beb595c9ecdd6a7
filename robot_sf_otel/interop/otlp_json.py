"""OTLP JSON lines, written: one export of one signal a line, as the OTLP file specification says.

Ids are hex, 64-bit integers strings, enumerations numbers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from robot_sf_otel import semconv
from robot_sf_otel.interop.batches import by_resource
from robot_sf_otel.semconv.instruments import DURATION_BUCKETS, INSTRUMENTS, WRITTEN

if TYPE_CHECKING:
    from robot_sf_otel.interop.batches import Batch, Histogram, Measured
    from robot_sf_otel.manifest.points import SeriesKey
    from robot_sf_otel.manifest.spans import RecordedLog, RecordedSpan

KNOWN: Final = {row.name: row for row in (*INSTRUMENTS, *WRITTEN)}
"""Kind, unit and description of every instrument."""
CUMULATIVE: Final = 2
HAS_IS_REMOTE: Final = 0x100
IS_REMOTE: Final = 0x200
"""Flags of a span: whether it is told that the parent is in another process, and that it is."""

_encoder: Final = msgspec.json.Encoder()


def line_of(batch: Batch, version: str) -> bytes:
    """Return a batch as a line, newline included.

    Args:
        batch: Spans, points or log records.
        version: Of this package, for the scope.
    """
    scope = {"name": semconv.SCOPE, "version": version}
    encode = {"traces": _traces, "metrics": _metrics, "logs": _logs}[batch.signal]
    return _encoder.encode(encode(batch, scope)) + b"\n"


def _traces(batch: Batch, scope: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes(resource)},
                "scopeSpans": [{"scope": scope, "spans": [_span(span) for span in spans]}],
            }
            for resource, spans in by_resource(batch.spans)
        ]
    }


def _span(span: RecordedSpan) -> dict[str, Any]:
    remote = span.is_local_root and span.parent_span_id is not None
    made: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "flags": HAS_IS_REMOTE | (IS_REMOTE if remote else 0),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": attributes(span.attributes),
    }
    if span.parent_span_id is not None:
        made["parentSpanId"] = span.parent_span_id
    if span.events:
        made["events"] = [
            {
                "timeUnixNano": str(event.time_unix_nano),
                "name": event.name,
                "attributes": attributes(event.attributes),
            }
            for event in span.events
        ]
    if span.links:
        made["links"] = [{"traceId": trace, "spanId": of} for trace, of in span.links]
    status = {"message": span.status_message, "code": span.status}
    made["status"] = {name: value for name, value in status.items() if value}
    return made


def _logs(batch: Batch, scope: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": attributes(resource)},
                "scopeLogs": [{"scope": scope, "logRecords": [_log(one) for one in records]}],
            }
            for resource, records in by_resource(batch.logs)
        ]
    }


def _log(record: RecordedLog) -> dict[str, Any]:
    return {
        "timeUnixNano": str(record.time_ns),
        "observedTimeUnixNano": str(record.time_ns),
        "severityNumber": record.severity,
        "severityText": record.severity_text,
        "body": {"stringValue": record.body},
        "attributes": attributes(record.attributes),
        "traceId": record.trace_id,
        "spanId": record.span_id,
        "eventName": record.event_name,
    }


def _metrics(batch: Batch, scope: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "resourceMetrics": [
            {
                "resource": {"attributes": attributes(measured.resource)},
                "scopeMetrics": [{"scope": scope, "metrics": _measured(measured)}],
            }
            for measured in batch.measured
        ]
    }


def _measured(measured: Measured) -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for key, points in measured.series.items():
        found.setdefault(key[0], []).extend(_points(key, points))
    made = [_metric(name, points) for name, points in found.items()]
    grouped: dict[str, list[dict[str, Any]]] = {}
    for histogram in measured.histograms:
        grouped.setdefault(histogram.name, []).append(_histogram(histogram))
    return made + [_metric(name, points) for name, points in grouped.items()]


def _metric(name: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    row = KNOWN[name]
    data: dict[str, Any] = {"dataPoints": points}
    kind = {"gauge": "gauge", "histogram": "histogram"}.get(row.kind, "sum")
    if kind != "gauge":
        data["aggregationTemporality"] = CUMULATIVE
    if row.kind == "counter":
        data["isMonotonic"] = True
    return {"name": name, "description": row.description, "unit": row.unit, kind: data}


def _points(key: SeriesKey, points: Sequence[tuple[int, int, float]]) -> Iterable[dict[str, Any]]:
    labels = attributes(dict(key[1]))
    for start, time, value in points:
        made: dict[str, Any] = {"timeUnixNano": str(time)}
        if labels:
            made["attributes"] = labels
        if start:
            made["startTimeUnixNano"] = str(start)
        if isinstance(value, int):
            made["asInt"] = str(value)
        else:
            made["asDouble"] = value
        yield made


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {
        "attributes": attributes(histogram.attributes),
        "startTimeUnixNano": str(histogram.start_ns),
        "timeUnixNano": str(histogram.time_ns),
        "count": str(len(histogram.values)),
        "sum": sum(histogram.values),
        "bucketCounts": [str(count) for count in bucket_counts(histogram.values)],
        "explicitBounds": [float(bound) for bound in DURATION_BUCKETS],
        "min": min(histogram.values),
        "max": max(histogram.values),
    }


def bucket_counts(values: Iterable[float]) -> list[int]:
    """Return how many values lie in each bucket; a bucket's upper bound belongs to it."""
    counts = [0] * (len(DURATION_BUCKETS) + 1)
    for value in values:
        counts[bisect_left(DURATION_BUCKETS, value)] += 1
    return counts


def attributes(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return attributes as OTLP JSON has them."""
    return [{"key": name, "value": _value(value)} for name, value in told.items()]


def _value(value: object) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list() | tuple():
            items = cast("Sequence[object]", value)
            return {"arrayValue": {"values": [_value(item) for item in items]}}
        case _:
            return {"stringValue": str(value)}
