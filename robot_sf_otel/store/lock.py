"""run.lock: who owns a run, held by flock; and whether that owner still lives."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from robot_sf_otel.store.files import is_deleted
from robot_sf_otel.store.identity import ProcessIdentity, is_alive, process_identity
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.lines import read_whole

if TYPE_CHECKING:
    from pathlib import Path

HEARTBEAT_SECONDS: Final = 120.0
"""Age of the last sample beyond which a run of another host with a free lock counts as dead."""
UNOWNED_SECONDS: Final = 86_400.0
"""The same for a run without a lock: programs that export spans only write when one ends."""

OwnerState = Literal["alive", "dead", "unknown"]

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_LARGEST: Final = 64 * 1024
"""Bytes beyond which a file is no lock of ours."""
_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.01


class RunLock:
    """The lock of a run while this process owns it."""

    def __init__(self, fd: int) -> None:
        """Take over an open, locked descriptor."""
        self._fd: int | None = fd

    @classmethod
    def acquire(cls, path: Path, *, run_id: str | None = None) -> RunLock:
        """Lock a run for this process and write down who it is.

        A lock that only a forked child of a dead owner still holds is replaced by a new file. On a
        file system without locks the identity alone has to do.

        Raises:
            OSError: The file cannot be written, or a living process holds the lock.
        """
        content = _content(run_id)
        for _ in range(_ATTEMPTS):
            try:
                return cls(_lock_and_write(path, content))
            except BlockingIOError:
                owner = read_owner(path)
                if owner is not None and is_alive(owner) is False:
                    return cls(_replace(path, content))
                time.sleep(_PAUSE_SECONDS)  # a reader asks whether it is free
        raise BlockingIOError(errno.EAGAIN, "another process owns this run", str(path))

    @property
    def is_deleted(self) -> bool:
        """Whether the lock file was deleted: nobody else sees that this process holds it."""
        return self._fd is not None and is_deleted(self._fd)

    def close(self) -> None:
        """Let go by closing: LOCK_UN in a forked child would free its parent's lock."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with suppress(OSError):
                os.close(fd)

    abandon = close


def _content(run_id: str | None) -> bytes:
    identity = msgspec.to_builtins(process_identity())
    return msgspec.json.encode({"run_id": run_id, **identity} if run_id else identity) + b"\n"


def _lock_and_write(path: Path, content: bytes) -> int:
    fd = os.open(path, _FLAGS, 0o666)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, content, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _replace(path: Path, content: bytes) -> int:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(3).hex()}.tmp")
    fd = _lock_and_write(temporary, content)
    try:
        temporary.replace(path)
    except BaseException:
        os.close(fd)
        temporary.unlink(missing_ok=True)
        raise
    return fd


def read_owner(path: Path) -> ProcessIdentity | None:
    """Return who wrote a lock file, None where it is missing or foreign."""
    try:
        return msgspec.json.decode(read_whole(path, _LARGEST) or b"", type=ProcessIdentity)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def is_locked(path: Path) -> bool | None:
    """Return whether somebody holds the lock, None where there is no lock file to ask."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
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
    locked = is_locked(paths.lock)
    if locked:
        return "alive"
    patience = UNOWNED_SECONDS if locked is None else HEARTBEAT_SECONDS
    heartbeat = max(_modified(paths.telemetry), _modified(paths.journal))
    return "dead" if now - heartbeat > patience else "unknown"


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
