"""`explain` and `recommend`: the evidence of a finding, and the rules applied to a run again."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robot_sf_otel import environment_variables as env
from robot_sf_otel.cli.common import (
    LATEST,
    RunArgument,
    TextFormat,
    artifact_roots,
    complain,
    fail,
    load,
    new_page,
    show,
    write_json,
)

if TYPE_CHECKING:
    from robot_sf_otel.analysis.rule_settings import RuleSettings
    from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation
    from robot_sf_otel.store.reader import LoadedRun


def explain(
    context: typer.Context,
    run: RunArgument,
    finding_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Id of a recommendation or anomaly, or its rule where only one is of it.",
        ),
    ],
    form: Annotated[
        TextFormat,
        typer.Option("--format", help="JSON: the finding with `series`, its samples."),
    ] = TextFormat.TEXT,
) -> None:
    """Show the evidence of a finding: the samples of its time as a chart, and what to do."""
    from robot_sf_otel.report.evidence import add_evidence, series_of
    from robot_sf_otel.store.telemetry import own_samples

    found = load(context, run)
    finding = _finding(found, finding_id)
    series = series_of(finding, own_samples(found.telemetry()))
    if form is TextFormat.JSON:
        import msgspec

        write_json({**msgspec.to_builtins(finding), "series": series})
        return
    page = new_page()
    add_evidence(page, finding, series)
    show(page)


def _finding(found: LoadedRun, name: str) -> PerformanceRecommendation | Anomaly:
    """Return the finding that is meant.

    Raises:
        typer.Exit: There is none, or several are meant; stderr names them.
    """
    record = found.record
    every: dict[str, PerformanceRecommendation | Anomaly] = {}
    every |= {one.id: one for one in record.anomalies}
    every |= {one.id: one for one in record.recommendations}
    if name in every:
        return every[name]
    of_rule = [one for one in every.values() if one.trigger == name]
    if len(of_rule) == 1:
        return of_rule[0]
    if of_rule:
        fail(f"{name!r} was found several times: {', '.join(one.id for one in of_rule)}")
    if not every:
        fail(f"run {record.run_id} has no recommendations and no anomalies")
    near = difflib.get_close_matches(name, every, n=3, cutoff=0.3) or list(every)[:3]
    return fail(f"run {record.run_id} has no finding {name!r}; there are {', '.join(near)}")


def recommend(
    context: typer.Context,
    run: RunArgument = LATEST,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", metavar="FILE", help="TOML file with thresholds of the rules."),
    ] = None,
    form: Annotated[
        TextFormat,
        typer.Option("--format", help="JSON: `recommendations` and `anomalies`."),
    ] = TextFormat.TEXT,
) -> None:
    """Apply the rules to a recorded run again, and write nothing.

    What the run itself found and recorded is in `summary`.
    """
    from robot_sf_otel.analysis.past import Past
    from robot_sf_otel.analysis.recommendations import diagnose
    from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation
    from robot_sf_otel.store.history import earlier_runs
    from robot_sf_otel.store.reader import run_events
    from robot_sf_otel.store.telemetry import own_samples

    settings = _settings(rules)
    found = load(context, run)
    record = found.record
    roots = [found.run_dir.parent.parent, *artifact_roots(context)]
    past = Past(earlier_runs(roots, pipeline=record.pipeline), record)
    every = diagnose(
        run_events(found.run_dir),
        own_samples(found.telemetry()),
        settings=settings,
        past=past,
        on_fault=lambda where, error: complain(f"{where} failed and is left out: {error!r}"),
    )
    recommendations = [one for one in every if isinstance(one, PerformanceRecommendation)]
    anomalies = [one for one in every if isinstance(one, Anomaly)]
    if form is TextFormat.JSON:
        write_json({"recommendations": recommendations, "anomalies": anomalies})
        return
    from robot_sf_otel.report.tables import add_findings

    if not every:
        complain(f"nothing is found in run {record.run_id}")
        return
    page = new_page()
    add_findings(page, "Recommendations", recommendations)
    add_findings(page, "Anomalies", anomalies)
    show(page)


def _settings(path: Path | None) -> RuleSettings:
    """Return the rules with the thresholds of a file, by default of the one that is configured.

    Raises:
        typer.Exit: It cannot be read, or is wrong; stderr says where.
    """
    from robot_sf_otel.analysis.rules_of_others import read_settings

    configured = os.environ.get(env.RULES)
    chosen = path or (Path(configured) if configured else None)
    try:
        return read_settings(chosen, complain)
    except (OSError, ValueError) as error:
        fail(f"{chosen}: {error}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("explain")(explain)
    app.command("recommend")(recommend)
