"""Two and more runs side by side: durations, bills and parameters, the first one the reference."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from robot_sf_otel.manifest.formats import duration
from robot_sf_otel.manifest.outline import outline
from robot_sf_otel.manifest.schema import Usage

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord, StepExecutionEntry, StepStatus

TOTAL: Final = "total"
"""What stands for the whole run where a step is named."""
_PEAKS: Final = frozenset({"memory_rss_peak_mb", "gpu_mem_peak_mb"})
"""Entries of a bill that do not add up over the executions of a step."""
_LIMIT: Final = re.compile(r"(?P<step>.+):duration:(?P<share>\d+(?:\.\d+)?)%", re.DOTALL)
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class StepCell:
    """What all executions of a step in one run came to.

    Attributes:
        status: Of the last execution.
        executions: How many there were, attempts included.
        completed: How many of them completed.
        duration_seconds: Of the completed executions together, None where none completed.
        change: How much longer than in the first run, as a share of that; None where unknown.
        usage: The bill of all executions: sums, and the largest peaks; None where an execution does
            not know the entry. The mean of the cores is known of a single execution only.
    """

    status: StepStatus
    executions: int
    completed: int
    duration_seconds: float | None
    change: float | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of some of the runs; `runs` has None for a run that does not have it."""

    step_id: str
    parent_step_id: str | None
    display_name: str
    depth: int
    runs: list[StepCell | None]


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """A parameter of some of the runs.

    Attributes:
        name: Nested ones have dots: `optimizer.lr`.
        values: One a run, None where it is not recorded.
        recorded: Whether each run has it.
        differs: Whether some run has another value than the first, or only one of both has it.
    """

    name: str
    values: list[Any]
    recorded: list[bool]
    differs: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side; the first is what the others are compared with.

    Attributes:
        runs: The records.
        changes: How much longer each run took than the first, as a share of that; None where one
            of both did not complete, and for the first.
        steps: In the order of the first run; what only others have follows.
        parameters: Parameters, seeds (`seed.…`) and surroundings (`host`, `commit`, `scenario`).
    """

    runs: list[PipelineRunRecord]
    changes: list[float | None]
    steps: list[StepRow]
    parameters: list[ParameterRow]


@dataclass(frozen=True, slots=True)
class Limit:
    """By how much the duration of a step may exceed that of the first run.

    Attributes:
        step_id: The step, or `total`.
        share: 0.25 is 25 %.
    """

    step_id: str
    share: float


def compare(records: Sequence[PipelineRunRecord]) -> Comparison:
    """Return runs side by side.

    Raises:
        ValueError: There are fewer than two.
    """
    if len(records) < 2:  # noqa: PLR2004 - one run has nothing to be compared with
        raise ValueError("a comparison needs at least two runs")
    totals = [
        record.duration_seconds if record.status == "completed" else None for record in records
    ]
    return Comparison(
        runs=list(records),
        changes=[None, *(_change(totals[0], total) for total in totals[1:])],
        steps=_steps(records),
        parameters=_parameters(records),
    )


def _change(before: float | None, after: float | None) -> float | None:
    if before is None or after is None or before <= 0:
        return None
    return after / before - 1


_Key = tuple[str | None, str]


def _steps(records: Sequence[PipelineRunRecord]) -> list[StepRow]:
    grouped = [_by_step(record.steps) for record in records]
    depths = [_depths(record.steps) for record in records]
    rows: list[StepRow] = []
    for key in dict.fromkeys(key for depth in depths for key in depth):
        executions = [group.get(key, []) for group in grouped]
        reference = _seconds(executions[0])
        first = next(entries for entries in executions if entries)[0]
        rows.append(
            StepRow(
                step_id=first.step_id,
                parent_step_id=first.parent_step_id,
                display_name=first.display_name,
                depth=next(depth[key] for depth in depths if key in depth),
                runs=[
                    _cell(entries, reference if index else None) if entries else None
                    for index, entries in enumerate(executions)
                ],
            )
        )
    return rows


def _key(entry: StepExecutionEntry) -> _Key:
    return entry.parent_step_id, entry.step_id


def _by_step(entries: Iterable[StepExecutionEntry]) -> dict[_Key, list[StepExecutionEntry]]:
    found: dict[_Key, list[StepExecutionEntry]] = {}
    for entry in entries:
        found.setdefault(_key(entry), []).append(entry)
    return found


def _depths(entries: Sequence[StepExecutionEntry]) -> dict[_Key, int]:
    """Return how deep each step is nested, in reading order."""
    found: dict[_Key, int] = {}
    for depth, entry in outline(entries):
        found.setdefault(_key(entry), depth)
    return found


def _seconds(entries: Sequence[StepExecutionEntry]) -> float | None:
    known = [
        entry.duration_seconds
        for entry in entries
        if entry.status == "completed" and entry.duration_seconds is not None
    ]
    return math.fsum(known) if known else None


def _cell(entries: Sequence[StepExecutionEntry], reference: float | None) -> StepCell:
    seconds = _seconds(entries)
    return StepCell(
        status=entries[-1].status,
        executions=sum(entry.started_at is not None for entry in entries),
        completed=sum(entry.status == "completed" for entry in entries),
        duration_seconds=seconds,
        change=_change(reference, seconds),
        usage=_bill([entry.usage for entry in entries if entry.started_at is not None]),
    )


def _bill(bills: Sequence[Usage]) -> Usage:
    total = Usage()
    for name in Usage.__struct_fields__:
        known = [value for bill in bills if (value := getattr(bill, name)) is not None]
        if known and len(known) == len(bills):  # a sum of some would look like one of all
            setattr(total, name, max(known) if name in _PEAKS else math.fsum(known))
    if len(bills) > 1:
        total.cpu_cores_mean = None  # a mean does not add up
    return total


def _parameters(records: Sequence[PipelineRunRecord]) -> list[ParameterRow]:
    tables = [dict(_values(record)) for record in records]
    rows: list[ParameterRow] = []
    for name in dict.fromkeys(name for table in tables for name in table):
        recorded = [name in table for table in tables]
        values = [table.get(name) for table in tables]
        differs = not all(
            has == recorded[0] and _same(value, values[0])
            for has, value in zip(recorded, values, strict=True)
        )
        rows.append(ParameterRow(name, values, recorded, differs))
    return rows


def _same(one: object, other: object) -> bool:
    # 1 == True in Python; in a record one is a number, the other a flag.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _values(record: PipelineRunRecord) -> Iterator[tuple[str, Any]]:
    yield from _flat(record.params)
    yield from _flat(record.seeds, "seed.")
    surroundings = {
        "pipeline": record.pipeline,
        "scenario": record.scenario_config_path,
        "host": record.host.get("hostname"),
        "commit": record.vcs.get("commit"),
    }
    # A parameter of the pipeline itself may be called like one of these.
    names = {name for name, _ in _flat(record.params)}
    for name, value in surroundings.items():
        if value is not None:
            yield f"({name})" if name in names else name, value


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(cast("dict[str, Any]", value), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def parse_limit(text: str) -> Limit:
    """Return the limit of an expression such as `train:duration:25%`.

    Raises:
        ValueError: It is none; the message says what one looks like.
    """
    found = _LIMIT.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"{text!r} is no limit: expected STEP:duration:SHARE%, such as train:duration:25% or "
            f"{TOTAL}:duration:10%"
        )
    return Limit(found["step"], float(found["share"]) / 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a limit says of one later run.

    Attributes:
        run_id: The later run; None where no run has the step.
        breached: Whether the limit is exceeded, or the step did not complete; None where the first
            run has nothing to compare with.
        message: What was found, for people.
    """

    run_id: str | None
    breached: bool | None
    message: str


