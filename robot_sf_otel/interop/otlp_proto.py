"""OTLP messages for gRPC and HTTP, from `opentelemetry-proto`: what `otlp_json` writes, as bytes.

Imports OpenTelemetry's generated messages; they come with the extra `otlp`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from robot_sf_otel import semconv
from robot_sf_otel.interop.batches import by_resource
from robot_sf_otel.interop.otlp_json import (
    CUMULATIVE,
    HAS_IS_REMOTE,
    IS_REMOTE,
    KNOWN,
    bucket_counts,
)
from robot_sf_otel.semconv.instruments import DURATION_BUCKETS

if TYPE_CHECKING:
    from robot_sf_otel.interop.batches import Batch, Histogram, Measured, Signal
    from robot_sf_otel.manifest.spans import RecordedLog, RecordedSpan

METHODS: Mapping[Signal, str] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
"""gRPC methods."""
_RESPONSES: Mapping[Signal, Any] = {
    "traces": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "logs": ExportLogsServiceResponse,
}
_REJECTED: Mapping[Signal, str] = {
    "traces": "rejected_spans",
    "metrics": "rejected_data_points",
    "logs": "rejected_log_records",
}


def request_of(batch: Batch, version: str) -> bytes:
    """Return a batch as the request of its signal."""
    scope = InstrumentationScope(name=semconv.SCOPE, version=version)
    encode: Any = {"traces": _traces, "metrics": _metrics, "logs": _logs}[batch.signal]
    made: bytes = encode(batch, scope).SerializeToString()
    return made


def rejected(signal: Signal, answer: bytes) -> tuple[int, str]:
    """Return how many items an answer says were refused, and why."""
    try:
        partial = _RESPONSES[signal].FromString(answer).partial_success
    except Exception:  # noqa: BLE001 - an answer that is no message refuses nothing
        return 0, ""
    return int(getattr(partial, _REJECTED[signal])), str(partial.error_message)


def _traces(batch: Batch, scope: InstrumentationScope) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    for resource, spans in by_resource(batch.spans):
        one = request.resource_spans.add()
        one.resource.attributes.extend(_attributes(resource))
        scoped = one.scope_spans.add(scope=scope)
        scoped.spans.extend(map(_span, spans))
    return request


def _span(span: RecordedSpan) -> Span:
    remote = span.is_local_root and span.parent_span_id is not None
    return Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_span_id or ""),
        flags=HAS_IS_REMOTE | (IS_REMOTE if remote else 0),
        name=span.name,
        kind=cast("Any", span.kind),  # the numbers are the enumeration's
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=_attributes(span.attributes),
        events=[
            Span.Event(
                name=event.name,
                time_unix_nano=event.time_unix_nano,
                attributes=_attributes(event.attributes),
            )
            for event in span.events
        ],
        links=[
            Span.Link(trace_id=bytes.fromhex(trace), span_id=bytes.fromhex(of))
            for trace, of in span.links
        ],
        status=Status(code=cast("Any", span.status), message=span.status_message),
    )


def _logs(batch: Batch, scope: InstrumentationScope) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    for resource, records in by_resource(batch.logs):
        one = request.resource_logs.add()
        one.resource.attributes.extend(_attributes(resource))
        scoped = one.scope_logs.add(scope=scope)
        scoped.log_records.extend(map(_log, records))
    return request


def _log(record: RecordedLog) -> LogRecord:
    return LogRecord(
        time_unix_nano=record.time_ns,
        observed_time_unix_nano=record.time_ns,
        severity_number=cast("Any", record.severity),
        severity_text=record.severity_text,
        body=AnyValue(string_value=record.body),
        attributes=_attributes(record.attributes),
        trace_id=bytes.fromhex(record.trace_id),
        span_id=bytes.fromhex(record.span_id),
        event_name=record.event_name,
    )


def _metrics(batch: Batch, scope: InstrumentationScope) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    for measured in batch.measured:
        one = request.resource_metrics.add()
        one.resource.attributes.extend(_attributes(measured.resource))
        _measured(measured, one.scope_metrics.add(scope=scope))
    return request


def _measured(measured: Measured, scoped: Any) -> None:  # noqa: ANN401 - a ScopeMetrics
    """Add the metrics of a process; a day has millions of points, so each is made in one call."""
    places: dict[str, Any] = {}
    for (name, labels), points in measured.series.items():
        data = places.get(name)
        if data is None:
            data = places[name] = _metric(name, scoped)
        told = _attributes(dict(labels))
        data.data_points.extend(
            [
                NumberDataPoint(
                    attributes=told, start_time_unix_nano=start, time_unix_nano=now, as_int=value
                )
                if isinstance(value, int)
                else NumberDataPoint(
                    attributes=told, start_time_unix_nano=start, time_unix_nano=now, as_double=value
                )
                for start, now, value in points
            ]
        )
    for histogram in measured.histograms:
        data = places.get(histogram.name)
        if data is None:
            data = places[histogram.name] = _metric(histogram.name, scoped)
        data.data_points.append(_histogram(histogram))


def _metric(name: str, scoped: Any) -> Any:  # noqa: ANN401 - a gauge, sum or histogram
    row = KNOWN[name]
    metric = scoped.metrics.add(name=name, description=row.description, unit=row.unit)
    data = getattr(metric, {"gauge": "gauge", "histogram": "histogram"}.get(row.kind, "sum"))
    if row.kind != "gauge":
        data.aggregation_temporality = CUMULATIVE
    if row.kind == "counter":
        data.is_monotonic = True
    return data


def _histogram(histogram: Histogram) -> HistogramDataPoint:
    return HistogramDataPoint(
        attributes=_attributes(histogram.attributes),
        start_time_unix_nano=histogram.start_ns,
        time_unix_nano=histogram.time_ns,
        count=len(histogram.values),
        sum=sum(histogram.values),
        bucket_counts=bucket_counts(histogram.values),
        explicit_bounds=DURATION_BUCKETS,
        min=min(histogram.values),
        max=max(histogram.values),
    )


def _attributes(told: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in told.items()]


def _value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list() | tuple():
            items = cast("Sequence[object]", value)
            return AnyValue(array_value=ArrayValue(values=[_value(item) for item in items]))
        case _:
            return AnyValue(string_value=str(value))
