"""Reads small files of the kernel with bare system calls; pathlib would cost four times that."""

from __future__ import annotations

import os
from typing import Final

_CHUNK: Final = 65536


def exists(path: str) -> bool:
    """Return whether there is such a file or directory."""
    return os.access(path, os.F_OK)


def read_file(path: str) -> bytes:
    """Return the whole file; empty where it is not there or may not be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts: list[bytes] = []
        while part := os.read(descriptor, _CHUNK):
            parts.append(part)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    return b"".join(parts)


class KeptFile:
    """A file of the kernel that is kept open: each read gives its present content.

    Opening costs more than reading, and a descriptor of `/proc/<pid>` never means a later process
    of the same number: reading it fails with ESRCH once the process is gone.

    Raises:
        OSError: There is no such file, or it may not be read.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int = 16384) -> bytes:
        """Return what fits one read; enough for everything but lists of children.

        Raises:
            OSError: It may not be read, or what it tells about is gone.
        """
        return os.pread(self._descriptor, size, 0)

    def close(self) -> None:
        """Give the descriptor back; may be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
