"""manifest.md: the record of a run for people, as Markdown that GitHub shows well.

Pure: a record goes in, text comes out. The first line is the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from robot_sf_otel.manifest import usage
from robot_sf_otel.manifest.bars import bars
from robot_sf_otel.manifest.facts import (
    environment_facts,
    eta_sentence,
    evidence_sentence,
    is_dirty,
)
from robot_sf_otel.manifest.failures import Failure, failures
from robot_sf_otel.manifest.formats import (
    PROGRESS_FIELDS,
    UNKNOWN,
    coarse_duration,
    duration,
    is_known,
    number,
    one_line,
    percent,
    progress,
    rate,
    size,
    telemetry_figures,
    telemetry_label,
    unavailable,
)
from robot_sf_otel.manifest.markdown_text import (
    Links,
    code,
    details,
    escape,
    fence,
    html_text,
    table,
    value_text,
)
from robot_sf_otel.manifest.outline import outline
from robot_sf_otel.manifest.schema import (
    Anomaly,
    Artifact,
    ErrorInfo,
    PerformanceRecommendation,
    PipelineRunRecord,
    RunStatus,
    StepExecutionEntry,
)

T = TypeVar("T")

MAX_ROWS: Final = 300
"""Rows of one table; a longer one shows its two ends and says how many are left out."""
_MAX_ERRORS: Final = 50
_DIGEST: Final = 12
"""Characters of a digest that are shown."""
_MAX_LINKS: Final = 3
_MOST_OPEN: Final = 12
"""Rows of a table beyond which it is folded, apart from the steps."""
_ICONS: Final[Mapping[str, str]] = {
    "pending": "⏳",
    "running": "▶️",
    "completed": "✅",
    "failed": "❌",
    "cancelled": "⏹️",
    "skipped": "⏭️",
    "info": "💡",
    "warning": "⚠️",
    "critical": "🔴",
}
_HEADINGS: Final[Mapping[RunStatus, str]] = {
    "pending": "not started",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}


def render_markdown(
    record: PipelineRunRecord, *, run_dir: str | None = None, lies_in: str | None = None
) -> str:
    """Return the whole report of a run; sections without content are left out.

    Args:
        record: The run.
        run_dir: Where the run directory is now; the recorded `artifact_dir` by default.
        lies_in: Directory that the text is meant for, so that links to artifacts work; the run
            directory by default.
    """
    links = Links(run_dir or record.artifact_dir, lies_in)
    lines = [
        *_verdict(record),
        *_steps(record, links),
        *_timeline(record),
        *_errors(failures(record)),
        *_findings("Recommendations", record.recommendations),
        *_findings("Anomalies", record.anomalies),
        *_perf_tests(record),
        *_telemetry(record),
        *_artifacts(record, links),
        *_metrics(record),
        *_values("Results", record.summary.custom),
        *_values("Parameters", record.params),
        *_values("Seeds", record.seeds),
        *_environment(record),
        *_self(record),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _verdict(record: PipelineRunRecord) -> list[str]:
    summary = record.summary
    facts = [_HEADINGS[record.status]]
    if record.duration_seconds is not None:
        word = "in" if record.status == "completed" else "after"
        facts[0] += f" {word} {duration(record.duration_seconds)}"
    facts.append(f"{summary.steps_completed} of {summary.steps_total} steps")
    if record.status_reason and record.status != "completed":
        facts.append(escape(record.status_reason))
    lines = [f"# {_ICONS[record.status]} {escape(record.pipeline)}: {', '.join(facts)}", ""]
    if record.status == "running":
        lines += _running(record)
    about = [f"Run {code(record.run_id)}"]
    if record.created_at:
        about.append(f"started {escape(_moment(record.created_at))}")
    if record.completed_at:
        about.append(f"ended {escape(_moment(record.completed_at))}")
    if host := record.host.get("hostname"):
        about.append(f"on {escape(str(host))}")
    lines += [", ".join(about) + "  "]
    if record.scenario_config_path:
        lines += [f"Scenario {code(record.scenario_config_path)}  "]
    if record.tags:
        lines += ["Tags " + ", ".join(code(tag) for tag in record.tags) + "  "]
    if record.status in {"failed", "cancelled"} and summary.last_completed_step:
        lines += [f"Last completed step {code(summary.last_completed_step)}  "]
    return [*lines, ""]


def _running(record: PipelineRunRecord) -> list[str]:
    eta = record.eta
    now = ", ".join(code(name) for name in record.summary.running_steps) or "no step"
    text = f"Running {now}, ETA {coarse_duration(eta.remaining_seconds)}"
    if is_known(eta.low_seconds) and is_known(eta.high_seconds):
        text += f" ({coarse_duration(eta.low_seconds)} to {coarse_duration(eta.high_seconds)})"
    return [text, ""]


def _moment(timestamp: str) -> str:
    """RFC 3339 to the second, with the zone in words."""
    head, _, tail = timestamp.replace("T", " ").partition(".")
    return f"{head} UTC" if tail.endswith("Z") or head.endswith("Z") else timestamp


def _steps(record: PipelineRunRecord, links: Links) -> list[str]:
    if not record.steps:
        return []
    first, left_out, last = _ends(outline(record.steps))
    bill = usage.columns(record.steps)
    rows = [_step_row(depth, step, bill, links) for depth, step in first]
    if left_out:
        rows.append(["…", f"{left_out:,} more in manifest.json"])
    rows += [_step_row(depth, step, bill, links) for depth, step in last]
    head = [
        "#:",
        "Step",
        "Status",
        "Attempt:",
        "Duration:",
        "Progress:",
        "Rate:",
        *(f"{column.title}:" for column in bill),
        "Artifacts",
    ]
    return ["## Steps", "", *table(head, rows)]


def _timeline(record: PipelineRunRecord) -> list[str]:
    lines = bars(record)
    return ["## Timeline", "", *fence("\n".join(lines)), ""] if lines else []


def _folded(heading: str, head: Sequence[str], rows: list[list[str]]) -> list[str]:
    """Return a section with a table, which is folded where it is long."""
    body = table(head, _cut(rows))
    if len(rows) > _MOST_OPEN:
        body = details(f"{len(rows):,} rows", body)
    return [f"## {heading}", "", *body]


def _ends(rows: Sequence[T]) -> tuple[Sequence[T], int, Sequence[T]]:
    """Return the beginning of a very long table, how many rows are left out, and its end."""
    if len(rows) <= MAX_ROWS:
        return rows, 0, []
    half = MAX_ROWS // 2
    return rows[:half], len(rows) - 2 * half, rows[-half:]


def _cut(rows: list[list[str]]) -> list[list[str]]:
    """Leave the middle of a very long table out, and say so in its place."""
    first, left_out, last = _ends(rows)
    note = [["…", f"{left_out:,} more in manifest.json"]] if left_out else []
    return [*first, *note, *last]


def _step_row(
    depth: int, step: StepExecutionEntry, bill: Sequence[usage.Column], links: Links
) -> list[str]:
    indent = "&nbsp;&nbsp;" * depth + ("↳ " if depth else "")
    ran = step.started_at is not None
    done = step.progress
    status = f"{_ICONS[step.status]} {step.status}"
    if step.skip_reason:
        status += f": {escape(step.skip_reason)}"
    return [
        str(step.order),
        indent + (escape(step.display_name) or code(step.step_id)),
        status,
        str(step.attempt) if ran else UNKNOWN,
        duration(step.duration_seconds),
        escape(progress(done.done, done.total, done.unit)),
        escape(rate(done.rate, done.unit)),
        *(column.of(step.usage) for column in bill),
        _links(step.artifacts, links),
    ]


def _links(artifacts: list[Artifact], links: Links) -> str:
    shown = [
        links.to(artifact.name or artifact.path, artifact.path)
        for artifact in artifacts[:_MAX_LINKS]
    ]
    if len(artifacts) > _MAX_LINKS:
        shown.append(f"{len(artifacts) - _MAX_LINKS} more")
    return ", ".join(shown)


def _errors(failed: list[Failure]) -> list[str]:
    if not failed:
        return []
    lines = ["## Errors", ""]
    for one in failed[:_MAX_ERRORS]:
        attempt = f" (attempt {one.attempt})" if one.attempt > 1 else ""
        lines += [f"### {escape(one.where)}{attempt}", "", *_error(one.error)]
    if len(failed) > _MAX_ERRORS:
        lines += [f"{len(failed) - _MAX_ERRORS:,} more in manifest.json.", ""]
    return lines


def _error(error: ErrorInfo) -> list[str]:
    text = f"**{escape(error.type)}**"
    message = error.message.strip()
    if error.exit_code is not None:
        text += f" (exit code {error.exit_code})"
    lines: list[str] = []
    if "\n" in message:
        lines += [text, "", *fence(message), ""]
    else:
        lines += [f"{text}: {escape(message, 2000)}" if message else text, ""]
    if error.stacktrace and error.stacktrace.strip():
        lines += details("Traceback", fence(error.stacktrace.strip("\n")))
    return lines


def _findings(
    heading: str, findings: Iterable[PerformanceRecommendation] | Iterable[Anomaly]
) -> list[str]:
    lines: list[str] = []
    for found in findings:
        where = f" ({code(found.step_id)})" if found.step_id else ""
        lines.append(
            f"- {_ICONS[found.severity]} **{found.severity}** {code(found.trigger)}{where}: "
            f"{escape(found.message, 2000)}"
        )
        if found.evidence:
            lines.append(f"  - Evidence: {escape(evidence_sentence(found.evidence), 2000)}")
        if isinstance(found, PerformanceRecommendation):
            lines += [f"  - [ ] {escape(action, 2000)}" for action in found.suggested_actions]
    return [f"## {heading}", "", *lines, ""] if lines else []


def _perf_tests(record: PipelineRunRecord) -> list[str]:
    if not record.perf_tests:
        return []
    rows = [
        [
            escape(test.test_id),
            test.status,
            escape(f"{number(test.throughput_measured)} {test.unit}"),
            number(test.throughput_baseline),
            percent(test.ratio * 100) if test.ratio is not None else UNKNOWN,
        ]
        for test in record.perf_tests
    ]
    head = ["Test", "Status", "Measured:", "Baseline:", "Of baseline:"]
    return ["## Performance tests", "", *table(head, rows)]


def _telemetry(record: PipelineRunRecord) -> list[str]:
    rows = [
        [
            escape(telemetry_label(name)),
            *telemetry_figures(name, field),
            number(field.count),
        ]
        for name, field in record.telemetry.items()
        if name not in PROGRESS_FIELDS
    ]
    if not rows:
        return ["## Telemetry", "", "unavailable", ""] if record.status != "pending" else []
    head = ["Reading", "Mean:", "95th percentile:", "Maximum:", "Samples:"]
    missing = unavailable(record.telemetry)
    return [*_folded("Telemetry", head, rows), *([missing, ""] if missing else [])]


def _artifacts(record: PipelineRunRecord, links: Links) -> list[str]:
    if not record.artifacts:
        return []
    rows = [
        [
            links.to(artifact.name or artifact.path, artifact.path),
            escape(artifact.kind),
            size(artifact.size_bytes),
            code(artifact.step_id) if artifact.step_id else "",
            code(artifact.sha256[:_DIGEST]) if artifact.sha256 else UNKNOWN,
        ]
        for artifact in record.artifacts
    ]
    head = ["Artifact", "Kind", "Size:", "Step", "SHA-256"]
    return _folded("Artifacts", head, rows)


def _metrics(record: PipelineRunRecord) -> list[str]:
    rows = [
        [escape(step.display_name), escape(name), value_text(value)]
        for step in record.steps
        for name, value in step.metrics.items()
    ]
    head = ["Step", "Metric", "Last value:"]
    return _folded("Metrics", head, rows) if rows else []


def _values(heading: str, values: dict[str, Any]) -> list[str]:
    if not values:
        return []
    rows = [[escape(name), value_text(value)] for name, value in values.items()]
    return _folded(heading, ["Name", "Value"], rows)


def _environment(record: PipelineRunRecord) -> list[str]:
    facts = environment_facts(record)
    if not facts:
        return []
    summary = "Environment"
    if commit := record.vcs.get("commit"):
        summary += f": commit {html_text(one_line(str(commit), 13))}"
        summary += ", with uncommitted changes" if is_dirty(record) else ""
    rows = [[escape(name[:1].upper() + name[1:]), value_text(fact)] for name, fact in facts.items()]
    return details(summary, table(["What", "Value"], rows))


def _self(record: PipelineRunRecord) -> list[str]:
    cost = record.self_cost
    lines: list[str] = []
    if is_known(cost.cpu_seconds):
        share = percent(cost.share_of_run * 100) if cost.share_of_run is not None else UNKNOWN
        lines.append(
            f"Telemetry cost {duration(cost.cpu_seconds)} of CPU ({share} of the run), "
            f"wrote {size(cost.bytes_written)}, took {number(cost.samples_taken)} samples, "
            f"missed {number(cost.samples_missed)}, dropped {number(cost.events_dropped)} events."
        )
    if judged := eta_sentence(record.eta):
        lines += ["", judged]
    if cost.faults:
        lines += ["", "Telemetry itself had faults; the pipeline was not affected:", ""]
        lines += [f"- {escape(fault, 2000)}" for fault in cost.faults]
    return [*lines, ""] if lines else []
