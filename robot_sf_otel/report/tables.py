"""Tables of the command line: runs, steps, telemetry, findings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.text import Text

from robot_sf_otel.manifest.facts import evidence_sentence, exact_phrase
from robot_sf_otel.manifest.failures import failures
from robot_sf_otel.manifest.formats import (
    PROGRESS_FIELDS,
    TELEMETRY_FIELDS,
    UNKNOWN,
    coarse_duration,
    duration,
    progress,
    rate,
    telemetry_figures,
    telemetry_label,
    telemetry_value,
    unavailable,
)
from robot_sf_otel.manifest.outline import outline
from robot_sf_otel.manifest.usage import CPU_AND_MEMORY, columns
from robot_sf_otel.report.page import Page, plain, status_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robot_sf_otel.analysis.durations import StepDuration
    from robot_sf_otel.manifest.schema import (
        Anomaly,
        Eta,
        PerformanceRecommendation,
        PipelineRunRecord,
        StepExecutionEntry,
        TelemetrySnapshot,
    )

_WIDE: Final = 110
"""Columns from which a table shows more than the essentials."""
_INTERESTING: Final = frozenset({"failed", "running", "cancelled"})
_WIDEST: Final = 150
_NAME: Final = 20
_CELL: Final = 60
_ROOT: Final = 30


def parse_time(timestamp: str | None) -> datetime | None:
    """Return a recorded time, None where there is none or it is no RFC 3339."""
    try:
        moment = datetime.fromisoformat(timestamp or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def local_time(timestamp: str | None) -> str:
    """Return a recorded time on this machine's clock, `2026-01-31 13:00:00`."""
    moment = parse_time(timestamp)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment is not None else UNKNOWN


def short_time(timestamp: str | None, now: datetime) -> str:
    """Return a recorded time as `ls -l` does: `Jan 31 13:00`, of other years `Jan 31 2025`."""
    moment = parse_time(timestamp)
    if moment is None:
        return UNKNOWN
    here = moment.astimezone()
    return here.strftime("%b %d %H:%M" if here.year == now.astimezone().year else "%b %d %Y")


def run_seconds(record: PipelineRunRecord, now: datetime) -> float | None:
    """Return how long a run took, or has taken until `now` if it is still running."""
    if record.duration_seconds is not None:
        return record.duration_seconds
    started = parse_time(record.created_at)
    if record.status != "running" or started is None:
        return None
    return max(0.0, (now - started).total_seconds())


def step_seconds(step: StepExecutionEntry, now: datetime) -> float | None:
    """Return how long a step took, or has taken until `now` if it is still running."""
    if step.duration_seconds is not None:
        return step.duration_seconds
    started = parse_time(step.started_at)
    if step.status != "running" or started is None:
        return None
    return max(0.0, (now - started).total_seconds())


def eta_text(eta: Eta) -> str:
    """Return `11m (9m to 14m)`, or `--`."""
    text = coarse_duration(eta.remaining_seconds)
    if eta.low_seconds is not None and eta.high_seconds is not None:
        text += f" ({coarse_duration(eta.low_seconds)} to {coarse_duration(eta.high_seconds)})"
    return text


