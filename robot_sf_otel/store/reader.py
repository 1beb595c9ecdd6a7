"""Reading a run: the fold over its journals, with what is wrong with them said beside."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from robot_sf_otel.manifest.codec import decode_document
from robot_sf_otel.manifest.events import Event, RunRecovered
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.schema import SCHEMA_VERSION, TERMINAL_RUN, PipelineRunRecord
from robot_sf_otel.store.journal import JournalTail, iter_raw, read_event
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.legacy import OLD_FORMAT, read_old_run
from robot_sf_otel.store.lines import last_lines, read_whole
from robot_sf_otel.store.lock import owner_state, read_owner
from robot_sf_otel.store.stamp import take_stamp
from robot_sf_otel.store.tail import is_too_deep, may_be_deep
from robot_sf_otel.store.telemetry import (
    iter_snapshots,
    last_snapshot,
    summarise,
    summarise_workers,
)

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import TelemetrySnapshot
    from robot_sf_otel.store.identity import ProcessIdentity
    from robot_sf_otel.store.stamp import Stamp

LOST: Final = "the process that ran it is gone and did not close the record"
_TAIL: Final = 256 * 1024
"""Bytes at the end of a journal among which its last event is looked for."""
_LARGEST: Final = 64 * 1024 * 1024
"""Bytes beyond which manifest.json is not read: the journals are, in bounded memory."""
_FRESH_SECONDS: Final = 5.0
"""How far manifest.json of a live run may be behind its samples and still tell their figures."""

_OLD_FIGURES: Final = (
    "the telemetry figures are those of manifest.json, without the last samples; `summary` reads "
    "all of them"
)
_NO_FIGURES: Final = (
    "there are no telemetry figures, as manifest.json has none and there are many samples; "
    "`summary` reads all of them"
)


class UnreadableRun(ValueError):  # noqa: N818 - a state of the run, not of the caller
    """A directory holds no run that can be read; the message says why."""


class LoadedRun:
    """A run as it was when it was loaded; the fields of its record are attributes too.

    Attributes:
        run_dir: Where it lies.
        record: What is known about it; its `artifact_dir` is where the run lies now, also where the
            folder was moved after it had been written.
        problems: What could not be read, for people.
        stamp: That of its files where all is as manifest.json has it, None where it was folded.
    """

    def __init__(
        self,
        run_dir: Path,
        record: PipelineRunRecord,
        problems: list[str],
        stamp: Stamp | None = None,
    ) -> None:
        """Keep what was read."""
        self.run_dir = run_dir
        self.record = record
        if not _is_same(record.artifact_dir, run_dir):
            record.artifact_dir = str(run_dir.absolute())
        self.problems = problems
        self.stamp = stamp

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the type of the record's field
        """Return a field of the record."""
        if name == "record":  # not there yet, while a copy is being made
            raise AttributeError(name)
        return getattr(self.record, name)

    def __repr__(self) -> str:
        """Return the run's id and status."""
        return f"<run {self.record.run_id} ({self.record.status})>"

    def telemetry(self) -> Iterator[TelemetrySnapshot]:
        """Yield the samples, oldest first."""
        return iter_snapshots(RunPaths(self.run_dir).telemetry)

    def journal(self) -> Iterator[dict[str, Any]]:
        """Yield the events of all journals in order of time, with every field that they have."""
        paths = RunPaths(self.run_dir)
        journals = [iter_raw(path) for path in (paths.journal, *worker_journals(self.run_dir))]
        return heapq.merge(*journals, key=_time_of)


def _time_of(raw: dict[str, Any]) -> int:
    value = raw.get("time_unix_nano")
    return value if isinstance(value, int) else 0


def worker_journals(run_dir: Path) -> list[Path]:
    """Return the journals of child processes, links left out, in a fixed order."""
    try:
        found = sorted(RunPaths(run_dir).workers.iterdir())
    except OSError:
        return []
    return [path for path in found if path.suffix == ".jsonl" and not path.is_symlink()]


def _event_time(event: Event) -> int:
    return event.time_unix_nano


def fold_run(run_dir: Path) -> tuple[RunFold, list[str]]:
    """Fold all journals of a run in order of time; return the fold and what could not be read.

    The order matters: the end of the run closes the steps of child processes that are open by then.
    """
    fold = RunFold()
    tails = [JournalTail(path) for path in (RunPaths(run_dir).journal, *worker_journals(run_dir))]
    for event in heapq.merge(*(tail.events() for tail in tails), key=_event_time):
        fold.apply(event)
    return fold, [problem for tail in tails for problem in _problems_of(tail)]


