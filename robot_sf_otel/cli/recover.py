"""`recover`: write the end of runs whose process is gone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robot_sf_otel.cli.common import TableFormat, artifact_roots, complain, fail, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from robot_sf_otel.store.recovery import Outcome


def recover(
    context: typer.Context,
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Runs to look at; all that are open by default."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; only say what would be done.")
    ] = False,
    form: Annotated[
        TableFormat, typer.Option("--format", help="JSON: one array of what was done and why.")
    ] = TableFormat.TABLE,
) -> None:
    """Close the record of runs whose process is gone.

    The watchdog does so by itself, unless it was killed too or switched off. A run of another host
    is closed when its lock is free and its last sign of life is two minutes old. The exit code is 1
    if a run could not be written, or if one that was named is still open.
    """
    from robot_sf_otel.store.history import newest_first
    from robot_sf_otel.store.recovery import recover_run, recover_runs

    now_ns = time.time_ns()
    outcomes = (
        [recover_run(run_dir, now_ns, dry_run=dry_run) for run_dir in _named(context, runs)]
        if runs
        else list(recover_runs(newest_first(artifact_roots(context)), now_ns, dry_run=dry_run))
    )
    if form is TableFormat.JSON:
        write_json([_fields(outcome) for outcome in outcomes])
    else:
        _say(outcomes)
    if any(_undone(outcome, named=bool(runs)) for outcome in outcomes):
        raise typer.Exit(1)


def _named(context: typer.Context, runs: Iterable[str]) -> list[Path]:
    from robot_sf_otel.store.history import AmbiguousRun, RunNotFound, resolve_run

    try:
        found = [resolve_run(artifact_roots(context), text) for text in runs]
    except (RunNotFound, AmbiguousRun) as error:
        fail(str(error))
    return list(dict.fromkeys(found))


def _fields(outcome: Outcome) -> dict[str, Any]:
    return {
        "run_id": outcome.run_id,
        "artifact_dir": str(outcome.run_dir.absolute()),
        "action": outcome.action,
        "status": outcome.status,
        "reason": outcome.reason,
    }


def _say(outcomes: list[Outcome]) -> None:
    from robot_sf_otel.manifest.formats import one_line

    for outcome in outcomes:
        typer.echo(f"{outcome.action:<11}  {one_line(outcome.run_id)}  {one_line(outcome.reason)}")
    if not outcomes:
        complain("no run is open")


def _undone(outcome: Outcome, *, named: bool) -> bool:
    from robot_sf_otel.manifest.schema import TERMINAL_RUN

    left_open = outcome.action == "left" and outcome.status not in TERMINAL_RUN
    return outcome.action == "failed" or (named and left_open)
