"""What goes out in one piece, whatever the encoding: spans, series of points, or log records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from robot_sf_otel.manifest.spans import RecordedLog, RecordedSpan

if TYPE_CHECKING:
    from robot_sf_otel.manifest.points import Series

BYTES: Final = 700_000
"""Of one batch as OTLP JSON, about: the `otlpjsonfile` receiver reads lines of 1 MiB by default,
and gRPC takes messages of 4 MiB."""
POINT_BYTES: Final = 230
"""Of a point as OTLP JSON, about."""
_SPAN_BYTES: Final = 500
_LOG_BYTES: Final = 400
_ATTRIBUTE_BYTES: Final = 70
"""Of an attribute with its name and the type of its value, but without the value."""

Signal = Literal["traces", "metrics", "logs"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics", "logs")
T = TypeVar("T")


@dataclass(slots=True)
class Histogram:
    """The distribution of one series since a time."""

    name: str
    attributes: Mapping[str, Any]
    start_ns: int
    time_ns: int
    values: list[float] = field(default_factory=list[float])


@dataclass(slots=True)
class Measured:
    """Points of one process."""

    resource: Mapping[str, Any]
    series: Series
    histograms: Sequence[Histogram] = ()

    @property
    def points(self) -> int:
        """How many."""
        return sum(map(len, self.series.values())) + len(self.histograms)


@dataclass(slots=True)
class Batch:
    """One request, or one line of a file: of one signal."""

    signal: Signal
    spans: list[RecordedSpan] = field(default_factory=list[RecordedSpan])
    measured: list[Measured] = field(default_factory=list[Measured])
    logs: list[RecordedLog] = field(default_factory=list[RecordedLog])

    @property
    def items(self) -> int:
        """Spans, points or log records."""
        return len(self.spans) + len(self.logs) + sum(one.points for one in self.measured)


def by_resource(items: Iterable[T]) -> Iterator[tuple[Mapping[str, Any], list[T]]]:
    """Yield spans or log records by the resource object that they share, in their order."""
    groups: dict[int, tuple[Mapping[str, Any], list[T]]] = {}
    for item in items:
        resource: Mapping[str, Any] = getattr(item, "resource")  # noqa: B009 - of both types
        groups.setdefault(id(resource), (resource, []))[1].append(item)
    yield from groups.values()


def chunks(items: Iterable[T], weigh: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield items in lists that weigh at most `BYTES`; one that weighs more is alone.

    Args:
        items: Anything.
        weigh: About how many bytes an item has as OTLP JSON.
    """
    part: list[T] = []
    held = 0
    for item in items:
        weight = weigh(item)
        if part and held + weight > BYTES:
            yield part
            part, held = [], 0
        part.append(item)
        held += weight
    if part:
        yield part


def span_bytes(span: RecordedSpan) -> int:
    """Return about how many bytes a span has as OTLP JSON."""
    texts = [span.attributes, *(event.attributes for event in span.events)]
    return _SPAN_BYTES + len(span.status_message) + sum(map(_text_bytes, texts))


def log_bytes(log: RecordedLog) -> int:
    """Return about how many bytes a log record has as OTLP JSON."""
    return _LOG_BYTES + len(log.body) + _text_bytes(log.attributes)


def _text_bytes(attributes: Mapping[str, Any]) -> int:
    return sum(_ATTRIBUTE_BYTES + len(str(value)) for value in attributes.values())
