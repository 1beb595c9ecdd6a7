"""Earlier comparable runs: what a step usually took, and which run was faster and how it differed.

Comparable is a completed run of the same pipeline and scenario on the same host.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from robot_sf_otel.manifest.schema import PipelineRunRecord, StepExecutionEntry

LIMIT: Final = 20
"""Runs that are looked at, the newest ones."""
_MAD_TO_SIGMA: Final = 1.4826
"""Of normal values the median absolute deviation times this is their standard deviation."""


class Usual(NamedTuple):
    """What is usual: the median of some earlier values and their robust spread."""

    median: float
    spread: float
    runs: int


class Faster(NamedTuple):
    """An earlier run whose step had a higher rate."""

    run_id: str
    rate: float
    differing: dict[str, tuple[Any, Any]]
    """Parameter: its value then, its value now."""


class Past:
    """Earlier runs as one run sees them.

    Args:
        runs: Records in any order; those that are not comparable are left out.
        current: The run itself; its pipeline, scenario, host, parameters and start count.
    """

    def __init__(
        self, runs: Iterable[PipelineRunRecord] = (), current: PipelineRunRecord | None = None
    ) -> None:
        self._params = {} if current is None else current.params
        found = [run for run in runs if current is not None and _comparable(current, run)]
        found.sort(key=lambda run: run.created_at or "", reverse=True)
        self._runs = found[:LIMIT]

    def _entries(self, step_id: str) -> list[tuple[PipelineRunRecord, StepExecutionEntry]]:
        return [
            (run, entry)
            for run in self._runs
            for entry in run.steps
            if entry.step_id == step_id and entry.status == "completed" and entry.attempt == 1
        ]

    def usual_rate(self, step_id: str, unit: str) -> Usual | None:
        """Return the usual rate of a step in units a second, None without history."""
        return _usual(
            entry.progress.rate
            for _, entry in self._entries(step_id)
            if entry.progress.rate and entry.progress.unit == unit
        )

    def usual_duration(self, step_id: str, total: float | None) -> Usual | None:
        """Return the usual duration in seconds of a step with as much to do.

        Where no total says how much that is, runs with the same parameters count.
        """
        return _usual(
            entry.duration_seconds
            for run, entry in self._entries(step_id)
            if entry.duration_seconds
            and (
                entry.progress.total == total
                if total is not None or entry.progress.total is not None
                else run.params == self._params
            )
        )

    def faster(self, step_id: str, unit: str, rate: float) -> Faster | None:
        """Return the earlier run with the highest rate, if that is 25 % more than `rate`."""
        found = [
            (entry.progress.rate, run)
            for run, entry in self._entries(step_id)
            if entry.progress.rate and entry.progress.unit == unit
        ]
        if not found:
            return None
        best, run = max(found, key=lambda item: item[0])
        if best < rate * 1.25:
            return None
        names = sorted({*run.params, *self._params})
        differing = {
            name: (run.params.get(name), self._params.get(name))
            for name in names
            if run.params.get(name) != self._params.get(name)
        }
        return Faster(run.run_id, best, differing)


NO_PAST: Final = Past()
"""Nothing is known of earlier runs."""


def _comparable(current: PipelineRunRecord, other: PipelineRunRecord) -> bool:
    host, theirs = current.host.get("hostname"), other.host.get("hostname")
    return (
        other.run_id != current.run_id
        and other.status == "completed"
        and other.pipeline == current.pipeline
        and other.scenario_config_path == current.scenario_config_path
        and (host is None or theirs is None or host == theirs)
        and (other.created_at or "") <= (current.created_at or "")
    )


def _usual(values: Iterable[float | None]) -> Usual | None:
    known = [value for value in values if value]
    if not known:
        return None
    middle = median(known)
    spread = _MAD_TO_SIGMA * median(abs(value - middle) for value in known)
    return Usual(middle, spread, len(known))
