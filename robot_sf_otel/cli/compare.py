"""`compare`: runs side by side, and whether a later one is slower than it may be."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robot_sf_otel.cli.common import complain, load, new_page, show, write_bytes, write_json

if TYPE_CHECKING:
    from robot_sf_otel.analysis.comparison import Comparison, Limit, Verdict


class CompareFormat(StrEnum):
    """For people on a terminal, for scripts, or a page with timelines and curves."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"


def compare(
    context: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Two runs or more; the first is the reference."),
    ],
    fail: Annotated[
        list[str] | None,
        typer.Option(
            "--fail",
            metavar="'STEP:duration:25%'",
            help="Exit 1 if a later run's step took longer than the first's by more than that, or "
            "did not complete; `total` is the whole run. Repeatable.",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show parameters that are equal, too.")
    ] = False,
    form: Annotated[
        CompareFormat, typer.Option("--format", help="For people, for scripts, or as a page.")
    ] = CompareFormat.TABLE,
) -> None:
    """Compare step durations, usage and parameters of runs."""
    from robot_sf_otel.analysis.comparison import compare as put_side_by_side
    from robot_sf_otel.analysis.comparison import judge

    if len(runs) < 2:  # noqa: PLR2004 - one run has nothing to be compared with
        raise typer.BadParameter(
            "name two runs or more; `robot-sf-otel list` shows them", param_hint="'RUN...'"
        )
    limits = [_limit(text) for text in fail or ()]
    found = [load(context, text, telemetry=False) for text in runs]
    for problem in dict.fromkeys(problem for run in found for problem in run.problems):
        complain(problem)
    comparison = put_side_by_side([run.record for run in found])
    verdicts = [verdict for limit in limits for verdict in judge(comparison, limit)]
    if form is CompareFormat.JSON:
        write_json(_as_json(comparison, verdicts, everything=everything))
    elif form is CompareFormat.HTML:
        from robot_sf_otel.report.html.compare_page import render_comparison

        names = " ".join(run.run_dir.name for run in found)
        command = f"robot-sf-otel compare {names} --format html"
        write_bytes(
            render_comparison(found, comparison, verdicts, everything=everything, command=command)
        )
    else:
        from robot_sf_otel.report.comparison import add_comparison

        page = new_page()
        add_comparison(page, comparison, everything=everything)
        show(page)
    breached = [verdict.message for verdict in verdicts if verdict.breached]
    for verdict in verdicts:
        if verdict.breached is None:
            complain(verdict.message)
    if breached:
        complain(f"limit exceeded: {'; '.join(breached)}")
        raise typer.Exit(1)


def _limit(text: str) -> Limit:
    from robot_sf_otel.analysis.comparison import parse_limit

    try:
        return parse_limit(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--fail'") from None


def _as_json(
    comparison: Comparison, verdicts: list[Verdict], *, everything: bool
) -> dict[str, Any]:
    runs = [
        {
            "run_id": run.run_id,
            "pipeline": run.pipeline,
            "status": run.status,
            "created_at": run.created_at,
            "duration_seconds": run.duration_seconds,
            "change": change,
        }
        for run, change in zip(comparison.runs, comparison.changes, strict=True)
    ]
    parameters = [row for row in comparison.parameters if everything or row.differs]
    return {
        "runs": runs,
        "steps": comparison.steps,
        "parameters": parameters,
        "limits": verdicts,
    }
