"""The run directory of one trace: written as its spans end, closed when its root does."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel import guard
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest import from_spans
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.schema import SelfCost
from robot_sf_otel.manifest.statistics import TelemetrySummary
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.journal import JournalWriter
from robot_sf_otel.store.layout import RunPaths, worker_journal
from robot_sf_otel.store.lock import RunLock
from robot_sf_otel.store.reader import fold_run, worker_journals
from robot_sf_otel.store.telemetry import TelemetryWriter, summarise

if TYPE_CHECKING:
    from robot_sf_otel.manifest.from_spans import Origin
    from robot_sf_otel.manifest.schema import RunStatus, TelemetrySnapshot
    from robot_sf_otel.manifest.spans import RecordedSpan
    from robot_sf_otel.redaction import Redactor

MAX_STEPS: Final = 10_000
"""Spans of one trace that are recorded; the rest is counted, so that memory stays bounded."""
PENDING_LIMIT: Final = 1_000
"""Appends of one run that are kept in memory while nothing can be written."""
MANIFEST_SECONDS: Final = 1.0
"""Shortest time between two writes of the derived files of a run."""
MANIFEST_SHARE: Final = 0.01
"""Largest share of the time that writing them may take before the run ends."""


@dataclass(slots=True)
class ClosedRun:
    """What is remembered of a run whose record is closed, for spans that end after its root."""

    run_dir: Path
    root_span_id: str | None
    start_ns: int
    end_ns: int
    steps: int
    trace_id: str | None = None
    dirty: bool = False
    next_write: float = 0.0

    def owns(self, span: RecordedSpan) -> bool:
        """Return whether a span of the same trace belongs to this run and not to a later one."""
        within = span.start_ns < self.end_ns
        return within or span.parent_span_id == self.root_span_id is not None

    def amend(self, spans: list[RecordedSpan], redact: Redactor, process: str | None) -> bool:
        """Add spans that ended after the root; return whether they are on disk."""
        kept = spans[: max(0, MAX_STEPS - self.steps)]
        self.steps += len(kept)
        events = [event for span in kept for event in from_spans.step_events(span, redact, process)]
        if len(kept) < len(spans):
            events.append(_left_out(len(spans) - len(kept), self.end_ns, self.trace_id))
        journal = JournalWriter(RunPaths(self.run_dir).journal, on_fault=guard.storage_fault)
        journal.append(*events)
        stats = journal.stats
        journal.close()
        self._changed()
        return not stats.pending and not stats.events_dropped

    def add_sample(self, snapshot: TelemetrySnapshot) -> None:
        """Add a sample that was taken as the process ended."""
        writer = TelemetryWriter(RunPaths(self.run_dir).telemetry, on_fault=guard.storage_fault)
        writer.append(snapshot)
        writer.close()
        self._changed()

    def _changed(self) -> None:
        self.dirty = True
        if time.monotonic() >= self.next_write:
            self.rewrite()

    def rewrite(self) -> None:
        """Write the derived files anew from what is on disk, if anything was added to it."""
        if not self.dirty:
            return
        began = time.monotonic()
        self.dirty = False
        fold, _ = fold_run(self.run_dir)
        figures = summarise(RunPaths(self.run_dir).telemetry)
        try:
            write_derived(self.run_dir, fold.record(telemetry=figures))
        except (OSError, ValueError) as error:
            guard.storage_fault("manifest", error)
        self.next_write = _after_pause(began)


def _left_out(number: int, time_unix_nano: int, trace_id: str | None) -> e.TelemetryFault:
    message = f"spans beyond the first {MAX_STEPS} of a run are left out"
    return e.TelemetryFault(
        where="spans",
        message=message,
        count=number,
        time_unix_nano=time_unix_nano,
        trace_id=trace_id,
    )


def _after_pause(began: float) -> float:
    """Return when derived files may be written again that were begun at `began`; monotonic."""
    now = time.monotonic()
    return now + max(MANIFEST_SECONDS, (now - began) / MANIFEST_SHARE)


class TraceRun:
    """A run that is being recorded from the spans of one trace.

    Events are gathered by `take` and reach the disk, synced, with `write`.
    """

    def __init__(self, run_dir: Path, started: e.RunStarted, redact: Redactor) -> None:
        """Begin the journal of a run directory that was just created."""
        self.run_dir = run_dir
        self.trace_id = started.trace_id
        self.start_ns = started.time_unix_nano
        self.end_ns: int | None = None
        self.steps = 0
        self.left_out = 0
        self.owner = True
        self._redact = redact
        self._last_ns = started.time_unix_nano
        paths = RunPaths(run_dir)
        self._journal = JournalWriter(
            paths.journal, on_fault=guard.storage_fault, pending_limit=PENDING_LIMIT
        )
        self._telemetry = TelemetryWriter(paths.telemetry, on_fault=guard.storage_fault)
        self._lock: RunLock | None = None
        with guard.shielded("run.lock"):
            self._lock = RunLock.acquire(paths.lock)
        self._fold = RunFold()
        self._summary = TelemetrySummary()
        self._buffer: list[e.Event] = []
        self._derived_bytes = 0
        self._next_write = 0.0
        self.add(started)

    def add(self, *events: e.Event) -> None:
        """Gather events for the next write."""
        for event in events:
            self._buffer.append(event)
            self._fold.apply(event)

    def take(self, span: RecordedSpan, process: str | None) -> None:
        """Gather an ended span as a step."""
        self._last_ns = max(self._last_ns, span.end_ns)
        if self.steps >= MAX_STEPS:
            self.left_out += 1
            return
        self.steps += 1
        self.add(*from_spans.step_events(span, self._redact, process))

    def sample(self, snapshot: TelemetrySnapshot) -> None:
        """Append a telemetry sample."""
        self._telemetry.append(snapshot)
        self._summary.add(snapshot)

    def write(self) -> bool:
        """Write what was gathered, synced; return whether all of it is on disk."""
        events, self._buffer = self._buffer, []
        dropped = self._journal.stats.events_dropped
        if events:
            self._journal.append(*events)
        else:
            self._journal.flush()
        stats = self._journal.stats
        if self.owner and time.monotonic() >= self._next_write:
            self._write_derived()
        return not stats.pending and stats.events_dropped == dropped

    def _write_derived(self) -> None:
        began = time.monotonic()
        try:
            # Forked children tell of their spans in journals of their own.
            forked = bool(worker_journals(self.run_dir))
            fold = fold_run(self.run_dir)[0] if forked else self._fold
            record = fold.record(telemetry=self._summary.result(), self_cost=self._cost())
            self._derived_bytes += write_derived(self.run_dir, record)
        except (OSError, ValueError) as error:
            guard.storage_fault("manifest", error)
        self._next_write = _after_pause(began)

    def _cost(self) -> SelfCost:
        stats = self._journal.stats
        return SelfCost(
            bytes_written=stats.bytes_written + self._telemetry.bytes_written + self._derived_bytes,
            slowest_sync_seconds=stats.slowest_sync_seconds,
            events_dropped=stats.events_dropped,
        )

    def finish(self, root: RecordedSpan) -> tuple[ClosedRun, bool]:
        """Close the run as its root span ended; return what to remember, and success."""
        self.end_ns = root.end_ns
        self.add(*from_spans.root_events(root, self._redact))
        return self._end(from_spans.run_finished(root, self._redact), root.span_id)

    def give_up(
        self, reason: str, *, status: RunStatus = "failed", result: str = "error"
    ) -> tuple[ClosedRun, bool]:
        """Close a run whose root span did not end; it ended when its last span did."""
        self.end_ns = self._last_ns
        seconds = max(0.0, (self._last_ns - self.start_ns) / e.NANOSECONDS)
        finished = e.RunFinished(
            time_unix_nano=self._last_ns,
            trace_id=self.trace_id,
            status=status,
            result=result,
            duration_seconds=seconds,
            reason=reason,
        )
        return self._end(finished, None)

    def _end(self, finished: e.RunFinished, root_id: str | None) -> tuple[ClosedRun, bool]:
        closed = ClosedRun(
            run_dir=self.run_dir,
            root_span_id=root_id,
            start_ns=self.start_ns,
            end_ns=finished.time_unix_nano,
            steps=self.steps,
            trace_id=self.trace_id,
        )
        if not self.owner:
            self._journal.close()
            return closed, True
        ids: dict[str, Any] = {"time_unix_nano": finished.time_unix_nano, "trace_id": self.trace_id}
        if self.left_out:
            self.add(_left_out(self.left_out, finished.time_unix_nano, self.trace_id))
        for place, message, count in guard.drain():
            self.add(e.TelemetryFault(where=place, message=message, count=count, **ids))
        finished.self_cost = self._cost()
        self.add(finished)
        self._next_write = float("inf")
        written = self.write()
        self._journal.close()
        self._telemetry.close()
        self._write_derived()
        if self._lock is not None:
            self._lock.close()
        return closed, written

    def become_worker(self) -> None:
        """In a forked child: write a journal of its own, which the owner's record takes in."""
        self.owner = False
        self._buffer = []
        self._journal.abandon()
        self._telemetry.abandon()
        if self._lock is not None:
            self._lock.abandon()
        path = worker_journal(self.run_dir, socket.gethostname(), os.getpid())
        self._journal = JournalWriter(path, on_fault=guard.storage_fault)

    def prepare(self) -> None:
        """In a forked child, before the first event: make the folder of its journal."""
        if not self.owner:
            self._journal.path.parent.mkdir(exist_ok=True)


def origin_of(redact: Redactor, argv: list[str], initiator: list[str]) -> Origin:
    """Return this process as the origin of a run.

    Args:
        redact: Masks what looks secret.
        argv: The command line.
        initiator: The same without the interpreter.
    """
    try:
        cwd = str(Path.cwd())
    except OSError:  # the folder was deleted under the process
        cwd = None
    host = socket.gethostname()
    return from_spans.Origin(
        process=f"{host}:{os.getpid()}",
        hostname=host,
        argv=tuple(redact.argv(argv)),
        initiator=" ".join(redact.argv(initiator)) or None,
        cwd=cwd,
    )
