"""OTLP JSON lines, read: whatever wrote them, and however much of them is damaged.

Unknown fields are skipped, a span or point that cannot be read is counted and left out, and memory
is bounded by the longest line.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from robot_sf_otel import semconv
from robot_sf_otel.interop import otlp_shapes as shapes
from robot_sf_otel.manifest.codec import clip
from robot_sf_otel.manifest.points import MetricPoint
from robot_sf_otel.manifest.spans import ERROR, RecordedLog, RecordedSpan, SpanEvent
from robot_sf_otel.store.lines import MAX_LINE, LineTail

if TYPE_CHECKING:
    from pathlib import Path

MAX_ATTRIBUTES: Final = 1_000
"""Attributes of one thing that are read."""
MAX_EVENTS: Final = 1_000
"""Events of one span that are read."""
_LAST_NS: Final = 253_402_300_800 * 1_000_000_000
"""The year 10000, in Unix nanoseconds."""
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")
_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")
_EVENT_NAME: Final = "event.name"
_REMOTE: Final = 0x300
_FAILED: Final = {ERROR, "STATUS_CODE_ERROR"}
T = TypeVar("T")

_KEYS: Final = (b'"resourceSpans"', b'"resourceLogs"', b'"resourceMetrics"')

_events: Final = msgspec.json.Decoder(shapes.Events).decode
_metrics: Final = msgspec.json.Decoder(shapes.Metrics).decode
_span: Final = msgspec.json.Decoder(shapes.Span).decode
_log: Final = msgspec.json.Decoder(shapes.Log).decode
_metric: Final = msgspec.json.Decoder(shapes.Metric).decode
_point: Final = msgspec.json.Decoder(shapes.Point).decode


class Reader:
    """Reads files, in whatever order and mixture their signals come.

    Args:
        path: Of OTLP JSON lines; a name that ends with `.gz` is unpacked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wrong: Counter[str] = Counter()
        self.lines = 0
        """Lines of OTLP so far."""
        self.item_bytes = 0
        """Bytes of JSON of the span or log record that came last, with its resource."""

    def problems(self) -> list[str]:
        """Return what could not be read, for people."""
        return [f"{self._path.name}: {count:,} {what}" for what, count in self._wrong.items()]

    def events(self) -> Iterator[RecordedSpan | RecordedLog]:
        """Yield spans and log records.

        Raises:
            OSError: The file cannot be read.
        """
        for line in self._lines():
            if not any(key in line for key in _KEYS):
                self._wrong["lines that are no OTLP JSON are left out"] += 1
                continue
            found = self._decoded(_events, line, "lines are damaged and left out")
            self.lines += found is not None
            for one in [] if found is None else [*found.resource_spans, *found.resource_logs]:
                yield from self._told(one)

    def _told(self, one: shapes.Told) -> Iterator[RecordedSpan | RecordedLog]:
        resource = _plain(one.resource)
        shared = len(msgspec.json.encode(resource))
        for scoped in one.scope_spans:
            for raw in scoped.spans:
                self.item_bytes = shared + memoryview(raw).nbytes
                span = self._decoded(_span, raw, "spans are damaged and left out")
                made = None if span is None else _recorded(span, resource, scoped.scope)
                if made is not None:
                    yield made
                elif span is not None:
                    self._wrong["spans without valid ids and times are left out"] += 1
        for scoped in one.scope_logs:
            for raw in scoped.log_records:
                self.item_bytes = shared + memoryview(raw).nbytes
                record = self._decoded(_log, raw, "log records are damaged and left out")
                if record is not None:
                    yield _logged(record, resource, scoped.scope)

    def points(self) -> Iterator[tuple[Mapping[str, Any], MetricPoint]]:
        """Yield the points of metrics with the resource that they are of.

        Raises:
            OSError: The file cannot be read.
        """
        for line in self._lines():
            if b'"resourceMetrics"' not in line:
                continue
            found = self._decoded(_metrics, line, "lines of metrics are damaged and left out")
            for one in [] if found is None else found.resource_metrics:
                resource = _plain(one.resource)
                for scoped in one.scope_metrics:
                    for raw in scoped.metrics:
                        metric = self._decoded(_metric, raw, "metrics are damaged and left out")
                        if metric is not None:
                            yield from ((resource, point) for point in self._points(metric))

    def _points(self, metric: shapes.Metric) -> Iterator[MetricPoint]:
        kinds = (metric.gauge, metric.sum, metric.histogram, metric.exponential_histogram)
        for data in (*kinds, metric.summary):
            for raw in [] if data is None else data.data_points:
                point = self._decoded(_point, raw, "points are damaged and left out")
                if point is not None:
                    yield from _values(metric.name, point)

    def _decoded(self, decode: Callable[[Any], T], raw: Any, wrong: str) -> T | None:  # noqa: ANN401 - bytes or Raw
        try:
            return decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._wrong[wrong] += 1
            return None

    def _lines(self) -> Iterator[bytes]:
        self._wrong.pop("lines are too long and left out", None)
        if self._path.suffix == ".gz":
            yield from self._unpacked()
            return
        with self._path.open("rb"):  # a file that is not there is said to be
            pass
        tail = LineTail(self._path)
        yield from tail.lines()
        if tail.oversized:
            self._wrong["lines are too long and left out"] = tail.oversized
        if tail.torn:
            self._wrong["line at its end is incomplete and was ignored"] = 1

    def _unpacked(self) -> Iterator[bytes]:
        skipping = False
        try:
            with gzip.open(self._path, "rb") as file:
                while part := file.readline(MAX_LINE):
                    whole = part.endswith(b"\n")
                    if whole and not skipping and part.strip():
                        yield part
                    elif not whole and not skipping:
                        self._wrong["lines are too long or incomplete and left out"] += 1
                    skipping = not whole
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self._wrong["packed stream is damaged, what follows is lost"] = 1


