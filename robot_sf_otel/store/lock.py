"""run.lock: who owns a run, held by flock; and whether that owner still lives."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from robot_sf_otel.store.identity import ProcessIdentity, is_alive, process_identity
from robot_sf_otel.store.layout import RunPaths

if TYPE_CHECKING:
    from pathlib import Path

HEARTBEAT_SECONDS: Final = 120.0
"""Age of the last sample beyond which a run of another host with a free lock counts as dead."""

OwnerState = Literal["alive", "dead", "unknown"]


class RunLock:
    """The lock of a run while this process owns it."""

    def __init__(self, fd: int) -> None:
        """Take over an open, locked descriptor."""
        self._fd: int | None = fd

    @classmethod
    def acquire(cls, path: Path) -> RunLock:
        """Lock a run for this process and write down who it is.

        Raises:
            OSError: The file cannot be written, or somebody else holds the lock.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, msgspec.json.encode(process_identity(os.getpid())) + b"\n", 0)
        except OSError:
            os.close(fd)
            raise
        return cls(fd)

    def close(self) -> None:
        """Let go by closing: LOCK_UN in a forked child would free its parent's lock."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    abandon = close


def read_owner(path: Path) -> ProcessIdentity | None:
    """Return who wrote a lock file, None where it is missing or foreign."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProcessIdentity)
    except (OSError, msgspec.DecodeError):
        return None


def is_locked(path: Path) -> bool | None:
    """Return whether somebody holds the lock, None where there is no lock file to ask."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(fd)
    return False


def owner_state(run_dir: Path, now: float) -> OwnerState:
    """Return whether the process that owns a run still lives.

    On this host its identity (boot, pid, start time) decides, because a forked child may hold the
    lock of a dead owner. Elsewhere a run is dead when its lock is free and its last sample is old.

    Args:
        run_dir: The run's directory.
        now: Unix time in seconds.
    """
    paths = RunPaths(run_dir)
    owner = read_owner(paths.lock)
    alive = is_alive(owner) if owner is not None else None
    if alive is not None:
        return "alive" if alive else "dead"
    if is_locked(paths.lock):
        return "alive"
    heartbeat = max(_modified(paths.telemetry), _modified(paths.journal))
    return "dead" if now - heartbeat > HEARTBEAT_SECONDS else "unknown"


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
