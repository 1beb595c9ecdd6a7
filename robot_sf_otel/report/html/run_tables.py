"""The tables of a run's report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from robot_sf_otel.analysis.comparison import compare
from robot_sf_otel.analysis.durations import beside_history
from robot_sf_otel.manifest import usage
from robot_sf_otel.manifest.facts import environment_facts
from robot_sf_otel.manifest.formats import (
    PROGRESS_FIELDS,
    UNKNOWN,
    duration,
    number,
    percent,
    progress,
    rate,
    size,
    telemetry_figures,
    telemetry_label,
)
from robot_sf_otel.manifest.markdown_text import Links
from robot_sf_otel.manifest.outline import outline
from robot_sf_otel.report.html.axis import tick_text
from robot_sf_otel.report.html.charts import Chart, table_of
from robot_sf_otel.report.html.parts import Cell, Table, said, table, value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from robot_sf_otel.manifest.schema import (
        Artifact,
        PipelineRunRecord,
        StepExecutionEntry,
    )
    from robot_sf_otel.report.html.source import Source

MARKED: Final = 0.1
"""Share by which a duration has to differ to be coloured: less is noise on most machines."""
_BARS: Final = 20
_SURROUNDINGS: Final = frozenset(
    {"run directory", "trace id", "started by", "host boot id", "environment digest"}
)
"""Facts that differ from run to run and mean nothing."""


def links_of(source: Source, lies_in: str | None) -> Links:
    """Return what makes links that work from the page."""
    return Links(str(source.run.run_dir.absolute()), lies_in)


def changed(change: float | None) -> Cell:
    """Return a change as `+12 %`, coloured where it is more than noise."""
    if change is None:
        return Cell("")
    text = f"{change:+.0%}".replace("%", " %").replace("-0 %", "+0 %").replace("-", "−")
    kind = "" if abs(change) < MARKED else "worse" if change > 0 else "better"
    return Cell(text, kind=kind)


def steps_table(source: Source) -> Table | None:
    """Return each execution of a step with its bill, and how long it usually takes."""
    record = source.run.record
    bill = usage.columns(record.steps)
    usual = {row.step_id: row for row in beside_history(record, source.earlier)}
    has_usual = any(row.earlier_median is not None for row in usual.values())
    rows: list[list[str | Cell]] = []
    for depth, step in outline(record.steps):
        status: str = step.status
        if step.skip_reason:
            status += f": {said(step.skip_reason, 120)}"
        done = step.progress
        row: list[str | Cell] = [
            Cell(
                ("↳ " if depth else "") + said(step.display_name, 120),
                kind=f"depth-{min(depth, 4)}",
            ),
            Cell(status, kind=f"status {step.status}"),
            str(step.attempt) if step.started_at is not None else UNKNOWN,
            duration(step.duration_seconds),
            *(_usual(step, usual.get(step.step_id) if depth == 0 else None) if has_usual else ()),
            said(progress(done.done, done.total, done.unit), 60),
            said(rate(done.rate, done.unit), 60),
            *(column.of(step.usage) for column in bill),
        ]
        rows.append(row)
    head = [
        *("Step", "Status", "Attempt:", "Duration:"),
        *(("Usually:", "Change:") if has_usual else ()),
        *("Progress:", "Rate:"),
        *(f"{column.title}:" for column in bill),
    ]
    return table("Steps and their bills", head, rows)


def _usual(step: StepExecutionEntry, row: Any) -> tuple[Cell, Cell]:  # noqa: ANN401 - StepDuration or None
    if row is None or row.earlier_median is None:
        return Cell(""), Cell("")
    median: float = row.earlier_median
    known = step.duration_seconds if step.status == "completed" else None
    runs = "1 earlier run" if row.earlier_runs == 1 else f"{row.earlier_runs} earlier runs"
    change = known / median - 1 if known is not None and median > 0 else None
    return Cell(duration(median), title=f"median of {runs}"), changed(change)


def history(source: Source) -> dict[str, Any] | None:
    """Return the durations of this run and of the last comparable ones, as bars."""
    record = source.run.record
    earlier = [one for one in source.earlier if one.duration_seconds is not None][-_BARS:]
    if not earlier:
        return None
    shown = [*earlier, record] if record.duration_seconds is not None else earlier
    longest = max(one.duration_seconds or 0.0 for one in shown) or 1.0
    bars = [
        {
            "run": said(one.run_id, 80),
            "text": duration(one.duration_seconds),
            "height": 100 * (one.duration_seconds or 0.0) / longest,
            "status": one.status,
            "own": one is record,
        }
        for one in shown
    ]
    return {"bars": bars, "runs": len(source.earlier), "longest": duration(longest)}


def difference(source: Source) -> Table | None:
    """Return parameters and surroundings that differ from the last good run."""
    good, record = source.last_good, source.run.record
    if good is None:
        return None
    rows = [
        [said(row.name), _old(row.values[0], row.recorded[0]), _old(row.values[1], row.recorded[1])]
        for row in compare([good, record]).parameters
        if row.differs
    ]
    before, after = _surroundings(good), _surroundings(record)
    rows += [
        [said(name), _old(before.get(name), name in before), _old(after.get(name), name in after)]
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]
    return table("What differs from the last good run", ["What", "Last good run", "This run"], rows)


def _old(found: object, recorded: bool) -> str:  # noqa: FBT001 - a pair of a row, not a switch
    return value(found) if recorded else "not recorded"


def _surroundings(record: PipelineRunRecord) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, fact in environment_facts(record).items():
        if name in _SURROUNDINGS or name in {"commit", "host hostname"}:
            continue
        if isinstance(fact, dict):
            inner = cast("dict[str, Any]", fact)
            facts |= {f"{name} {key}": item for key, item in inner.items()}
        else:
            facts[name] = fact
    return facts


def perf_tests(record: PipelineRunRecord) -> Table | None:
    """Return the results of performance tests."""
    rows: list[list[str | Cell]] = [
        [
            said(test.test_id),
            Cell(test.status, kind=f"perf {test.status}"),
            said(f"{number(test.throughput_measured)} {test.unit}"),
            number(test.throughput_baseline),
            percent(test.ratio * 100) if test.ratio is not None else UNKNOWN,
        ]
        for test in record.perf_tests
    ]
    head = ["Test", "Status", "Measured:", "Baseline:", "Of baseline:"]
    return table("Performance tests", head, rows)


def metrics(record: PipelineRunRecord) -> Table | None:
    """Return the last value of each metric of each step."""
    rows = [
        [said(step.display_name), said(name), value(last)]
        for step in record.steps
        for name, last in step.metrics.items()
    ]
    return table("Metrics", ["Step", "Metric", "Last value:"], rows)


def artifacts(record: PipelineRunRecord, links: Links) -> Table | None:
    """Return what the run produced, with links that work where the page lies."""
    with_sums = any(found.sha256 for found in record.artifacts)
    head = ["Artifact", "Kind", "Size:", "Step", *(("SHA-256",) if with_sums else ())]
    rows = [_artifact(found, links, with_sums=with_sums) for found in record.artifacts]
    return table("Artifacts", head, rows)


def _artifact(found: Artifact, links: Links, *, with_sums: bool) -> list[str | Cell]:
    target = links.target(found.path)
    # With the dot no name is taken for a scheme or a host.
    href = None if target is None else target if target.startswith(("../", "./")) else f"./{target}"
    name = said(found.name or found.path)
    row: list[str | Cell] = [
        Cell(name, href=href, title=said(found.path)),
        said(found.kind, 40),
        size(found.size_bytes),
        said(found.step_id, 80) if found.step_id else "",
    ]
    if with_sums:
        checksum = said(found.sha256, 64) if found.sha256 else UNKNOWN
        row.append(Cell(checksum[:12], kind="code", title=checksum))
    return row


def telemetry(record: PipelineRunRecord) -> Table | None:
    """Return mean, 95th percentile and maximum of each reading."""
    rows = [
        [
            said(telemetry_label(name)),
            *telemetry_figures(name, found),
            number(found.count),
        ]
        for name, found in record.telemetry.items()
        if name not in PROGRESS_FIELDS
    ]
    head = ["Reading", "Mean:", "95th percentile:", "Maximum:", "Samples:"]
    return table("Telemetry over the whole run", head, rows)


def chart_table(chart: Chart, axis: Sequence[float], end: float) -> Table | None:
    """Return the data behind a chart."""
    head = ["From", "To", *(f"{line.label}:" for line in chart.lines)]
    return table(chart.title, head, _stretches(chart, axis, end))


def _stretches(chart: Chart, axis: Sequence[float], end: float) -> Iterator[list[str]]:
    for low, high, texts in table_of(chart, axis, end):
        yield [tick_text(round(low, 2)), tick_text(round(min(high, end), 2)), *texts]
