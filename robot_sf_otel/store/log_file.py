"""log.txt of a run: appended to by all of its processes, bounded in size, read again by entry."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.lines import LineTail, iter_lines, last_lines

if TYPE_CHECKING:
    from pathlib import Path

OLDER_NAME: Final = "log.1.txt"
"""What log.txt becomes when it is full; the one before it is gone then."""
MOST_BYTES: Final = 32 * 1024 * 1024
"""Size from which on log.txt is full; both files together take twice that."""
LONGEST: Final = 64 * 1024
"""Characters of one entry; what exceeds them is cut, and its length said."""
RETRY_SECONDS: Final = 5.0
"""Time between two attempts to open a file that could not be opened."""
MORE: Final = "| "
"""How the further lines of an entry begin, so that no message can look like several entries."""
_FLAGS: Final = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
)
_TAIL: Final = 4 * 1024 * 1024
_ENTRY: Final = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<level>\S+) +"
    r"\[(?P<step>.*?) ?(?P<span>[0-9a-f]{16}|-)\] (?P<text>.*)",
    re.DOTALL,
)
_LEVELS: Final = {
    "TRACE": 5,
    "DEBUG": 10,
    "INFO": 20,
    "SUCCESS": 25,
    "WARNING": 30,
    "ERROR": 40,
    "CRITICAL": 50,
}


def level_number(text: str) -> int:
    """Return the number of a level that a person names.

    Raises:
        ValueError: There is no such level.
    """
    if text.isdigit():
        return int(text)
    number = _LEVELS.get({"WARN": "WARNING", "FATAL": "CRITICAL"}.get(text.upper(), text.upper()))
    if number is None:
        raise ValueError(f"expected a number or one of {', '.join(_LEVELS)}")
    return number


class LineClock:
    """Formats Unix seconds as `2026-01-31T13:00:05.123Z`; the calendar is asked once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, seconds: float) -> str:
        """Return the time stamp of a line."""
        second = int(seconds)
        if second != self._second:
            shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._text, self._second = shown, second
        else:
            shown = self._text
        return f"{shown}.{int((seconds - second) * 1000):03d}Z"


def entry_text(*, when: str, level: str, step: str, span: str, source: str, message: str) -> str:
    """Return the lines of an entry, without the last newline."""
    if len(message) > LONGEST:
        message = f"{message[:LONGEST]}… ({len(message) - LONGEST:,} more characters)"
    text = f"{when} {level:<8} [{step}{' ' if step else ''}{span}] {source}: {message}"
    if "\n" in text or "\r" in text:
        first, *more = text.rstrip().splitlines()
        text = "\n".join([first, *(MORE + line for line in more)])
    return text


