"""Events as OpenTelemetry log records: seen when they happen, not when their span ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber

from robot_sf_otel import guard, semconv

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.trace import SpanContext

    from robot_sf_otel.redaction.outgoing import Outgoing
    from robot_sf_otel.semconv.logs import LogEvent


class EventLog:
    """Sends events to a logger; nobody waits for it.

    Args:
        provider: Where they go.
        version: The version of this package.
        outgoing: Decides what may leave the machine.
    """

    def __init__(self, provider: LoggerProvider, version: str, outgoing: Outgoing) -> None:
        self._logger = provider.get_logger(semconv.SCOPE, version)
        self._outgoing = outgoing

    def emit(self, event: LogEvent, span: SpanContext, time_unix_nano: int) -> None:
        """Send an event that belongs to a span."""
        with guard.shielded("event log"):
            of_span = trace.set_span_in_context(trace.NonRecordingSpan(span))
            self._logger.emit(
                LogRecord(
                    timestamp=time_unix_nano,
                    context=of_span,
                    severity_number=SeverityNumber(event.severity),
                    severity_text=event.severity_text,
                    body=self._outgoing.body(event.name, event.body),
                    attributes=self._outgoing.attributes(event.attributes),
                    event_name=event.name,
                )
            )
