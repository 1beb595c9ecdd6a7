"""Reads what a run reported as artifacts, beside the run, and records their digests."""

from __future__ import annotations

import heapq
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from robot_sf_otel.manifest import events as e
from robot_sf_otel.store.digest import NoDigest, Stopped, digest_of

if TYPE_CHECKING:
    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.manifest.fold import RunFold
    from robot_sf_otel.manifest.schema import Artifact

END_SECONDS: Final = 1.0
"""How long the end of a run waits for digests; an artifact that takes longer has none."""
_PATIENCE_SECONDS: Final = 0.02
_NICE: Final = 10


class ArtifactDigests:
    """The artifacts of one run, those of its child processes too, whose content is not read yet.

    The owner of the run reads all of them: a child process may be gone by then.

    Args:
        run: A run that this process owns.
    """

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._seen = 0
        self._waiting: list[tuple[float, int, Artifact]] = []
        self._choosing = threading.Lock()
        self._working = threading.Lock()
        self._deadline: float | None = None
        self._interrupted: Callable[[], bool] = lambda: False

    def has_work(self) -> bool:
        """Return whether there is something to read, and nobody at it."""
        self._look()
        return bool(self._waiting) and not self._working.locked()

    def _look(self) -> None:
        reported = self._run.recorder.look(_artifacts_of)
        if reported is not None and len(reported) > self._seen:
            new = list(enumerate(reported))[self._seen :]
            self._seen = len(reported)
            with self._choosing:
                for number, found in new:
                    if found.sha256 is None:
                        size = math.inf if found.size_bytes is None else found.size_bytes
                        heapq.heappush(self._waiting, (size, number, found))

    def _next(self) -> Artifact | None:
        """Return the smallest one: what is read within a second must not wait for what is not."""
        with self._choosing:
            return heapq.heappop(self._waiting)[2] if self._waiting else None

    def work(self) -> None:
        """Read what waits, at low priority; in a thread of its own."""
        if sys.platform == "linux":  # where a priority is one of a thread
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        if self._working.acquire(blocking=False):
            try:
                self._read_all()
            finally:
                self._working.release()

    def _read_all(self) -> None:
        while not self._stop() and (artifact := self._next()) is not None:
            try:
                path = self._run.run_dir / artifact.path
                found = digest_of(path, _nanoseconds(artifact.logged_at), self._stop)
            except (NoDigest, Stopped):
                continue
            ids = self._run.ids()
            if artifact.span_id is not None:
                ids["span_id"] = artifact.span_id
            complete = msgspec.structs.replace(
                artifact, size_bytes=found.size_bytes, sha256=found.sha256
            )
            self._run.recorder.record(e.ArtifactLogged(artifact=complete, **ids), sync=False)

    def _stop(self) -> bool:
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return late or self._interrupted()

    def finish(self, interrupted: Callable[[], bool]) -> None:
        """Read what is left, before the record is closed; at most for `END_SECONDS`."""
        self._interrupted = interrupted
        self._look()
        self._deadline = time.monotonic() + END_SECONDS
        self._read_all()  # beside the thread, which may be at one that takes hours
        # In short turns: a signal that comes meanwhile must not wait.
        while not self._working.acquire(timeout=_PATIENCE_SECONDS):
            if self._stop():
                return
        self._working.release()


def _artifacts_of(fold: RunFold) -> list[Artifact]:
    return fold.artifacts()


def _nanoseconds(timestamp: str | None) -> int:
    """Return a recorded time as Unix nanoseconds."""
    seconds = e.unix_seconds(timestamp)
    return time.time_ns() if seconds is None else round(seconds * 1_000_000) * 1_000
