"""Every span attribute, instrument and service name that this package emits, in one place.

The names come from OpenTelemetry's semantic conventions (CI/CD, process, system, hardware); what
has no convention lies under `robot_sf.`. They are written out here because reading and writing
runs must not need OpenTelemetry; a test compares them with the installed conventions package.
"""

from __future__ import annotations

from typing import Final, Literal

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
SERVICE_INSTANCE_ID: Final = "service.instance.id"
HOST_NAME: Final = "host.name"
PROCESS_PID: Final = "process.pid"
WORKER_ID: Final = "cicd.worker.id"
WORKER_NAME: Final = "cicd.worker.name"
WORKER_RANK: Final = "robot_sf.worker.rank"
WORKER_LOCAL_RANK: Final = "robot_sf.worker.local_rank"
WORKER_WORLD_SIZE: Final = "robot_sf.worker.world_size"
WORKER_NODE_RANK: Final = "robot_sf.worker.node_rank"
WORKER_JOB_ID: Final = "robot_sf.worker.job_id"

RUN_STATE: Final = "cicd.pipeline.run.state"
CPU_MODE: Final = "cpu.mode"
DISK_DIRECTION: Final = "disk.io.direction"
PAGING_STATE: Final = "system.paging.state"
HW_ID: Final = "hw.id"
HW_NAME: Final = "hw.name"
HW_TYPE: Final = "hw.type"
GPU_TASK: Final = "hw.gpu.task"

STEP_TITLE: Final = "robot_sf.step.title"
STEP_UNIT: Final = "robot_sf.step.progress.unit"
STEP_TOTAL: Final = "robot_sf.step.progress.total"
STEP_DONE: Final = "robot_sf.step.progress.done"
STEP_SKIP_REASON: Final = "robot_sf.step.skip_reason"
RUN_SCENARIO: Final = "robot_sf.run.scenario"
RUN_TAGS: Final = "robot_sf.run.tags"
RUN_TRACE_ID: Final = "robot_sf.run.trace_id"
RUN_STATUS: Final = "robot_sf.run.status"
"""`running`, `completed`, `failed` or `cancelled`, as in the manifest."""
METRIC_NAME: Final = "robot_sf.metric.name"
PRESSURE_RESOURCE: Final = "robot_sf.pressure.resource"
RUN_STARTED: Final = "robot_sf.run.started"
"""Names of events, as log records and on spans; attributes of the latter two follow."""
STEP_STARTED: Final = "robot_sf.step.started"
RECOMMENDATION: Final = "robot_sf.recommendation"
ANOMALY: Final = "robot_sf.anomaly"
FINDING_ID: Final = "robot_sf.finding.id"
FINDING_SEVERITY: Final = "robot_sf.finding.severity"
FINDING_MESSAGE: Final = "robot_sf.finding.message"
FINDING_ACTIONS: Final = "robot_sf.finding.suggested_actions"
FINDING_KIND: Final = "robot_sf.finding.kind"
"""`recommendation` or `anomaly`."""

Result = Literal["success", "failure", "error", "cancellation", "skip", "timeout"]
"""Values of `cicd.pipeline.result` and, with `skip`, of `cicd.pipeline.task.run.result`."""