def run_events(run_dir: Path) -> Iterator[Event]:
    """Yield the events of all journals of a run in order of time, as far as they can be read."""
    paths = (RunPaths(run_dir).journal, *worker_journals(run_dir))
    yield from heapq.merge(*(JournalTail(path).events() for path in paths), key=_event_time)


def _problems_of(tail: JournalTail) -> Iterator[str]:
    name = tail.path.name
    if tail.bad_lines:
        yield f"{name}: {_lines(tail.bad_lines)} damaged and left out"
    if tail.unknown:
        yield f"{name}: {_lines(tail.unknown)} of a kind that this version does not know"
    if tail.newer is not None:
        yield f"{name}: {_newer(tail.newer)}"
    if tail.torn:
        yield f"{name}: the last line is incomplete and was ignored"


def _lines(count: int) -> str:
    return "1 line is" if count == 1 else f"{count} lines are"


def last_sign_ns(run_dir: Path, fold: RunFold) -> int:
    """Return when a run last gave a sign of life, Unix nanoseconds: its last event or sample."""
    times = [
        _last_event_ns(path) for path in (RunPaths(run_dir).journal, *worker_journals(run_dir))
    ]
    sample = last_snapshot(RunPaths(run_dir).telemetry)
    if sample is not None:
        times.append(sample.timestamp_ms * 1_000_000)
    started = fold.started.time_unix_nano if fold.started is not None else 0
    return max(started, *times)


def _last_event_ns(path: Path) -> int:
    for line in last_lines(path, _TAIL):
        event = read_event(line)
        if event is not None:
            return event.time_unix_nano
    return 0


def closing_event(
    run_dir: Path, fold: RunFold, *, ended_ns: int | None = None, cause: str | None = None
) -> RunRecovered:
    """Return the event that closes a run whose process is gone; it is the caller's to write.

    Args:
        run_dir: The run's directory.
        fold: What is known of the run.
        ended_ns: When its process ended, Unix nanoseconds; when it last gave a sign of life where
            nobody saw it end.
        cause: How it ended, in a few words that follow on "the process".
    """
    owner = read_owner(RunPaths(run_dir).lock)
    ended = last_sign_ns(run_dir, fold) if ended_ns is None else ended_ns
    started = fold.started
    if cause is None:
        reason = f"{LOST}{_named(owner)}"
    else:
        reason = f"the process that ran it{_named(owner)} {cause}"
    return RunRecovered(
        time_unix_nano=ended,
        trace_id=started.trace_id if started else None,
        span_id=fold.sessions.span_id,
        status="failed",
        result="error",
        reason=reason,
        duration_seconds=fold.sessions.ran_until(ended),
    )


def _named(owner: ProcessIdentity | None) -> str:
    return f" (pid {owner.pid} on {owner.host})" if owner is not None else ""


def load_run(run_dir: Path, *, telemetry: bool = True, most_bytes: int | None = None) -> LoadedRun:
    """Read a run, whatever state it is in; nothing is written.

    A run whose process is gone without a closing event is shown as `failed`.

    Args:
        run_dir: The run's directory.
        telemetry: Whether samples are summarised where manifest.json is behind them; without, its
            figures are taken as they are.
        most_bytes: Bytes of samples that are summarised at most, for an answer in time; the figures
            of a longer file are those of manifest.json, or left out, and `problems` says so.

    Raises:
        UnreadableRun: The directory holds no run.
    """
    stamp = take_stamp(str(run_dir))
    written = _written_record(run_dir)
    if written is not None and _is_final(written, stamp):
        return LoadedRun(run_dir, written, _version_problem(written), stamp)
    fold, problems = fold_run(run_dir)
    if fold.started is None:
        return _without_start(run_dir, written, problems)
    state = None
    if fold.status not in TERMINAL_RUN:
        state = owner_state(run_dir, time.time())
        if state == "dead":  # it may have written its end after that was read
            fold, problems = fold_run(run_dir)
        sample = last_snapshot(RunPaths(run_dir).telemetry)
        if sample is not None:
            fold.take_progress(sample)
    if state == "dead" and fold.status not in TERMINAL_RUN:
        fold.apply(closing_event(run_dir, fold))
        problems.append("the run was not closed; it is shown as failed")
    figures = written.telemetry if written is not None else {}
    others = written.worker_telemetry if written is not None else {}
    if telemetry and _is_behind(run_dir, written, alive=state == "alive"):
        samples = RunPaths(run_dir).telemetry
        if most_bytes is None or _size(samples) <= most_bytes:
            figures = summarise(samples)
            started = fold.started
            imported = started is not None and started.imported is not None
            others = summarise_workers(samples) if imported else {}
        else:
            problems.append(_OLD_FIGURES if figures else _NO_FIGURES)
    cost = written.self_cost if written is not None else None
    try:
        record = fold.record(telemetry=figures, worker_telemetry=others, self_cost=cost)
    except (ValueError, OverflowError, OSError) as error:  # a time that no calendar has
        raise UnreadableRun(f"{run_dir} cannot be read: {error}") from error
    return LoadedRun(run_dir, record, problems)


