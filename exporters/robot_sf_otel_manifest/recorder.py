"""The recorder: every event to the journal at once, the derived files when there is time."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol

from robot_sf_otel import guard
from robot_sf_otel.manifest.events import RunFinished
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.samples import put_progress
from robot_sf_otel.manifest.schema import (
    TERMINAL_RUN,
    PlanStep,
    SelfCost,
    StepSample,
    TelemetrySnapshot,
)
from robot_sf_otel.manifest.statistics import TelemetrySummary
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.journal import JournalTail, JournalWriter
from robot_sf_otel.store.layout import RunPaths, create_run_dir, make_run_dir
from robot_sf_otel.store.lock import RunLock
from robot_sf_otel.store.reader import fold_run
from robot_sf_otel.store.recovery import lost_workers
from robot_sf_otel.store.telemetry import TelemetryWriter
from robot_sf_otel_manifest.worker import WorkerRecorder

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.config import Config
    from robot_sf_otel.manifest.events import Event, RunStarted

MANIFEST_SECONDS: Final = 1.0
"""Shortest time between two writes of the derived files."""
MANIFEST_SHARE: Final = 0.01
"""Largest share of the time that writing them may take."""
DIRECTORY_RETRY_SECONDS: Final = 5.0
WORKERS_SECONDS: Final = 5.0
"""Time between two looks at the child processes that have steps under way."""
LOCK_SECONDS: Final = 1.0
"""How long the end of a run waits for the monitor thread before it does without that look."""


class Watcher(Protocol):
    """Somebody who follows a run as it is recorded."""

    def event(self, event: Event, /) -> None:
        """Take an event."""
        ...

    def sample(self, sample: TelemetrySnapshot, /) -> None:
        """Take a sample."""
        ...


class OwnerRecorder:
    """Records the run of this process: journal, samples, lock, manifest."""

    def __init__(self, root: Path, pipeline: str, time_unix_nano: int, name: str | None) -> None:
        """Create the run directory; where that fails everything is kept in memory and retried."""
        self._root = root
        self._created = True
        self.run_dir = self._create(pipeline, time_unix_nano, name)
        self._paths = RunPaths(self.run_dir)
        self._lock: RunLock | None = None
        self._journal = JournalWriter(self._paths.journal, on_fault=guard.storage_fault)
        self._telemetry = TelemetryWriter(self._paths.telemetry, on_fault=guard.storage_fault)
        self._acquire()
        self._incoming: deque[Event] = deque()
        self._fold = RunFold()
        self._summary = TelemetrySummary()
        self._last_sample: TelemetrySnapshot | None = None
        self._tails: dict[str, JournalTail] = {}
        self._refreshing = threading.Lock()
        self._dirty = True
        self._next_write = 0.0
        self._next_try = 0.0
        self._next_look = 0.0
        self._derived_bytes = 0
        self._cost = SelfCost()
        self._closed = False
        self._watcher: Watcher | None = None

    def watch(self, watcher: Watcher) -> None:
        """Tell somebody of every event that is folded from now on, and of every sample."""
        self._watcher = watcher

    def catch_up(self) -> None:
        """Fold what was recorded, so that who watches the run has heard of it."""
        if self._refreshing.acquire(timeout=LOCK_SECONDS):
            try:
                self._take_in()
            finally:
                self._refreshing.release()

    def _create(self, pipeline: str, time_unix_nano: int, name: str | None) -> Path:
        try:
            return create_run_dir(self._root, pipeline=pipeline, now_ns=time_unix_nano, name=name)
        except ValueError as error:  # a run name from outside that no directory can have
            guard.warn(f"the run name is ignored: {error}")
            return self._create(pipeline, time_unix_nano, None)
        except OSError as error:
            guard.storage_fault(f"creating a run under {self._root}", error)
            self._created = False
            return create_run_dir(
                self._root, pipeline=pipeline, now_ns=time_unix_nano, name=None, make=False
            )

    def _acquire(self) -> None:
        if not self._created or self._lock is not None:
            return
        try:
            self._lock = RunLock.acquire(self._paths.lock, run_id=self.run_id)
        except OSError as error:
            guard.storage_fault("run.lock", error)

    @property
    def run_id(self) -> str:
        """The run's id: its directory's name."""
        return self.run_dir.name

    def record(self, *events: Event, sync: bool = True) -> None:
        """Append events; with `sync` they are on disk when this returns. Never raises."""
        end = events[-1] if events else None
        # What a cancelled run leaves open was cancelled with it.
        if isinstance(end, RunFinished) and end.status != "cancelled":
            self._look_a_last_time(end.time_unix_nano)
        self._append(*events, sync=sync)

    def _append(self, *events: Event, sync: bool = True) -> None:
        self._journal.append(*events, sync=sync)
        self._incoming.extend(events)
        self._dirty = True

    def sample(self, snapshot: TelemetrySnapshot) -> None:
        """Append a sample, with the progress of child processes where this one runs no step."""
        if snapshot.step_id is None:
            self._add_worker_progress(snapshot)
        self._telemetry.append(snapshot)
        self._summary.add(snapshot)
        self._last_sample = snapshot
        self._dirty = True
        if self._watcher is not None:
            self._watcher.sample(snapshot)

    def _add_worker_progress(self, snapshot: TelemetrySnapshot) -> None:
        with self._refreshing:
            running = self._fold.running()
        samples = [
            StepSample(
                step_id=entry.step_id,
                span_id=entry.span_id,
                done=entry.progress.done,
                total=entry.progress.total,
                rate=entry.progress.rate,
            )
            for entry in running
        ]
        put_progress(snapshot, samples)

    def refresh(self, cost: SelfCost) -> None:
        """Retry what failed, fold what came, and write the derived files if they are due."""
        now = time.monotonic()
        if self._lock is None and now >= self._next_try:
            self._next_try = now + DIRECTORY_RETRY_SECONDS
            self._retry_directory()
        self._journal.flush()
        with self._refreshing:
            if self._closed:
                return
            self._cost = self.cost(cost)
            self._take_in()
            if now >= self._next_look:
                self._next_look = now + WORKERS_SECONDS
                self._note_lost_workers(time.time_ns())
            if self._created and self._dirty and now >= self._next_write:
                self._write_derived()

    def _note_lost_workers(self, now_ns: int) -> None:
        """Write down which child processes are gone although steps of theirs are under way."""
        with guard.shielded("lost workers"):
            lost = lost_workers(self._fold, now_ns)
            if lost:
                self._append(*lost)
                self._take_in()

    def _look_a_last_time(self, now_ns: int) -> None:
        """Say of child processes that are gone that they were lost, before the run ends."""
        if self._refreshing.acquire(timeout=LOCK_SECONDS):
            try:
                self._take_in()
                self._note_lost_workers(now_ns)
            finally:
                self._refreshing.release()

    def _retry_directory(self) -> None:
        if not self._created:
            try:
                make_run_dir(self.run_dir)
            except OSError:
                return
            self._created = True
        self._acquire()

    def _take_in(self) -> None:
        own: list[Event] = []
        end: list[Event] = []
        while self._incoming:
            event = self._incoming.popleft()
            (end if isinstance(event, RunFinished) else own).append(event)
        # By time, so that what a child reports of a step comes after the step's start, but each
        # journal in its own order. The end is last: it closes the steps that children left open.
        merged = heapq.merge(own, *self._worker_events(), key=attrgetter("time_unix_nano"))
        for event in itertools.chain(merged, end):
            self._fold.apply(event)
            self._dirty = True
            if self._watcher is not None:
                self._watcher.event(event)

    def _worker_events(self) -> Iterator[list[Event]]:
        try:
            names = sorted(path.name for path in self._paths.workers.iterdir())
        except OSError:
            return
        for name in names:
            if name not in self._tails:
                self._tails[name] = JournalTail(self._paths.workers / name)
            yield self._tails[name].read()

    def _write_derived(self) -> None:
        began = time.monotonic()
        self._dirty = False
        if self._last_sample is not None:
            self._fold.take_progress(self._last_sample)
        try:
            record = self._fold.record(telemetry=self._summary.result(), self_cost=self._cost)
            self._derived_bytes += write_derived(self.run_dir, record)
        except Exception as error:  # noqa: BLE001 - what waits for this thread must not die of it
            self._dirty = True
            guard.storage_fault("manifest", error)
        took = time.monotonic() - began
        self._next_write = time.monotonic() + max(MANIFEST_SECONDS, took / MANIFEST_SHARE)

    def cost(self, base: SelfCost) -> SelfCost:
        """Return `base` with what writing cost filled in."""
        journal = self._journal.stats
        base.bytes_written = (
            journal.bytes_written + self._telemetry.bytes_written + self._derived_bytes
        )
        base.slowest_sync_seconds = journal.slowest_sync_seconds
        base.events_dropped = journal.events_dropped
        return base

    def close(self) -> None:
        """Write the final record, then let go of the lock."""
        with self._refreshing:
            if self._closed:
                return
            if not self._created:
                self._retry_directory()
            self._journal.flush()
            self._journal.close()
            self._telemetry.close()
            self._take_in()
            if self._created:
                self._write_derived()
            else:
                guard.warn(f"the record of run {self.run_id} is lost: it could never be written")
            self._closed = True
        if self._lock is not None:
            self._lock.close()

    def is_open(self) -> bool:
        """Return whether the run was not closed yet."""
        return not self._closed

    def abandon(self) -> None:
        """Close what a forked child inherited, without a lock and without writing."""
        self._journal.abandon()
        self._telemetry.abandon()
        if self._lock is not None:
            self._lock.abandon()


@dataclass(frozen=True, slots=True)
class JoinedRun:
    """A run of another process, as a child found it."""

    recorder: WorkerRecorder
    started: RunStarted
    plan: list[PlanStep]
    closed: bool


class ManifestRecorder:
    """Opens and joins runs under the artifact root of a configuration."""

    def __init__(self, config: Config) -> None:
        """Keep where runs go and what the next one is called."""
        self._config = config

    def open_run(self, pipeline: str, time_unix_nano: int) -> OwnerRecorder:
        """Create the record of a new run. Never raises: without a disk it keeps events."""
        config = self._config
        return OwnerRecorder(config.artifact_root, pipeline, time_unix_nano, config.run_name)

    def join_run(self, run_dir: Path) -> JoinedRun | None:
        """Take part in a run of another process; None where its journal cannot be read."""
        fold, _ = fold_run(run_dir)
        if fold.started is None:
            return None
        recorder = WorkerRecorder(run_dir, fold.started.run_id)
        closed = fold.status in TERMINAL_RUN
        return JoinedRun(recorder, fold.started, fold.plan.steps, closed)

    def worker(self, run_dir: Path, run_id: str) -> WorkerRecorder:
        """Return a recorder for a forked child of the owner."""
        return WorkerRecorder(run_dir, run_id)


__all__ = ["JoinedRun", "ManifestRecorder", "OwnerRecorder", "WorkerRecorder"]
