"""What the files of a run say about how old its derived record is, without being read."""

from __future__ import annotations

import os
from typing import NamedTuple

from robot_sf_otel.store.layout import WORKERS_DIR


class Stamp(NamedTuple):
    """Times and sizes of the files that a run's record is derived from, and of manifest.json.

    Equal stamps mean equal files: a journal that grows changes its size, manifest.json is replaced
    by another file.
    """

    record_ns: int
    record_bytes: int
    record_inode: int
    journal_ns: int
    journal_bytes: int
    workers: int
    workers_ns: int
    workers_bytes: int

    @property
    def is_derived(self) -> bool:
        """Whether no journal was written after manifest.json."""
        return self.journal_ns <= self.record_ns and self.workers_ns <= self.record_ns


def take_stamp(run_dir: str) -> Stamp | None:
    """Return the stamp of a run as it is now, None where it has no manifest.json or no journal.

    Thousands are taken by one `list`, so this takes a path as a string and three system calls.
    """
    try:
        record = os.stat(f"{run_dir}/manifest.json")  # noqa: PTH116
        journal = os.stat(f"{run_dir}/manifest.jsonl")  # noqa: PTH116
        count, latest, size = _workers(f"{run_dir}/{WORKERS_DIR}")
    except (OSError, ValueError):
        return None
    return Stamp(
        record.st_mtime_ns,
        record.st_size,
        record.st_ino,
        journal.st_mtime_ns,
        journal.st_size,
        count,
        latest,
        size,
    )


def _workers(folder: str) -> tuple[int, int, int]:
    """Return how many journals child processes wrote, when last, and how many bytes."""
    count = latest = size = 0
    if not os.access(folder, os.F_OK):  # most runs have none, and an exception takes longer
        return count, latest, size
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith(".jsonl") or entry.is_symlink():
                continue
            status = entry.stat()
            count += 1
            latest = max(latest, status.st_mtime_ns)
            size += status.st_size
    return count, latest, size
