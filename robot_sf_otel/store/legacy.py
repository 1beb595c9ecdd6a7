"""Runs of the original tracker, whose journal repeats the whole record: listed, never rewritten."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from robot_sf_otel.manifest.schema import (
    PipelineRunRecord,
    RunStatus,
    RunSummary,
    StepExecutionEntry,
)
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.tail import iter_raw

if TYPE_CHECKING:
    from pathlib import Path

OLD_FORMAT: Final = "robot_sf"
"""Pipeline name and tag under which runs of the original tracker are listed."""

_STATUS: Final[dict[str, RunStatus]] = {
    "pending": "pending",
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}


def read_old_run(run_dir: Path) -> PipelineRunRecord | None:
    """Return the record of a run of the original tracker, None where this is none.

    Its last readable line counts. Its lock was none and its heartbeat stood in the same file, so a
    run that says `running` is shown as it says.
    """
    last: dict[str, Any] | None = None
    for raw in iter_raw(RunPaths(run_dir).journal):
        if "event" not in raw and isinstance(raw.get("run_id"), str):
            last = raw
    return None if last is None else _record(run_dir, last)


def _record(run_dir: Path, last: dict[str, Any]) -> PipelineRunRecord:
    steps = _steps(last.get("steps"))
    status = _STATUS.get(_text(last.get("status")) or "", "failed")
    completed = [step for step in steps if step.status == "completed"]
    duration = _seconds_between(last.get("created_at"), last.get("completed_at"))
    return PipelineRunRecord(
        run_id=run_dir.name,
        pipeline=OLD_FORMAT,
        tags=[OLD_FORMAT],
        status=status,
        created_at=_utc(last.get("created_at")),
        completed_at=_utc(last.get("completed_at")),
        duration_seconds=duration,
        initiator=_text(last.get("initiator")),
        scenario_config_path=_text(last.get("scenario_config_path")),
        enabled_steps=[name for name in _list(last.get("enabled_steps")) if isinstance(name, str)],
        artifact_dir=str(run_dir),
        steps=steps,
        summary=RunSummary(
            total_duration_seconds=duration,
            steps_completed=len(completed),
            steps_total=sum(step.status != "skipped" for step in steps),
            last_completed_step=completed[-1].step_id if completed else None,
            running_steps=[step.step_id for step in steps if step.status == "running"],
        ),
    )


def _steps(value: object) -> list[StepExecutionEntry]:
    steps: list[StepExecutionEntry] = []
    for raw in _list(value):
        try:
            steps.append(msgspec.convert(raw, StepExecutionEntry))
        except msgspec.ValidationError:
            continue
    return steps


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _utc(value: object) -> str | None:
    moment = _moment(value)
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _seconds_between(start: object, end: object) -> float | None:
    first, last = _moment(start), _moment(end)
    return None if first is None or last is None else max(0.0, (last - first).total_seconds())
