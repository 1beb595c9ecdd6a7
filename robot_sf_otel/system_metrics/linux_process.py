"""Reads one process in /proc: its line of numbers, its memory, what it read and wrote."""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

from robot_sf_otel.system_metrics.files import KeptFile, exists

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_GONE: Final = frozenset({errno.ESRCH, errno.ENOENT})


class ProcessGoneError(Exception):
    """The process has ended and was waited for."""


class Stat(NamedTuple):
    """What is used of /proc/<pid>/stat; see proc(5)."""

    running: bool
    parent: int
    group: int
    cpu_ticks: int
    reaped_ticks: int
    threads: int
    start_time: int


def parse_stat(content: bytes) -> Stat:
    """Parse /proc/<pid>/stat; the name, in parentheses, may hold anything.

    Raises:
        ValueError: It is not such a line.
    """
    fields = content[content.rfind(b")") + 2 :].split()
    try:
        return Stat(
            running=fields[0] not in {b"Z", b"X"},
            parent=int(fields[1]),
            group=int(fields[2]),
            cpu_ticks=int(fields[11]) + int(fields[12]),
            reaped_ticks=int(fields[13]) + int(fields[14]),
            threads=int(fields[17]),
            start_time=int(fields[19]),
        )
    except IndexError as error:
        raise ValueError("a line of /proc/<pid>/stat is too short") from error


class LinuxProcess:
    """One process: its files, kept open or opened each time."""

    __slots__ = ("_files", "_path", "group", "io_denied", "parent", "pid", "start_time", "threads")

    def __init__(self, proc: str, pid: int, *, keep: bool) -> None:
        self.pid = pid
        self._path = f"{proc}/{pid}"
        self._files: dict[str, KeptFile] | None = {} if keep else None
        self.io_denied = False
        try:
            first = self.stat()
        except BaseException:
            self.close()
            raise
        self.start_time = first.start_time
        self.note(first)

    @property
    def kept(self) -> bool:
        """Whether its files stay open."""
        return self._files is not None

    def stat(self) -> Stat:
        """Read the line of numbers.

        Raises:
            ProcessGoneError: There is no such process any more.
            OSError: It cannot be read now.
            ValueError: It cannot be understood.
        """
        content = self._content("stat")
        if not content:
            raise ProcessGoneError
        return parse_stat(content)

    def note(self, stat: Stat) -> None:
        """Keep what finding processes needs."""
        self.parent, self.group, self.threads = stat.parent, stat.group, stat.threads

    def same(self, stat: Stat) -> bool:
        """Return whether it is still the process that was found, not its number used again."""
        return stat.start_time == self.start_time

    def resident_bytes(self) -> int | None:
        """Return the resident set: `statm`, as `stat` is off by megabytes on many CPUs."""
        try:
            return int(self._content("statm").split()[1]) * _PAGE
        except (OSError, IndexError, ValueError, ProcessGoneError):
            return None

    def disk_bytes(self) -> tuple[int | None, int | None]:
        """Return (read, written) so far; other users' processes do not tell."""
        if self.io_denied:
            return None, None
        try:
            words = self._content("io").split()
            return int(words[9]), int(words[11])
        except (PermissionError, FileNotFoundError):
            self.io_denied = True
            return None, None
        except (OSError, IndexError, ValueError, ProcessGoneError):
            return None, None

    def close(self) -> None:
        """Give descriptors back."""
        for file in (self._files or {}).values():
            file.close()
        if self._files is not None:
            self._files = {}

    def _content(self, name: str) -> bytes:
        try:
            if self._files is None:
                file = KeptFile(f"{self._path}/{name}")
                try:
                    return file.read()
                finally:
                    file.close()
            kept = self._files.get(name)
            if kept is None:
                kept = self._files[name] = KeptFile(f"{self._path}/{name}")
            return kept.read()
        except OSError as error:
            if error.errno in _GONE and not (name != "stat" and exists(f"{self._path}/stat")):
                raise ProcessGoneError from error
            raise