def _is_same(recorded: str | None, run_dir: Path) -> bool:
    """Return whether a recorded folder, whichever way it was named, is that of the run."""
    try:
        return recorded is not None and os.path.samefile(recorded, run_dir)  # noqa: PTH121 - as Path it is ten times slower
    except (OSError, ValueError):  # gone, or nothing that could be a path
        return False


def _without_start(
    run_dir: Path, written: PipelineRunRecord | None, problems: list[str]
) -> LoadedRun:
    """Return what can be shown of a run whose journal does not tell of its start.

    Raises:
        UnreadableRun: Nothing can.
    """
    old = read_old_run(run_dir)
    if old is not None:
        return LoadedRun(run_dir, old, [f"recorded by the original {OLD_FORMAT} tracker"])
    if written is None:
        why = f" ({'; '.join(problems)})" if problems else ""
        raise UnreadableRun(f"{run_dir} holds no run: no readable start in manifest.jsonl{why}")
    if written.status not in TERMINAL_RUN and owner_state(run_dir, time.time()) == "dead":
        written.status, written.status_reason = "failed", LOST
    said = "manifest.jsonl has no readable start: shown is what manifest.json last said"
    return LoadedRun(run_dir, written, [*problems, said])


def _is_behind(run_dir: Path, written: PipelineRunRecord | None, *, alive: bool) -> bool:
    """Return whether there are samples that the figures of manifest.json do not know."""
    if written is None:
        return True
    paths = RunPaths(run_dir)
    try:
        behind = paths.telemetry.stat().st_mtime - paths.record.stat().st_mtime
    except OSError:
        return False
    # The owner of a live run writes both about every second, one after the other.
    return behind > (_FRESH_SECONDS if alive else 0.0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def unreadable_record(run_dir: Path, reason: str) -> PipelineRunRecord:
    """Return what a list shows of a run directory that holds no readable run."""
    alive = owner_state(run_dir, time.time()) == "alive"
    return PipelineRunRecord(
        run_id=run_dir.name,
        pipeline="--",
        status="pending" if alive else "failed",
        status_reason=reason,
        artifact_dir=str(run_dir),
    )


def _written_record(run_dir: Path) -> PipelineRunRecord | None:
    try:
        document = read_whole(RunPaths(run_dir).record, _LARGEST)
        record = None if document is None else decode_document(document, PipelineRunRecord)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if record is None or (may_be_deep(document or b"") and is_too_deep(_free_values(record))):
        return None
    return record


def _free_values(record: PipelineRunRecord) -> list[object]:
    """Return what may hold anything; all other fields are as deep as their types say."""
    return [
        *(record.params, record.seeds, record.host, record.vcs, record.runtime),
        record.summary.custom,
        *(anomaly.evidence for anomaly in record.anomalies),
        *(recommendation.evidence for recommendation in record.recommendations),
        *(test.matrix for test in record.perf_tests),
    ]


def _is_final(record: PipelineRunRecord, stamp: Stamp | None) -> bool:
    """Return whether manifest.json is terminal and no journal was written after it."""
    return record.status in TERMINAL_RUN and stamp is not None and stamp.is_derived


def _version_problem(record: PipelineRunRecord) -> list[str]:
    if record.schema_version <= SCHEMA_VERSION:
        return []
    return [_newer(record.schema_version)]


def _newer(version: int) -> str:
    return f"written by a newer version (schema {version}); parts may be missing"


__all__ = [
    "LOST",
    "OLD_FORMAT",
    "LoadedRun",
    "UnreadableRun",
    "closing_event",
    "fold_run",
    "last_sign_ns",
    "load_run",
    "run_events",
    "unreadable_record",
    "worker_journals",
]
