"""Runs that differ in their seeds only, put together: how many, how long, how good."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from robot_sf_otel.manifest.schema import PipelineRunRecord


class Spread(msgspec.Struct, kw_only=True):
    """A figure over the completed runs of a group.

    `sd` is the sample's standard deviation (n - 1), None for a single run.
    """

    runs: int
    mean: float
    sd: float | None
    median: float
    minimum: float
    maximum: float


class RunGroup(msgspec.Struct, kw_only=True):
    """Runs of one pipeline, scenario and parameters; figures are of the completed ones."""

    pipeline: str
    scenario: str | None
    params: dict[str, Any]
    runs: int
    run_ids: list[str]
    statuses: dict[str, int]
    seeds: list[dict[str, Any]]
    newest: str | None
    duration_seconds: Spread | None
    metrics: dict[str, Spread]


def is_seed(name: str) -> bool:
    """Return whether a parameter is a seed by its name: `seed`, `seeds`, `env_seed`, …."""
    last = name.lower().replace(".", "_").replace("-", "_").rpartition("_")[2]
    return last in {"seed", "seeds"}


def group_runs(records: Iterable[PipelineRunRecord]) -> list[RunGroup]:
    """Return the groups of runs that differ in their seeds only, in the order of their first runs.

    A parameter that is a seed by its name counts as one; tags, host and commit make no difference.
    """
    groups: dict[bytes, list[PipelineRunRecord]] = {}
    for record in records:
        params = {name: value for name, value in record.params.items() if not is_seed(name)}
        what = (record.pipeline, record.scenario_config_path, params)
        groups.setdefault(msgspec.json.encode(what, order="deterministic"), []).append(record)
    return [_group(members) for members in groups.values()]


def _group(members: list[PipelineRunRecord]) -> RunGroup:
    first = members[0]
    completed = [record for record in members if record.status == "completed"]
    metrics: dict[str, list[float]] = {}
    for record in completed:
        for name, value in last_metrics(record).items():
            metrics.setdefault(name, []).append(value)
    return RunGroup(
        pipeline=first.pipeline,
        scenario=first.scenario_config_path,
        params={name: value for name, value in first.params.items() if not is_seed(name)},
        runs=len(members),
        run_ids=[record.run_id for record in members],
        statuses=dict(Counter(str(record.status) for record in members)),
        seeds=[seeds_of(record) for record in members],
        newest=max((record.created_at for record in members if record.created_at), default=None),
        duration_seconds=_spread(
            [run.duration_seconds for run in completed if run.duration_seconds is not None]
        ),
        metrics={name: spread for name, found in metrics.items() if (spread := _spread(found))},
    )


def seeds_of(record: PipelineRunRecord) -> dict[str, Any]:
    """Return the seeds of a run, those that were given as parameters included."""
    return {k: v for k, v in record.params.items() if is_seed(k)} | record.seeds


def last_metrics(record: PipelineRunRecord) -> dict[str, float]:
    """Return the last value of each metric: `name` of the run, `step/name` of its steps.

    Of several attempts of a step the last one counts.
    """
    found = _numbers(record.summary.custom, "")
    for step in record.steps:
        found |= _numbers(step.metrics, f"{step.step_id}/")
    return found


def _numbers(values: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {
        f"{prefix}{name}": float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _spread(values: list[float]) -> Spread | None:
    if not values:
        return None
    return Spread(
        runs=len(values),
        mean=statistics.fmean(values),
        sd=statistics.stdev(values) if len(values) > 1 else None,
        median=statistics.median(values),
        minimum=min(values),
        maximum=max(values),
    )
