"""Closing the record of a run whose process is gone; and child processes that went without a word.

Only the watchdog and `recover` write; readers recognise a dead run and show it as failed.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from robot_sf_otel.manifest.events import (
    Event,
    RunFinished,
    RunRecovered,
    StepProgress,
    TelemetryFault,
    WorkerLost,
)
from robot_sf_otel.manifest.formats import mebibytes
from robot_sf_otel.manifest.schema import TERMINAL_RUN
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.identity import ProcessIdentity, is_alive
from robot_sf_otel.store.journal import JournalWriter, read_event
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.legacy import read_old_run
from robot_sf_otel.store.lines import last_lines
from robot_sf_otel.store.lock import HEARTBEAT_SECONDS, is_locked, owner_state, read_owner
from robot_sf_otel.store.reader import closing_event, fold_run, last_sign_ns, load_run
from robot_sf_otel.store.telemetry import last_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.fold import RunFold
    from robot_sf_otel.manifest.schema import RunStatus, TelemetrySnapshot

Action = Literal["closed", "would close", "left", "failed"]

LOCK_SECONDS: Final = 5.0
"""Longest wait for somebody else who is closing the same run."""
_PAUSE_SECONDS: Final = 0.01
_TAIL: Final = 64 * 1024
"""Bytes at the end of a journal among which its last event stands."""
_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done about a run, and why.

    Attributes:
        run_id: The run.
        run_dir: Where it lies.
        action: What was done.
        status: The run's status after that.
        reason: The cause of its end where it was closed, else why it was left or what failed.
    """

    run_id: str
    run_dir: Path
    action: Action
    status: RunStatus
    reason: str


def recover_runs(
    run_dirs: Iterable[Path], now_ns: int, *, dry_run: bool = False
) -> Iterator[Outcome]:
    """Close those of many runs that are dead; runs that have ended are passed over in silence.

    Args:
        run_dirs: Directories of runs.
        now_ns: Unix nanoseconds.
        dry_run: Whether to write nothing.
    """
    for run_dir in run_dirs:
        if has_ended(run_dir) and not _is_behind(run_dir):
            continue
        outcome = recover_run(run_dir, now_ns, dry_run=dry_run)
        ended = outcome.action == "left" and outcome.status in TERMINAL_RUN
        if not ended and (outcome.status != "pending" or read_old_run(run_dir) is None):
            yield outcome


def recover_run(run_dir: Path, now_ns: int, *, dry_run: bool = False) -> Outcome:
    """Do what `close_dead_run` does; a run that cannot be written is an outcome too."""
    try:
        return close_dead_run(run_dir, now_ns, dry_run=dry_run)
    except OSError as error:
        return Outcome(
            run_id=run_dir.name,
            run_dir=run_dir,
            action="failed",
            status="running",
            reason=str(error),
        )


def has_ended(run_dir: Path) -> bool:
    """Return whether the journal ends with the end of the run: a cheap look at its last line."""
    lines = last_lines(RunPaths(run_dir).journal, _TAIL)
    return bool(lines) and isinstance(read_event(lines[0]), RunFinished | RunRecovered)


def close_dead_run(
    run_dir: Path,
    now_ns: int,
    *,
    dry_run: bool = False,
    owner: ProcessIdentity | None = None,
    ended_ns: int | None = None,
    cause: str | None = None,
) -> Outcome:
    """Write the closing event of a run whose process is gone, and its derived files.

    A run that was killed between its end and its derived files gets these alone. Of
    several that try at once one writes; a terminal status is never overwritten.

    Args:
        run_dir: The run's directory.
        now_ns: Unix nanoseconds.
        dry_run: Whether to write nothing.
        owner: The process that is known to be gone, if that is known otherwise than by the lock
            file; the run is left where another one has taken it over.
        ended_ns: When that process ended, if that is known; its last sign of life otherwise.
        cause: How it ended, in a few words that follow on "the process".

    Raises:
        OSError: The closing event cannot be written.
    """
    with alone(run_dir):
        fold, _ = fold_run(run_dir)
        left = _why_left(run_dir, fold, owner, now_ns / 1e9)
        if left is None and owner is None:
            # It may have written its end after that was read, and before it was found to be gone.
            fold, _ = fold_run(run_dir)
            left = _why_left(run_dir, fold, owner, now_ns / 1e9)
        status = fold.status
        if left is not None:
            gone = owner is not None or owner_state(run_dir, now_ns / 1e9) == "dead"
            if gone and not dry_run and status in TERMINAL_RUN and _is_behind(run_dir):
                _derive(run_dir)  # a process that lives does so itself
            return Outcome(
                run_id=_name(run_dir, fold),
                run_dir=run_dir,
                action="left",
                status=status,
                reason=left,
            )
        sample = last_snapshot(RunPaths(run_dir).telemetry)
        if ended_ns is None:  # after the last sign of life, which may be a child's end of a step
            ended_ns = last_sign_ns(run_dir, fold) + 1
        end = closing_event(run_dir, fold, ended_ns=ended_ns, cause=cause)
        end.reason = f"{end.reason}{_memory(sample)}"
        if not dry_run:
            _write(
                RunPaths(run_dir).journal, [*_lost(fold, end), *_progress(fold, sample, end), end]
            )
            _derive(run_dir)
    return Outcome(
        run_id=_name(run_dir, fold),
        run_dir=run_dir,
        action="would close" if dry_run else "closed",
        status=status if dry_run else end.status,
        reason=end.reason,
    )


