"""Files that are replaced whole: readers see the old one or the new one, never a part."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
    # Two threads or processes may replace the same file: none takes the other's half-written one.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(3).hex()}.tmp")
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
