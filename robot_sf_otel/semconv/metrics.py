"""What tells the points of runs and steps apart, live and exported alike. Pure."""

from __future__ import annotations

from typing import Final

from robot_sf_otel import semconv

Attributes = dict[str, str]

EXECUTING: Final = "executing"
FINALIZING: Final = "finalizing"


def of_run(pipeline: str) -> Attributes:
    """Return the attributes of figures of a run: its pipeline alone, as each id is a series."""
    return {semconv.PIPELINE_NAME: pipeline}


def of_step(pipeline: str, step: str | None) -> Attributes:
    """Return the attributes of figures of a step; None stands for the run as a whole."""
    which = of_run(pipeline)
    if step is not None:
        which[semconv.TASK_NAME] = step
    return which


def of_metric(pipeline: str, step: str | None, name: str) -> Attributes:
    """Return the attributes of a logged metric."""
    return {**of_step(pipeline, step), semconv.METRIC_NAME: name}


def run_info(
    pipeline: str, run_id: str, trace_id: str, status: str, scenario: str | None = None
) -> Attributes:
    """Return what tells a run apart from all others, with a status that it has or had."""
    which = {
        **of_run(pipeline),
        semconv.PIPELINE_RUN_ID: run_id,
        semconv.RUN_TRACE_ID: trace_id,
        semconv.RUN_STATUS: status,
    }
    if scenario is not None:
        which[semconv.RUN_SCENARIO] = scenario
    return which


def run_member(run_id: str) -> Attributes:
    """Return the attributes of what ties a process to a run that it reports to."""
    return {semconv.PIPELINE_RUN_ID: run_id}


def run_active(pipeline: str, state: str) -> Attributes:
    """Return the attributes of the number of runs in a state."""
    return {**of_run(pipeline), semconv.RUN_STATE: state}


def run_duration(pipeline: str, result: str, error: str | None) -> Attributes:
    """Return the attributes of the duration of a run; `error` is its `error.type`."""
    which = {**run_active(pipeline, EXECUTING), semconv.PIPELINE_RESULT: result}
    if error is not None:
        which[semconv.ERROR_TYPE] = error
    return which


def run_error(pipeline: str, error: str) -> Attributes:
    """Return the attributes of the number of runs that failed."""
    return {**of_run(pipeline), semconv.ERROR_TYPE: error}


def step_duration(pipeline: str, step: str, result: str) -> Attributes:
    """Return the attributes of the duration of a step."""
    return {**of_step(pipeline, step), semconv.TASK_RUN_RESULT: result}


def finding(pipeline: str, rule: str, step: str | None, severity: str, kind: str) -> Attributes:
    """Return the attributes of the number of findings.

    Args:
        pipeline: The run's pipeline.
        rule: What fired. With the step it makes the id, without the number of an anomaly that came
            again: each would be a series.
        step: The step; None for the run as a whole.
        severity: `info`, `warning` or `critical`.
        kind: `recommendation` or `anomaly`.
    """
    return {
        **of_run(pipeline),
        semconv.FINDING_ID: f"{rule}:{step or 'run'}",
        semconv.FINDING_SEVERITY: severity,
        semconv.FINDING_KIND: kind,
    }
