"""What a program left open that replaced itself by this one: exec keeps the process as it was.

To everybody else the process lives on, with the same pid and start time; only the program that it
runs now can tell.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.events import WorkerLost
from robot_sf_otel.store.identity import process_identity
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.lock import read_owner
from robot_sf_otel.store.recovery import Outcome, close_dead_run

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.fold import RunFold

REPLACED: Final = "replaced itself by another program (exec)"


def is_replaced(run_dir: Path) -> bool:
    """Return whether the calling process owned a run as another program.

    To be asked before it owns a run itself.
    """
    me = process_identity()
    return me.start_time is not None and read_owner(RunPaths(run_dir).lock) == me


def close_replaced_run(run_dir: Path, now_ns: int) -> Outcome:
    """Close the run that the calling process owned before it replaced itself by this program.

    Raises:
        OSError: The closing event cannot be written.
    """
    return close_dead_run(
        run_dir, now_ns, owner=process_identity(), ended_ns=now_ns, cause=REPLACED
    )


def replaced_worker(fold: RunFold, now_ns: int) -> list[WorkerLost]:
    """Return that the calling process had steps under way as another program, if that is so."""
    me = asdict(process_identity())
    reason = f"its process (pid {me['pid']} on {me['host']}) {REPLACED}"
    return [
        WorkerLost(time_unix_nano=now_ns, process=process, reason=reason)
        for process, said in fold.processes_at_work().items()
        if said == me
    ]
