"""What is recorded of a file or folder that a run produced."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from robot_sf_otel import guard
from robot_sf_otel.manifest.codec import clip
from robot_sf_otel.manifest.events import rfc3339
from robot_sf_otel.manifest.schema import Artifact

if TYPE_CHECKING:
    from os import PathLike

MAX_PATH = 4096
"""Characters of a path that are kept."""
MAX_NAME = 200


def describe(
    path: str | PathLike[str], kind: str, name: str | None, run_dir: Path, time_unix_nano: int
) -> Artifact:
    """Return the record of an artifact; its path is relative where it lies in the run.

    Warns where there is no such file or folder (yet).

    Args:
        path: Where it lies.
        kind: What it is: `checkpoint`, `file`, …
        name: What people call it; the last part of the path by default.
        run_dir: The run's directory.
        time_unix_nano: When it was reported.
    """
    absolute = Path(os.path.abspath(os.fspath(path)))  # noqa: PTH100 - links stay as they are
    try:
        shown = absolute.relative_to(run_dir).as_posix()
    except ValueError:
        shown = str(absolute)
    try:
        size = absolute.stat().st_size if absolute.is_file() else None
    except OSError:
        size = None
    if not absolute.exists():
        guard.warn_once(f"artifact:{absolute}", f"the artifact {shown!r} does not exist (yet)")
    return Artifact(
        path=clip(shown, MAX_PATH),
        name=clip(name or absolute.name, MAX_NAME),
        kind=kind,
        size_bytes=size,
        logged_at=rfc3339(time_unix_nano),
    )
