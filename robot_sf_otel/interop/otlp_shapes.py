"""The shapes of OTLP JSON that are read: all fields may be missing, unknown ones are skipped.

A span, log record, metric or point stays bytes until it is its turn, so that one that is damaged
takes no others with it.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw, Struct

INTERNAL: Final = 1
"""The kind of a span that does not say."""
Number = int | str | float


class KeyValue(Struct):
    """An attribute."""

    key: str = ""
    value: Any = None


class Attributed(Struct, rename="camel"):
    """What has attributes: a resource, above all."""

    attributes: list[KeyValue] = []


class Scope(Struct):
    """Which library made it."""

    name: str = ""


class Status(Struct):
    """How a span ended."""

    message: str = ""
    code: Number = 0


class Event(Attributed, rename="camel"):
    """An event of a span."""

    time_unix_nano: Number = 0
    name: str = ""


class Link(Struct, rename="camel"):
    """Another span that one is linked to."""

    trace_id: str = ""
    span_id: str = ""


class Span(Attributed, rename="camel"):
    """A span."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    flags: Number = 0
    name: str = ""
    kind: Number = INTERNAL
    start_time_unix_nano: Number = 0
    end_time_unix_nano: Number = 0
    events: list[Event] = []
    links: list[Link] = []
    status: Status | None = None


class Log(Attributed, rename="camel"):
    """A log record."""

    time_unix_nano: Number = 0
    observed_time_unix_nano: Number = 0
    severity_number: Number = 0
    severity_text: str = ""
    body: Any = None
    trace_id: str = ""
    span_id: str = ""
    event_name: str = ""


class Point(Attributed, rename="camel"):
    """A point of any kind of metric."""

    start_time_unix_nano: Number = 0
    time_unix_nano: Number = 0
    as_double: Number | None = None
    as_int: Number | None = None
    count: Number | None = None
    sum: Number | None = None
    min: Number | None = None
    max: Number | None = None


class Points(Struct, rename="camel"):
    """The points of a metric."""

    data_points: list[Raw] = []


class Metric(Struct, rename="camel"):
    """A metric, of one of five kinds."""

    name: str = ""
    gauge: Points | None = None
    sum: Points | None = None
    histogram: Points | None = None
    exponential_histogram: Points | None = None
    summary: Points | None = None


class Scoped(Struct, rename="camel"):
    """What one library made, of any signal."""

    scope: Scope | None = None
    spans: list[Raw] = []
    log_records: list[Raw] = []
    metrics: list[Raw] = []


class Told(Struct, rename="camel"):
    """What one resource tells, of any signal."""

    resource: Attributed | None = None
    scope_spans: list[Scoped] = []
    scope_logs: list[Scoped] = []
    scope_metrics: list[Scoped] = []


class Events(Struct, rename="camel"):
    """A line, its spans and log records alone."""

    resource_spans: list[Told] = []
    resource_logs: list[Told] = []


class Metrics(Struct, rename="camel"):
    """A line, its metrics alone."""

    resource_metrics: list[Told] = []