def add_fault(run_dir: Path, now_ns: int, where: str, error: Exception) -> None:
    """Add to a run that was closed what failed afterwards: nobody else would say it.

    Raises:
        OSError: It cannot be written.
    """
    with alone(run_dir):
        fault = TelemetryFault(
            time_unix_nano=now_ns, where=where, message=f"{type(error).__name__}: {error}"
        )
        _write(RunPaths(run_dir).journal, [fault])
        _derive(run_dir)


def lost_workers(
    fold: RunFold,
    now_ns: int,
    alive: Callable[[ProcessIdentity], bool | None] = is_alive,
) -> list[WorkerLost]:
    """Return the child processes that are gone although steps of theirs are under way.

    Only those of this host that said who they are; of another one, or in another pid namespace,
    nobody here can tell.

    Args:
        fold: What is known of the run.
        now_ns: Unix nanoseconds, the time of the events.
        alive: Whether a process still runs, None where it cannot be told.
    """
    started = fold.started
    lost: list[WorkerLost] = []
    for process, said in fold.processes_at_work().items():
        try:
            identity = msgspec.convert(said, ProcessIdentity)
        except msgspec.ValidationError:
            continue
        if alive(identity) is not False:
            continue
        lost.append(
            WorkerLost(
                time_unix_nano=now_ns,
                trace_id=started.trace_id if started else None,
                span_id=fold.sessions.span_id,
                process=process,
                reason=f"its process (pid {identity.pid} on {identity.host}) was killed or lost",
            )
        )
    return lost


def _why_left(
    run_dir: Path, fold: RunFold, owner: ProcessIdentity | None, now: float
) -> str | None:
    """Return why a run is not to be closed, or None if it is dead and open."""
    if fold.started is None:
        return "no readable start in manifest.jsonl"
    if fold.status in TERMINAL_RUN:
        return f"it has ended already: {fold.status}"
    lock = RunPaths(run_dir).lock
    holder = read_owner(lock)
    if owner is not None and holder in {None, owner}:
        return None
    state = owner_state(run_dir, now)
    if state == "dead":
        return None
    who = f"pid {holder.pid} on {holder.host}" if holder is not None else "its process"
    if state == "alive":
        return f"{who} still runs" if is_locked(lock) is not None else f"{who} may still run"
    return (
        f"{who} cannot be looked at from here, and gave a sign of life less than "
        f"{HEARTBEAT_SECONDS:.0f} s ago"
        if is_locked(lock) is not None
        else "it has no lock file, and gave a sign of life less than a day ago"
    )


@contextmanager
def alone(run_dir: Path) -> Generator[None]:
    """Hold the journal's own lock, so that one process at a time decides whether a run is dead.

    Not run.lock: a forked child of the dead process may hold that for days. Nobody else locks the
    journal, and the lock goes with the process that held it.

    Raises:
        OSError: The journal cannot be opened, or somebody else did not get done with it.
    """
    fd = os.open(RunPaths(run_dir).journal, _FLAGS)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
            except OSError:  # a file system without locks: twice the same event does no harm
                break
            else:
                break
        yield
    finally:
        os.close(fd)


def _name(run_dir: Path, fold: RunFold) -> str:
    return fold.run_id or run_dir.name


def _memory(sample: TelemetrySnapshot | None) -> str:
    if sample is None or sample.memory_rss_mb is None:
        return ""
    used, limit, available = (
        sample.memory_rss_mb,
        sample.memory_limit_mb,
        sample.memory_available_mb,
    )
    text = f"; last memory reading {mebibytes(used)}"
    if limit is not None:
        return f"{text}, limit {mebibytes(limit)}"
    return text if available is None else f"{text}, {mebibytes(available)} available"


def _lost(fold: RunFold, end: RunRecovered) -> list[Event]:
    return list(lost_workers(fold, end.time_unix_nano))


def _progress(
    fold: RunFold, sample: TelemetrySnapshot | None, end: RunRecovered
) -> Iterator[Event]:
    """Yield how far the running steps were: of a step that did not end only the samples tell."""
    before = {entry.span_id: entry.progress.done for entry in fold.running()}
    if sample is not None:
        fold.take_progress(sample)
    for entry in fold.running():
        if entry.span_id is not None and entry.progress.done != before.get(entry.span_id):
            yield StepProgress(
                time_unix_nano=end.time_unix_nano,
                trace_id=end.trace_id,
                span_id=entry.span_id,
                progress=entry.progress,
            )


def _write(journal: Path, events: list[Event]) -> None:
    """Append events, durably.

    Raises:
        OSError: They cannot be written.
    """
    failures: list[Exception] = []
    writer = JournalWriter(journal, on_fault=lambda _, error: failures.append(error))
    writer.append(*events)
    writer.close()
    if writer.stats.events_dropped:
        raise failures[-1] if failures else OSError(f"{journal} cannot be written")


def _is_behind(run_dir: Path) -> bool:
    """Return whether a derived file of a run that has ended is missing, or does not tell of it."""
    paths = RunPaths(run_dir)
    try:
        ended = paths.journal.stat().st_mtime_ns
        derived = min(path.stat().st_mtime_ns for path in (paths.record, paths.markdown))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    # File times advance in steps of some milliseconds.
    return derived < ended or (derived == ended and not _tells_of_the_end(paths.record))


class _Written(msgspec.Struct):
    status: str


def _tells_of_the_end(record: Path) -> bool:
    try:
        return msgspec.json.decode(record.read_bytes(), type=_Written).status in TERMINAL_RUN
    except (OSError, msgspec.DecodeError, RecursionError):
        return False


def _derive(run_dir: Path) -> None:
    """Bring the derived files up to date; the journal is what counts."""
    with suppress(OSError, ValueError):
        write_derived(run_dir, load_run(run_dir).record)
