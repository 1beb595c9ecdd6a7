"""The recorder of a child process: a journal of its own in the run of another."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, TypeVar

from robot_sf_otel import guard
from robot_sf_otel.manifest.events import EtaShown, StepStarted
from robot_sf_otel.store.identity import process_identity
from robot_sf_otel.store.journal import JournalWriter, read_event
from robot_sf_otel.store.layout import RunPaths, worker_journal
from robot_sf_otel.store.lines import last_lines
from robot_sf_otel.store.lock import is_locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from robot_sf_otel.manifest.events import Event
    from robot_sf_otel.manifest.fold import RunFold
    from robot_sf_otel.manifest.schema import SelfCost, TelemetrySnapshot


Looked = TypeVar("Looked")

_TAIL: Final = 64 * 1024
"""Bytes at the end of the owner's journal among which its last ETA is looked for."""
_ETA: Final = b'"event":"eta_shown"'


class WorkerRecorder:
    """Records what a child process does in the run of another: a journal of its own.

    The journal is created by the first event, so that children that report nothing leave nothing.
    """

    def __init__(self, run_dir: Path, run_id: str) -> None:
        """Write nothing yet."""
        self.run_dir = run_dir
        self.run_id = run_id
        self._journal: JournalWriter | None = None
        self._introduced = False

    def record(self, *events: Event, sync: bool = True) -> None:
        """Append events to this process's journal. Never raises."""
        self._introduce(events)
        if self._journal is None:
            path = worker_journal(self.run_dir, socket.gethostname(), os.getpid())
            try:
                path.parent.mkdir(exist_ok=True)
            except OSError as error:
                guard.storage_fault("worker journal", error)
            self._journal = JournalWriter(path, on_fault=guard.storage_fault)
        self._journal.append(*events, sync=sync)

    def _introduce(self, events: Iterable[Event]) -> None:
        """Let the first step say who this process is: nobody else could tell that it died."""
        if self._introduced:
            return
        for event in events:
            if isinstance(event, StepStarted):
                event.identity = asdict(process_identity())
                self._introduced = True
                return

    def sample(self, snapshot: TelemetrySnapshot) -> None:
        """Do nothing: the owner samples the whole process tree."""

    def refresh(self, cost: SelfCost) -> None:
        """Retry what could not be written."""
        del cost
        if self._journal is not None:
            self._journal.flush()

    def watch(self, watcher: object) -> None:
        """Do nothing: the owner hears of all events."""

    def catch_up(self) -> None:
        """Do nothing: nothing is kept back."""

    def look(self, function: Callable[[RunFold], Looked]) -> Looked | None:
        """Return None: the owner alone sees all that was recorded."""
        del function
        return None

    def shown_eta(self) -> EtaShown | None:
        """Return the ETA that the owner of the run showed last, None where none is known."""
        for line in last_lines(RunPaths(self.run_dir).journal, _TAIL):
            if _ETA in line:
                event = read_event(line)
                return event if isinstance(event, EtaShown) else None
        return None

    def cost(self, base: SelfCost) -> SelfCost:
        """Return `base`: a child's cost is part of the tree's."""
        return base

    def close(self) -> None:
        """Let go of the journal."""
        if self._journal is not None:
            self._journal.close()

    def is_open(self) -> bool:
        """Return whether the owner still holds the run; True where locks tell nothing."""
        return is_locked(RunPaths(self.run_dir).lock) is not False

    def abandon(self) -> None:
        """Close what a forked child inherited."""
        if self._journal is not None:
            self._journal.abandon()
