"""The index of an artifact root: which runs a filter need not read, in a file that may be deleted.

A line for each run that has ended and whose manifest.json is final: what runs are filtered by, and
the stamp of the files that it was read from. A run whose files have another stamp by now is read
again, so that an entry is never more than a reason to skip a run. Lines are appended, the last one
of a run counts; each begins with its checksum, and one that is damaged is left out. Whatever is
wrong with the file, runs are read from their own files.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from robot_sf_otel.manifest.schema import RunStatus
from robot_sf_otel.store.files import replace_atomically
from robot_sf_otel.store.lines import read_whole
from robot_sf_otel.store.stamp import Stamp

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord

INDEX_NAME: Final = ".index-1.jsonl"
"""Hidden, so that it is no run; the number is that of its format, others are not looked at."""
_LARGEST: Final = 64 * 1024 * 1024
"""Bytes beyond which it is not read but written anew."""
_WASTE: Final = 1000
"""Lines of runs that are gone, or were written twice, from which on it may be written anew."""
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Facts(msgspec.Struct, array_like=True, frozen=True):
    """What a run is filtered by."""

    status: RunStatus
    pipeline: str
    scenario: str | None
    hosts: list[str]
    tags: list[str]


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """A run that has ended: the name of its directory, its files when it was read, and what for."""

    name: str
    stamp: Stamp
    facts: Facts


def facts_of(record: PipelineRunRecord) -> Facts:
    """Return what a run is filtered by."""
    hosts = (record.host.get("hostname"), record.host.get("name"))
    return Facts(
        status=record.status,
        pipeline=record.pipeline,
        scenario=record.scenario_config_path,
        hosts=[host for host in hosts if isinstance(host, str)],
        tags=record.tags,
    )


_decoder: Final = msgspec.json.Decoder(Entry)
_encoder: Final = msgspec.json.Encoder()


class RunIndex:
    """The index of one artifact root: read once, then asked; what is new is kept by `save`.

    Many processes may do this at once. No method raises.

    Attributes:
        entries: By the name of the run's directory; some may be out of date.
    """

    def __init__(self, tracker: Path) -> None:
        """Read the file, if there is one.

        Args:
            tracker: The folder of the runs, `<artifact root>/run-tracker`.
        """
        self._path = tracker / INDEX_NAME
        self._new: dict[str, Entry] = {}
        # In a folder that several people may write to, a link could lead anywhere.
        self._usable = not tracker.is_symlink() and not self._path.is_symlink()
        content = read_whole(self._path, _LARGEST) if self._usable else None
        self._is_missing = content is None
        lines = (content or b"").split(b"\n")
        self._lines = len(lines)
        self.entries = {entry.name: entry for entry in _decoded(lines)}

    def add(self, entry: Entry) -> None:
        """Note what was read of a run."""
        self.entries[entry.name] = self._new[entry.name] = entry

    def save(self) -> None:
        """Append what is new; write the file anew where most of it is waste."""
        if not self._new or not self._usable:
            return
        with suppress(OSError, ValueError):
            there = set(os.listdir(self._path.parent))  # noqa: PTH208 - names are enough
            kept = [entry for name, entry in self.entries.items() if name in there]
            waste = self._lines + len(self._new) - len(kept)
            if self._is_missing or waste > max(_WASTE, len(kept)):
                replace_atomically(self._path, _encoded(kept))
            else:
                _append(self._path, _encoded(self._new.values()))
        self._new = {}


def _decoded(lines: Iterable[bytes]) -> Iterable[Entry]:
    for line in lines:
        body = line[9:]
        try:
            if int(line[:8], 16) == zlib.crc32(body):
                yield _decoder.decode(body)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            continue


def _encoded(entries: Iterable[Entry]) -> bytes:
    lines = [b""]  # a line that another process left unfinished ends here
    for entry in entries:
        with suppress(UnicodeEncodeError):  # a folder that a foreign system named
            body = _encoder.encode(entry)
            lines.append(b"%08x %s" % (zlib.crc32(body), body))
    return b"\n".join([*lines, b""])


def _append(path: Path, data: bytes) -> None:
    """Append with one system call, so that lines of several processes do not mix.

    Raises:
        OSError: It cannot be written, or is a link.
    """
    fd = os.open(path, _APPEND, 0o666)
    try:
        if os.write(fd, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(fd)
