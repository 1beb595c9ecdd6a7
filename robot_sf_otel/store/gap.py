"""What could not be written: how much, from when to when, and why; said once it is over."""

from __future__ import annotations

from dataclasses import dataclass

from robot_sf_otel.manifest.events import TelemetryFault, rfc3339


@dataclass(slots=True)
class Gap:
    """Events or samples that are lost.

    Attributes:
        what: What is lost, in the plural.
        count: How many.
        first_ns: Time of the first of them, Unix nanoseconds.
        last_ns: Time of the last of them.
        why: The error that the first of them met.
    """

    what: str
    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    why: str = ""

    def add(self, time_unix_nano: int, why: object) -> None:
        """Take in one that is lost."""
        if not self.count:
            self.first_ns, self.why = time_unix_nano, str(why)
        self.count += 1
        self.last_ns = time_unix_nano

    def event(self, where: str, trace_id: str | None, span_id: str | None) -> TelemetryFault:
        """Return the event that tells of the gap, at the time of its end."""
        span = f"at {rfc3339(self.first_ns)}"
        if self.last_ns != self.first_ns:
            span = f"between {rfc3339(self.first_ns)} and {rfc3339(self.last_ns)}"
        what = self.what if self.count > 1 else self.what.removesuffix("s")
        return TelemetryFault(
            time_unix_nano=self.last_ns,
            trace_id=trace_id,
            span_id=span_id,
            where=where,
            message=f"{self.count} {what} lost {span} ({self.why})",
        )
