"""What goes out in one piece, whatever the encoding: spans, series of points, or log records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from robot_sf_otel.manifest.spans import RecordedLog, RecordedSpan

if TYPE_CHECKING:
    from robot_sf_otel.manifest.points import Series

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


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield items in lists of at most so many."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
