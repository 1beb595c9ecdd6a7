"""Control groups with limits, cgroup v1 or v2, for the programs that need them."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
_PERIOD: Final = 100_000
MIB: Final = 2**20


class NoGroupsError(RuntimeError):
    """This machine or this user cannot make control groups."""


@contextmanager
def limited(name: str, memory_mb: int | None, cpus: float | None) -> Generator[tuple[str, ...]]:
    """Make a group and yield what a command is prefixed with to live in it.

    Raises:
        NoGroupsError: It cannot be made.
    """
    if memory_mb is None and cpus is None:
        yield ()
        return
    unified = (ROOT / "cgroup.controllers").exists()
    folders = [ROOT / name] if unified else _v1(name, memory_mb, cpus)
    try:
        try:
            for folder in folders:
                folder.mkdir()
            _limit(folders, memory_mb, cpus, unified=unified)
        except OSError as error:
            raise NoGroupsError(str(error)) from error
        joins = " && ".join(f"echo $$ > '{folder}/cgroup.procs'" for folder in folders)
        yield ("sh", "-c", f'{joins} && exec "$@"', "sh")
    finally:
        for folder in folders:
            _remove(folder)


def _v1(name: str, memory_mb: int | None, cpus: float | None) -> list[Path]:
    wanted = {"memory": memory_mb, "cpu": cpus}
    return [ROOT / controller / name for controller, limit in wanted.items() if limit is not None]


def _limit(
    folders: list[Path], memory_mb: int | None, cpus: float | None, *, unified: bool
) -> None:
    for folder in folders:
        if memory_mb is not None and (unified or folder.parent.name == "memory"):
            file = "memory.max" if unified else "memory.limit_in_bytes"
            (folder / file).write_text(str(memory_mb * MIB))
        if cpus is not None and (unified or folder.parent.name == "cpu"):
            quota = round(cpus * _PERIOD)
            if unified:
                (folder / "cpu.max").write_text(f"{quota} {_PERIOD}")
            else:
                (folder / "cpu.cfs_period_us").write_text(str(_PERIOD))
                (folder / "cpu.cfs_quota_us").write_text(str(quota))


def _remove(folder: Path) -> None:
    """Remove a group once those in it have ended; the watchdog takes a moment."""
    for _ in range(100):
        with suppress(FileNotFoundError):
            try:
                folder.rmdir()
            except OSError:
                time.sleep(0.05)
                continue
        return
