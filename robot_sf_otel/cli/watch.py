"""`watch`: a run live, until it has ended: on the whole screen of a terminal, or in lines."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from robot_sf_otel.cli.common import (
    LATEST,
    MOST_BYTES,
    RunArgument,
    artifact_roots,
    complain,
    earlier_than,
    fail,
    load,
    new_page,
    show,
)

if TYPE_CHECKING:
    from robot_sf_otel.store.reader import LoadedRun

LINE_SECONDS: Final = 30.0
"""Shortest time between two lines where nothing changed but progress."""


def watch(
    context: typer.Context,
    run: RunArgument = LATEST,
    interval: Annotated[
        float,
        typer.Option("--interval", metavar="SECONDS", min=0.1, help="Time between two looks."),
    ] = 1.0,
) -> None:
    """Show a run live until it ends.

    On a terminal the whole screen: steps, curves, recommendations, log lines; keys switch between
    runs. Elsewhere a line for each change. Exit code: 0 if it completed, 1 if it failed or was
    cancelled; 0 if you quit while it was running.
    """
    found = load(context, run, telemetry=False)
    if sys.stdout.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}:
        status = _on_screen(context, found, interval)
    else:
        status = _in_lines(found, interval)
    raise typer.Exit(1 if status in {"failed", "cancelled"} else 0)


def _on_screen(context: typer.Context, found: LoadedRun, interval: float) -> str:
    """Draw until the run has ended or the user quits; return the run's status."""
    from robot_sf_otel.cli.watch_screen import Watching
    from robot_sf_otel.report.screen import Screen

    with Screen(sys.stdout, sys.stdin) as screen:
        watching = Watching(screen, artifact_roots(context), found.run_dir, interval)
        error = watching.go_on()
    if error is not None:
        fail(error)
    run = watching.run
    if run.is_over:
        _leave_status(run.run_dir)
    return run.record.status


def _leave_status(run_dir: os.PathLike[str]) -> None:
    """Leave on the terminal what `status` shows."""
    from pathlib import Path

    from robot_sf_otel.analysis.durations import beside_history
    from robot_sf_otel.report.status import add_status
    from robot_sf_otel.store.layout import RunPaths
    from robot_sf_otel.store.reader import load_run
    from robot_sf_otel.store.telemetry import last_snapshot

    try:
        run = load_run(Path(run_dir), most_bytes=MOST_BYTES)
    except (OSError, ValueError) as error:
        fail(str(error))
    page = new_page()
    sample = last_snapshot(RunPaths(run.run_dir).telemetry)
    history = beside_history(run.record, earlier_than(run))
    add_status(page, run.record, sample, run.problems, datetime.now(UTC), history=history)
    show(page)


def _in_lines(found: LoadedRun, interval: float) -> str:
    """Say what changes until the run has ended; return its status."""
    from robot_sf_otel.manifest.schema import TERMINAL_RUN
    from robot_sf_otel.report.status import milestones, status_line
    from robot_sf_otel.store import reader

    said: object = None
    due = 0.0
    run = found
    while True:
        began = time.monotonic()
        record = run.record
        if milestones(record) != said or began >= due:
            said, due = milestones(record), began + LINE_SECONDS
            page = new_page()
            page.line(status_line(record, datetime.now(UTC)))
            show(page)
        if record.status in TERMINAL_RUN:
            break
        time.sleep(max(interval, time.monotonic() - began))
        try:
            run = reader.load_run(run.run_dir, telemetry=False)
        except (OSError, ValueError) as error:
            fail(str(error))
    for problem in run.problems:
        complain(problem)
    return run.record.status
