"""What commands share: where runs lie, which one is meant, and how an answer leaves."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from robot_sf_otel import environment_variables as env

if TYPE_CHECKING:
    from robot_sf_otel.analysis.durations import StepDuration
    from robot_sf_otel.config import Config
    from robot_sf_otel.manifest.schema import PipelineRunRecord
    from robot_sf_otel.redaction import Redactor
    from robot_sf_otel.redaction.outgoing import Outgoing
    from robot_sf_otel.report.page import Page
    from robot_sf_otel.store.reader import LoadedRun

RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run id, a unique prefix, a path, or `latest`."),
]
LATEST = "latest"
MOST_BYTES = 1024 * 1024
"""Samples that one look at a run reads where manifest.json does not tell their figures: 0.1 s."""
_UNREAD = 1_000
"""Runs that the index does not know which are read to learn how long steps take: some 0.1 s."""


class TableFormat(StrEnum):
    """For people, or for scripts."""

    TABLE = "table"
    JSON = "json"


class TextFormat(StrEnum):
    """For people, or for scripts."""

    TEXT = "text"
    JSON = "json"


def artifact_roots(context: typer.Context) -> list[Path]:
    """Return the artifact roots of this call: option, then environment, then `output`."""
    settings: dict[str, list[Path]] = context.obj or {}
    return settings.get("artifact_roots") or [Path(os.environ.get(env.ARTIFACT_ROOT) or "output")]


def outgoing(private: bool | None) -> Outgoing:
    """Return what decides which attributes may leave the machine.

    Args:
        private: Whether paths, commands and messages are left out; None is as the environment says.
    """
    from robot_sf_otel.redaction.outgoing import Outgoing

    chosen = _config().otlp_private if private is None else private
    return Outgoing(redactor(), private=chosen)


def redactor() -> Redactor:
    """Return what masks secrets, by the names that the environment adds."""
    from robot_sf_otel.redaction import Redactor

    return Redactor(_config().redact)


def _config() -> Config:
    from robot_sf_otel import guard
    from robot_sf_otel.config import Arguments, resolve

    return resolve(Arguments(), os.environ, guard.warn)


def complain(message: str) -> None:
    """Say something on stderr, in one line."""
    from robot_sf_otel.manifest.formats import one_line

    typer.echo(f"robot-sf-otel: {one_line(message)}", err=True)


def fail(message: str) -> NoReturn:
    """Say why it could not be done, and end with exit code 1.

    Raises:
        typer.Exit: Always.
    """
    complain(message)
    raise typer.Exit(1)


def load(
    context: typer.Context, text: str, *, telemetry: bool = True, most_bytes: int | None = None
) -> LoadedRun:
    """Return the run that is meant.

    Args:
        context: Says which artifact roots.
        text: How the run was named.
        telemetry: As `load_run` has it.
        most_bytes: As `load_run` has it.

    Raises:
        typer.Exit: There is none, several are meant, or it cannot be read; stderr says which.
    """
    from robot_sf_otel.store.history import AmbiguousRun, RunNotFound, resolve_run
    from robot_sf_otel.store.reader import UnreadableRun, load_run

    try:
        run_dir = resolve_run(artifact_roots(context), text)
        return load_run(run_dir, telemetry=telemetry, most_bytes=most_bytes)
    except (RunNotFound, AmbiguousRun, UnreadableRun) as error:
        fail(str(error))
    except (OSError, ValueError) as error:
        fail(f"{text}: {error}")


def beside_earlier(run: LoadedRun) -> list[StepDuration]:
    """Return the top-level steps of a run beside those of comparable earlier runs of its root."""
    from robot_sf_otel.analysis.durations import beside_history

    return beside_history(run.record, earlier_than(run))


def earlier_than(run: LoadedRun) -> list[PipelineRunRecord]:
    """Return earlier runs of the same pipeline and root, to learn from."""
    from robot_sf_otel.manifest.events import NANOSECONDS
    from robot_sf_otel.store.directories import precise_start
    from robot_sf_otel.store.history import earlier_runs

    return earlier_runs(
        [run.run_dir.parent.parent],
        pipeline=run.record.pipeline,
        before_ns=precise_start(run.run_dir) + NANOSECONDS,
        unread=_UNREAD,
    )


def new_page() -> Page:
    """Return a page for stdout."""
    from robot_sf_otel.report.page import Page

    return Page(sys.stdout)


def show(page: Page) -> None:
    """Write a page to stdout.

    Raises:
        typer.Exit: Nobody reads it any more (`| head`).
    """
    try:
        page.write()
    except BrokenPipeError:
        _nobody_reads()


def write_json(value: object) -> None:
    """Write a value as JSON to stdout, and nothing else."""
    from robot_sf_otel.manifest.codec import encode_document

    write_bytes(encode_document(value))


def write_bytes(data: bytes) -> None:
    """Write bytes to stdout as they are, whatever its encoding.

    Raises:
        typer.Exit: Nobody reads them any more.
    """
    binary = getattr(sys.stdout, "buffer", None)
    try:
        sys.stdout.flush()
        if binary is None:
            sys.stdout.write(data.decode())
        else:
            binary.write(data)
            binary.flush()
    except BrokenPipeError:
        _nobody_reads()


def _nobody_reads() -> NoReturn:
    """End quietly, and let nothing be written to that pipe when the interpreter ends.

    Raises:
        typer.Exit: Always.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    raise typer.Exit(0)
