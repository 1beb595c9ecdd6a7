"""Control groups with limits, cgroup v1 or v2, for the programs that need them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
_PERIOD: Final = 100_000
MIB: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a group may use; None is no limit."""

    memory_mb: int | None = None
    cpus: float | None = None
    disk_mb_s: float | None = None
    """What is written to the disk of the folder for temporary files."""


NONE: Final = Limits()


class NoGroupsError(RuntimeError):
    """This machine or this user cannot make control groups."""


@contextmanager
def limited(name: str, limits: Limits) -> Generator[tuple[str, ...]]:
    """Make a group and yield what a command is prefixed with to live in it.

    Raises:
        NoGroupsError: It cannot be made.
    """
    if limits == NONE:
        yield ()
        return
    unified = (ROOT / "cgroup.controllers").exists()
    folders = [ROOT / name] if unified else _v1(name, limits)
    try:
        try:
            for folder in folders:
                folder.mkdir()
            _limit(folders, limits, unified=unified)
        except OSError as error:
            raise NoGroupsError(str(error)) from error
        joins = " && ".join(f"echo $$ > '{folder}/cgroup.procs'" for folder in folders)
        yield ("sh", "-c", f'{joins} && exec "$@"', "sh")
    finally:
        for folder in folders:
            _remove(folder)


def _v1(name: str, limits: Limits) -> list[Path]:
    wanted = {"memory": limits.memory_mb, "cpu": limits.cpus, "blkio": limits.disk_mb_s}
    return [ROOT / controller / name for controller, limit in wanted.items() if limit is not None]


def _limit(folders: list[Path], limits: Limits, *, unified: bool) -> None:
    for folder in folders:
        for controller, file, text in _files(limits, unified=unified):
            if unified or folder.parent.name == controller:
                (folder / file).write_text(text)


def _files(limits: Limits, *, unified: bool) -> Generator[tuple[str, str, str]]:
    """Yield controller, file and content of each limit."""
    if limits.memory_mb is not None:
        file = "memory.max" if unified else "memory.limit_in_bytes"
        yield "memory", file, str(limits.memory_mb * MIB)
    if limits.cpus is not None:
        quota = round(limits.cpus * _PERIOD)
        if unified:
            yield "cpu", "cpu.max", f"{quota} {_PERIOD}"
        else:
            yield "cpu", "cpu.cfs_period_us", str(_PERIOD)
            yield "cpu", "cpu.cfs_quota_us", str(quota)
    if limits.disk_mb_s is not None:
        device = Path(tempfile.gettempdir()).stat().st_dev
        which, rate = f"{os.major(device)}:{os.minor(device)}", round(limits.disk_mb_s * MIB)
        if unified:
            yield "blkio", "io.max", f"{which} wbps={rate}"
        else:
            yield "blkio", "blkio.throttle.write_bps_device", f"{which} {rate}"


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
