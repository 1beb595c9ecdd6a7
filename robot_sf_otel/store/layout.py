"""Where things lie: run ids, run directories and the files in them."""

from __future__ import annotations

import errno
import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

TRACKER_DIR: Final = "run-tracker"
"""Folder under the artifact root that holds all runs; nothing is written elsewhere."""
WORKERS_DIR: Final = "workers"
"""Folder in a run directory that holds the journals of child processes."""
MAX_RUN_NAME: Final = 120
"""Characters of a run name: with a suffix it still fits every file system."""
MAX_STEM: Final = 120
"""Bytes of the name of an artifact's file, without its suffix."""

RESERVED: Final = frozenset({"latest"})
"""Names that mean something where a run is asked for."""

_NO_RUN_NAME: Final = re.compile(r"[/\\\x00-\x1f\x7f]")


def slug(name: str, limit: int = 60) -> str:
    """Return `name` as part of a file name: lower-case ASCII letters, digits, dashes; not empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:limit].strip("-") or "run"


def file_stem(name: str, encoding: str = sys.getfilesystemencoding()) -> str:
    """Return `name` as that of a file: lower-case letters and digits of any script, and dashes.

    Empty where nothing is left. As NFC, at most `MAX_STEM` bytes; what the file system's encoding
    does not have is left out. No separator, control or bidirectional character is a letter.

    Args:
        name: Any text.
        encoding: That of file names.
    """
    plain = ""
    for character in unicodedata.normalize("NFC", name.lower()):
        kind = unicodedata.category(character)[0]
        # A mark is part of the letter before it (a vowel of Hindi or Thai), or of no letter.
        of_letter = kind == "M" and not plain.endswith("-") and plain != ""
        if kind in "LN" or of_letter:
            plain += character
        elif not plain.endswith("-"):
            plain += "-"
    fitting = plain.strip("-").encode(encoding, "ignore")[:MAX_STEM]
    return fitting.decode(encoding, "ignore").strip("-")


def check_run_name(name: str) -> str:
    """Return `name` if a run directory can have it.

    Raises:
        ValueError: It cannot; the message says why.
    """
    if not name.strip() or name != name.strip():
        raise ValueError(f"run name {name!r} is empty or has spaces around it")
    if _NO_RUN_NAME.search(name):
        raise ValueError(f"run name {name[:60]!r} holds a path separator or a control character")
    if not name.isprintable():
        raise ValueError(f"run name {name[:60]!r} holds characters that cannot be shown")
    if name.lower() in RESERVED:
        raise ValueError(f"run name {name!r} is taken: it means the newest run")
    if name.startswith((".", "-")):
        raise ValueError(f"run name {name[:60]!r} must not begin with a dot or a dash")
    if len(name.encode()) > MAX_RUN_NAME:
        raise ValueError(f"run name {name[:20]!r}… is longer than {MAX_RUN_NAME} bytes")
    return name


def random_suffix() -> str:
    """Return 6 hex digits from the operating system, never from Python's global generator."""
    return os.urandom(3).hex()


def run_id(pipeline: str, time_unix_nano: int, suffix: str) -> str:
    """Return `<UTC yyyymmddThhmmssZ>-<pipeline slug>-<suffix>`."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time_unix_nano // 1_000_000_000))
    return f"{stamp}-{slug(pipeline)}-{suffix}"


def make_folder(folder: Path) -> None:
    """Create a folder that we write into, unless it is there; what is a link is refused.

    In a folder that several people may write to, a link could lead what we write anywhere. The
    artifact root itself is named by its user and may be one, or lie behind one.

    Raises:
        OSError: It cannot be created, or it is a link.
    """
    if folder.is_symlink():
        what = "it is a symbolic link, which is not written through"
        raise OSError(errno.ELOOP, what, str(folder))
    folder.mkdir(parents=True, exist_ok=True)


def make_run_dir(run_dir: Path) -> None:
    """Create the directory of a run whose path is settled, exclusively.

    Raises:
        OSError: It cannot be created, or exists.
    """
    make_folder(run_dir.parent)
    run_dir.mkdir()


def create_run_dir(
    root: Path,
    *,
    pipeline: str,
    now_ns: int,
    name: str | None = None,
    suffix: Callable[[], str] = random_suffix,
    make: bool = True,
) -> Path:
    """Create the directory of a new run, exclusively: two runs never share one.

    Args:
        root: The artifact root.
        pipeline: Name of the pipeline, for the generated run id.
        now_ns: Unix nanoseconds, for the generated run id.
        name: Directory name instead of a generated one; one that exists gets `-2`, `-3`, ….
        suffix: Makes the random part of a generated run id.
        make: Whether to create it; without, only its path is settled.

    Raises:
        ValueError: No directory can have this name.
        OSError: It cannot be created.
    """
    tracker = root / TRACKER_DIR
    if name is not None:
        check_run_name(name)
    if make:
        make_folder(tracker)
    attempt = 0
    while True:
        attempt += 1
        if name is None:
            chosen = run_id(pipeline, now_ns, suffix())
        else:
            chosen = name if attempt == 1 else f"{name}-{attempt}"
        run_dir = tracker / chosen
        if not make:
            return run_dir
        try:
            run_dir.mkdir()
        except FileExistsError:
            continue
        return run_dir


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The files of one run directory."""

    run_dir: Path

    @property
    def journal(self) -> Path:
        """The owner's journal: the truth."""
        return self.run_dir / "manifest.jsonl"

    @property
    def telemetry(self) -> Path:
        """One telemetry sample a line."""
        return self.run_dir / "telemetry.jsonl"

    @property
    def record(self) -> Path:
        """The derived record."""
        return self.run_dir / "manifest.json"

    @property
    def markdown(self) -> Path:
        """The derived record for people."""
        return self.run_dir / "manifest.md"

    @property
    def lock(self) -> Path:
        """Held by the process that owns the run."""
        return self.run_dir / "run.lock"

    @property
    def workers(self) -> Path:
        """Journals of child processes."""
        return self.run_dir / WORKERS_DIR

    @property
    def artifacts(self) -> Path:
        """What the pipeline keeps with the run."""
        return self.run_dir / "artifacts"

    @property
    def log(self) -> Path:
        """The pipeline's log lines."""
        return self.run_dir / "log.txt"


def worker_journal(run_dir: Path, host: str, pid: int) -> Path:
    """Return the path of a new journal of a child process, `workers/<host>-<pid>-<6 hex>.jsonl`."""
    return run_dir / WORKERS_DIR / f"{slug(host)}-{pid}-{random_suffix()}.jsonl"
