"""Spans in the words of the journal: a root is a run, a span below it a step.

Nothing here knows where a span came from, which run it belongs to or what came before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from robot_sf_otel import semconv
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import clip, jsonable, metric_value
from robot_sf_otel.manifest.schema import ErrorInfo, MetricValue, Progress
from robot_sf_otel.manifest.spans import ERROR, RecordedSpan
from robot_sf_otel.semconv.spans import OTHER_ERROR

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import RunStatus, StepStatus
    from robot_sf_otel.redaction import Redactor

MAX_NAME: Final = 200
"""Characters of a span, step or metric name that are kept."""
MAX_STACKTRACE: Final = 32_000
"""Characters of a traceback that are kept: its end, where the cause is."""
MAX_METRICS: Final = 200
"""Metrics kept of one step; more would make the page of the run unreadable."""

_STEP_STATUS: Final[Mapping[str, StepStatus]] = {
    "success": "completed",
    "failure": "failed",
    "error": "failed",
    "timeout": "failed",
    "cancellation": "cancelled",
    "skip": "skipped",
}
_INTERRUPTIONS: Final = ("KeyboardInterrupt", "CancelledError", "GeneratorExit")
_OUR_ATTRIBUTES: Final = ("cicd.pipeline.", "robot_sf.step.", "robot_sf.run.")
_RESOURCE_FACTS: Final = {"host.": "host", "os.": "host", "vcs.": "vcs"}
_KEYS: Final = {"host.name": "hostname", "host.arch": "architecture", "os.type": "os"}
_COMMANDS: Final = frozenset({"process.command", "process.command_args", "process.command_line"})
# Attributes whose number is a name or an address and measures nothing.
_NO_METRICS: Final = (
    *("code.", "thread.", "server.", "client.", "network.", "net.", "http.", "url.", "process."),
    *("user_agent.", "rpc.", "db.", "messaging.", "enduser.", "session.", "service."),
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a span ended, in the words of the manifest."""

    status: StepStatus
    result: str
    error: ErrorInfo | None = None
    reason: str | None = None

    @property
    def run_status(self) -> RunStatus:
        """The same for a run, which is never skipped."""
        return "completed" if self.status == "skipped" else self.status


@dataclass(frozen=True, slots=True)
class Origin:
    """The process that a run is recorded in."""

    process: str | None = None
    hostname: str | None = None
    argv: tuple[str, ...] = ()
    initiator: str | None = None
    cwd: str | None = None


def is_ours(span: RecordedSpan) -> bool:
    """Return whether the capture of this package made the span."""
    return span.scope == semconv.SCOPE


def text_of(span: RecordedSpan, name: str) -> str | None:
    """Return an attribute that is a text and not empty, clipped; None where it is neither."""
    value = span.attributes.get(name)
    return clip(value, 4096) if isinstance(value, str) and value else None


def pipeline_of(span: RecordedSpan) -> str:
    """Return what a root span says that its pipeline is called."""
    return clip(text_of(span, semconv.PIPELINE_NAME) or span.name or "run", MAX_NAME)


def service_of(span: RecordedSpan) -> str:
    """Return `service.name` of the span's resource: all that is known before the root ends."""
    named = span.resource.get(semconv.SERVICE_NAME_KEY)
    return clip(named, MAX_NAME) if isinstance(named, str) and named else "run"


def ending_of(span: RecordedSpan, redact: Redactor) -> Ending:
    """Return how a span ended: its CI/CD result where it has one, else its status.

    OpenTelemetry leaves the status unset when Ctrl-C or `SystemExit` ends a block, so that such a
    span of foreign code looks like a success; there is nothing to tell it apart by.
    """
    error = _error(span, redact)
    reason = redact.text(clip(span.status_message)) if span.status_message else None
    told = text_of(span, semconv.PIPELINE_RESULT) or text_of(span, semconv.TASK_RUN_RESULT)
    status = _STEP_STATUS.get(told or "")
    if told is None or status is None:
        status, told = _by_status(span, error)
    if status == "failed":
        error = error or ErrorInfo(
            type=text_of(span, semconv.ERROR_TYPE) or told, message=reason or ""
        )
        return Ending(status, told, error, reason or f"{error.type}: {error.message}".rstrip(": "))
    return Ending(status, told, None, reason if status == "cancelled" else None)


