"""The report of a run as text: everything that manifest.md says, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.manifest.facts import environment_facts, eta_sentence, exact_phrase
from robot_sf_otel.manifest.formats import (
    UNKNOWN,
    duration,
    number,
    percent,
    size,
)
from robot_sf_otel.report import tables
from robot_sf_otel.report.page import Page, plain
from robot_sf_otel.report.status import add_header, add_problems

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from robot_sf_otel.manifest.schema import PipelineRunRecord

_STEPS: Final = 200
_ERRORS: Final = 20
_ARTIFACTS: Final = 100
_VALUE: Final = 200


def add_summary(
    page: Page, record: PipelineRunRecord, problems: Sequence[str], now: datetime
) -> None:
    """Add the whole report; sections without content are left out.

    Args:
        page: Where.
        record: The run.
        problems: What could not be read.
        now: The present, for a run that still goes on.
    """
    add_header(page, record, now)
    if record.status == "running":
        page.line(f"ETA      {tables.eta_text(record.eta)}")
    if record.steps:
        page.heading("Steps")
        tables.add_steps(page, record, now, usage=True, limit=_STEPS)
    tables.add_errors(page, record, trace=True, limit=_ERRORS)
    tables.add_findings(page, "Recommendations", record.recommendations)
    tables.add_findings(page, "Anomalies", record.anomalies)
    _add_perf_tests(page, record)
    tables.add_telemetry(page, record)
    _add_artifacts(page, record)
    _add_metrics(page, record)
    _add_values(page, "Results", record.summary.custom)
    _add_values(page, "Parameters", record.params)
    _add_values(page, "Seeds", record.seeds)
    _add_values(page, "Environment", environment_facts(record))
    _add_cost(page, record)
    add_problems(page, record, problems)


def _add_perf_tests(page: Page, record: PipelineRunRecord) -> None:
    if not record.perf_tests:
        return
    page.heading("Performance tests")
    rows = [
        [
            plain(test.test_id, 60),
            test.status,
            plain(f"{number(test.throughput_measured)} {test.unit}"),
            number(test.throughput_baseline),
            percent(test.ratio * 100) if test.ratio is not None else UNKNOWN,
        ]
        for test in record.perf_tests
    ]
    page.table(["TEST", "STATUS", "MEASURED:", "BASELINE:", "OF BASELINE:"], rows, wrap=0)


def _add_artifacts(page: Page, record: PipelineRunRecord) -> None:
    if not record.artifacts:
        return
    page.heading("Artifacts")
    rows = [
        [plain(found.path), plain(found.kind, 20), size(found.size_bytes)]
        for found in record.artifacts[:_ARTIFACTS]
    ]
    page.table(["PATH", "KIND", "SIZE:"], rows, wrap=0)
    if len(record.artifacts) > _ARTIFACTS:
        page.line(f"… {len(record.artifacts) - _ARTIFACTS:,} more")


def _add_metrics(page: Page, record: PipelineRunRecord) -> None:
    rows = [
        [
            plain(step.display_name, 40),
            plain(name, 40),
            plain(exact_phrase(value), 40),
        ]
        for step in record.steps
        for name, value in step.metrics.items()
    ]
    if rows:
        page.heading("Metrics")
        page.table(["STEP", "METRIC", "LAST VALUE:"], rows[:_STEPS], wrap=0)


def _add_values(page: Page, heading: str, values: Mapping[str, Any]) -> None:
    if not values:
        return
    page.heading(heading)
    rows = [[plain(name, 40), plain(exact_phrase(value), _VALUE)] for name, value in values.items()]
    page.table(["NAME", "VALUE"], rows, wrap=1)


def _add_cost(page: Page, record: PipelineRunRecord) -> None:
    if judged := eta_sentence(record.eta):
        page.line()
        page.line(judged, "dim")
    cost = record.self_cost
    if cost.cpu_seconds is None:
        return
    share = percent(cost.share_of_run * 100) if cost.share_of_run is not None else UNKNOWN
    page.line()
    page.line(
        f"Telemetry cost {duration(cost.cpu_seconds)} of CPU ({share} of the run), wrote "
        f"{size(cost.bytes_written)}, took {number(cost.samples_taken)} samples, missed "
        f"{number(cost.samples_missed)}, dropped {number(cost.events_dropped)} events.",
        "dim",
    )
