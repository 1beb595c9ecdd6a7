"""Files that are replaced whole: readers see the old one or the new one, never a part."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def replace_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content; a crash leaves the old content.

    Raises:
        OSError: It cannot be written; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
