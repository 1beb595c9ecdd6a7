"""An ended span as this package reads and writes it, whatever it came from and wherever it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

UNSET: Final = 0
OK: Final = 1
ERROR: Final = 2
"""Codes of a span's status, as OTLP numbers them."""
INTERNAL: Final = 1
SERVER: Final = 2
"""Kinds of spans, as OTLP numbers them."""

NO_ATTRIBUTES: Final[Mapping[str, Any]] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return NO_ATTRIBUTES


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened during a span."""

    name: str
    time_unix_nano: int
    attributes: Mapping[str, Any] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSpan:
    """An ended span; ids are lower-case hex, times Unix nanoseconds.

    `is_local_root` says that its process has no parent of it: there is none, or it is remote.
    """

    trace_id: str
    span_id: str
    name: str
    start_ns: int
    end_ns: int
    parent_span_id: str | None = None
    is_local_root: bool = False
    kind: int = INTERNAL
    attributes: Mapping[str, Any] = field(default_factory=_nothing)
    status: int = UNSET
    status_message: str = ""
    events: tuple[SpanEvent, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """Trace and span ids."""
    resource: Mapping[str, Any] = field(default_factory=_nothing)
    scope: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedLog:
    """An event as a log record; ids are lower-case hex."""

    time_ns: int
    event_name: str
    body: str
    severity: int
    severity_text: str = ""
    attributes: Mapping[str, Any] = field(default_factory=_nothing)
    trace_id: str = ""
    span_id: str = ""
    resource: Mapping[str, Any] = field(default_factory=_nothing)
    scope: str | None = None
