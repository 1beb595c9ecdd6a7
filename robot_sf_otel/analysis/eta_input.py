"""Runs as the ETA engine sees them: a live one at a moment, completed ones as its history.

Time is that of the run, without pauses between its sessions. Steps that overlap are put one after
the other by their ends (see `added_seconds`), so that what they add sums up to the run's time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import correlation
from typing import TYPE_CHECKING, Any, Final, cast

from robot_sf_otel.analysis.eta import (
    Curve,
    Estimate,
    FinishedStep,
    PastRun,
    PastStep,
    PlannedStep,
    RunningStep,
    Situation,
    added_seconds,
)
from robot_sf_otel.manifest.schema import Eta

if TYPE_CHECKING:
    from robot_sf_otel.manifest.execution import Execution
    from robot_sf_otel.manifest.fold import RunFold
    from robot_sf_otel.manifest.plan import Plan
    from robot_sf_otel.manifest.schema import PipelineRunRecord, StepExecutionEntry

_SIZED_RUNS: Final = 4
"""Runs from which on a parameter can be told to be the size of the work."""
_SIZES_DIFFER: Final = 1.5
"""Ratio of the largest to the smallest size below which other things decide."""
_SIZES_AGREE: Final = 0.9
"""Rank correlation with the duration from which on a parameter is taken as the size."""
_NOTHING: Final[Mapping[str, tuple[float, Curve]]] = {}
_PAUSED: Final = 1.02
"""A record whose steps span more than its duration times this was stopped and resumed."""


def size_parameter(records: Sequence[PipelineRunRecord]) -> str | None:
    """Return the parameter that says how much a run has to do, None where none surely does.

    It is a positive number in all runs, differs between them, and the longer runs are those where
    it is larger (Spearman's rank correlation): an input size, a number of episodes. Nested
    parameters are named with dots.

    Args:
        records: Completed runs of one pipeline.
    """
    timed = [record for record in records if record.duration_seconds]
    if len(timed) < _SIZED_RUNS:
        return None
    known = [_numbers(record.params) for record in timed]
    seconds = _ranks([record.duration_seconds or 0.0 for record in timed])
    if len(set(seconds)) == 1:
        return None
    best: tuple[float, str | None] = (_SIZES_AGREE, None)
    for name in known[0]:
        sizes = [numbers[name] for numbers in known if name in numbers]
        if len(sizes) < len(known) or max(sizes) < _SIZES_DIFFER * min(sizes):
            continue
        agreement = correlation(_ranks(sizes), seconds)
        if agreement > best[0]:
            best = (agreement, name)
    return best[1]


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value; equal ones share the mean of theirs."""
    ordered = sorted(values)
    return [
        (ordered.index(value) + len(ordered) - 1 - ordered[::-1].index(value)) / 2
        for value in values
    ]


def parameter(params: Mapping[str, Any], name: str | None) -> float | None:
    """Return the value of a parameter that `size_parameter` named, None where it is no size."""
    return _numbers(params).get(name) if name is not None else None


def _numbers(params: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the parameters that are positive numbers, nested ones by names with dots."""
    found: dict[str, float] = {}
    for name, value in params.items():
        if isinstance(value, dict):
            found |= _numbers(cast("dict[str, Any]", value), f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            found[prefix + name] = float(value)
    return found


def situation(
    fold: RunFold,
    now_ns: int,
    host: str | None,
    size: str | None = None,
    usual: Sequence[str] = (),
    *,
    elapsed: float | None = None,
    own: Mapping[str, tuple[float, Curve]] = _NOTHING,
) -> Situation | None:
    """Return a run as it stands, None before its start was seen.

    Args:
        fold: What is known of the run.
        now_ns: Unix nanoseconds.
        host: Where it runs.
        size: The parameter that is its size.
        usual: Steps that runs of this pipeline have, which counts where this one declared none;
            where nobody knows what follows on the running steps, the plan is empty.
        elapsed: Seconds that the run has run, where a clock that never jumps tells.
        own: Running steps of which it tells too, by their span: the seconds since their start, and
            their progress.
    """
    if elapsed is None:
        elapsed = fold.sessions.ran_until(now_ns)
    if fold.started is None or elapsed is None:
        return None
    plan = fold.plan
    if not fold.is_planned:
        for step_id in usual:
            if step_id not in plan:  # to add it would end its skip
                plan.add(step_id)
    executions = fold.top_level()
    running = [run for run in executions if run.status == "running"]
    busy = {run.step_id for run in running}
    done = [run for run in executions if run.status == "completed" and run.step_id not in busy]
    return Situation(
        elapsed=elapsed,
        plan=tuple(_planned(plan, executions)) if fold.is_planned or usual else (),
        finished=tuple(FinishedStep(run.step_id, run.duration or 0.0, _total(run)) for run in done),
        running=tuple(
            _running(run, *(own.get(run.span_id or "") or _told(fold, run, elapsed)))
            for run in running
        ),
        host=host,
        scenario=fold.scenario,
        size=parameter(fold.params, size),
    )


def _planned(plan: Plan, executions: Iterable[Execution]) -> Iterable[PlannedStep]:
    said = {run.step_id: run for run in executions}
    for step in plan.steps:
        if plan.is_skipped(step.step_id):
            continue
        run = said.get(step.step_id)
        expected = run.expected_seconds if run is not None else None
        total = run.progress.total if run is not None else None
        yield PlannedStep(
            step.step_id,
            step.expected_seconds if expected is None else expected,
            step.total if total is None else total,
        )


def _total(run: Execution) -> float | None:
    return run.progress.total or run.progress.done or None


def _told(fold: RunFold, run: Execution, elapsed: float) -> tuple[float, Curve]:
    """Return how long a step runs, and its progress, as events with the time of day tell."""
    began = fold.sessions.ran_until(run.started_ns) or 0.0
    return max(0.0, elapsed - began), tuple(run.measured.points())


def _running(run: Execution, seconds: float, curve: Curve) -> RunningStep:
    progress = run.progress
    known = bool(progress.done) or progress.total is not None
    return RunningStep(
        run.step_id,
        elapsed=seconds,
        done=progress.done if known else None,
        total=progress.total,
        curve=curve,
    )


def past_run(record: PipelineRunRecord, size: str | None = None) -> PastRun | None:
    """Return a completed run as history, None where it tells no duration.

    Args:
        record: The run.
        size: The parameter that is its size.
    """
    total = record.duration_seconds
    entries = [
        entry
        for entry in record.steps
        if entry.parent_step_id is None and entry.started_at and entry.ended_at
    ]
    if record.status != "completed" or total is None or not entries:
        return None
    added = _added(record, entries)
    steps = tuple(
        PastStep(
            entry.step_id,
            seconds,
            entry.progress.total or entry.progress.done or None,
            tuple(entry.progress_curve),
            entry.duration_seconds,
        )
        for entry, seconds in zip(entries, added, strict=True)
        if entry.status == "completed"
    )
    # What failed and was tried again is left out: the next run is not expected to do that.
    wasted = sum(added) - sum(step.seconds for step in steps)
    host = record.host.get("hostname")
    return PastRun(
        steps=steps,
        total_seconds=max(0.0, total - wasted),
        host=host if isinstance(host, str) else None,
        scenario=record.scenario_config_path,
        size=parameter(record.params, size),
    )


def _added(record: PipelineRunRecord, entries: list[StepExecutionEntry]) -> Sequence[float]:
    times = [(_unix(entry.started_at or ""), _unix(entry.ended_at or "")) for entry in entries]
    began = _unix(record.created_at) if record.created_at else min(start for start, _ in times)
    durations = [entry.duration_seconds or 0.0 for entry in entries]
    paused = max(end for _, end in times) - began > (record.duration_seconds or 0.0) * _PAUSED
    jumped = any(
        abs(end - start - seconds) > 1 + seconds * (_PAUSED - 1)
        for (start, end), seconds in zip(times, durations, strict=True)
    )
    if paused or jumped:  # of the clocks only the one that measured the durations is right
        return durations
    return added_seconds(times, began)


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def shown(estimate: Estimate) -> Eta | None:
    """Return an estimate as it is recorded and shown, None where it is not worth showing."""
    if not estimate.shown or estimate.remaining_seconds is None:
        return None
    return Eta(
        remaining_seconds=estimate.remaining_seconds,
        low_seconds=estimate.low_seconds,
        high_seconds=estimate.high_seconds,
        total_seconds=estimate.total_seconds,
        basis=estimate.basis,
        history_runs=estimate.history_runs,
    )