def _recorded(
    span: shapes.Span, resource: Mapping[str, Any], scope: shapes.Scope | None
) -> RecordedSpan | None:
    trace_id, span_id = span.trace_id.lower(), span.span_id.lower()
    parent = span.parent_span_id.lower()
    start, end = whole(span.start_time_unix_nano), whole(span.end_time_unix_nano)
    if not _TRACE_ID.fullmatch(trace_id) or not _SPAN_ID.fullmatch(span_id):
        return None
    if not 0 < start < _LAST_NS or not 0 < end < _LAST_NS:
        return None
    status = span.status or shapes.Status()
    return RecordedSpan(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent if _SPAN_ID.fullmatch(parent) and parent.strip("0") else None,
        is_local_root=not parent or (whole(span.flags) & _REMOTE) == _REMOTE,
        name=span.name,
        start_ns=start,
        end_ns=max(start, end),
        attributes=_plain(span),
        status=ERROR if status.code in _FAILED else 0,
        status_message=status.message,
        events=tuple(
            SpanEvent(event.name, whole(event.time_unix_nano), _plain(event))
            for event in span.events[:MAX_EVENTS]
        ),
        links=tuple((one.trace_id.lower(), one.span_id.lower()) for one in span.links),
        resource=resource,
        scope=scope.name if scope is not None else None,
    )


def _logged(
    record: shapes.Log, resource: Mapping[str, Any], scope: shapes.Scope | None
) -> RecordedLog:
    attributes = _plain(record)
    named = record.event_name or str(attributes.get(_EVENT_NAME, ""))
    time_ns = whole(record.time_unix_nano) or whole(record.observed_time_unix_nano)
    return RecordedLog(
        time_ns=time_ns if 0 < time_ns < _LAST_NS else 0,
        event_name=named,
        body=clip(str(value_of(record.body) or "")),
        severity=whole(record.severity_number),
        severity_text=record.severity_text,
        attributes=attributes,
        trace_id=record.trace_id.lower(),
        span_id=record.span_id.lower(),
        resource=resource,
        scope=scope.name if scope is not None else None,
    )


def _values(name: str, point: shapes.Point) -> Iterator[MetricPoint]:
    now, start = whole(point.time_unix_nano), whole(point.start_time_unix_nano)
    if not name or not 0 < now < _LAST_NS:
        return
    attributes = _plain(point)
    if point.as_int is not None:
        yield MetricPoint(name, whole(point.as_int), attributes, now, start)
    elif point.as_double is not None:
        value = _real(point.as_double)
        if value is not None:
            yield MetricPoint(name, value, attributes, now, start)
    elif point.count is not None:
        yield MetricPoint(name, whole(point.count), attributes, now, start, "count")
        for part in ("sum", "min", "max"):
            value = _real(getattr(point, part))
            if value is not None:
                yield MetricPoint(name, value, attributes, now, start, part)


def whole(value: object) -> int:
    """Return a 64-bit integer that may come as a string, 0 where it is none."""
    try:
        number = int(value) if isinstance(value, int | str | float) else 0
    except (ValueError, OverflowError):
        return 0
    return number if -(2**63) <= number < 2**64 else 0


def _real(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


def _plain(of: shapes.Attributed | None) -> dict[str, Any]:
    """Return attributes as plain values."""
    if of is None:
        return {}
    return {pair.key: value_of(pair.value) for pair in of.attributes[:MAX_ATTRIBUTES]}


def value_of(value: Any, depth: int = 0) -> Any:  # noqa: ANN401, PLR0911 - any value; a table of kinds
    """Return an AnyValue as a plain value; None where it is empty or none."""
    pairs = _table(value)
    if not pairs or depth > 8:  # noqa: PLR2004 - as deep as parameters
        return None
    kind, held = next(iter(pairs.items()))
    match kind:
        case "intValue":
            return whole(held)
        case "doubleValue":
            return _real(held)
        case "arrayValue":
            return [value_of(item, depth + 1) for item in _items(held)]
        case "kvlistValue":
            told = map(_table, _items(held))
            return {str(one.get("key")): value_of(one.get("value"), depth + 1) for one in told}
        case "boolValue" | "stringValue" | "bytesValue":
            return held if isinstance(held, str | bool) else None
        case _:
            return None


def _table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _items(held: object) -> list[Any]:
    values = _table(held).get("values")
    return cast("list[Any]", values) if isinstance(values, list) else []


def is_ours(one: RecordedSpan | RecordedLog) -> bool:
    """Return whether a span or log record was made by the capture of this package."""
    return one.scope == semconv.SCOPE or semconv.PIPELINE_RUN_ID in one.attributes
