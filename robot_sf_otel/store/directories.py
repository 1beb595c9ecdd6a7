"""Run directories under artifact roots: found and put in order, read only where that must be."""

from __future__ import annotations

import functools
import itertools
import os
from calendar import timegm
from collections.abc import Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from robot_sf_otel.manifest.codec import decode_raw
from robot_sf_otel.manifest.events import NANOSECONDS
from robot_sf_otel.store.layout import TRACKER_DIR, RunPaths
from robot_sf_otel.store.lines import BYTE_ORDER_MARK, bare, open_for_reading

_HEAD: Final = 1024 * 1024
_FIRST_PART: Final = 16 * 1024
"""Bytes in which the first line of a journal mostly ends."""
_STAMP: Final = 17
"""Characters of `20260131T120000Z-`."""


class Folder(NamedTuple):
    """A folder that may hold a run.

    Attributes:
        second: When the run began, in Unix seconds.
        tracker: The folder that it lies in.
        name: What it is called.
    """

    second: int
    tracker: str
    name: str

    @property
    def path(self) -> str:
        """Where it lies."""
        return f"{self.tracker}/{self.name}"


def find_runs(roots: Sequence[Path]) -> list[Path]:
    """Return the run directories under artifact roots, in no order; links are not followed."""
    paths = (f"{tracker}/{name}" for tracker, name in _names(roots))
    return [Path(path) for path in paths if holds_run(path)]


def _names(roots: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield the folders that may hold a run: where they lie and what they are called."""
    seen: set[str] = set()
    for root in roots:
        tracker = str(root / TRACKER_DIR)
        try:
            real = os.path.realpath(tracker)  # two roots may be one
            if real in seen:
                continue
            with os.scandir(tracker) as entries:
                names = [
                    entry.name
                    for entry in entries
                    # Hidden are the index, and what a `prune` has taken out but not deleted yet.
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                ]
        except (OSError, ValueError):
            continue
        seen.add(real)
        yield from zip(itertools.repeat(tracker), names, strict=False)


def holds_run(run_dir: str) -> bool:
    """Return whether a folder holds the journal of a run."""
    return os.path.isfile(f"{run_dir}/manifest.jsonl")  # noqa: PTH113 - 10,000 of them


def started_ns(run_dir: Path) -> int:
    """Return when a run began, in Unix nanoseconds: from its id, else from its first event."""
    stamp = stamp_seconds(run_dir.name)
    return precise_start(run_dir) if stamp is None else stamp * NANOSECONDS


def stamp_seconds(name: str) -> int | None:
    """Return the time in a generated run id as Unix seconds, None where there is none."""
    head = name[:_STAMP]
    if not head.isascii() or head[8:9] != "T" or head[15:] != "Z-":
        return None
    day, clock = head[:8], head[9:15]
    if not (day.isdigit() and clock.isdigit()):
        return None
    midnight = _midnight(day)
    if midnight is None:
        return None
    return midnight + int(clock[:2]) * 3600 + int(clock[2:4]) * 60 + int(clock[4:])


@functools.lru_cache(maxsize=4096)  # many runs of few days
def _midnight(day: str) -> int | None:
    try:
        return timegm((int(day[:4]), int(day[4:6]), int(day[6:]), 0, 0, 0))
    except (ValueError, OverflowError):
        return None


def precise_start(run_dir: Path) -> int:
    """Return when a run began as its first event tells, in Unix nanoseconds."""
    first = first_line(run_dir)
    begun = first.get("time_unix_nano")
    if isinstance(begun, int):
        return begun
    created = first.get("created_at")  # the original tracker
    try:
        if isinstance(created, str):
            return int(datetime.fromisoformat(created).timestamp() * NANOSECONDS)
    except (ValueError, OverflowError):
        pass
    try:
        return run_dir.stat().st_mtime_ns
    except OSError:
        return 0


def first_line(run_dir: Path) -> dict[str, Any]:
    """Return what the first line of a run's journal holds, nothing where it cannot be read."""
    fd = open_for_reading(RunPaths(run_dir).journal)
    if fd is None:
        return {}
    try:
        line, newline, _ = os.pread(fd, _FIRST_PART, 0).partition(b"\n")
        if not newline:
            line = os.pread(fd, _HEAD, 0).partition(b"\n")[0]
        return decode_raw(bare(line.removeprefix(BYTE_ORDER_MARK))) or {}
    except (OSError, ValueError):
        return {}
    finally:
        os.close(fd)


def newest_first(roots: Sequence[Path]) -> Iterator[Path]:
    """Yield the run directories under artifact roots, newest first.

    The time in a run id orders them without a file being read; only runs of the same second, and
    those with names of their own, are looked into.
    """
    return (Path(folder.path) for folder in folders_newest_first(roots) if holds_run(folder.path))


def folders_newest_first(roots: Sequence[Path]) -> Iterator[Folder]:
    """Yield what `newest_first` does, and folders that are named like a run but hold none."""
    folders: list[Folder] = []
    for tracker, name in _names(roots):
        begun = stamp_seconds(name)
        if begun is None:
            begun = precise_start(Path(tracker, name)) // NANOSECONDS
        folders.append(Folder(begun, tracker, name))
    folders.sort(key=_second, reverse=True)
    for _, same_second in itertools.groupby(folders, key=_second):
        together = list(same_second)
        if len(together) > 1:
            together.sort(key=lambda one: (precise_start(Path(one.path)), one.name), reverse=True)
        yield from together


_second: Final = attrgetter("second")
