"""The recorder: every event to the journal at once, the derived files when there is time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from robot_sf_otel import guard
from robot_sf_otel.manifest.events import RunFinished
from robot_sf_otel.manifest.samples import put_progress
from robot_sf_otel.manifest.schema import (
    SelfCost,
    StepSample,
    TelemetrySnapshot,
)
from robot_sf_otel.manifest.state import state_of
from robot_sf_otel.manifest.statistics import TelemetrySummary
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.files import deleted
from robot_sf_otel.store.journal import JournalWriter
from robot_sf_otel.store.layout import RunPaths, create_run_dir, make_run_dir
from robot_sf_otel.store.lock import RunLock
from robot_sf_otel.store.reader import fold_run
from robot_sf_otel.store.recovery import lost_workers
from robot_sf_otel.store.replaced import replaced_worker
from robot_sf_otel.store.resuming import CannotResume, find_resumable, take_over
from robot_sf_otel.store.telemetry import TelemetryWriter, iter_snapshots
from robot_sf_otel_manifest.running_fold import RunningFold
from robot_sf_otel_manifest.worker import WorkerRecorder

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.config import Config
    from robot_sf_otel.manifest.events import EtaShown, Event
    from robot_sf_otel.manifest.fold import RunFold
    from robot_sf_otel.manifest.state import RunState
    from robot_sf_otel_manifest.running_fold import Watcher

Looked = TypeVar("Looked")

MANIFEST_SECONDS: Final = 1.0
"""Shortest time between two writes of the derived files."""
MANIFEST_SHARE: Final = 0.01
"""Largest share of the time that writing them may take."""
DIRECTORY_RETRY_SECONDS: Final = 5.0
WORKERS_SECONDS: Final = 5.0
"""Time between two looks at the child processes that have steps under way."""
LOCK_SECONDS: Final = 1.0
"""How long the end of a run waits for the monitor thread before it does without that look."""


class OwnerRecorder:
    """Records the run of this process: journal, samples, lock, manifest.

    Args:
        run_dir: The run's directory.
        created: Whether it exists; where it does not, everything is kept in memory and retried.
        lock: The run's lock, if it is held already.
    """

    def __init__(self, run_dir: Path, *, created: bool = True, lock: RunLock | None = None) -> None:
        """Open the files of a run."""
        self._created = created
        self._gone = False
        self.run_dir = run_dir
        self._paths = RunPaths(self.run_dir)
        self._lock = lock
        self._journal = JournalWriter(self._paths.journal, on_fault=guard.storage_fault)
        self._telemetry = TelemetryWriter(self._paths.telemetry, on_fault=guard.storage_fault)
        self._acquire()
        self._sampling = threading.RLock()  # a signal handler may end the run inside a sample
        self._running = RunningFold(self._paths)
        self._summary = TelemetrySummary()
        # Re-entrant: a signal handler may end the run whose record its thread is looking at.
        self._refreshing = threading.RLock()
        self._busy = False
        self._dirty = True
        self._next_write = 0.0
        self._next_try = 0.0
        self._next_look = 0.0
        self._derived_bytes = 0
        self._cost = SelfCost()
        self._ending = False
        self._closed = False

    def watch(self, watcher: Watcher) -> None:
        """Tell somebody of every event that is folded from now on, and of every sample."""
        self._running.watcher = watcher

    def catch_up(self) -> None:
        """Fold what was recorded, so that who watches the run has heard of it."""
        if self._refreshing.acquire(timeout=LOCK_SECONDS):
            try:
                self._take_in()
            finally:
                self._refreshing.release()

    @classmethod
    def create(
        cls, root: Path, pipeline: str, time_unix_nano: int, name: str | None
    ) -> OwnerRecorder:
        """Create the directory of a new run; its path is settled even where that fails."""
        try:
            return cls(create_run_dir(root, pipeline=pipeline, now_ns=time_unix_nano, name=name))
        except ValueError as error:  # a run name from outside that no directory can have
            guard.warn(f"the run name is ignored: {error}")
            return cls.create(root, pipeline, time_unix_nano, None)
        except OSError as error:
            guard.storage_fault(f"creating a run under {root}", error)
            run_dir = create_run_dir(
                root, pipeline=pipeline, now_ns=time_unix_nano, name=None, make=False
            )
            return cls(run_dir, created=False)

    def take_in_the_past(self) -> RunFold:
        """Read what a resumed run recorded before, so that the record goes on from there."""
        with self._refreshing:
            self._running.anew()
            for snapshot in iter_snapshots(self._paths.telemetry):
                self._summary.add(snapshot)
        return self._running.fold

    def _take_in(self) -> None:
        self._dirty |= self._running.take_in()

    def _acquire(self) -> None:
        if not self._created or self._lock is not None:
            return
        try:
            self._lock = RunLock.acquire(self._paths.lock, run_id=self.run_id)
            self._gone = False
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
        gaps = self._gaps(end=True) if isinstance(end, RunFinished) else []
        self._append(*gaps, *events, sync=sync)

    def _append(self, *events: Event, sync: bool = True) -> None:
        self._journal.append(*events, sync=sync)
        self._running.add(*events)
        self._dirty = True

    def sample(self, snapshot: TelemetrySnapshot) -> None:
        """Append a sample, with the progress of child processes where this one runs no step."""
        own = snapshot.step_id is not None
        if not own:
            self._add_worker_progress(snapshot)
        # Together, so that the figures of the record are those of the file.
        with self._sampling:
            self._telemetry.append(snapshot)
            if not self._ending:
                self._summary.add(snapshot)
                if own:  # what children reported is in their journals, and newer there
                    self._running.progress(snapshot)
        self._dirty = True
        if self._running.watcher is not None:
            self._running.watcher.sample(snapshot)

    def _add_worker_progress(self, snapshot: TelemetrySnapshot) -> None:
        with self._refreshing:
            running = self._running.fold.running()
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
        self._look_after_folder()
        if self._lock is None and now >= self._next_try:
            self._next_try = now + DIRECTORY_RETRY_SECONDS
            self._retry_directory()
        self._look_after_files()
        with self._refreshing:
            if self._closed:
                return
            self._busy = True
            try:
                self._cost = self.cost(cost)
                gaps = self._gaps()
                if gaps:
                    self._append(*gaps)
                self._take_in()
                if now >= self._next_look:
                    self._next_look = now + WORKERS_SECONDS
                    self._note_lost_workers(time.time_ns())
                if self._is_ours and self._dirty and now >= self._next_write:
                    self._write_derived()
            finally:
                self._busy = False

    def look(self, function: Callable[[RunFold], Looked]) -> Looked | None:
        """Return what a function makes of all that was recorded so far.

        None where another thread, or what a signal handler interrupted, is busy with it: a step
        does not wait for that.
        """
        if self._busy:
            return None
        # `with`, because Ctrl-C cannot come between taking the lock and entering the block.
        with self._refreshing:
            self._busy = True
            try:
                self._take_in()
                return function(self._running.fold)
            finally:
                self._busy = False

    def shown_eta(self) -> EtaShown | None:
        """Return None: the owner is who shows it."""
        return None

    def _note_lost_workers(self, now_ns: int) -> None:
        """Write down which child processes are gone although steps of theirs are under way."""
        with guard.shielded("lost workers"):
            if not lost_workers(self._running.fold, now_ns):
                return
            self._take_in()  # a process that is gone may have ended its step just before
            lost = lost_workers(self._running.fold, now_ns)
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

    def _look_after_folder(self) -> None:
        """Notice that the run directory was deleted; it is then made again like one that never was.

        Its lock tells. What lies there afterwards is ours only if the new lock is: another run may
        have taken the name.
        """
        if self._lock is None or not self._lock.is_deleted:
            return
        guard.storage_fault("run.lock", deleted(self._paths.lock))
        self._lock.close()
        self._lock, self._gone = None, True
        self._created = self.run_dir.is_dir()
        self._next_try = self._next_write = 0.0
        self._dirty = True

    @property
    def _is_ours(self) -> bool:
        """Whether there is a run directory, and nobody took it away."""
        return self._created and not self._gone

    def _look_after_files(self) -> None:
        if self._gone:
            return
        self._journal.flush()
        with self._sampling:
            self._telemetry.look_after()

    def _gaps(self, *, end: bool = False) -> list[Event]:
        """Return events that tell what is lost; `end` also of what is being lost now."""
        started = self._running.fold.started
        ids = (started.trace_id, started.span_id) if started is not None else (None, None)
        gaps = {
            "manifest.jsonl": self._journal.take_gap(end=end),
            "telemetry.jsonl": self._telemetry.take_gap(end=end),
        }
        return [gap.event(where, *ids) for where, gap in gaps.items() if gap is not None]

    def _retry_directory(self) -> None:
        if not self._created:
            try:
                make_run_dir(self.run_dir)
            except OSError:
                return
            self._created = True
        self._acquire()

    def _write_derived(self) -> bool:
        """Fold and write; return whether that worked."""
        began = time.monotonic()
        self._dirty = False
        try:
            record = self._running.fold.record(
                telemetry=self._summary.result(), self_cost=self._cost
            )
            self._derived_bytes += write_derived(self.run_dir, record)
        except Exception as error:  # noqa: BLE001 - what waits for this thread must not die of it
            self._dirty = True
            guard.storage_fault("manifest", error)
        took = time.monotonic() - began
        self._next_write = time.monotonic() + max(MANIFEST_SECONDS, took / MANIFEST_SHARE)
        return not self._dirty

    def cost(self, base: SelfCost) -> SelfCost:
        """Return `base` with what writing cost filled in."""
        journal = self._journal.stats
        base.bytes_written = (
            journal.bytes_written + self._telemetry.bytes_written + self._derived_bytes
        )
        base.samples_taken = max(0, base.samples_taken - self._telemetry.samples_lost)
        base.samples_missed += self._telemetry.samples_lost
        base.slowest_sync_seconds = journal.slowest_sync_seconds
        base.events_dropped = journal.events_dropped
        return base

    def close(self) -> None:
        """Write the final record, then let go of the lock.

        Where it cannot be written, a warning says so, the run stays open and this may be called
        again.
        """
        with self._refreshing:
            if self._closed:
                return
            self._look_after_folder()
            if not self._created or self._lock is None:
                self._retry_directory()
            self._look_after_files()
            whole = self._journal.finish()
            with self._sampling:
                again, self._ending = self._ending, True
                self._telemetry.close()
            self._take_in()
            derived = self._is_ours and self._write_derived()
            if not whole or not self._is_ours:
                self._complain(again)
            if not (whole and derived):
                return
            self._closed = True
            self._journal.close()
        if self._lock is not None:
            self._lock.close()

    def _complain(self, again: bool) -> None:  # noqa: FBT001 - private
        if again:
            return
        if self._is_ours and self._journal.stats.bytes_written:
            guard.warn(
                f"the end of the record of run {self.run_id} could not be written; it is tried "
                "once more when this process ends, and then by `robot-sf-otel recover`"
            )
        else:
            why = "its folder was deleted" if self._gone else "it could never be written"
            guard.warn(f"the record of run {self.run_id} is lost: {why}")

    def is_open(self) -> bool:
        """Return whether the run was not closed yet, or its end could not be written."""
        return not self._closed

    def abandon(self) -> None:
        """Close what a forked child inherited, without a lock and without writing."""
        self._journal.abandon()
        self._telemetry.abandon()
        if self._lock is not None:
            self._lock.abandon()


class ManifestRecorder:
    """Opens and joins runs under the artifact root of a configuration."""

    def __init__(self, config: Config) -> None:
        """Keep where runs go and what the next one is called."""
        self._config = config

    def open_run(self, pipeline: str, time_unix_nano: int) -> OwnerRecorder:
        """Create the record of a new run. Never raises: without a disk it keeps events."""
        config = self._config
        return OwnerRecorder.create(config.artifact_root, pipeline, time_unix_nano, config.run_name)

    def resume_run(
        self, run: str, time_unix_nano: int, pipeline: str | None
    ) -> tuple[OwnerRecorder, RunState]:
        """Become the owner of a run that was stopped.

        Raises:
            CannotResume: There is no such run, or it cannot be resumed; the message says why.
        """
        run_dir = find_resumable([self._config.artifact_root], run)
        lock = take_over(run_dir, time_unix_nano, pipeline=pipeline)
        recorder = OwnerRecorder(run_dir, lock=lock)
        state = state_of(recorder.take_in_the_past(), time_unix_nano)
        if state is None:  # deleted a moment ago
            lock.close()
            raise CannotResume(f"run {run} cannot be resumed: its journal cannot be read")
        return recorder, state

    def join_run(
        self, run_dir: Path, time_unix_nano: int
    ) -> tuple[WorkerRecorder, RunState] | None:
        """Take part in a run of another process; None where its journal cannot be read."""
        fold, _ = fold_run(run_dir)
        state = state_of(fold, time_unix_nano)
        if state is None:
            return None
        worker = WorkerRecorder(run_dir, state.started.run_id)
        if not state.closed and (replaced := replaced_worker(fold, time_unix_nano)):
            worker.record(*replaced)
        return worker, state

    def worker(self, run_dir: Path, run_id: str) -> WorkerRecorder:
        """Return a recorder for a forked child of the owner."""
        return WorkerRecorder(run_dir, run_id)


__all__ = ["ManifestRecorder", "OwnerRecorder", "WorkerRecorder"]
