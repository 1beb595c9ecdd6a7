"""Size and SHA-256 of artifacts, read in pieces, so that it can be stopped at any time."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK: Final = 1024 * 1024
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
MOST_FILES: Final = 10_000
"""Files of a folder beyond which it gets no digest."""
_COARSE_NS: Final = 20_000_000
"""By how much a file's time may be later than the clock that its writer looked at."""


class Stopped(Exception):  # noqa: N818 - no error
    """Reading was stopped before the end."""


class NoDigest(Exception):  # noqa: N818 - a state of the file
    """There is nothing whose digest would say what was reported: the message says why."""


class Digest(NamedTuple):
    """Bytes, and their SHA-256 in hex."""

    size_bytes: int
    sha256: str


def digest_of(path: Path, reported_ns: int, stop: Callable[[], bool]) -> Digest:
    """Return the digest of a file, or of a folder as `sha256sum` would list it.

    The digest of a folder is the SHA-256 of lines `<sha256>  ./<path>`, one for each regular file
    in it at any depth, sorted by the bytes of the path; links in it are not followed. That is
    `find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`.

    Args:
        path: A file or folder, or a link to one.
        reported_ns: When it was reported, Unix nanoseconds: what was written later is another
            content than the one that was meant.
        stop: Asked after each piece.

    Raises:
        Stopped: It was to stop.
        NoDigest: It is gone, unreadable, neither file nor folder, or was changed since.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return _file(str(path), reported_ns, stop)
        if stat.S_ISDIR(mode):
            return _folder(path, reported_ns, stop)
    except (OSError, ValueError) as error:
        raise NoDigest(str(error)) from error
    raise NoDigest("it is neither a file nor a folder")


def _file(path: str, reported_ns: int, stop: Callable[[], bool], *, follow: bool = True) -> Digest:
    fd = os.open(path, _FLAGS if follow else _FLAGS | os.O_NOFOLLOW)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise NoDigest("it is no file any more")
        if before.st_mtime_ns > reported_ns + _COARSE_NS:
            raise NoDigest("it was changed after it was reported")
        digest = hashlib.sha256()
        size = 0
        while chunk := os.read(fd, _CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if stop():
                raise Stopped
        after = os.fstat(fd)
        if (size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise NoDigest("it was changed while it was read")
    finally:
        os.close(fd)
    return Digest(size, digest.hexdigest())


def _folder(path: Path, reported_ns: int, stop: Callable[[], bool]) -> Digest:
    names: list[str] = []
    for name in _files(str(path), ""):
        names.append(name)
        if len(names) > MOST_FILES:
            raise NoDigest(f"it holds more than {MOST_FILES:,} files")
        if stop():
            raise Stopped
    digest = hashlib.sha256()
    size = 0
    for name in sorted(names, key=os.fsencode):
        part = _file(f"{path}/{name}", reported_ns, stop, follow=False)
        digest.update(f"{part.sha256}  ./".encode() + os.fsencode(name) + b"\n")
        size += part.size_bytes
    return Digest(size, digest.hexdigest())


def _files(folder: str, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                yield prefix + entry.name
