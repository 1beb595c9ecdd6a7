"""`tensorboard`: a recorded run as event files, after the fact or as it goes on."""

from __future__ import annotations

import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import typer

from robot_sf_otel.cli.common import LATEST, RunArgument, complain, fail, load

GROUP: Final = "robot_sf_otel_mirror"
"""Entry-point group of what mirrors runs into the files of another tool."""
EXTRA: Final = "TensorBoard files need tensorboardX: pip install 'robot-sf-otel[tensorboard]'"


class Mirror(Protocol):
    """What an entry point of the group returns when it is called with a run and a folder."""

    def update(self) -> bool:
        """Add what is new; return whether nothing more will come."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


def tensorboard(
    context: typer.Context,
    logdir: Annotated[
        Path,
        typer.Option("--logdir", metavar="DIR", help="Folder that TensorBoard is started with."),
    ],
    run: RunArgument = LATEST,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the run ends; Ctrl-C leaves it running.")
    ] = False,
    interval: Annotated[
        float,
        typer.Option("--interval", metavar="SECONDS", min=0.1, help="Time between two looks."),
    ] = 2.0,
) -> None:
    """Mirror a run into TensorBoard event files; the run's own files stay as they are."""
    found = load(context, run, telemetry=False)
    mirror = _mirror(found.run_dir, logdir)
    try:
        over = mirror.update()
        while follow and not over:
            time.sleep(interval)
            over = mirror.update()
    except OSError as error:
        fail(f"{logdir}: {error.strerror}")
    finally:
        mirror.close()
    if not over:
        complain(f"{found.record.run_id} still runs; --follow goes on until it ends")
    typer.echo(f"{logdir / found.run_dir.name}; look at it with: tensorboard --logdir {logdir}")


def _mirror(run_dir: Path, logdir: Path) -> Mirror:
    """Return the mirror that is installed under this command's name.

    Raises:
        typer.Exit: What it needs is not installed.
    """
    entries = tuple(entry_points(group=GROUP, name="tensorboard"))
    if not entries:
        fail(f"no plug-in is installed in the entry-point group {GROUP}")
    try:
        make: Any = entries[0].load()
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "tensorboardX":
            raise
        fail(EXTRA)
    mirror: Mirror = make(run_dir, logdir)
    return mirror


def register(app: typer.Typer) -> None:
    """Add the command, and the name that the original tracker had for it."""
    app.command("tensorboard")(tensorboard)
    app.command("enable-tensorboard", hidden=True)(tensorboard)
