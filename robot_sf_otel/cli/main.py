"""`robot-sf-otel`: the application that the commands belong to, and its way of ending.

Exit codes: 0 done, 1 it could not be done, 2 usage. Errors of users are one line on stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
import typer.main

from robot_sf_otel.cli import (
    compare,
    demo,
    diagnosis,
    doctor,
    importing,
    listing,
    logs,
    perf_tests,
    recover,
    replaying,
    report,
    retention,
    run,
    stop,
    tensorboard,
    watch,
)
from robot_sf_otel.cli.common import complain

NAME: Final = "robot-sf-otel"
_DONE: Final = 0
_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""

app = typer.Typer(
    name=NAME,
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from robot_sf_otel import __version__

        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    artifact_root: Annotated[
        list[Path] | None,
        typer.Option(
            "--artifact-root",
            metavar="DIR",
            help="Where runs are kept; repeatable. Default: $ROBOT_SF_ARTIFACT_ROOT or `output`.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Track training pipelines: what ran, how far it is, and what it needed."""
    del version  # its callback has acted
    context.obj = {"artifact_roots": list(artifact_root or [])}
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(_USAGE)


app.command("list")(listing.list_runs)
report.register(app)
app.command("watch")(watch.watch)
app.command("logs")(logs.logs)
app.command("compare")(compare.compare)
diagnosis.register(app)
replaying.register(app)
importing.register(app)
app.command("perf-tests")(perf_tests.perf_tests)
tensorboard.register(app)
doctor.register(app)
app.command("demo")(demo.demo)
run.register(app)
app.command("stop")(stop.stop)
app.command("recover")(recover.recover)
app.command("prune")(retention.prune)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its code.

    Raises:
        SystemExit: Always.
    """
    sys.exit(run_command(arguments))


def run_command(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code; messages have been written.

    Args:
        arguments: Instead of those of the process.
    """
    # Click is Typer's own matter (it brings one along since 0.26), so its errors are told apart by
    # what they offer and not by their class.
    command: Any = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name=NAME, standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        # Typer puts pydantic's words before what click says.
        complain(message().replace(": Value error, ", ": "))
        return int(getattr(error, "exit_code", _FAILED))
    return code if isinstance(code, int) else _DONE


if __name__ == "__main__":
    main()