def judge(comparison: Comparison, limit: Limit) -> list[Verdict]:
    """Return what a limit says of each run after the first.

    A later run breaches it by taking longer than the first by more than the share, and by not
    having completed the step: a check that passes because nothing ran would be worth nothing. Where
    the first run has no duration to compare with, nothing can be said and nothing is breached,
    unless no run has such a step at all.
    """
    if limit.step_id == TOTAL:
        name = "the whole run"
        seconds = [
            run.duration_seconds if run.status == "completed" else None for run in comparison.runs
        ]
        statuses: list[str | None] = [run.status for run in comparison.runs]
    else:
        name = f"step {limit.step_id}"
        row = _row(comparison, limit.step_id)
        if row is None:
            message = _no_such_step(comparison, limit.step_id)
            return [Verdict(run_id=None, breached=True, message=message)]
        seconds = [None if cell is None else cell.duration_seconds for cell in row.runs]
        statuses = [None if cell is None else cell.status for cell in row.runs]
    first = comparison.runs[0].run_id
    return [
        _verdict(run.run_id, name, limit, (first, seconds[0]), (seconds[index], statuses[index]))
        for index, run in enumerate(comparison.runs)
        if index
    ]


def _verdict(
    run_id: str,
    name: str,
    limit: Limit,
    reference: tuple[str, float | None],
    later: tuple[float | None, str | None],
) -> Verdict:
    first, before = reference
    after, status = later
    if after is None:
        what = "is missing" if status is None else f"did not complete ({status})"
        return Verdict(run_id=run_id, breached=True, message=f"{name} {what} in {run_id}")
    change = _change(before, after)
    if change is None:
        message = f"{name} has no duration in {first}: nothing to compare with"
        return Verdict(run_id=run_id, breached=None, message=message)
    took = f"{name} took {change:+.1%} in {run_id} ({duration(before)} to {duration(after)})"
    message = f"{took}, allowed is +{limit.share * 100:g}%"
    return Verdict(run_id=run_id, breached=change > limit.share, message=message)


def _row(comparison: Comparison, step_id: str) -> StepRow | None:
    """Return a step by its id, a top-level one before a nested one."""
    found = [row for row in comparison.steps if row.step_id == step_id]
    return min(found, key=lambda row: row.depth, default=None)


def _no_such_step(comparison: Comparison, step_id: str) -> str:
    names = list(dict.fromkeys(row.step_id for row in comparison.steps))
    close = difflib.get_close_matches(step_id, names, n=_NAMED, cutoff=0.0)
    known = f"; the closest are {', '.join(close)}" if close else ""
    return f"no run has a step {step_id!r}{known}"