def add_runs(
    page: Page,
    records: Sequence[PipelineRunRecord],
    now: datetime,
    *,
    roots: Sequence[str] | None = None,
) -> None:
    """Add a line for each run; a wide page shows pipeline, tags, host and the reason of a failure.

    Args:
        page: Where.
        records: The runs.
        now: The present.
        roots: The artifact root of each, where there are several.
    """
    wide, widest = page.width >= _WIDE, page.width >= _WIDEST
    live = wide and any(record.status == "running" for record in records)
    head = ["RUN", "STATUS", "STARTED", "DURATION:", "STEPS:"]
    head += ["ETA:"] if live else []
    head += ["PIPELINE"] if wide else []
    tagged = wide and any(record.tags for record in records)
    head += ["TAGS"] if tagged else []
    head += ["ROOT"] if roots is not None else []
    head += ["HOST", "REASON"] if widest else []
    rows: list[list[str | Text]] = []
    for index, record in enumerate(records):
        summary = record.summary
        row: list[str | Text] = [
            plain(record.run_id),
            status_text(record.status),
            local_time(record.created_at) if wide else short_time(record.created_at, now),
            duration(run_seconds(record, now)),
            f"{summary.steps_completed}/{summary.steps_total}",
        ]
        if live:
            row.append(eta_text(record.eta) if record.status == "running" else "")
        if wide:
            row.append(plain(record.pipeline, _NAME))
        if tagged:
            row.append(plain(", ".join(record.tags), _NAME))
        if roots is not None:
            row.append(_end_of(plain(roots[index])))
        if widest:
            reason = record.status_reason if record.status != "completed" else None
            host = record.host.get("hostname")
            row += [plain(host, _NAME) if host else UNKNOWN, plain(reason or "", _CELL)]
        rows.append(row)
    # Ids are there to be copied: they wrap only where nothing else can.
    page.table(head, rows, wrap=len(head) - 1 if widest else 0)


def _end_of(path: str) -> str:
    """Return a path whose beginning is cut where it is long: the end tells it from others."""
    return path if len(path) <= _ROOT else f"…{path[1 - _ROOT :]}"


def add_steps(
    page: Page,
    record: PipelineRunRecord,
    now: datetime,
    *,
    usage: bool,
    limit: int,
    history: Sequence[StepDuration] | None = None,
) -> None:
    """Add the table of steps, nested ones below their parents.

    Args:
        page: Where.
        record: The run.
        now: The present, for steps that run.
        usage: Whether CPU time and memory are shown.
        limit: Rows at most; of a longer list the two ends and what did not go well are shown.
        history: How long the top-level steps took in earlier runs; None leaves that column out.
    """
    shown, left_out = _selected(outline(record.steps), limit)
    wide = page.width >= _WIDE
    roomy = wide or not usage
    attempts = any(step.attempt > 1 for step in record.steps)
    head = ["#:", "STEP", "STATUS", "DURATION:"]
    usual = None if history is None else {step.step_id: _usual(step) for step in history}
    head += [] if usual is None else ["USUALLY:"]
    head.append("PROGRESS:")
    if roomy:
        head.append("RATE:")
    if attempts:
        head.append("ATTEMPT:")
    bill = (columns(record.steps) if wide else CPU_AND_MEMORY) if usage else ()
    head += [f"{column.title.upper()}:" for column in bill]
    rows: list[list[str | Text]] = []
    for depth, step in shown:
        done = step.progress
        title = "  " * max(0, depth - 1) + ("↳ " if depth else "") + plain(step.display_name, _CELL)
        row: list[str | Text] = [
            str(step.order),
            title,
            status_text(step.status),
            duration(step_seconds(step, now)),
        ]
        if usual is not None:
            row.append("" if step.parent_step_id else usual.get(step.step_id, UNKNOWN))
        row.append(plain(progress(done.done, done.total, done.unit if roomy else ""), 30))
        if roomy:
            row.append(rate(done.rate))
        if attempts:
            row.append(str(step.attempt) if step.started_at else UNKNOWN)
        row += [column.of(step.usage) for column in bill]
        rows.append(row)
    page.table(head, rows, wrap=1)
    if history is not None and any(step.earlier_runs for step in history):
        page.line(
            "USUALLY is the median of comparable earlier runs, and how many there are.", "dim"
        )
    if left_out:
        page.line(f"… {left_out:,} more steps; all of them with --format json", "dim")


def _usual(step: StepDuration) -> str:
    """Return the median of the earlier runs and how many there are, `41.2 s (12)`, or `--`."""
    if step.earlier_median is None:
        return UNKNOWN
    return f"{duration(step.earlier_median)} ({step.earlier_runs})"


