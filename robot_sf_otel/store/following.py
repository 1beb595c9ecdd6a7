"""Following a run as it goes on: every look reads only what its files gained since the last one."""

from __future__ import annotations

import heapq
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.schema import TERMINAL_RUN
from robot_sf_otel.store.journal import JournalTail
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.lines import LineTail
from robot_sf_otel.store.lock import owner_state
from robot_sf_otel.store.reader import load_run, worker_journals
from robot_sf_otel.store.telemetry import read_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.events import Event
    from robot_sf_otel.manifest.schema import PipelineRunRecord, TelemetrySnapshot

KEPT_SAMPLES: Final = 600
"""The newest samples are kept: 10 minutes of them at the default interval."""
_TAIL: Final = 512 * 1024
"""Bytes of samples that the first look reads."""
_QUIET_SECONDS: Final = 2.0
"""How long nothing has to come before it is asked whether the run's process still lives."""


class FollowedRun:
    """A run that is looked at again and again.

    Args:
        run_dir: The run's directory.
        most_bytes: As `load_run` has it, for the record of a run that has ended.

    Attributes:
        record: What is known of the run.
        samples: Its newest samples, oldest first.
        problems: What could not be read.

    Raises:
        UnreadableRun: The directory holds no run.
    """

    def __init__(self, run_dir: Path, *, most_bytes: int | None = None) -> None:
        self.run_dir = run_dir
        self.samples: deque[TelemetrySnapshot] = deque(maxlen=KEPT_SAMPLES)
        self._most_bytes = most_bytes
        self._quiet_since: float | None = None
        self._begin()
        loaded = load_run(run_dir, telemetry=False)
        self.record: PipelineRunRecord = loaded.record
        self.problems = loaded.problems
        self._take_samples()
        if self.is_over:
            self._load()
        else:
            self._take_events()

    def _begin(self) -> None:
        self._fold = RunFold()
        self._tails: dict[str, JournalTail] = {}
        self._sample_tail = LineTail(RunPaths(self.run_dir).telemetry)
        self._sample_tail.skip_to_end(_TAIL)

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.record.status in TERMINAL_RUN

    def look(self, now: float) -> None:
        """Read what is new.

        Args:
            now: Unix seconds.

        Raises:
            OSError: The run cannot be read any more.
            ValueError: The directory holds no run any more.
        """
        if self.is_over:
            return
        news = self._take_samples()
        news |= self._take_events()
        if news:
            self._quiet_since = None
            self.record = self._fold.record(telemetry={}, self_cost=None)
            if not self.is_over:
                return
        elif self._quiet_since is None:
            self._quiet_since = now
            return
        elif now - self._quiet_since < _QUIET_SECONDS:
            return
        elif owner_state(self.run_dir, now) != "dead" and RunPaths(self.run_dir).journal.exists():
            self._quiet_since = now
            return
        self._load()

    def _load(self) -> None:
        loaded = load_run(self.run_dir, most_bytes=self._most_bytes)
        self.record, self.problems = loaded.record, loaded.problems

    def _take_samples(self) -> bool:
        found = [read_snapshot(line) for line in self._sample_tail.lines()]
        known = [sample for sample in found if sample is not None]
        self.samples.extend(known)
        if known:
            self._fold.take_progress(known[-1])
        return bool(known)

    def _take_events(self) -> bool:
        new: list[list[Event]] = []
        for path in (RunPaths(self.run_dir).journal, *worker_journals(self.run_dir)):
            tail = self._tails.get(path.name)
            if tail is None:
                tail = self._tails[path.name] = JournalTail(path)
            new.append(tail.read())
        for event in heapq.merge(*new, key=attrgetter("time_unix_nano")):
            self._fold.apply(event)
        return any(new)
