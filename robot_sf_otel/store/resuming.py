"""Taking over a run that was stopped, so that another process can go on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.schema import TERMINAL_RUN
from robot_sf_otel.store.history import AmbiguousRun, RunNotFound, resolve_run
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.lock import RunLock
from robot_sf_otel.store.reader import fold_run
from robot_sf_otel.store.recovery import alone, close_dead_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from robot_sf_otel.manifest.fold import RunFold

_COMPLETED: Final = "it has completed: there is nothing left to do in it"


class CannotResume(ValueError):  # noqa: N818 - said to people as it is
    """A run cannot be resumed; the message says which and why."""


def find_resumable(roots: Sequence[Path], run: str) -> Path:
    """Return the directory of the run that a person wants to go on with.

    Args:
        roots: Artifact roots.
        run: A run id, a unique prefix, a path, or `latest`.

    Raises:
        CannotResume: There is none, or several are meant.
    """
    try:
        return resolve_run(roots, run)
    except (RunNotFound, AmbiguousRun) as error:
        raise CannotResume(f"cannot resume: {error}") from None


def take_over(run_dir: Path, now_ns: int, *, pipeline: str | None = None) -> RunLock:
    """Make this process the owner of a run that was stopped.

    A run that was killed and not closed yet is closed first. Of several processes that try at once
    one gets it.

    Args:
        run_dir: The run's directory.
        now_ns: Unix nanoseconds.
        pipeline: The pipeline that wants to go on; None takes any.

    Raises:
        CannotResume: The run is alive, has completed, is unreadable, or is another pipeline's.
    """
    try:
        closed = close_dead_run(run_dir, now_ns)
        with alone(run_dir):
            fold, _ = fold_run(run_dir)
            why = _why_not(fold, pipeline) or (
                closed.reason if fold.status not in TERMINAL_RUN else None
            )
            if why is None:
                return RunLock.acquire(RunPaths(run_dir).lock, run_id=fold.run_id)
    except BlockingIOError:
        why = "another process owns it"
    except OSError as error:
        why = str(error)
    raise CannotResume(f"run {run_dir.name} cannot be resumed: {why}")


def _why_not(fold: RunFold, pipeline: str | None) -> str | None:
    if fold.started is None:
        return "its journal has no readable start"
    if fold.status == "completed":
        return _COMPLETED
    if pipeline is not None and fold.pipeline != pipeline:
        return f"it is a run of pipeline {fold.pipeline!r}, not of {pipeline!r}"
    return None
