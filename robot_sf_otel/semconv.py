"""Every span attribute, instrument and service name that this package emits, in one place.

The names come from OpenTelemetry's semantic conventions (CI/CD, process, system, hardware); what
has no convention lies under `robot_sf.`. They are written out here because reading and writing
runs must not need OpenTelemetry; a test compares them with the installed conventions package.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

SERVICE_NAME: Final = "robot-sf-otel"
SCOPE: Final = "robot_sf_otel"

PIPELINE_NAME: Final = "cicd.pipeline.name"
PIPELINE_ACTION_NAME: Final = "cicd.pipeline.action.name"
PIPELINE_RESULT: Final = "cicd.pipeline.result"
PIPELINE_RUN_ID: Final = "cicd.pipeline.run.id"
PIPELINE_RUN_URL: Final = "cicd.pipeline.run.url.full"
TASK_NAME: Final = "cicd.pipeline.task.name"
TASK_RUN_ID: Final = "cicd.pipeline.task.run.id"
TASK_RUN_RESULT: Final = "cicd.pipeline.task.run.result"
TASK_RUN_URL: Final = "cicd.pipeline.task.run.url.full"
ERROR_TYPE: Final = "error.type"
SERVICE_NAME_KEY: Final = "service.name"

STEP_TITLE: Final = "robot_sf.step.title"
STEP_UNIT: Final = "robot_sf.step.progress.unit"
STEP_TOTAL: Final = "robot_sf.step.progress.total"
STEP_DONE: Final = "robot_sf.step.progress.done"
STEP_SKIP_REASON: Final = "robot_sf.step.skip_reason"
RUN_SCENARIO: Final = "robot_sf.run.scenario"
RUN_TAGS: Final = "robot_sf.run.tags"

Result = Literal["success", "failure", "error", "cancellation", "skip", "timeout"]
"""Values of `cicd.pipeline.result` and, with `skip`, of `cicd.pipeline.task.run.result`."""

Kind = Literal["gauge", "counter", "updowncounter"]


class Instrument(NamedTuple):
    """One observable instrument: its name, kind, UCUM unit, the reading it shows, a description."""

    name: str
    kind: Kind
    unit: str
    reading: str
    description: str


INSTRUMENTS: Final = (
    Instrument(
        "process.cpu.time",
        "counter",
        "s",
        "own_cpu_seconds",
        "CPU seconds of the instrumented process alone.",
    ),
    Instrument(
        "process.memory.usage",
        "updowncounter",
        "By",
        "own_rss_bytes",
        "Resident memory of the instrumented process alone.",
    ),
    Instrument(
        "system.memory.limit",
        "updowncounter",
        "By",
        "memory_limit_bytes",
        "Memory that the run may use: the container's limit where there is one.",
    ),
    Instrument(
        "robot_sf.process_tree.cpu.time",
        "counter",
        "s",
        "cpu_seconds",
        "CPU seconds of the process tree, ended children included.",
    ),
    Instrument(
        "robot_sf.process_tree.cpu.utilization",
        "gauge",
        "1",
        "cpu_utilization",
        "Share of the CPUs that the run may use which the tree used.",
    ),
    Instrument(
        "robot_sf.process_tree.memory.usage",
        "updowncounter",
        "By",
        "rss_bytes",
        "Resident memory of the process tree; shared pages count once for each process.",
    ),
    Instrument(
        "robot_sf.process_tree.count",
        "updowncounter",
        "{process}",
        "process_count",
        "Living processes of the tree.",
    ),
    Instrument(
        "robot_sf.run.progress.done",
        "gauge",
        "{unit}",
        "progress_done",
        "Units of progress done in the running step.",
    ),
    Instrument(
        "robot_sf.run.progress.rate",
        "gauge",
        "{unit}/s",
        "steps_per_sec",
        "Units of progress a second in the running step.",
    ),
)
"""Instruments that the monitor feeds; every reader sees the same last reading."""