def _by_status(span: RecordedSpan, error: ErrorInfo | None) -> tuple[StepStatus, str]:
    interrupted = error is not None and error.type.endswith(_INTERRUPTIONS)
    if interrupted:
        return "cancelled", "cancellation"
    if span.status == ERROR:
        return "failed", "failure"
    return "completed", "success"


def _error(span: RecordedSpan, redact: Redactor) -> ErrorInfo | None:
    """Return the last exception that was recorded on a span."""
    for event in reversed(span.events):
        if event.name != "exception":
            continue
        facts = event.attributes
        stack = str(facts.get("exception.stacktrace") or "")
        return ErrorInfo(
            type=clip(str(facts.get("exception.type") or "exception"), MAX_NAME),
            message=redact.text(clip(str(facts.get("exception.message") or ""))),
            stacktrace=redact.text(clip(stack[-MAX_STACKTRACE:], MAX_STACKTRACE)) or None,
        )
    return None


def step_events(
    span: RecordedSpan, redact: Redactor, process: str | None = None, *, name: str | None = None
) -> list[e.Event]:
    """Return the start, the metrics and the end of a step.

    Args:
        span: An ended span that is not the root of a run.
        redact: Masks what looks secret.
        process: Who ran it, where the span's resource does not say.
        name: What the step is called, where the span is no step of ours.
    """
    start, end = span.start_ns, span.end_ns
    ids: dict[str, Any] = {"trace_id": span.trace_id, "span_id": span.span_id}
    progress = _progress(span, (end - start) / e.NANOSECONDS)
    name = clip(name or text_of(span, semconv.TASK_NAME) or span.name or "step", MAX_NAME)
    events: list[e.Event] = [
        e.StepStarted(
            time_unix_nano=start,
            step_id=name,
            display_name=text_of(span, semconv.STEP_TITLE) or name,
            parent_span_id=span.parent_span_id,
            total=progress.total,
            unit=progress.unit,
            process=process_of(span.resource) or process,
            **ids,
        )
    ]
    if metrics := _metrics_of(span, redact):
        events.append(e.MetricLogged(time_unix_nano=end, metrics=metrics, **ids))
    ending = ending_of(span, redact)
    skipped = text_of(span, semconv.STEP_SKIP_REASON) if ending.status == "skipped" else None
    events.append(
        e.StepFinished(
            time_unix_nano=end,
            status=ending.status,
            result=ending.result,
            duration_seconds=max(0.0, (end - start) / e.NANOSECONDS),
            progress=progress,
            error=ending.error,
            skip_reason=redact.text(skipped) if skipped else None,
            **ids,
        )
    )
    return events


def _progress(span: RecordedSpan, seconds: float) -> Progress:
    done = _number(span, semconv.STEP_DONE) or 0
    return Progress(
        done=done,
        total=_number(span, semconv.STEP_TOTAL),
        unit=clip(text_of(span, semconv.STEP_UNIT) or "it", MAX_NAME),
        rate=done / seconds if done and seconds > 0 else None,
    )


def _number(span: RecordedSpan, name: str) -> float | None:
    value = span.attributes.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    finite = metric_value(value)
    return finite if isinstance(finite, float) and finite >= 0 else None


def _metrics_of(span: RecordedSpan, redact: Redactor) -> dict[str, MetricValue]:
    """Return the numbers among a span's attributes, which is where plain programs put results."""
    metrics: dict[str, MetricValue] = {}
    for name, value in span.attributes.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if (
            name.startswith((*_OUR_ATTRIBUTES, *_NO_METRICS))
            or redact.value(name, value) is not value
        ):
            continue
        if len(metrics) < MAX_METRICS:
            metrics[clip(name, MAX_NAME)] = metric_value(value)
    return metrics


