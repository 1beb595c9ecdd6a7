"""`doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from robot_sf_otel.cli.common import TextFormat, artifact_roots, new_page, show, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robot_sf_otel.cli.check import Check

_COLOURS = {"ok": "green", "info": "blue", "warning": "yellow", "problem": "bold red"}


def doctor(
    context: typer.Context,
    form: Annotated[
        TextFormat, typer.Option("--format", help="JSON: `ok` and the list of `checks`.")
    ] = TextFormat.TEXT,
) -> None:
    """Say what works on this machine and why not.

    The exit code is 1 if something essential does not work.
    """
    from robot_sf_otel.cli.checks import run_checks

    checks = run_checks(artifact_roots(context), os.environ, sys.stderr)
    broken = any(check.state == "problem" for check in checks)
    if form is TextFormat.JSON:
        write_json({"ok": not broken, "checks": [asdict(check) for check in checks]})
    else:
        _show(checks)
    raise typer.Exit(1 if broken else 0)


def _show(checks: Sequence[Check]) -> None:
    from rich.text import Text

    from robot_sf_otel.report.page import plain

    page = new_page()
    rows: list[list[str | Text]] = []
    for check in checks:
        rows.append([Text(check.state, _COLOURS[check.state]), check.name, plain(check.detail)])
        if check.remedy:
            rows.append(["", "", Text(f"-> {plain(check.remedy)}", "bold")])
    page.table(["STATE", "WHAT", "DETAIL"], rows, wrap=2)
    problems = sum(check.state == "problem" for check in checks)
    warnings = sum(check.state == "warning" for check in checks)
    page.line()
    page.line(f"{problems} problems, {warnings} warnings")
    show(page)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)
