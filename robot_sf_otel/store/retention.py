"""Deleting old runs: which ones may go, and taking them away so that no reader sees a part of one.

A run directory is renamed to a hidden name first, which no reader lists, and then deleted. What an
interrupted deletion leaves under such a name is removed by the next one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from robot_sf_otel.manifest.schema import TERMINAL_RUN
from robot_sf_otel.store.history import first_line, newest_first
from robot_sf_otel.store.identity import is_alive
from robot_sf_otel.store.layout import TRACKER_DIR, RunPaths
from robot_sf_otel.store.legacy import read_old_run
from robot_sf_otel.store.lock import HEARTBEAT_SECONDS, UNOWNED_SECONDS, is_locked, read_owner
from robot_sf_otel.store.reader import fold_run, worker_journals

if TYPE_CHECKING:
    from pathlib import Path

_HIDDEN: Final = ".pruned-"
_LEFT_OVER: Final = re.compile(r"\.pruned-[0-9a-f]{16}")
_BLOCK: Final = 512
"""Bytes of `st_blocks`, whatever the file system's own block size (see stat(2))."""

Kind = Literal["run", "old tracker", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A run that was deleted, or would be.

    Attributes:
        run_dir: Where it lay.
        freed_bytes: What its files took on the disk.
        error: Why something of it is still there, None if nothing is.
    """

    run_dir: Path
    freed_bytes: int
    error: str | None = None


@dataclass(slots=True, kw_only=True)
class Pruned:
    """What was deleted and what was not.

    Attributes:
        removed: Runs that are gone, newest first.
        kept: How many of the newest runs were kept.
        live: Older runs that were kept because they are live, or may be.
        old_tracker: Runs of the original tracker, which are never deleted.
        unreadable: Directories that hold no readable run, which are never deleted.
        failed: Runs that could not be deleted, or not whole; the error says why.
        leftovers_bytes: What interrupted deletions had left on the disk.
    """

    removed: list[Removed] = field(default_factory=list[Removed])
    kept: int = 0
    live: list[Path] = field(default_factory=list["Path"])
    old_tracker: list[Path] = field(default_factory=list["Path"])
    unreadable: list[Path] = field(default_factory=list["Path"])
    failed: list[Removed] = field(default_factory=list[Removed])
    leftovers_bytes: int = 0

    @property
    def freed_bytes(self) -> int:
        """What all that was deleted took on the disk."""
        return sum(one.freed_bytes for one in (*self.removed, *self.failed)) + self.leftovers_bytes


def prune(root: Path, keep: int, *, dry_run: bool = False) -> Pruned:
    """Delete the closed runs of an artifact root beyond the newest ones.

    Never deleted are live runs (those of another host included, while they give signs of life),
    runs of the original tracker, and what holds no readable run. Links are not followed. Several
    processes may do this at once.

    Args:
        root: The artifact root; it may be a link, its `run-tracker` may not.
        keep: How many of the newest runs stay, whatever state they are in.
        dry_run: Say what would be deleted, and delete nothing.

    Raises:
        OSError: `run-tracker` is a link.
        ValueError: `keep` is negative.
    """
    if keep < 0:
        raise ValueError(f"keep: {keep} must not be negative")
    tracker = root / TRACKER_DIR
    if tracker.is_symlink():
        what = "it is a symbolic link, behind which nothing is deleted"
        raise OSError(errno.ELOOP, what, str(tracker))
    done = Pruned(leftovers_bytes=_take_leftovers(tracker, dry_run=dry_run))
    for run_dir in newest_first([root]):
        kind = kind_of(run_dir)
        if kind == "old tracker":
            done.old_tracker.append(run_dir)
        elif kind == "unreadable":
            if run_dir.exists():
                done.unreadable.append(run_dir)
        elif done.kept < keep:
            done.kept += 1
        else:
            _take(run_dir, done, dry_run=dry_run)
    return done


def kind_of(run_dir: Path) -> Kind:
    """Return what a directory with a journal is; its first line says so unless it is damaged."""
    journal = RunPaths(run_dir).journal
    if run_dir.is_symlink() or journal.is_symlink():
        return "unreadable"
    if first_line(run_dir).get("event") == "run_started" or fold_run(run_dir)[0].started:
        return "run"
    return "unreadable" if read_old_run(run_dir) is None else "old tracker"


def is_over(run_dir: Path, now: float) -> bool:
    """Return whether a run has ended so surely that it may be deleted.

    A run that died without being closed is over too. On this host the identity of its process
    tells; a run of another host that was not closed has to be silent for a day, as a network file
    system may hide signs of life for a while, and one that was closed for two minutes.

    Args:
        run_dir: The run's directory.
        now: Unix time in seconds.
    """
    paths = RunPaths(run_dir)
    fold, _ = fold_run(run_dir)
    if is_locked(paths.lock):
        return False
    owner = read_owner(paths.lock)
    alive = None if owner is None else is_alive(owner)
    ended = fold.status in TERMINAL_RUN
    if ended and (owner is None or alive is not None):
        return True  # its process may live on: a notebook, a service
    if alive is not None:
        return not alive
    files = (paths.journal, paths.telemetry, *worker_journals(run_dir))
    silent = now - max(_modified(path) for path in files)
    return silent > (HEARTBEAT_SECONDS if ended else UNOWNED_SECONDS)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _take(run_dir: Path, done: Pruned, *, dry_run: bool) -> None:
    """Delete a run if it is over, and note what became of it."""
    try:
        before = _state(run_dir)
        if not is_over(run_dir, time.time()):
            done.live.append(run_dir)
        elif dry_run:
            done.removed.append(
                Removed(run_dir=run_dir, freed_bytes=_delete(run_dir, dry_run=True)[0])
            )
        else:
            _delete_run(run_dir, before, done)
    except FileNotFoundError:
        return  # somebody else deleted it meanwhile
    except OSError as error:
        done.failed.append(Removed(run_dir=run_dir, freed_bytes=0, error=_reason(error)))


def _delete_run(run_dir: Path, before: tuple[int, int], done: Pruned) -> None:
    hidden = run_dir.with_name(f"{_HIDDEN}{os.urandom(8).hex()}")
    with _locked(RunPaths(run_dir).lock) as free:
        # Nobody can resume the run while we hold its lock; somebody may have just before.
        if not free or _state(run_dir) != before:
            done.live.append(run_dir)
            return
        run_dir.rename(hidden)
    freed, error = _delete(hidden)
    gone = Removed(run_dir=run_dir, freed_bytes=freed, error=error)
    (done.removed if error is None else done.failed).append(gone)


def _state(run_dir: Path) -> tuple[int, int]:
    status = RunPaths(run_dir).journal.lstat()
    return status.st_size, status.st_mtime_ns


@contextmanager
def _locked(path: Path) -> Generator[bool, None, None]:
    """Hold the lock of a run; gives False where somebody else holds it, or it is a link."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        try:
            fd = os.open(path, os.O_RDWR | flags)
        except PermissionError:
            fd = os.open(path, os.O_RDONLY | flags)
    except OSError as error:
        yield error.errno == errno.ENOENT
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        yield True
    finally:
        os.close(fd)


def _take_leftovers(tracker: Path, *, dry_run: bool) -> int:
    """Delete what interrupted deletions left; return what that took on the disk."""
    try:
        with os.scandir(tracker) as entries:
            left = [
                entry.name
                for entry in entries
                if _LEFT_OVER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:  # not there: nothing was ever recorded
        return 0
    return sum(_delete(tracker / name, dry_run=dry_run)[0] for name in left)


def _delete(folder: Path, *, dry_run: bool = False) -> tuple[int, str | None]:
    """Delete a folder and all in it, links as what they are; what somebody else deleted is fine.

    Returns:
        The bytes that were freed, and the first reason why something is left.
    """
    errors: list[OSError] = []
    freed = 0
    try:
        # Through descriptors: a folder that becomes a link meanwhile leads nowhere.
        for _, folders, files, fd in os.fwalk(folder, topdown=False, onerror=errors.append):
            for name in (*files, *folders):
                try:
                    freed += _delete_entry(name, fd, dry_run=dry_run)
                except OSError as error:
                    errors.append(error)
        if not dry_run:
            folder.rmdir()
    except (OSError, RecursionError) as error:
        errors.append(error if isinstance(error, OSError) else OSError("nested too deeply"))
    left = next((error for error in errors if error.errno != errno.ENOENT), None)
    return freed, None if left is None else _reason(left)


def _delete_entry(name: str, fd: int, *, dry_run: bool) -> int:
    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        if not dry_run:
            os.rmdir(name, dir_fd=fd)
        return 0
    if not dry_run:
        os.unlink(name, dir_fd=fd)
    # Elsewhere a file may have further names.
    return status.st_blocks * _BLOCK if status.st_nlink == 1 else 0


def _reason(error: OSError) -> str:
    place = f": {error.filename}" if error.filename is not None else ""
    return f"{error.strerror or error}{place}"
