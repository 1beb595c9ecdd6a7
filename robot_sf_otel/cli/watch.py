"""`watch`: what `status` shows, until the run has ended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from robot_sf_otel.cli.common import (
    LATEST,
    MOST_BYTES,
    RunArgument,
    complain,
    earlier_than,
    fail,
    load,
    new_page,
    show,
)

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord
    from robot_sf_otel.report.page import Page
    from robot_sf_otel.report.screen import Screen
    from robot_sf_otel.store.reader import LoadedRun

LINE_SECONDS: Final = 30.0
"""Shortest time between two lines where nothing changed but progress."""
_LOOK_SECONDS: Final = 0.1
"""How soon a screen that changed its size is drawn again."""


def watch(
    context: typer.Context,
    run: RunArgument = LATEST,
    interval: Annotated[
        float,
        typer.Option("--interval", metavar="SECONDS", min=0.1, help="Time between two looks."),
    ] = 1.0,
) -> None:
    """Show the status of a run until it ends.

    Redrawn in place on a terminal, a line for each change elsewhere. Exit code: 0 if it completed,
    1 if it failed or was cancelled.
    """
    found = load(context, run, most_bytes=MOST_BYTES)
    watched = _Watched(found, earlier_than(found))
    if sys.stdout.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}:
        error = _on_screen(watched, interval)
        if error is None:
            show(watched.page())
    else:
        error = _in_lines(watched, interval)
    if error is not None:
        fail(error)
    raise typer.Exit(0 if watched.run.record.status == "completed" else 1)


@dataclass(slots=True)
class _Watched:
    """The run as it was when it was last looked at."""

    run: LoadedRun
    earlier: list[PipelineRunRecord]

    @property
    def is_over(self) -> bool:
        from robot_sf_otel.manifest.schema import TERMINAL_RUN

        return self.run.record.status in TERMINAL_RUN

    def look(self) -> str | None:
        """Read the run again; return why that cannot be done."""
        from robot_sf_otel.store.reader import load_run

        try:
            self.run = load_run(self.run.run_dir, most_bytes=MOST_BYTES)
        except (OSError, ValueError) as error:
            return str(error)
        return None

    def page(self) -> Page:
        """Return what `status` shows."""
        from robot_sf_otel.analysis.durations import beside_history
        from robot_sf_otel.report.status import add_status
        from robot_sf_otel.store.layout import RunPaths
        from robot_sf_otel.store.telemetry import last_snapshot

        page = new_page()
        sample = last_snapshot(RunPaths(self.run.run_dir).telemetry)
        history = beside_history(self.run.record, self.earlier)
        now = datetime.now(UTC)
        add_status(page, self.run.record, sample, self.run.problems, now, history=history)
        return page


def _on_screen(watched: _Watched, interval: float) -> str | None:
    """Draw until the run has ended; return why it cannot be read any more."""
    from robot_sf_otel.report.screen import Screen

    with Screen(sys.stdout) as screen:
        while not watched.is_over:
            began = time.monotonic()
            screen.draw(watched.page().text())
            _wait(screen, interval, began, lambda: screen.draw(watched.page().text()))
            error = watched.look()
            if error is not None:
                return error
    return None


def _wait(screen: Screen, interval: float, began: float, redraw: Callable[[], None]) -> None:
    """Wait for the next look, at least as long as the last one took."""
    due = max(began + interval, 2 * time.monotonic() - began)
    size = screen.size()
    while (left := due - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_SECONDS))
        if screen.size() != size:
            size = screen.size()
            redraw()


def _in_lines(watched: _Watched, interval: float) -> str | None:
    """Say what changes until the run has ended; return why it cannot be read any more."""
    from robot_sf_otel.report.status import milestones, status_line

    said: object = None
    due = 0.0
    while True:
        began = time.monotonic()
        record = watched.run.record
        if milestones(record) != said or began >= due:
            said, due = milestones(record), began + LINE_SECONDS
            page = new_page()
            page.line(status_line(record, datetime.now(UTC)))
            show(page)
        if watched.is_over:
            break
        time.sleep(max(interval, time.monotonic() - began))
        error = watched.look()
        if error is not None:
            return error
    for problem in watched.run.problems:
        complain(problem)
    return None
