"""One look at a run: where it is, when it will be done, how it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from robot_sf_otel.manifest.formats import UNKNOWN, coarse_duration, duration, progress
from robot_sf_otel.report import tables
from robot_sf_otel.report.page import Page, plain, status_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from robot_sf_otel.analysis.durations import StepDuration
    from robot_sf_otel.manifest.schema import PipelineRunRecord, TelemetrySnapshot

_STEPS: Final = 40
_ERRORS: Final = 3


def add_header(page: Page, record: PipelineRunRecord, now: datetime) -> None:
    """Add who, what and how far: the first lines of every report."""
    summary = record.summary
    seconds = tables.run_seconds(record, now)
    took = duration(seconds) if record.duration_seconds is not None else coarse_duration(seconds)
    if record.status == "running":
        verdict = f" for {took}"
    elif took != UNKNOWN:
        verdict = f" {'in' if record.status == 'completed' else 'after'} {took}"
    else:
        verdict = ""
    line = Text.assemble((plain(record.pipeline, 60), "bold"), " ", status_text(record.status))
    line.append(f"{verdict}, {summary.steps_completed} of {summary.steps_total} steps")
    page.line(line)
    if record.status_reason and record.status != "completed":
        page.line(f"Reason   {plain(record.status_reason, 500)}", "red")
    page.line(f"Run      {plain(record.run_id)}")
    times = f"Started  {tables.local_time(record.created_at)}"
    if record.completed_at:
        times += f", ended {tables.local_time(record.completed_at)}"
    if host := record.host.get("hostname"):
        times += f", on {plain(host, 60)}"
    page.line(times)
    if record.scenario_config_path:
        page.line(f"Scenario {plain(record.scenario_config_path)}")
    if record.tags:
        page.line(f"Tags     {', '.join(plain(tag, 60) for tag in record.tags)}")
    if record.artifact_dir:
        page.line(f"Folder   {plain(record.artifact_dir)}")


def milestones(record: PipelineRunRecord) -> tuple[object, ...]:
    """Return what makes a line of its own worth it when it changes: all but progress and time."""
    summary = record.summary
    return (
        record.status,
        summary.steps_completed,
        summary.steps_total,
        tuple(summary.running_steps),
        summary.recommendation_count,
        len(record.anomalies),
    )


def status_line(record: PipelineRunRecord, now: datetime) -> str:
    """Return a run in one line: `13:00:05 running for 2m, 1 of 3 steps, train 40/100 it, ETA 3m`.

    Args:
        record: The run.
        now: The present, with the time zone that it is said in.
    """
    summary = record.summary
    took = coarse_duration(tables.run_seconds(record, now))
    since = "for" if record.status == "running" else "after"
    parts = [
        f"{now.astimezone():%H:%M:%S} {plain(record.pipeline, 60)} {record.status} {since} {took}",
        f"{summary.steps_completed} of {summary.steps_total} steps",
    ]
    for step in record.steps:
        if step.status == "running":
            done = step.progress
            far = progress(done.done, done.total, done.unit)
            name = plain(step.display_name, 60)
            parts.append(name if far == UNKNOWN else f"{name} {plain(far, 60)}")
    if record.status == "running":
        parts.append(f"ETA {tables.eta_text(record.eta)}")
    elif record.status_reason and record.status != "completed":
        parts.append(plain(record.status_reason, 500))
    return ", ".join(parts)


def add_status(
    page: Page,
    record: PipelineRunRecord,
    sample: TelemetrySnapshot | None,
    problems: Sequence[str],
    now: datetime,
    *,
    history: Sequence[StepDuration] | None = None,
) -> None:
    """Add everything that `status` shows.

    Args:
        page: Where.
        record: The run.
        sample: Its last telemetry sample.
        problems: What could not be read.
        now: The present.
        history: The top-level steps beside those of earlier runs; None leaves that column out.
    """
    add_header(page, record, now)
    if record.status == "running":
        page.line(f"ETA      {tables.eta_text(record.eta)}")
    if record.steps:
        page.line()
        tables.add_steps(page, record, now, usage=False, limit=_STEPS, history=history)
    tables.add_errors(page, record, trace=False, limit=_ERRORS)
    tables.add_findings(page, "Recommendations", record.recommendations)
    tables.add_findings(page, "Anomalies", record.anomalies)
    if record.status == "running" or not record.telemetry:
        tables.add_sample(page, sample, now if record.status == "running" else None)
    else:
        tables.add_telemetry(page, record)
    add_problems(page, record, problems)


def add_problems(page: Page, record: PipelineRunRecord, problems: Sequence[str]) -> None:
    """Add what telemetry itself could not do, and what of the record could not be read."""
    said = [*record.self_cost.faults, *problems]
    if said:
        page.heading("Problems of the record")
        for text in said:
            page.bullet(plain(text, 500))
