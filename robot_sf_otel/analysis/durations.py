"""How long the steps of a run took beside the same steps of comparable earlier runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord


@dataclass(frozen=True, slots=True)
class StepDuration:
    """A top-level step of a run beside its history; durations in seconds, None where unknown."""

    step_id: str
    title: str
    seconds: float | None
    earlier_median: float | None
    earlier_runs: int


def completed_durations(record: PipelineRunRecord) -> dict[str, float]:
    """Return the duration of each top-level step's last completed execution, in seconds."""
    return {
        entry.step_id: entry.duration_seconds
        for entry in record.steps
        if entry.status == "completed"
        and entry.parent_step_id is None
        and entry.duration_seconds is not None
    }


def comparable(record: PipelineRunRecord, other: PipelineRunRecord) -> bool:
    """Return whether `other` is an earlier run of the same pipeline and scenario."""
    return (
        other.run_id != record.run_id
        and other.pipeline == record.pipeline
        and other.scenario_config_path == record.scenario_config_path
        and (other.created_at or "") <= (record.created_at or "")
    )


def beside_history(
    record: PipelineRunRecord, others: Iterable[PipelineRunRecord]
) -> list[StepDuration]:
    """Return the top-level steps of a run with the median of comparable earlier runs.

    Args:
        record: The run.
        others: Further runs, in any order; those that are not comparable are left out.
    """
    histories = [completed_durations(other) for other in others if comparable(record, other)]
    own = completed_durations(record)
    rows: dict[str, StepDuration] = {}
    for entry in record.steps:
        if entry.parent_step_id is not None or entry.step_id in rows:
            continue
        earlier = [history[entry.step_id] for history in histories if entry.step_id in history]
        rows[entry.step_id] = StepDuration(
            step_id=entry.step_id,
            title=entry.display_name,
            seconds=own.get(entry.step_id),
            earlier_median=statistics.median(earlier) if earlier else None,
            earlier_runs=len(earlier),
        )
    return list(rows.values())
