"""`status`, `summary` (alias `show`) and `export`: one run, for people and for scripts."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from robot_sf_otel.cli.common import (
    LATEST,
    MOST_BYTES,
    RunArgument,
    TextFormat,
    beside_earlier,
    complain,
    earlier_than,
    fail,
    load,
    new_page,
    outgoing,
    show,
    write_bytes,
    write_json,
)

if TYPE_CHECKING:
    from robot_sf_otel.store.reader import LoadedRun


class SummaryFormat(StrEnum):
    """Forms of a report."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


class ExportFormat(StrEnum):
    """Forms of a report in a file."""

    JSON = "json"
    MARKDOWN = "markdown"
    OTLP = "otlp"
    HTML = "html"


_SUFFIXES: Final = {
    ".json": ExportFormat.JSON,
    ".md": ExportFormat.MARKDOWN,
    ".html": ExportFormat.HTML,
    ".htm": ExportFormat.HTML,
}


def status(
    context: typer.Context,
    run: RunArgument = LATEST,
    form: Annotated[
        TextFormat,
        typer.Option(
            "--format", help="JSON: the record with `latest_sample`, `history` and `problems`."
        ),
    ] = TextFormat.TEXT,
) -> None:
    """Show one look at a run.

    Steps, progress, ETA with its band, the last telemetry sample and recommendations.
    """
    from robot_sf_otel.store.layout import RunPaths
    from robot_sf_otel.store.telemetry import last_snapshot

    found = load(context, run, most_bytes=MOST_BYTES)
    sample = last_snapshot(RunPaths(found.run_dir).telemetry)
    history = beside_earlier(found)
    if form is TextFormat.JSON:
        import msgspec

        fields: dict[str, Any] = msgspec.to_builtins(found.record)
        more = {"latest_sample": sample, "history": history, "problems": found.problems}
        write_json({**fields, **more})
        return
    from robot_sf_otel.report.status import add_status

    page = new_page()
    add_status(page, found.record, sample, found.problems, datetime.now(UTC), history=history)
    show(page)


def summary(
    context: typer.Context,
    run: RunArgument = LATEST,
    form: Annotated[
        SummaryFormat, typer.Option("--format", help="How it is written.")
    ] = SummaryFormat.TEXT,
) -> None:
    """Show the report of a run."""
    found = load(context, run)
    if form is SummaryFormat.JSON:
        _say_problems(found)
        write_json(found.record)
    elif form is SummaryFormat.MARKDOWN:
        _say_problems(found)
        write_bytes(_markdown(found, Path.cwd()))
    elif form is SummaryFormat.HTML:
        _say_problems(found)
        write_bytes(html_report(found, Path.cwd()))
    else:
        from robot_sf_otel.report.summary import add_summary

        page = new_page()
        add_summary(page, found.record, found.problems, datetime.now(UTC))
        show(page)


def export(
    context: typer.Context,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            metavar="PATH",
            help="The file to write; of `otlp` the folder for a file a signal.",
            dir_okay=True,
        ),
    ],
    run: RunArgument = LATEST,
    form: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="By default what the name ends with: .json, .md or .html."),
    ] = None,
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--no-private",
            help="`otlp`: leave out paths, commands and messages of exceptions.",
            show_default="$ROBOT_SF_OTEL_OTLP_PRIVATE",
        ),
    ] = None,
) -> None:
    """Write the report of a run to a file, or the run itself as OTLP JSON lines."""
    chosen = form or _SUFFIXES.get(output.suffix.lower())
    if chosen is None:
        raise typer.BadParameter(
            f"{output.name!r} ends neither with .json nor .md nor .html: say which one you want",
            param_hint="'--format'",
        )
    found = load(context, run)
    _say_problems(found)
    if chosen is ExportFormat.OTLP:
        _export_otlp(found, output, private)
        return
    if chosen is ExportFormat.JSON:
        from robot_sf_otel.manifest.codec import encode_document

        data = encode_document(found.record)
    elif chosen is ExportFormat.HTML:
        data = html_report(found, output.absolute().parent)
    else:
        data = _markdown(found, output.absolute().parent)
    try:
        output.write_bytes(data)
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror or error}")
    complain(f"wrote {output}")


def _export_otlp(found: LoadedRun, folder: Path, private: bool | None) -> None:
    """Write `traces.jsonl`, `metrics.jsonl` and `logs.jsonl`.

    Raises:
        typer.Exit: It cannot be done; stderr says why.
    """
    from robot_sf_otel import __version__
    from robot_sf_otel.interop.outbound import NothingToSend, Outbound, write_files
    from robot_sf_otel.manifest.schema import TERMINAL_RUN

    closed = found.record.status in TERMINAL_RUN
    try:
        outbound = Outbound(found.run_dir, outgoing(private), dead=closed)
        counts = write_files(outbound, folder, __version__)
    except NothingToSend as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {folder}: {error.strerror or error}")
    told = ", ".join(f"{signal}.jsonl ({count:,})" for signal, count in counts.items())
    complain(f"wrote {told} in {folder}")


def _markdown(found: LoadedRun, lies_in: Path) -> bytes:
    from robot_sf_otel.manifest.markdown import render_markdown

    text = render_markdown(
        found.record, run_dir=str(found.run_dir.absolute()), lies_in=str(lies_in.absolute())
    )
    return text.encode("utf-8", "replace")


def html_report(found: LoadedRun, lies_in: Path) -> bytes:
    """Return the report of a run as a page.

    Args:
        found: The run.
        lies_in: Where the page will lie, so that its links work from there.
    """
    from robot_sf_otel.report.html.run_page import render_run
    from robot_sf_otel.report.html.source import read_source

    name = found.run_dir.name
    return render_run(
        read_source(found, earlier_than(found)),
        lies_in=str(lies_in.absolute()),
        command=f"robot-sf-otel summary {name} --format html",
    )


def _say_problems(found: LoadedRun) -> None:
    for problem in found.problems:
        complain(problem)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("status")(status)
    app.command("summary")(summary)
    app.command("show", help="The same as `summary`.")(summary)
    app.command("export")(export)
