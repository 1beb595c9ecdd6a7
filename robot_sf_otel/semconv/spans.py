"""The spans of runs and steps: names and attributes, live and exported alike. Pure.

The conventions are those for CI/CD spans. Where they ask for a URL it is the run's directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from robot_sf_otel import semconv

Value = str | bool | int | float | Sequence[str]
Attributes = dict[str, Value]

ACTION: Final = "RUN"
"""The kind of action that a run of a pipeline is; one of the conventions' well-known values."""
OTHER_ERROR: Final = "_OTHER"
"""`error.type` where no class of error is known, as the conventions have it."""
EXCEPTION: Final = "exception"
"""Name of the event of an exception, on spans and in logs."""
FAILED: Final = frozenset({"failure", "error", "timeout"})
"""Results that have an `error.type`, whether a class of error is known or not."""


def run_name(pipeline: str) -> str:
    """Return the name of a run's span: action and pipeline."""
    return f"{ACTION} {pipeline}"


def run_started(
    pipeline: str, run_id: str, url: str, scenario: str | None = None, tags: Sequence[str] = ()
) -> Attributes:
    """Return the attributes of a run's span that are known at its start."""
    attributes: Attributes = {
        semconv.PIPELINE_NAME: pipeline,
        semconv.PIPELINE_ACTION_NAME: ACTION,
        semconv.PIPELINE_RUN_ID: run_id,
        semconv.PIPELINE_RUN_URL: url,
    }
    if scenario:
        attributes[semconv.RUN_SCENARIO] = scenario
    if tags:
        attributes[semconv.RUN_TAGS] = tuple(tags)
    return attributes


def run_ended(result: str, error: str | None = None) -> Attributes:
    """Return the attributes of a run's span that its end adds; `error` is the class of an error."""
    return {semconv.PIPELINE_RESULT: result, **_error(result, error)}


def step_started(
    step_id: str,
    pipeline: str | None = None,
    run_id: str | None = None,
    url: str | None = None,
    *,
    title: str | None = None,
    total: float | None = None,
    unit: str = "it",
) -> Attributes:
    """Return the attributes of a step's span that are known at its start.

    The three of the run are None for a step outside any run.
    """
    attributes: Attributes = {semconv.TASK_NAME: step_id}
    for name, value in (
        (semconv.PIPELINE_NAME, pipeline),
        (semconv.PIPELINE_RUN_ID, run_id),
        (semconv.TASK_RUN_URL, url),
        (semconv.STEP_TITLE, title),
        (semconv.STEP_TOTAL, total),
    ):
        if value is not None:
            attributes[name] = value
    if unit != "it":
        attributes[semconv.STEP_UNIT] = unit
    return attributes


def step_ended(
    result: str,
    error: str | None = None,
    *,
    done: float | None = None,
    total: float | None = None,
    skip_reason: str | None = None,
) -> Attributes:
    """Return the attributes of a step's span that its end adds."""
    attributes: Attributes = {semconv.TASK_RUN_RESULT: result, **_error(result, error)}
    for name, value in (
        (semconv.STEP_DONE, done),
        (semconv.STEP_TOTAL, total),
        (semconv.STEP_SKIP_REASON, skip_reason),
    ):
        if value is not None:
            attributes[name] = value
    return attributes


def exception(kind: str, message: str, stacktrace: str | None) -> Attributes:
    """Return the attributes of the event of an exception."""
    attributes: Attributes = {"exception.type": kind, "exception.message": message}
    if stacktrace:
        attributes["exception.stacktrace"] = stacktrace
    return attributes


def finding(identity: str, severity: str, message: str) -> Attributes:
    """Return the attributes of the event of a recommendation or an anomaly."""
    return {
        semconv.FINDING_ID: identity,
        semconv.FINDING_SEVERITY: severity,
        semconv.FINDING_MESSAGE: message,
    }


def error_type(result: str, error: str | None) -> str | None:
    """Return the `error.type` of a result, on spans and metrics; None where nothing went wrong."""
    if error is not None:
        return error
    if result == "timeout":
        return result
    return OTHER_ERROR if result in FAILED else None


def _error(result: str, error: str | None) -> Mapping[str, Value]:
    kind = error_type(result, error)
    return {} if kind is None else {semconv.ERROR_TYPE: kind}
