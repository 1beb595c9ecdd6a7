"""`logs`: the log lines of a run, all of them or as they come."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from robot_sf_otel.cli.common import (
    LATEST,
    RunArgument,
    complain,
    load,
    write_bytes,
)

if TYPE_CHECKING:
    from robot_sf_otel.store.log_file import LogEntry

_POLL_SECONDS: Final = 0.2
_STATE_SECONDS: Final = 1.0
"""Time between two looks at whether the run has ended."""
_BEFORE: Final = 20
"""Entries that `--follow` begins with."""
_BATCH: Final = 500


def logs(  # noqa: PLR0917 - typer passes options by name
    context: typer.Context,
    run: RunArgument = LATEST,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run ends.")
    ] = False,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines",
            "-n",
            metavar="N",
            min=0,
            help=f"Only the last N entries; all by default, {_BEFORE} with --follow.",
        ),
    ] = None,
    step: Annotated[
        str | None, typer.Option("--step", metavar="S", help="Only entries of this step.")
    ] = None,
    level: Annotated[
        str | None,
        typer.Option("--level", metavar="L", help="Only entries of this level or above: WARNING."),
    ] = None,
) -> None:
    """Show the log lines of a run."""
    from robot_sf_otel.manifest.schema import TERMINAL_RUN
    from robot_sf_otel.store.log_file import LogTail, has_log, level_number, read_log
    from robot_sf_otel.store.reader import load_run

    try:
        lowest = level_number(level) if level is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--level'") from None
    found = load(context, run, telemetry=False)
    if follow and lines is None:
        lines = _BEFORE
    tail = LogTail(found.run_dir)
    if has_log(found.run_dir):
        _show(read_log(found.run_dir, lines=lines, level=lowest, step=step))
    elif not follow:
        complain(
            f"run {found.run_id} has no log lines: nothing was logged with Loguru or `logging`, or "
            "ROBOT_SF_OTEL_LOG was false"
        )
    due = 0.0
    over = not follow
    while not over:
        now = time.monotonic()
        if now >= due:
            due = now + _STATE_SECONDS
            try:
                over = load_run(found.run_dir, telemetry=False).record.status in TERMINAL_RUN
            except (OSError, ValueError):
                over = True
        _show(entry for entry in tail.read() if entry.is_wanted(level=lowest, step=step))
        if not over:
            time.sleep(_POLL_SECONDS)


def _show(entries: Iterable[LogEntry]) -> None:
    """Write entries to stdout, without what a terminal would obey."""
    from robot_sf_otel.manifest.formats import block

    encoding = sys.stdout.encoding or "utf-8"
    batch: list[str] = []
    for entry in entries:
        batch += entry.lines
        if len(batch) >= _BATCH:
            write_bytes(block("\n".join([*batch, ""])).encode(encoding, "replace"))
            batch.clear()
    if batch:
        write_bytes(block("\n".join([*batch, ""])).encode(encoding, "replace"))
