"""Where the metric exporter leaves its samples for the span exporter, which has the runs.

OpenTelemetry makes the two apart, in either order, and shuts them down in either order. A sample
waits here until a run opens that it belongs to; the oldest are dropped.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import TelemetrySnapshot

WAITING: Final = 120
"""Samples kept while there is no run that they belong to."""


class Taker(Protocol):
    """What has runs and takes their samples."""

    def take_samples(self) -> None:
        """Take those samples that belong to a run."""


class Desk:
    """The samples of one artifact root that wait for their run."""

    def __init__(self) -> None:
        """Start with none."""
        self.waiting: deque[TelemetrySnapshot] = deque(maxlen=WAITING)
        self.takers: WeakSet[Taker] = WeakSet()

    def leave(self, snapshot: TelemetrySnapshot) -> None:
        """Add a sample and tell those who may want it."""
        self.waiting.append(snapshot)
        for taker in list(self.takers):
            taker.take_samples()


_desks: Final[dict[Path, Desk]] = {}


def desk_of(artifact_root: Path) -> Desk:
    """Return the desk of an artifact root; there is one for each in a process."""
    return _desks.setdefault(artifact_root, Desk())
