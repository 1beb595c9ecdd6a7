"""Runs that this process writes to by hand: as the owner, or into a worker journal of its own."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from robot_sf_otel import guard
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.identity import host_name
from robot_sf_otel.store.journal import JournalWriter
from robot_sf_otel.store.layout import RunPaths, worker_journal
from robot_sf_otel.store.lock import RunLock, owner_state
from robot_sf_otel.store.reader import load_run
from robot_sf_otel.store.telemetry import summarise

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.events import Event


class _Open:
    """The journal of a run that this process writes to, and the lock if it is the owner."""

    def __init__(self, journal: JournalWriter, lock: RunLock | None) -> None:
        self.journal = journal
        self.lock = lock

    def close(self) -> None:
        self.journal.close()
        if self.lock is not None:
            self.lock.close()

    def abandon(self) -> None:
        self.journal.abandon()
        if self.lock is not None:
            self.lock.abandon()


_open: Final[dict[str, _Open]] = {}
"""By the real path of the run directory, which may be reached in several ways."""


def _forget_parent() -> None:
    """A forked child owns no run and shares no descriptor: it writes journals of its own."""
    for opened in _open.values():
        opened.abandon()
    _open.clear()


os.register_at_fork(after_in_child=_forget_parent)


def process_name() -> str:
    """Return what events call this process: `<host>:<pid>`."""
    return f"{host_name()}:{os.getpid()}"


def own(run_dir: Path) -> None:
    """Become the owner of a new run.

    Raises:
        OSError: The lock cannot be taken.
    """
    paths = RunPaths(run_dir)
    lock = RunLock.acquire(paths.lock, run_id=run_dir.name)
    _open[os.path.realpath(run_dir)] = _Open(
        JournalWriter(paths.journal, on_fault=guard.storage_fault), lock
    )


def append(run_dir: Path, *changes: Event) -> None:
    """Write events to the owner's journal, or to one of this process's own.

    Raises:
        OSError: There is no place for a journal.
    """
    opened = _open.get(os.path.realpath(run_dir))
    if opened is None:
        path = worker_journal(run_dir, host_name(), os.getpid())
        path.parent.mkdir(exist_ok=True)
        opened = _Open(JournalWriter(path, on_fault=guard.storage_fault), None)
        _open[os.path.realpath(run_dir)] = opened
    opened.journal.append(*changes)
    if opened.lock is not None:
        _refresh(run_dir)


def samples_added(run_dir: Path) -> None:
    """Bring the figures of manifest.json up to date, if this process owns the run."""
    opened = _open.get(os.path.realpath(run_dir))
    if opened is not None and opened.lock is not None:
        _refresh(run_dir, exact=True)


def let_go(run_dir: Path) -> None:
    """Close what this process has open of a run that ended; its last record is written."""
    opened = _open.pop(os.path.realpath(run_dir), None)
    if opened is None:
        return
    opened.journal.close()
    if opened.lock is not None or owner_state(run_dir, time.time()) == "dead":
        _refresh(run_dir)
    opened.close()


def _refresh(run_dir: Path, *, exact: bool = False) -> None:
    with guard.shielded("manifest"):
        record = load_run(run_dir).record
        if exact:
            record.telemetry = summarise(RunPaths(run_dir).telemetry)
        write_derived(run_dir, record)
