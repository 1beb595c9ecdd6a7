"""`import`: runs that were recorded elsewhere, as runs like any other."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from robot_sf_otel.cli.common import (
    TextFormat,
    artifact_roots,
    complain,
    fail,
    redactor,
    write_json,
)

if TYPE_CHECKING:
    from robot_sf_otel.store.imported import Written


class SourceFormat(StrEnum):
    """Where a run can be imported from."""

    OTLP = "otlp"
    ROBOT_SF = "robot_sf"


Importer = Callable[[Sequence[Path], Path, int], Iterator["Written | str"]]
"""Reads files or folders into an artifact root, as of Unix nanoseconds.

It yields what became of each run, and in words what could not be read. Where nothing of the
kind is in any of them it is a ValueError.
"""


def _from_otlp(files: Sequence[Path], root: Path, now_ns: int) -> Iterator[Written | str]:
    from robot_sf_otel.interop.otlp_import import import_files
    from robot_sf_otel.interop.outbound import exported_files

    given = [file for path in files for file in exported_files(path) or [path]]
    return import_files(given, root, now_ns, redactor())


def _from_robot_sf(
    places: Sequence[Path], root: Path, now_ns: int, *, pipeline: str | None = None
) -> Iterator[Written | str]:
    from robot_sf_otel.interop.robot_sf import PIPELINE
    from robot_sf_otel.interop.robot_sf_import import import_old_runs

    return import_old_runs(places, root, now_ns, pipeline=pipeline or PIPELINE, redact=redactor())


IMPORTERS: Final[Mapping[SourceFormat, Importer]] = {
    SourceFormat.OTLP: _from_otlp,
    SourceFormat.ROBOT_SF: _from_robot_sf,
}


def import_runs(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="OTLP JSON lines (a Collector's file exporter, `.gz` too; a folder that `export` "
            "wrote), or folders or files of the original tracker.",
            exists=True,
        ),
    ],
    source: Annotated[
        SourceFormat | None,
        typer.Option("--from", help="What the files are; by default told from each of them."),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline",
            metavar="NAME",
            help="Pipeline that runs of the original tracker count for; `imitation` by default.",
        ),
    ] = None,
    form: Annotated[
        TextFormat, typer.Option("--format", help="JSON: one array, an object a run.")
    ] = TextFormat.TEXT,
) -> None:
    """Import runs that were recorded elsewhere; what was imported before is not repeated."""
    root = artifact_roots(context)[0]
    kinds = {source} if source is not None else {_kind(path) for path in files}
    if len(kinds) > 1:
        fail("files and folders of several kinds: import one kind at a time, or say --from")
    kind = kinds.pop()
    importer = _importer(kind, pipeline)
    found: list[dict[str, Any]] = []
    problems = 0
    try:
        for outcome in importer(files, root, time.time_ns()):
            if isinstance(outcome, str):
                problems += 1
                complain(outcome)
            else:
                found.append(_told(outcome))
                if form is TextFormat.TEXT:
                    typer.echo(_line(outcome))
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or root}: {error.strerror or error}")
    if form is TextFormat.JSON:
        write_json(found)
    if not found:
        fail("there is no run in what was given")


def _importer(kind: SourceFormat, pipeline: str | None) -> Importer:
    if pipeline is None:
        return IMPORTERS[kind]
    if kind is not SourceFormat.ROBOT_SF:
        raise typer.BadParameter(f"{kind} names the pipeline itself", param_hint="'--pipeline'")
    return functools.partial(_from_robot_sf, pipeline=pipeline)


def _kind(path: Path) -> SourceFormat:
    """Return what a file or folder is."""
    from robot_sf_otel.interop.outbound import exported_files
    from robot_sf_otel.interop.robot_sf_import import find_old_runs

    is_folder = path.is_dir() and not exported_files(path)
    return SourceFormat.ROBOT_SF if is_folder or find_old_runs(path) else SourceFormat.OTLP


def _told(outcome: Written) -> dict[str, Any]:
    return {
        "run_id": outcome.run_dir.name,
        "run_dir": str(outcome.run_dir),
        "imported": outcome.is_new,
        "status": outcome.record.status if outcome.record is not None else None,
    }


def _line(outcome: Written) -> str:
    from robot_sf_otel.manifest.formats import one_line

    name = one_line(outcome.run_dir.name)
    if outcome.record is None:
        return f"already imported as {name}"
    record = outcome.record
    parts = [record.status, _many(len(record.steps), "step")]
    parts += [f"telemetry of {1 + len(record.worker_telemetry)} processes"] * bool(
        record.worker_telemetry
    )
    return f"imported {name} ({', '.join(parts)})"


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_runs)
