"""The fold of a live run, kept up to date from its owner's events and its children's journals."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from robot_sf_otel.manifest.events import RunFinished
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.store.journal import JournalTail

if TYPE_CHECKING:
    from robot_sf_otel.manifest.events import Event
    from robot_sf_otel.manifest.schema import TelemetrySnapshot
    from robot_sf_otel.store.layout import RunPaths


class Watcher(Protocol):
    """Somebody who follows a run as it is recorded."""

    def event(self, event: Event, /) -> None:
        """Take an event."""
        ...

    def sample(self, sample: TelemetrySnapshot, /) -> None:
        """Take a sample."""
        ...


class RunningFold:
    """Folds what is recorded of a run. One caller at a time, but for `add` and `progress`.

    Args:
        paths: Where the run lies.

    Attributes:
        fold: What was taken in so far.
        watcher: Told of every event that is taken in.
    """

    def __init__(self, paths: RunPaths) -> None:
        """Begin with nothing."""
        self.fold = RunFold()
        self.watcher: Watcher | None = None
        self._paths = paths
        self._incoming: deque[Event] = deque()
        self._progress: TelemetrySnapshot | None = None
        self._tails: dict[str, JournalTail] = {}
        self._torn = False

    def add(self, *events: Event) -> None:
        """Keep events of the owner until they are taken in. From any thread."""
        self._incoming.extend(events)

    def progress(self, snapshot: TelemetrySnapshot) -> None:
        """Keep a sample with the progress of the owner's steps. From any thread."""
        self._progress = snapshot

    def anew(self) -> None:
        """Fold what is in the journals, from their beginning."""
        self.fold, self._tails = RunFold(), {}
        self._incoming.clear()
        own = JournalTail(self._paths.journal).events()
        for event in heapq.merge(own, *self._worker_events(), key=attrgetter("time_unix_nano")):
            self.fold.apply(event)
        self._torn = False

    def take_in(self) -> bool:
        """Fold what came; return whether there was an event."""
        if self._torn:
            self.anew()
        self._torn = True  # by Ctrl-C, which may come in between and lose an event to the fold
        sample, self._progress = self._progress, None
        own: list[Event] = []
        end: list[Event] = []
        while self._incoming:
            event = self._incoming.popleft()
            (end if isinstance(event, RunFinished) else own).append(event)
        # By time, so that what a child reports of a step comes after the step's start, but each
        # journal in its own order. The end is last: it closes the steps that children left open.
        merged = heapq.merge(own, *self._worker_events(), key=attrgetter("time_unix_nano"))
        any_event = False
        for event in itertools.chain(merged, end):
            any_event = True
            self.fold.apply(event)
            if self.watcher is not None:
                self.watcher.event(event)
        if sample is not None:
            self.fold.take_progress(sample)
        self._torn = False
        return any_event

    def _worker_events(self) -> Iterator[list[Event]]:
        try:
            names = sorted(path.name for path in self._paths.workers.iterdir())
        except OSError:
            return
        for name in names:
            if name not in self._tails:
                self._tails[name] = JournalTail(self._paths.workers / name)
            yield self._tails[name].read()