class _Descriptor:
    """A descriptor that is closed when nobody writes to it any more.

    Another thread may be about to write: a number that is closed under it may be another file's by
    then, and the entry would land in there.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        if self.number >= 0:
            with suppress(OSError):
                os.close(self.number)


class LogFile:
    """Appends entries to the log.txt of a run. Never raises; what does not fit is counted.

    Every entry is one append, so that lines of several threads and processes do not mix, and it
    needs no lock, so that a process may be forked at any moment.

    Args:
        run_dir: The run's directory; it need not exist yet.
        most_bytes: Size from which on the file is full.
    """

    def __init__(self, run_dir: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path = str(RunPaths(run_dir).log)
        self._older = str(run_dir / OLDER_NAME)
        self._most = most_bytes
        self._fd: _Descriptor | None = None
        self._inode = (0, 0)
        self._retry_at = 0.0
        self._torn = False
        self._closed = False
        self._lost = 0
        self._unreported = 0
        self.error: OSError | None = None

    def append(self, entry: str) -> None:
        """Write an entry with one system call, unsynced."""
        if self._closed:
            return
        fd: _Descriptor | None = None
        try:
            fd = self._current()
            data = entry.encode("utf-8", "replace") + b"\n"
            lost = self._lost
            if lost:
                data = f"{MORE}({lost:,} entries before this one were lost)\n".encode() + data
            if self._torn:
                data = b"\n" + data
            self._torn = os.write(fd.number, data) < len(data)
            if self._torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)  # noqa: TRY301 - a short write is the disk's way to say so
            self._lost -= lost
        except (OSError, ValueError) as error:
            self._lost += 1
            self._unreported += 1
            self.error = error if isinstance(error, OSError) else OSError(str(error))
            if self.error.errno in {errno.EBADF, errno.ESTALE}:
                self._fd = None
                if fd is not None:  # somebody closed it: the number may be another file's by now
                    fd.number = -1

    def _current(self) -> _Descriptor:
        """Return a descriptor of what is log.txt now: another process may have put it aside."""
        if self._fd is None:
            return self._open()
        try:
            now = os.stat(self._path)  # noqa: PTH116 - at every line: a path object costs as much
        except FileNotFoundError:
            return self._open()
        if (now.st_dev, now.st_ino) != self._inode:
            return self._open()
        if now.st_size >= self._most and self._put_aside():
            return self._open()
        return self._fd

    def _open(self) -> _Descriptor:
        now = time.monotonic()
        if now < self._retry_at and self.error is not None:
            raise self.error
        self._retry_at = now + RETRY_SECONDS
        fd = os.open(self._path, _FLAGS, 0o666)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "it is no regular file", self._path)
        made = self._fd = _Descriptor(fd)
        self._inode = (found.st_dev, found.st_ino)
        self._retry_at = 0.0
        return made

    def _put_aside(self) -> bool:
        """Rename the full file; return whether it is no longer the one to write to.

        Among several processes the lock decides; it is on a descriptor of its own, as forked ones
        share ours, and with it the lock.
        """
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(fd)
            there = os.stat(self._path)  # noqa: PTH116 - see above
            if (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino) == self._inode:
                os.replace(self._path, self._older)  # noqa: PTH105 - see above
        except BlockingIOError:  # another process is at it
            return False
        finally:
            os.close(fd)
        return True

    def take_loss(self) -> OSError | None:
        """Return why entries were lost since the last time, None where none were."""
        lost, self._unreported = self._unreported, 0
        return self.error if lost else None

    def close(self) -> None:
        """Close the file; later entries go nowhere."""
        self._closed = True
        self._fd = None


@dataclass(slots=True)
class LogEntry:
    """An entry of log.txt; `level` is a number, None where the line does not tell."""

    lines: list[str] = field(default_factory=list[str])
    level: int | None = None
    step: str | None = None

    def is_wanted(self, *, level: int | None, step: str | None) -> bool:
        """Return whether it is at least of a level, and of a step; None asks for nothing.

        A level that is none of the usual ones counts as high enough.
        """
        if step is not None and self.step != step:
            return False
        return level is None or self.level is None or self.level >= level


def _entries(lines: Iterator[bytes], last: LogEntry | None = None) -> Iterator[LogEntry]:
    """Put lines together; an entry is complete when the next one begins."""
    for line in lines:
        text = line.decode("utf-8", "replace")
        found = _ENTRY.fullmatch(text)
        if found is None and last is not None and text.startswith(MORE.rstrip()):
            last.lines.append(text)
            continue
        if last is not None:
            yield last
        last = LogEntry([text])
        if found is not None:
            last.level = _LEVELS.get(found["level"])
            last.step = found["step"] or None
    if last is not None:
        yield last


def has_log(run_dir: Path) -> bool:
    """Return whether a run has log lines."""
    return RunPaths(run_dir).log.is_file() or (run_dir / OLDER_NAME).is_file()


def read_log(
    run_dir: Path,
    *,
    lines: int | None = None,
    level: int | None = None,
    step: str | None = None,
) -> Iterator[LogEntry]:
    """Yield the entries of a run, oldest first.

    Args:
        run_dir: The run's directory.
        lines: Only the last so many entries.
        level: Only entries of this level or a higher one.
        step: Only entries of this step.
    """
    current = RunPaths(run_dir).log
    if lines is not None and level is None and step is None:
        quick = deque(_entries(iter(last_lines(current, _TAIL)[::-1])), maxlen=lines)
        if len(quick) == lines:
            yield from quick
            return
    entries = (
        entry
        for path in (run_dir / OLDER_NAME, current)
        for entry in _entries(iter_lines(path))
        if entry.is_wanted(level=level, step=step)
    )
    yield from entries if lines is None else deque(entries, maxlen=lines)


class LogTail:
    """The entries that a run's log gains, also across the moment when log.txt is put aside."""

    def __init__(self, run_dir: Path) -> None:
        """Begin at the end of what is there."""
        self._run_dir = run_dir
        self._path = RunPaths(run_dir).log
        self._inode: int | None = self._now()
        self._tail = LineTail(self._path)
        self._tail.skip_to_end()

    def _now(self) -> int | None:
        """Return which file log.txt is now."""
        try:
            return self._path.stat().st_ino
        except OSError:
            return None

    def read(self) -> list[LogEntry]:
        """Return the entries that are new."""
        inode = self._now()
        if inode == self._inode:
            return list(_entries(self._tail.lines()))
        found: list[LogEntry] = []
        if self._inode is not None:
            self._tail.path = self._run_dir / OLDER_NAME
            found = list(_entries(self._tail.lines()))
        self._inode, self._tail = inode, LineTail(self._path)
        return [*found, *_entries(self._tail.lines())]


def short_entry(text: str) -> str:
    """Return a line of the log for a small place: the time of day (UTC), no span and no source."""
    found = _ENTRY.fullmatch(text)
    if found is None:
        return text
    step = f" [{found['step']}]" if found["step"] else ""
    message = found["text"].partition(": ")[2] or found["text"]
    return f"{found['time'][11:19]} {found['level']}{step} {message}"
