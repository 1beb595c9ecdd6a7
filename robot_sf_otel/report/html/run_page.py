"""The report of one run as a page: what its template shows and its charts draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.manifest.events import NANOSECONDS, rfc3339
from robot_sf_otel.manifest.facts import environment_facts, eta_sentence, evidence_sentence
from robot_sf_otel.manifest.failures import failures
from robot_sf_otel.manifest.formats import (
    coarse_duration,
    duration,
    fraction,
    is_known,
    number,
    one_line,
)
from robot_sf_otel.report.evidence import window_of
from robot_sf_otel.report.html import charts as c
from robot_sf_otel.report.html import run_tables as tables
from robot_sf_otel.report.html.axis import tick_text, ticks
from robot_sf_otel.report.html.document import render
from robot_sf_otel.report.html.eta_chart import eta_points
from robot_sf_otel.report.html.gantt import lanes_of
from robot_sf_otel.report.html.notes import honest_notes
from robot_sf_otel.report.html.parts import count, said, values
from robot_sf_otel.report.html.series import rounded

if TYPE_CHECKING:
    from robot_sf_otel.manifest.failures import Failure
    from robot_sf_otel.manifest.schema import (
        Anomaly,
        PerformanceRecommendation,
        PipelineRunRecord,
        StepExecutionEntry,
    )
    from robot_sf_otel.report.html.gantt import Lane
    from robot_sf_otel.report.html.source import Source

_MOST_FINDINGS: Final = 100
_MOST_ERRORS: Final = 20
_TRACE: Final = 20_000
_MOST_BANDS: Final = 600
WORDS: Final = {
    "pending": "not started",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
_FOR_MACHINES: Final = frozenset({"window_start", "window_end", "samples", "span_id"})
_RANK: Final = {"critical": 0, "warning": 1, "info": 2}


def render_run(source: Source, *, lies_in: str | None, command: str) -> bytes:
    """Return the page of a run as UTF-8.

    Args:
        source: The run.
        lies_in: Directory that the page is meant for, absolute, so that its links work.
        command: What makes this page again, for its foot.
    """
    record = source.run.record
    failed = failures(record)
    charts = c.charts_of(source.readings)
    findings = _findings(source, charts)
    lanes, left_out = lanes_of(record, source.timeline)
    axis = source.readings.thinner.axis()
    end = source.timeline.end
    eta = eta_points(source)
    links = tables.links_of(source, lies_in)
    return render(
        "report.html.j2",
        _data(source, charts, lanes, axis, eta),
        title=f"{said(record.pipeline, 80)}: {WORDS[record.status]}",
        status=record.status,
        pipeline=said(record.pipeline, 120),
        verdict=_verdict(record, end),
        facts=_facts(source),
        running=_running(record),
        errors=[_error(one, record.steps) for one in failed[:_MOST_ERRORS]],
        errors_left_out=max(0, len(failed) - _MOST_ERRORS),
        findings=findings,
        lanes=lanes,
        lanes_left_out=left_out,
        end=max(end, 1e-3),
        ticks=ticks(end),
        pauses=source.timeline.pauses,
        charts=charts,
        chart_tables=[tables.chart_table(chart, axis, end) for chart in charts],
        steps=tables.steps_table(source),
        eta=eta,
        eta_sentence=eta_sentence(record.eta),
        history=tables.history(source),
        difference=tables.difference(source),
        last_good=source.last_good,
        perf_tests=tables.perf_tests(record),
        results=values("Results", record.summary.custom),
        metrics=tables.metrics(record),
        artifacts=tables.artifacts(record, links),
        params=values("Parameters", record.params),
        seeds=values("Seeds", record.seeds),
        environment=values("Environment", environment_facts(record)),
        telemetry=tables.telemetry(record),
        notes=honest_notes(source),
        command=command,
    )


def _verdict(record: PipelineRunRecord, ran: float) -> str:
    summary = record.summary
    text = WORDS[record.status]
    seconds = record.duration_seconds if record.duration_seconds is not None else ran
    if record.status != "pending":
        link = {"completed": "in", "running": "for"}.get(record.status, "after")
        text += f" {link} {duration(seconds)}"
    return f"{text}, {summary.steps_completed:,} of {count(summary.steps_total, 'step')}"


def _facts(source: Source) -> list[tuple[str, str]]:
    record = source.run.record
    facts: list[tuple[str, str | None]] = [
        ("Run", record.run_id),
        ("Started", moment(record.created_at)),
        ("Ended", moment(record.completed_at)),
        ("As of", _last_sign(source)),
        ("Why", record.status_reason if record.status != "completed" else None),
        (
            "Last completed step",
            record.summary.last_completed_step
            if record.status in {"failed", "cancelled"}
            else None,
        ),
        ("Host", str(record.host["hostname"]) if record.host.get("hostname") else None),
        ("Commit", _commit(record)),
        ("Scenario", record.scenario_config_path),
        ("Tags", ", ".join(record.tags) or None),
        ("Command", " ".join(record.argv) or None),
    ]
    if sessions := len(source.timeline.sessions) - 1:
        facts.insert(3, ("Resumed", "once" if sessions == 1 else f"{sessions} times"))
    return [(label, said(text)) for label, text in facts if text]


def _last_sign(source: Source) -> str | None:
    """Return up to when a run that goes on is told of."""
    if source.run.record.status != "running":
        return None
    try:
        return moment(rfc3339(int(source.timeline.sessions[-1].ended) * NANOSECONDS))
    except (ValueError, OverflowError, OSError):
        return None


def _commit(record: PipelineRunRecord) -> str | None:
    commit = record.vcs.get("commit")
    if not commit:
        return None
    return f"{str(commit)[:12]}{', with uncommitted changes' if record.vcs.get('dirty') else ''}"


def moment(timestamp: str | None) -> str | None:
    """Return an RFC 3339 time to the second, with the zone in words."""
    if timestamp is None:
        return None
    head, _, tail = timestamp.replace("T", " ").partition(".")
    zone = tail.endswith("Z") or head.endswith("Z")
    return f"{head.removesuffix('Z')} UTC" if zone else timestamp


def _running(record: PipelineRunRecord) -> dict[str, Any] | None:
    """Return what a run that goes on says of its progress; None for any other."""
    if record.status != "running":
        return None
    eta = record.eta
    text = f"ETA {coarse_duration(eta.remaining_seconds)}"
    if is_known(eta.low_seconds) and is_known(eta.high_seconds):
        text += f" ({coarse_duration(eta.low_seconds)} to {coarse_duration(eta.high_seconds)})"
    now = [
        (
            said(step.display_name, 80),
            fraction(step.progress.done, step.progress.total),
            _progress(step),
        )
        for step in record.steps
        if step.status == "running"
    ]
    return {"eta": text, "steps": now[:8]}


def _progress(step: StepExecutionEntry) -> str:
    done = step.progress
    if done.total is not None:
        return said(f"{number(done.done)} of {number(done.total)} {done.unit}", 80)
    return said(f"{number(done.done)} {done.unit}", 80) if done.done else ""


def _error(failure: Failure, steps: list[StepExecutionEntry]) -> dict[str, Any]:
    error, step = failure
    trace = (error.stacktrace or "").strip("\n")
    message = error.message.strip()
    return {
        "where": said(failure.where, 120),
        "attempt": failure.attempt,
        "made_good": step is not None
        and any(
            other.status == "completed" and other.attempt > step.attempt
            for other in steps
            if (other.step_id, other.parent_step_id) == (step.step_id, step.parent_step_id)
        ),
        "type": said(error.type, 120),
        "exit_code": error.exit_code,
        "message": message if len(message) <= _TRACE else f"{message[:_TRACE]}…",
        "trace": trace if len(trace) <= _TRACE else f"…{trace[-_TRACE:]}",
    }


def _findings(source: Source, charts: list[c.Chart]) -> list[dict[str, Any]]:
    record = source.run.record
    found: list[tuple[PerformanceRecommendation | Anomaly, str]] = [
        *((one, "recommendation") for one in record.recommendations),
        *((one, "anomaly") for one in record.anomalies),
    ]
    found.sort(key=lambda pair: _RANK.get(pair[0].severity, 3))
    shown: list[dict[str, Any]] = []
    for index, (one, kind) in enumerate(found[:_MOST_FINDINGS]):
        anchor = f"finding-{index + 1}"
        chart = c.mark(charts, one, anchor, source.readings, source.timeline)
        actions: list[str] = getattr(one, "suggested_actions", [])
        shown.append(
            {
                "anchor": anchor,
                "kind": kind,
                "severity": one.severity,
                "rule": said(one.trigger, 80),
                "step": said(one.step_id, 80) if one.step_id else None,
                "message": said(one.message, 2000),
                "evidence": _evidence(one.evidence),
                "when": _when(one, source),
                "actions": [said(action, 2000) for action in actions],
                "chart": chart.anchor if chart is not None else None,
                "chart_title": chart.title if chart is not None else None,
                "a": chart.marks[-1].a if chart is not None else None,
                "b": chart.marks[-1].b if chart is not None else None,
            }
        )
    return shown


def _evidence(evidence: dict[str, Any]) -> str | None:
    """Return the evidence as a sentence, without what the chart shows and only machines read."""
    rest = {name: found for name, found in evidence.items() if name not in _FOR_MACHINES}
    return said(evidence_sentence(rest), 2000) if rest else None


def _when(one: PerformanceRecommendation | Anomaly, source: Source) -> str | None:
    window = window_of(one)
    if window is None:
        return None
    a, b = (tick_text(round(source.timeline.at(edge))) for edge in window)
    samples = one.evidence.get("samples")
    told = f", {count(samples, 'sample')}" if isinstance(samples, int) else ""
    return f"at {a}{told}" if a == b else f"from {a} to {b}{told}"


def _data(
    source: Source,
    charts: list[c.Chart],
    lanes: list[Lane],
    axis: list[float],
    eta: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return what the scripts of the page need, as small as it goes."""
    bands = [
        [round(bar.a, 6), round(bar.b, 6), lane.title, bar.status]
        for lane in lanes
        if lane.depth == 0
        for bar in lane.bars
    ]
    return {
        "end": round(max(source.timeline.end, 1e-3), 6),
        "sessions": [
            [round(session.begun, 3), round(session.before, 3)]
            for session in source.timeline.sessions
        ],
        "steps": bands[:_MOST_BANDS],
        "x": [round(at, 2 if source.timeline.end > 60 else 3) for at in axis],  # noqa: PLR2004 - a minute
        "charts": [chart_data(chart) for chart in charts],
        "eta": eta,
    }


def chart_data(chart: c.Chart) -> dict[str, Any]:
    """Return what the script of a page draws of a chart."""
    return {
        "id": chart.anchor,
        "kind": chart.kind,
        "unit": chart.unit,
        "colours": [line.colour for line in chart.lines],
        "log": chart.logarithmic,
        "limits": [[one_line(label, 80), value] for label, value in chart.limits],
        "marks": [
            [round(mark.a, 3), round(mark.b, 3), mark.severity, mark.threshold]
            for mark in chart.marks
        ],
        "lines": [rounded(line.ys.mean) for line in chart.lines],
        # The extremes behind each mean; nothing where the values are the samples themselves.
        "edges": [
            [rounded(line.ys.low), rounded(line.ys.high)]
            for line in chart.lines
            if line.ys.low is not line.ys.mean
        ],
    }
