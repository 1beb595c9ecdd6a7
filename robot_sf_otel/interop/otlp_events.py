"""A run that was found in a trace, as the events of a journal. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from robot_sf_otel import semconv
from robot_sf_otel.interop.otlp_runs import FoundRun, name_of_nested
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest import from_spans
from robot_sf_otel.manifest.codec import clip
from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation, Severity
from robot_sf_otel.manifest.spans import RecordedLog
from robot_sf_otel.store.layout import run_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robot_sf_otel.manifest.spans import RecordedSpan
    from robot_sf_otel.redaction import Redactor

MAX_STEPS: Final = 10_000
"""Steps of one run that are taken; the rest is counted."""
NO_ACTION: Final = "look at the record of the run, which has the evidence"
_FINDINGS: Final = frozenset({semconv.RECOMMENDATION, semconv.ANOMALY})
_SEVERITIES: Final[dict[str, Severity]] = {
    "info": "info",
    "warning": "warning",
    "critical": "critical",
}


def id_of(run: FoundRun) -> str:
    """Return what a run is called; one without a name is called by its trace, each time alike."""
    if run.run_id:
        return run.run_id
    first = min(run.spans, key=lambda span: span.start_ns)
    named = run.sessions[0] if run.sessions else first
    return run_id(from_spans.pipeline_of(named), run.begun_ns, first.trace_id[:6])


def events_of(run: FoundRun, redact: Redactor) -> list[e.Event]:
    """Return the events of a run; its start is the first."""
    events = [_start(run, redact)]
    begun = {span.span_id for span in run.spans}
    steps = sorted([*run.steps, *run.nested], key=lambda span: span.start_ns)
    nested = {span.span_id for span in run.nested}
    known = run.spans
    if known:
        first = run.sessions[0] if run.sessions else min(known, key=lambda span: span.start_ns)
        events.append(from_spans.resource_facts(first, redact, None))
    for span in steps[:MAX_STEPS]:
        name = name_of_nested(span) if span.span_id in nested else None
        events += from_spans.step_events(span, redact, name=name)
    if len(steps) > MAX_STEPS:
        message = f"steps beyond the first {MAX_STEPS} of a run are left out"
        left_out = len(steps) - MAX_STEPS
        events.append(
            e.TelemetryFault(
                time_unix_nano=run.ended_ns, where="import", message=message, count=left_out
            )
        )
    for log in [*_of_spans(run), *run.logs[: 2 * MAX_STEPS]]:  # these say more, and come last
        events += _logged(log, begun, redact)
    for number, root in enumerate(run.sessions):
        events += _session(root, run.sessions[number - 1] if number else None, redact)
    return events


def _start(run: FoundRun, redact: Redactor) -> e.Event:
    if run.sessions:
        root = run.sessions[0]
        return from_spans.run_started(
            root, root=root, run_id=id_of(run), artifact_dir="", origin=from_spans.Origin()
        )
    log = next((one for one in run.logs if one.event_name == semconv.RUN_STARTED), None)
    if log is None and run.spans:
        first = min(run.spans, key=lambda span: span.start_ns)
        started = from_spans.run_started(
            first, root=None, run_id=id_of(run), artifact_dir="", origin=from_spans.Origin()
        )
        started.pipeline = from_spans.text_of(first, semconv.PIPELINE_NAME) or started.pipeline
        return started
    told = log or run.logs[0]
    scenario = told.attributes.get(semconv.RUN_SCENARIO)
    return e.RunStarted(
        time_unix_nano=min(told.time_ns, run.begun_ns) or told.time_ns,
        trace_id=told.trace_id or None,
        span_id=told.span_id or None if log is not None else None,
        run_id=run.run_id or id_of_log(told),
        pipeline=_text(told, semconv.PIPELINE_NAME, redact) or "run",
        scenario_config_path=str(scenario) if scenario else None,
        process=from_spans.process_of(told.resource),
    )


def id_of_log(log: RecordedLog) -> str:
    """Return what a run is called of which only a nameless log record is known."""
    return run_id("run", log.time_ns, (log.trace_id or "000000")[:6])


def _session(root: RecordedSpan, before: RecordedSpan | None, redact: Redactor) -> list[e.Event]:
    """Return the end of a run, and that it goes on where it is not its first session."""
    finished = from_spans.run_finished(root, redact)
    events: list[e.Event] = [*from_spans.root_events(root, redact), finished]
    if before is None:
        return events
    resumed = e.RunResumed(
        time_unix_nano=root.start_ns,
        trace_id=root.trace_id,
        span_id=root.span_id,
        process=from_spans.process_of(root.resource),
        previous_span_id=before.span_id,
    )
    finished.duration_seconds = None  # what all sessions took follows from their times
    return [resumed, *events]


def _logged(log: RecordedLog, begun: set[str], redact: Redactor) -> list[e.Event]:
    """Return what a log record tells: steps whose span did not arrive, and findings."""
    ids: dict[str, Any] = {
        "time_unix_nano": log.time_ns,
        "trace_id": log.trace_id or None,
        "span_id": log.span_id or None,
    }
    step = _text(log, semconv.TASK_NAME, redact)
    if log.event_name == semconv.STEP_STARTED:
        if step is None or not log.span_id or log.span_id in begun or not log.time_ns:
            return []
        begun.add(log.span_id)
        process = from_spans.process_of(log.resource)
        return [e.StepStarted(step_id=step, process=process, **ids)]
    if log.event_name not in _FINDINGS or not log.time_ns:
        return []
    identity = _text(log, semconv.FINDING_ID, redact) or "unnamed"
    facts: dict[str, Any] = {
        "id": identity,
        "trigger": identity,
        "severity": _SEVERITIES.get(str(log.attributes.get(semconv.FINDING_SEVERITY)), "info"),
        "message": _text(log, semconv.FINDING_MESSAGE, redact) or redact.text(clip(log.body)),
        "timestamp_ms": log.time_ns // 1_000_000,
        "step_id": step,
    }
    if log.event_name == semconv.ANOMALY:
        return [e.AnomalyDetected(anomaly=Anomaly(**facts), **ids)]
    told = log.attributes.get(semconv.FINDING_ACTIONS)
    named = cast("list[object]", told) if isinstance(told, list) else []
    actions = [redact.text(clip(str(one), 1000)) for one in named]
    made = PerformanceRecommendation(suggested_actions=actions or [NO_ACTION], **facts)
    return [e.RecommendationAdded(recommendation=made, **ids)]


def _of_spans(run: FoundRun) -> Iterator[RecordedLog]:
    """Yield the findings that are events of spans, for where log records did not arrive."""
    for span in run.spans:
        for event in span.events:
            if event.name in _FINDINGS:
                yield RecordedLog(
                    time_ns=event.time_unix_nano,
                    event_name=event.name,
                    body="",
                    severity=0,
                    attributes={
                        semconv.TASK_NAME: span.attributes.get(semconv.TASK_NAME),
                        **event.attributes,
                    },
                    trace_id=span.trace_id,
                    span_id=span.span_id,
                )


def _text(log: RecordedLog, name: str, redact: Redactor) -> str | None:
    value = log.attributes.get(name)
    if not isinstance(value, str) or not value:
        return None
    return redact.text(clip(value, 4096 if name == semconv.FINDING_MESSAGE else 200))
