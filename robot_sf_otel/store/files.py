"""Files that are replaced whole: readers see the old one or the new one, never a part."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK: Final = 1 << 20


def replace_atomically(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Replace a file's content; whatever happens, it holds the old content or the new.

    Args:
        path: The file; a new one gets the permissions that the umask leaves.
        data: Its content.
        sync: Whether the data is on disk before it takes the old one's place, which costs
            milliseconds; without, a power cut may take files back that can be derived again.

    Raises:
        OSError: It cannot be written; the old content stays.
    """
    temporary = _beside(path)
    try:
        with temporary.open("xb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def is_deleted(fd: int) -> bool:
    """Return whether no name leads to an open file any more."""
    try:
        return os.fstat(fd).st_nlink == 0
    except OSError:  # somebody closed it: nobody can tell
        return False


def deleted(path: Path) -> FileNotFoundError:
    """Return the error that tells of a file that was deleted while it was open here."""
    return FileNotFoundError(errno.ENOENT, "deleted during the run", str(path))


def write_again(fd: int, path: Path) -> None:
    """Give a deleted file its name back, with the content that its open descriptor still holds.

    Raises:
        FileExistsError: Something else has the name by now.
        OSError: It cannot be written.
    """
    temporary = _beside(path)
    try:
        with temporary.open("xb", buffering=0) as file:
            position = 0
            while chunk := os.pread(fd, _CHUNK, position):
                position += file.write(chunk)
            os.fsync(file.fileno())
        _refuse_taken(path)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _refuse_taken(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _beside(path: Path) -> Path:
    """Return a name for a temporary file; nobody takes the half-written one of another."""
    return path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(3).hex()}.tmp")
