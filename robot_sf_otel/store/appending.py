"""A file that is only ever appended to, with and without sync; what is known of its end."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from robot_sf_otel.store.files import deleted, is_deleted, write_again
from robot_sf_otel.store.layout import WORKERS_DIR

if TYPE_CHECKING:
    from pathlib import Path

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
# macOS has the flag, but what it promises there is unclear: `fsync` is what the system documents.
_DSYNC: Final[int] = 0 if sys.platform == "darwin" else getattr(os, "O_DSYNC", 0)
_F_FULLFSYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)
_MODE: Final = 0o666


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStats:
    """What writing a journal cost so far; times in seconds, None before the first sync."""

    bytes_written: int = 0
    slowest_sync_seconds: float | None = None
    last_sync_seconds: float | None = None
    events_dropped: int = 0
    pending: int = 0


class AppendingFile:
    """Two descriptors of one file, the second of which syncs with each write."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self._path = path
        self._plain: int | None = None
        self._synced: int | None = None
        self._identity: tuple[int, int] | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a descriptor."""
        return self._plain is not None

    @property
    def syncs_on_write(self) -> bool:
        """Whether a write with `sync` is on disk when it returns."""
        return self._synced is not None

    def open(self) -> None:
        """Open the file.

        Raises:
            OSError: It cannot be opened.
        """
        folder = self._path.parent
        if folder.name == WORKERS_DIR and folder.is_symlink():
            what = "it is a symbolic link, which is not written through"
            raise OSError(errno.ELOOP, what, str(folder))
        plain = os.open(self._path, _FLAGS, _MODE)
        try:
            status = os.fstat(plain)
            synced = _open_synced(self._path)
        except BaseException:
            os.close(plain)
            raise
        self._identity = (status.st_dev, status.st_ino)
        self._synced = synced
        self._plain = plain

    def size(self) -> int:
        """Return how many bytes the file has.

        Raises:
            OSError: It is not open any more.
        """
        return os.fstat(self._descriptor()).st_size

    def read(self, start: int, length: int) -> bytes:
        """Return what stands at an offset.

        Raises:
            OSError: It cannot be read.
        """
        return os.pread(self._descriptor(), length, start)

    def _descriptor(self) -> int:
        if self._plain is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(self._path))
        return self._plain

    def write(self, data: bytes, *, sync: bool) -> int:
        """Append with one system call; return how many bytes were taken.

        Raises:
            OSError: Nothing could be written, or not synced.
        """
        fd = self._synced if sync and self._synced is not None else self._descriptor()
        return os.write(fd, data)

    def sync(self, *, full: bool) -> None:
        """Bring what was written to the disk; `full`: through its cache too, where that differs.

        Raises:
            OSError: That failed.
        """
        fd = self._plain
        if fd is None:
            return
        if full and _F_FULLFSYNC is not None:
            with suppress(OSError):  # not every file system has it
                fcntl.fcntl(fd, _F_FULLFSYNC)
                return
        if sys.platform == "darwin":
            os.fsync(fd)
        else:
            os.fdatasync(fd)

    def is_ours(self) -> bool:
        """Return False if somebody closed the descriptors, or other files have their numbers."""
        for fd in (self._plain, self._synced):
            if fd is None:
                continue
            try:
                status = os.fstat(fd)
            except OSError:
                return False
            if (status.st_dev, status.st_ino) != self._identity:
                return False
        return True

    @property
    def is_deleted(self) -> bool:
        """Whether the file is open and no name leads to it any more."""
        return self._plain is not None and is_deleted(self._plain)

    def look_after(self) -> OSError | None:
        """Write the file again if it was deleted; return what is to be said of that.

        Where that fails, what is appended goes to the deleted one until it works. A file that
        somebody put in its place is gone on with.
        """
        if not self.is_deleted:
            return None
        try:
            write_again(self._descriptor(), self._path)
        except OSError as error:
            if not (isinstance(error, FileExistsError) and self._path.is_file()):
                return error
        self.close()
        return deleted(self._path)

    def close(self) -> None:
        """Close the descriptors that are still of this file; those of others are left alone."""
        plain, synced, self._plain, self._synced = self._plain, self._synced, None, None
        for fd in (plain, synced):
            if fd is None:
                continue
            with suppress(OSError):
                status = os.fstat(fd)
                if (status.st_dev, status.st_ino) == self._identity:
                    os.close(fd)


def _open_synced(path: Path) -> int | None:
    if not _DSYNC:
        return None
    try:
        return os.open(path, _FLAGS | _DSYNC, _MODE)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOTSUP}:
            return None
        raise
