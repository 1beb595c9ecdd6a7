"""Reads one process in /proc: its line of numbers, its memory, what it read and wrote."""

from __future__ import annotations

import errno
import os
import resource
from typing import Final, NamedTuple

from robot_sf_otel.system_metrics.files import KeptFile, exists
from robot_sf_otel.system_metrics.process_accounting import ProcessReading

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_KIB: Final = 1024
_TICK: Final = 1.0 / os.sysconf("SC_CLK_TCK")
_COUNTING_ERROR: Final = 4 * 1024 * 1024
"""The kernel adds up the pages that each CPU counted exactly for `status`, else roughly."""
_STAT_FIELDS: Final = 22
"""From the state on, as far as they are used."""
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
    rss_pages: int
    """Off by a batch of pages for each CPU, which the kernel adds up only now and then."""


def parse_stat(content: bytes) -> Stat:
    """Parse /proc/<pid>/stat; the name, in parentheses, may hold anything.

    Raises:
        ValueError: It is not such a line.
    """
    fields = content[content.rfind(b")") + 2 :].split(None, _STAT_FIELDS)
    try:
        return Stat(  # by position, as names would double what parsing costs
            fields[0] not in {b"Z", b"X"},
            int(fields[1]),
            int(fields[2]),
            int(fields[11]) + int(fields[12]),
            int(fields[13]) + int(fields[14]),
            int(fields[17]),
            int(fields[19]),
            int(fields[21]),
        )
    except IndexError as error:
        raise ValueError("a line of /proc/<pid>/stat is too short") from error


class LinuxProcess:
    """One process: its files, kept open or opened each time."""

    __slots__ = (
        "_disk",
        "_files",
        "_inherited_peak",
        "_path",
        "group",
        "io_denied",
        "parent",
        "pid",
        "start_time",
        "threads",
    )

    def __init__(self, proc: str, pid: int, *, keep: bool) -> None:
        self.pid = pid
        self._path = f"{proc}/{pid}"
        self._files: dict[str, KeptFile] | None = {} if keep else None
        self.io_denied = False
        self._disk: tuple[int | None, int | None] = (None, None)
        self._inherited_peak: int | None = None
        try:
            first = self.stat()
        except BaseException:
            self.close()
            raise
        self.start_time = first.start_time
        self.note(first)

    def reading(self, stat: Stat) -> ProcessReading:
        """Return everything, for a sample; `stat` is what was read just now."""
        cpu, reaped = stat.cpu_ticks * _TICK, stat.reaped_ticks * _TICK
        if self.pid == os.getpid():  # microseconds instead of ticks
            own, children = _own_usage()
            cpu, reaped = own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime
        return ProcessReading(
            stat.parent,
            cpu,
            reaped,
            *self.disk_bytes(),
            self.resident_bytes(),
            stat.threads if stat.running else 0,
            stat.running,
        )

    def counters(self, stat: Stat, *, ask_disk: bool) -> ProcessReading:
        """Return what a step boundary needs of another process; disk use as last known if so asked.

        Who did not tell its disk use at the last sample is not asked again here.
        """
        disk = self.disk_bytes() if ask_disk and not self.io_denied else self._disk
        return ProcessReading(
            stat.parent,
            stat.cpu_ticks * _TICK,
            stat.reaped_ticks * _TICK,
            *disk,
            stat.rss_pages * _PAGE if stat.running else None,
            None,
            stat.running,
        )

    def own_counters(self) -> ProcessReading:
        """Return what a step boundary needs of the calling process."""
        own, children = _own_usage()
        return ProcessReading(
            self.parent,
            own.ru_utime + own.ru_stime,
            children.ru_utime + children.ru_stime,
            *self.disk_bytes(),
            self.resident_bytes(),
            peak_rss_bytes=self._own_peak_bytes(own.ru_maxrss * _KIB),
        )

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

    def _own_peak_bytes(self, told: int) -> int | None:
        """Return the most that was resident so far, of which getrusage(2) told so much.

        That begins with the size of the process that started this one, and is right once it has
        grown. Until then it is `VmHWM` of `status`, which costs 5 µs.
        """
        if self._inherited_peak is None:
            own = self.peak_bytes()
            self._inherited_peak = 0 if own is not None and told <= own + _COUNTING_ERROR else told
        return told if told > self._inherited_peak else self.peak_bytes()

    def peak_bytes(self) -> int | None:
        """Return the most that was resident so far: `VmHWM` of `status`."""
        try:
            words = self._content("status").partition(b"VmHWM:")[2].split(None, 1)
            return int(words[0]) * _KIB
        except (OSError, IndexError, ValueError, ProcessGoneError):
            return None

    def children(self) -> bytes:
        """Return the list of the children of the main thread; empty where it cannot be read."""
        try:
            return self._content(f"task/{self.pid}/children")
        except (OSError, ProcessGoneError):
            return b""

    def disk_bytes(self) -> tuple[int | None, int | None]:
        """Return (read, written) so far, as last known where it cannot be read now.

        None where it never could: other users' processes do not tell.
        """
        try:
            words = self._content("io").split()
            self._disk = int(words[9]), int(words[11])
            self.io_denied = False
        except (PermissionError, FileNotFoundError):
            self.io_denied = True
        except (OSError, IndexError, ValueError, ProcessGoneError):
            pass
        return self._disk

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


def _own_usage() -> tuple[resource.struct_rusage, resource.struct_rusage]:
    """Return what this process used, and what the children used that it waited for."""
    return resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
