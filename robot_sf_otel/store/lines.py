"""Lines of an append-only file: read as they come, whole ones only, whatever is in between."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes beyond which a line is skipped: no event is that long, and memory stays bounded."""
_CHUNK: Final = 1024 * 1024
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_AROUND: Final = b"\0\r "
"""What stands around a line without being part of it: blocks that a power cut left unwritten, and
the line ends of other systems."""


def open_for_reading(path: Path) -> int | None:
    """Return a descriptor of a regular file, None where there is none; a pipe does not block.

    The caller closes it.
    """
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def read_whole(path: Path, limit: int) -> bytes | None:
    """Return the content of a small file; None where there is none, or it is no such file.

    Args:
        path: The file; a pipe or a device is none.
        limit: Bytes beyond which it is not read, so that memory stays bounded.
    """
    fd = open_for_reading(path)
    if fd is None:
        return None
    parts: list[bytes] = []
    try:
        if os.fstat(fd).st_size > limit:
            return None
        while part := os.read(fd, _CHUNK):
            parts.append(part)
    except OSError:
        return None
    finally:
        os.close(fd)
    return b"".join(parts)


class LineTail:
    """The complete lines that a file has gained since they were last read.

    Attributes:
        oversized: Lines that were skipped because they are longer than `MAX_LINE`.
        torn: Whether the file did not end in a newline when it was last read.
    """

    def __init__(self, path: Path) -> None:
        """Begin at the start; the file need not exist yet."""
        self.path = path
        self.oversized = 0
        self.torn = False
        self._position = 0
        self._skipping = False

    def skip_to_end(self, keep: int = 0) -> None:
        """Leave out what is there, but for the complete lines among the last `keep` bytes."""
        fd = open_for_reading(self.path)
        if fd is None:
            return
        try:
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        self._position = max(0, size - keep)
        # From within a line on the rest of that line is no line.
        self._skipping = self._position > 0 and not self._begins_line()

    def _begins_line(self) -> bool:
        fd = open_for_reading(self.path)
        if fd is None:
            return True
        try:
            return os.pread(fd, 1, self._position - 1) == b"\n"
        except OSError:
            return True
        finally:
            os.close(fd)

    def lines(self) -> Iterator[bytes]:
        """Yield the complete lines that are new, without their newline; empty ones are left out.

        The last line waits until its newline is there. NUL bytes around a line are taken off: a
        power cut leaves them where blocks of the file were not written.
        """
        fd = open_for_reading(self.path)
        if fd is None:
            return
        try:
            chunk = self._read(fd, self._position)
            # A run may have thousands of journals, which are read side by side: one that fits
            # into a chunk keeps no descriptor open meanwhile.
            if self._position + len(chunk) >= os.fstat(fd).st_size:
                os.close(fd)
                fd = None
            yield from self._lines(chunk, fd)
        finally:
            if fd is not None:
                os.close(fd)

    def _lines(self, chunk: bytes, fd: int | None) -> Iterator[bytes]:
        rest: list[bytes] = []
        held = 0
        while chunk:
            *complete, last = chunk.split(b"\n")
            for part in complete:
                line = b"".join([*rest, part]) if rest else part
                rest, held = [], 0
                begin = self._position
                self._position += len(line) + 1
                skipped, self._skipping = self._skipping, False
                if skipped:
                    continue
                line = bare(line if begin else line.removeprefix(BYTE_ORDER_MARK))
                if line:
                    yield line
            rest.append(last)
            held += len(last)
            if held > MAX_LINE or self._skipping:
                self.oversized += not self._skipping
                self._skipping = True
                self._position = _past_hole(fd, self._position + held)
                rest, held = [], 0
            chunk = b"" if fd is None else self._read(fd, self._position + held)
        self.torn = self._skipping or bool(bare(b"".join(rest)))

    @staticmethod
    def _read(fd: int, position: int) -> bytes:
        try:
            return os.pread(fd, _CHUNK, position)
        except OSError:  # a bad sector, or a network file system that went away
            return b""


def _past_hole(fd: int | None, position: int) -> int:
    """Return where data goes on; a hole in a sparse file is gigabytes of nothing to read."""
    if fd is None or not hasattr(os, "SEEK_DATA"):
        return position
    try:
        return max(position, os.lseek(fd, position, os.SEEK_DATA))
    except OSError as error:
        return os.fstat(fd).st_size if error.errno == errno.ENXIO else position


def bare(line: bytes) -> bytes:
    """Return a line without what stands around it and is no part of it."""
    return line.strip(_AROUND)


def iter_lines(path: Path) -> Iterator[bytes]:
    """Yield the complete lines of a file without their newline; a missing file has none."""
    yield from LineTail(path).lines()


def last_lines(path: Path, limit: int) -> list[bytes]:
    """Return the complete lines among the last `limit` bytes of a file, newest first."""
    fd = open_for_reading(path)
    if fd is None:
        return []
    try:
        size = os.fstat(fd).st_size
        start = max(0, size - limit)
        lines = os.pread(fd, limit, start).split(b"\n")
    except OSError:
        return []
    finally:
        os.close(fd)
    # What stands before the first newline began earlier, what follows the last one is torn.
    return [bare(line) for line in lines[(1 if start else 0) : -1][::-1]]
