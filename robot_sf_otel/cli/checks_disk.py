"""Checks of an artifact root: can runs be written there, how fast, and how much of them."""

from __future__ import annotations

import fcntl
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Literal

from robot_sf_otel.manifest.formats import duration, size

Finding = tuple[str, Literal["ok", "info", "warning", "problem"], str, str | None]

_MOUNTS: Final = Path("/proc/mounts")
_IN_MEMORY: Final = frozenset({"ramfs", "tmpfs"})
_OF_A_CONTAINER: Final = frozenset({"aufs", "overlay"})
_NETWORKED: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre"}
    | {"nfs", "nfs4", "smb3", "smbfs", "virtiofs"}
)
_LITTLE_SPACE: Final = 1 << 30
_SLOW_SYNC: Final = 0.02
"""Seconds from which a run syncs its events in the background (durability section of the docs)."""
_SYNCS: Final = 5
_CLOCK_SKEW: Final = 2.0
_ELSEWHERE: Final = "choose another folder with ROBOT_SF_ARTIFACT_ROOT or --artifact-root"


def examine(root: Path) -> Iterator[Finding]:
    """Yield (what, state, detail, remedy) of one artifact root; what is written is removed again.

    Args:
        root: It need not exist: then the folder that it would be made in is looked at.
    """
    root = root.expanduser().absolute()
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    name = "artifact root"
    if not place.is_dir():
        yield name, "problem", f"{root}: {place} is a file", _ELSEWHERE
        return
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".robot-sf-otel-doctor-") as file:
            state = "writable" if place == root else f"will be made in {place}, which is writable"
            yield name, "ok", f"{root}: {state}", None
            yield from _kind(file_system_of(place))
            yield _space(place)
            yield from _file_system(file)
    except OSError as error:
        reason = error.strerror or str(error)
        yield name, "problem", f"{root} is not writable: {reason}", _ELSEWHERE


def _kind(kind: str | None) -> Iterator[Finding]:
    """Say what the kind of file system means for the runs on it; local disks mean nothing."""
    if kind in _IN_MEMORY:
        detail = f"{kind}, in memory: the runs are gone when the machine restarts"
        yield "file system", "info", detail, _ELSEWHERE
    elif kind in _OF_A_CONTAINER:
        detail = f"{kind}, the container's own: the runs are gone when it is removed"
        yield "file system", "info", detail, "mount a volume, and name it by ROBOT_SF_ARTIFACT_ROOT"
    elif kind in _NETWORKED:
        detail = f"{kind}, of the network: runs of other hosts are told dead by their silence alone"
        yield "file system", "info", detail, "nothing, or a local disk for runs with many steps"


def file_system_of(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the kind of file system that holds a folder as Linux calls it, None where unknown.

    Args:
        folder: It exists.
        mounts: Lists what is mounted, see proc(5).
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # macOS
        return None
    where = folder.resolve()
    found = [
        (len(point), order, kind)
        for order, (_, point, kind, *_) in enumerate(map(str.split, lines))
        if where.is_relative_to(point.replace("\\040", " "))
    ]
    # Of several mounts at one place the last one is seen.
    return max(found)[2] if found else None


def _space(place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    if free < _LITTLE_SPACE:
        return "free space", "warning", f"{size(free)} left", "free some, or " + _ELSEWHERE
    return "free space", "ok", size(free), None


def _file_system(file: IO[bytes]) -> Iterator[Finding]:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        detail = f"flock does not work here ({error.strerror}): live runs are told by heartbeat"
        yield "locks", "warning", detail, _ELSEWHERE
    median = statistics.median(_sync_seconds(file) for _ in range(_SYNCS))
    if median > _SLOW_SYNC:
        detail = f"{duration(median)}: events are synced in the background"
        yield "disk sync", "warning", detail, "a local disk makes every event durable at once"
    else:
        yield "disk sync", "ok", f"{duration(median)} a sync", None
    skew = os.fstat(file.fileno()).st_mtime - time.time()
    if abs(skew) > _CLOCK_SKEW:
        detail = f"files here are dated {duration(abs(skew))} {'ahead' if skew > 0 else 'behind'}"
        yield "clock of the disk", "warning", detail, "synchronise the clocks (NTP)"


def _sync_seconds(file: IO[bytes]) -> float:
    started = time.perf_counter()
    os.write(file.fileno(), b"x" * 512)
    # macOS has no fdatasync.
    getattr(os, "fdatasync", os.fsync)(file.fileno())
    return time.perf_counter() - started
