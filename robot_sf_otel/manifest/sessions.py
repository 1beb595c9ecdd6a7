"""When a run ran: its first session and those that resumed it; pauses in between do not count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_sf_otel.manifest.events import NANOSECONDS

if TYPE_CHECKING:
    from robot_sf_otel.manifest.events import RunFinished, RunRecovered, RunResumed, RunStarted


class Sessions:
    """The session of a run that is the last so far, and how long the earlier ones took.

    Attributes:
        end: What closed the run, None while it is open.
        span_id: Root span of the last session.
        resumed: Whether there was one before it.
        adoptable: Whether a pipeline in a child process gives the run its name and plan.
    """

    __slots__ = ("_begun", "adoptable", "end", "resumed", "span_id")

    def __init__(self) -> None:
        """Start with nothing known."""
        self.end: RunFinished | RunRecovered | None = None
        self.span_id: str | None = None
        self.resumed = False
        self.adoptable = False
        self._begun: list[tuple[int, float]] = []
        """When each session began, Unix nanoseconds, and how long the run had run by then."""

    def start(self, event: RunStarted) -> None:
        """Begin the first session."""
        self._begun = [(event.time_unix_nano, 0.0)]
        self.span_id = event.span_id
        self.adoptable = event.adoptable

    def resume(self, event: RunResumed) -> None:
        """Begin a further one; what the event says of the time before counts most."""
        before = event.duration_seconds
        if before is None:
            before = self.duration() or 0.0
        self._begun.append((event.time_unix_nano, max(0.0, before)))
        self.span_id = event.span_id or self.span_id
        self.adoptable = event.adoptable
        self.resumed = True
        self.end = None

    def ran_until(self, time_unix_nano: int) -> float | None:
        """Return the seconds that the run had run by then, None before its start."""
        later: float | None = None
        for began, before in reversed(self._begun):
            if time_unix_nano >= began:
                ran = before + (time_unix_nano - began) / NANOSECONDS
                return ran if later is None else min(ran, later)
            later = before
        return 0.0 if self._begun else None

    def duration(self) -> float | None:
        """Return the seconds that a closed run took, None while it is open."""
        if self.end is None:
            return None
        if self.end.duration_seconds is not None:
            return self.end.duration_seconds
        return self.ran_until(self.end.time_unix_nano)
