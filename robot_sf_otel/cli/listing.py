"""`list`: which runs there are, one row each or one for those that differ in seeds only."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from robot_sf_otel.cli.common import (
    TableFormat,
    artifact_roots,
    complain,
    new_page,
    show,
    write_json,
)

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord

GROUPED: Final = 1_000
"""Runs that `list --group` reads at most, so that it answers in about a second."""
_TIME_HELP: Final = "RFC 3339, a date (local), or a span ago such as 24h or 7d."


class Status(StrEnum):
    """States of a run."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def list_runs(  # noqa: PLR0917 - typer passes options by name
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Runs at most.")] = 20,
    status: Annotated[Status | None, typer.Option("--status", help="Only in this state.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="T", help=f"Started at or after: {_TIME_HELP}")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="T", help=f"Started before: {_TIME_HELP}")
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option("--scenario", metavar="X", help="Identifier or file of a scenario."),
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", metavar="P", help="Name of the pipeline.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="H", help="Name of the host.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="T", help="A tag of the run.")] = None,
    group: Annotated[
        bool,
        typer.Option(
            "--group",
            help=f"A row for runs that differ in seeds only, of the newest {GROUPED:,} that match.",
        ),
    ] = False,
    form: Annotated[
        TableFormat, typer.Option("--format", help="JSON: one array of records without `steps`.")
    ] = TableFormat.TABLE,
) -> None:
    """List runs, newest first."""
    from robot_sf_otel.store.history import list_loaded

    roots = artifact_roots(context)
    now = datetime.now(UTC).astimezone()
    runs = list_loaded(
        roots,
        limit=GROUPED if group else limit,
        status=status.value if status is not None else None,
        since_ns=_time("--since", since, now),
        until_ns=_time("--until", until, now),
        scenario=scenario,
        pipeline=pipeline,
        host=host,
        tag=tag,
    )
    records = [run.record for run in runs]
    if form is TableFormat.JSON and not group:
        write_json([_without_steps(record) for record in records])
        return
    if not records and form is TableFormat.TABLE:
        filters = (status, since, until, scenario, pipeline, host, tag)
        which = "no such runs" if any(filters) else "no runs"
        complain(f"{which} under {', '.join(str(root / 'run-tracker') for root in roots)}")
        return
    if group:
        _show_groups(records, limit, form, now)
        return
    from robot_sf_otel.report.tables import add_runs

    page = new_page()
    places = [str(run.run_dir.parent.parent) for run in runs] if len(roots) > 1 else None
    add_runs(page, records, now, roots=places)
    show(page)


def _show_groups(
    records: list[PipelineRunRecord], limit: int, form: TableFormat, now: datetime
) -> None:
    from robot_sf_otel.analysis.groups import group_runs
    from robot_sf_otel.report.groups import add_groups, as_json

    groups = group_runs(records)[:limit]
    if len(records) == GROUPED:
        complain(f"only the newest {GROUPED:,} runs were looked at; --since and --until choose")
    if form is TableFormat.JSON:
        write_json(as_json(groups))
        return
    page = new_page()
    add_groups(page, groups, now)
    show(page)


def _time(option: str, text: str | None, now: datetime) -> int | None:
    from robot_sf_otel.store.timespec import parse_since

    if text is None:
        return None
    try:
        return parse_since(text, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"'{option}'") from None


def _without_steps(record: object) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(record)
    del fields["steps"]
    return fields