def _selected(
    rows: list[tuple[int, StepExecutionEntry]], limit: int
) -> tuple[list[tuple[int, StepExecutionEntry]], int]:
    """Return the rows to show, in order, and how many are left out."""
    if len(rows) <= limit:
        return rows, 0
    ends = {*range(limit // 4), *range(len(rows) - limit // 4, len(rows))}
    special = [i for i, (_, step) in enumerate(rows) if step.status in _INTERESTING]
    chosen = sorted(ends | set(special[-(limit - len(ends)) :]))
    return [rows[index] for index in chosen], len(rows) - len(chosen)


def add_errors(page: Page, record: PipelineRunRecord, *, trace: bool, limit: int) -> None:
    """Add what went wrong: type, message and, if wanted, the traceback."""
    failed = failures(record)
    if not failed:
        return
    page.heading("Errors")
    for one in failed[:limit]:
        error = one.error
        attempt = f" (attempt {one.attempt})" if one.attempt > 1 else ""
        text = Text(f"{plain(one.where, _CELL)}{attempt}: ")
        text.append(plain(error.type, _CELL), "red")
        if error.exit_code is not None:
            text.append(f" (exit code {error.exit_code})")
        if error.message:
            text.append(f": {plain(error.message, 500)}")
        page.bullet(text)
        if trace and error.stacktrace:
            page.block(error.stacktrace.strip("\n"))
    if len(failed) > limit:
        page.line(f"  … {len(failed) - limit:,} more")


def add_findings(
    page: Page, heading: str, findings: Sequence[PerformanceRecommendation] | Sequence[Anomaly]
) -> None:
    """Add recommendations with their evidence and actions, or anomalies."""
    if not findings:
        return
    page.heading(heading)
    for found in findings:
        text = status_text(found.severity)
        where = f" ({plain(found.step_id, _CELL)})" if found.step_id else ""
        text = Text.assemble(text, f" {plain(found.trigger, _CELL)}{where}: {plain(found.message)}")
        page.bullet(text)
        if found.evidence:
            page.bullet(
                Text(f"evidence: {plain(evidence_sentence(found.evidence))}", "dim"), indent=4
            )
        for action in getattr(found, "suggested_actions", ()):
            page.bullet(f"- {plain(action)}", indent=4)


def add_sample(page: Page, sample: TelemetrySnapshot | None, now: datetime | None) -> None:
    """Add the last telemetry sample and, while the run goes on (`now`), how old it is."""
    if sample is None:
        page.heading("Telemetry")
        page.line("  unavailable")
        return
    if now is None:
        page.heading("Telemetry, last sample")
    else:
        age = now.timestamp() - sample.timestamp_ms / 1000
        page.heading(f"Telemetry, {coarse_duration(age)} ago")
    rows: list[list[str]] = []
    for name in TELEMETRY_FIELDS:
        value: float | None = getattr(sample, name)
        if value is not None:
            rows.append([f"  {telemetry_label(name)}", telemetry_value(name, value)])
    rows += [
        [f"  {plain(name, _CELL)}", plain(exact_phrase(value), _CELL)]
        for name, value in sample.metrics.items()
    ]
    if rows:
        page.table(["  READING", "LAST:"], rows, wrap=0)
    if sample.notes:
        page.bullet(Text(plain(sample.notes), "dim"))


def add_telemetry(page: Page, record: PipelineRunRecord) -> None:
    """Add mean, 95th percentile and maximum of each reading over the run."""
    page.heading("Telemetry")
    if not record.telemetry:
        page.line("  unavailable")
        return
    rows = [
        [
            plain(telemetry_label(name), 60),
            *telemetry_figures(name, field),
        ]
        for name, field in record.telemetry.items()
        if name not in PROGRESS_FIELDS
    ]
    page.table(["READING", "MEAN:", "95TH PERCENTILE:", "MAXIMUM:"], rows, wrap=0)
    missing = unavailable(record.telemetry)
    if missing:
        page.line(missing, "dim")