def run_started(
    span: RecordedSpan, *, root: RecordedSpan | None, run_id: str, artifact_dir: str, origin: Origin
) -> e.RunStarted:
    """Return the event that opens the run of a trace.

    Args:
        span: The first span of the trace that ended.
        root: The local root, if it has ended too; else the run is called after its service.
        run_id: The run's id.
        artifact_dir: The run's directory.
        origin: The process that records it.
    """
    known = root if root is not None else span
    return e.RunStarted(
        time_unix_nano=known.start_ns,
        trace_id=span.trace_id,
        span_id=root.span_id if root is not None else None,
        run_id=run_id,
        pipeline=pipeline_of(root) if root is not None else service_of(span),
        artifact_dir=artifact_dir,
        initiator=origin.initiator,
        argv=list(origin.argv),
        cwd=origin.cwd,
        process=process_of(span.resource) or origin.process,
        parent_span_id=root.parent_span_id if root is not None else None,
    )


def resource_facts(span: RecordedSpan, redact: Redactor, hostname: str | None) -> e.ParamsLogged:
    """Return what the resource says of host, version control and runtime.

    Args:
        span: Any span of the run.
        redact: Masks what looks secret.
        hostname: The machine's name where the resource does not say.
    """
    facts: dict[str, dict[str, Any]] = {"host": {}, "vcs": {}, "runtime": {}}
    if hostname:
        facts["host"]["hostname"] = hostname
    for name, value in span.resource.items():
        if name in _COMMANDS:
            continue  # the run's own `argv`, masked argument by argument
        prefix = next((known for known in _RESOURCE_FACTS if name.startswith(known)), None)
        target = facts[_RESOURCE_FACTS[prefix] if prefix is not None else "runtime"]
        target[clip(_KEYS.get(name, name), MAX_NAME)] = jsonable(redact.value(name, value))
    return e.ParamsLogged(
        time_unix_nano=span.start_ns,
        trace_id=span.trace_id,
        host=facts["host"],
        vcs=facts["vcs"],
        runtime=facts["runtime"],
    )


def root_events(root: RecordedSpan, redact: Redactor) -> list[e.Event]:
    """Return what an ended root says of its run, but for its end: name, scenario, parameters."""
    now: dict[str, Any] = {
        "time_unix_nano": root.end_ns,
        "trace_id": root.trace_id,
        "span_id": root.span_id,
    }
    scenario = text_of(root, semconv.RUN_SCENARIO)
    told = root.attributes.get(semconv.RUN_TAGS)
    tags = cast("Sequence[object]", told) if isinstance(told, tuple | list) else ()
    params = {
        clip(name, MAX_NAME): jsonable(redact.value(name, value))
        for name, value in root.attributes.items()
        if not name.startswith(_OUR_ATTRIBUTES) and name != semconv.ERROR_TYPE
    }
    return [
        e.PlanChanged(plan=[], pipeline=pipeline_of(root), scenario_config_path=scenario, **now),
        e.ParamsLogged(
            params=params,
            tags=[redact.text(clip(str(tag), MAX_NAME)) for tag in tags],
            **now,
        ),
    ]


def run_finished(root: RecordedSpan, redact: Redactor) -> e.RunFinished:
    """Return the end of a run, as its root span has it."""
    start, end = root.start_ns, root.end_ns
    ending = ending_of(root, redact)
    error = ending.error
    if error is not None and error.type in {OTHER_ERROR, ending.result}:
        error = None  # nobody said which; the reason says the rest
    return e.RunFinished(
        time_unix_nano=end,
        trace_id=root.trace_id,
        span_id=root.span_id,
        status=ending.run_status,
        result=ending.result,
        duration_seconds=max(0.0, (end - start) / e.NANOSECONDS),
        reason=ending.reason,
        error=error,
    )


def process_of(resource: Mapping[str, Any]) -> str | None:
    """Return `<host>:<pid>` of a resource, None where it does not tell both."""
    host, pid = resource.get(semconv.HOST_NAME), resource.get(semconv.PROCESS_PID)
    return clip(f"{host}:{pid}", MAX_NAME) if host and pid else None
