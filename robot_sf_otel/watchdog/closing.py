"""What the watchdog does when the process that it watched has ended and left its run open."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from robot_sf_otel.store.identity import ProcessIdentity
from robot_sf_otel.store.recovery import add_fault, close_dead_run
from robot_sf_otel.watchdog.evidence import Evidence, cause, status_in_stat, status_of_pidfd


class Task(msgspec.Struct, kw_only=True):
    """What the watchdog was told at its start.

    Attributes:
        owner: The process that it watched.
        oom_kills: The cgroup's `oom_kill` at the start.
        terminal: The terminal that the process drew a bar on.
        on_finish: The operator's command.
        folder: The working directory of the process, where that command runs.
    """

    owner: ProcessIdentity
    oom_kills: int | None = None
    terminal: str | None = None
    on_finish: str | None = None
    folder: str | None = None


def close_lost_run(
    run_dir: str, task: dict[str, Any], noticed_ns: int, stat: bytes, pidfd: int | None
) -> None:
    """Close a run whose process has ended, unless somebody else did or has taken it over.

    Args:
        run_dir: The run's directory.
        task: The fields of `Task`.
        noticed_ns: When the end was noticed, Unix nanoseconds.
        stat: What /proc/<pid>/stat said at that moment.
        pidfd: Descriptor of the process.
    """
    told = msgspec.convert(task, Task)
    if told.terminal is not None:
        with suppress(OSError):
            _restore(told.terminal)
    status = status_in_stat(stat)
    if status is None and pidfd is not None:
        status = status_of_pidfd(pidfd)
    evidence = Evidence(
        wait_status=status, oom_kills_before=told.oom_kills, oom_kills_after=_oom_kills(told)
    )
    outcome = close_dead_run(
        Path(run_dir), noticed_ns, owner=told.owner, ended_ns=noticed_ns, cause=cause(evidence)
    )
    if outcome.action == "closed" and told.on_finish:
        _tell(told.on_finish, Path(run_dir), told.folder)


def _tell(command: str, run_dir: Path, folder: str | None) -> None:
    """Start the operator's command where the pipeline was; nobody is there to be warned."""
    from robot_sf_otel.on_finish import start_on_finish

    try:
        there = folder is not None and os.path.isdir(folder)  # noqa: PTH112 - a string is had
        start_on_finish(command, run_dir, "failed", folder=folder if there else "/")
    except (OSError, ValueError) as error:
        add_fault(run_dir, time.time_ns(), "on_finish", error)


def _oom_kills(told: Task) -> int | None:
    if told.oom_kills is None:
        return None
    from robot_sf_otel.system_metrics.cgroup import CgroupSensor

    return CgroupSensor().read().oom_kills


def _restore(terminal: str) -> None:
    """Give the rows of the bar back.

    Raises:
        OSError: The terminal is gone, not ours, or takes nothing now.
    """
    from robot_sf_otel.report.terminal import RESTORE

    fd = os.open(terminal, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        if os.isatty(fd):
            os.write(fd, RESTORE.encode())
    finally:
        os.close(fd)
