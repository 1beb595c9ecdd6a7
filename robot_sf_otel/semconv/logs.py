"""The events that go out as log records: names, severities, bodies, attributes. Pure.

OpenTelemetry records events as log records with a name; events on spans are on their way out, and
arrive only when the span ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from robot_sf_otel import semconv
from robot_sf_otel.semconv import spans

INFO: Final = 9
WARN: Final = 13
ERROR: Final = 17
_TEXTS: Final = {INFO: "INFO", WARN: "WARN", ERROR: "ERROR"}
_SEVERITIES: Final = {"info": INFO, "warning": WARN, "critical": ERROR}


class LogEvent(NamedTuple):
    """One event as a log record."""

    name: str
    severity: int
    """Of OpenTelemetry's severity numbers."""
    body: str
    attributes: spans.Attributes

    @property
    def severity_text(self) -> str:
        """The severity in words."""
        return _TEXTS[self.severity]


def run_started(pipeline: str, run_id: str, url: str, scenario: str | None = None) -> LogEvent:
    """Return the event that a run began; its span arrives only at its end."""
    attributes = spans.run_started(pipeline, run_id, url, scenario)
    del attributes[semconv.PIPELINE_ACTION_NAME]
    return LogEvent(semconv.RUN_STARTED, INFO, f"run of {pipeline} started: {run_id}", attributes)


def step_started(pipeline: str, run_id: str, step_id: str, task_run_id: str) -> LogEvent:
    """Return the event that a step began; its span arrives only at its end."""
    attributes: spans.Attributes = {
        semconv.PIPELINE_NAME: pipeline,
        semconv.PIPELINE_RUN_ID: run_id,
        semconv.TASK_NAME: step_id,
        semconv.TASK_RUN_ID: task_run_id,
    }
    return LogEvent(semconv.STEP_STARTED, INFO, f"step {step_id} started", attributes)


def finding(
    *,
    anomaly: bool,
    identity: str,
    severity: str,
    message: str,
    pipeline: str,
    run_id: str,
    step_id: str | None,
    actions: Sequence[str] = (),
) -> LogEvent:
    """Return the event that the rules found something.

    Args:
        anomaly: Whether it is an anomaly, else a recommendation.
        identity: Its id in the record.
        severity: `info`, `warning` or `critical`.
        message: What was found.
        pipeline: The run's pipeline.
        run_id: The run.
        step_id: The step that it is of; None for the run as a whole.
        actions: What can be done about it.
    """
    attributes: spans.Attributes = {
        semconv.PIPELINE_NAME: pipeline,
        semconv.PIPELINE_RUN_ID: run_id,
        **spans.finding(identity, severity, message),
    }
    if step_id is not None:
        attributes[semconv.TASK_NAME] = step_id
    if actions:
        attributes[semconv.FINDING_ACTIONS] = tuple(actions)
    name = semconv.ANOMALY if anomaly else semconv.RECOMMENDATION
    return LogEvent(name, _SEVERITIES.get(severity, INFO), message, attributes)


def exception(kind: str, message: str, stacktrace: str | None) -> LogEvent:
    """Return the event of an exception that ended a step or a run."""
    body = f"{kind}: {message}".rstrip(": ")
    return LogEvent(spans.EXCEPTION, ERROR, body, spans.exception(kind, message, stacktrace))
