"""The steps of a run as bars on its time axis: attempts side by side, parallel ones below."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.events import unix_seconds
from robot_sf_otel.manifest.formats import duration, one_line
from robot_sf_otel.manifest.outline import outline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robot_sf_otel.manifest.schema import PipelineRunRecord, StepExecutionEntry
    from robot_sf_otel.report.html.timeline import Timeline

MOST_LANES: Final = 120
_MOST_BARS: Final = 3_000
_NAME: Final = 120
_WRONG: Final = frozenset({"failed", "cancelled", "running"})


@dataclass(frozen=True, slots=True)
class Bar:
    """One execution of a step, from `a` to `b` seconds on the axis."""

    a: float
    b: float
    status: str
    text: str
    """What people read of it: title, attempt, status, times."""


@dataclass(slots=True)
class Lane:
    """A row of the timeline; `title` is empty where it goes on with the step above."""

    title: str
    depth: int
    note: str = ""
    status: str = ""
    bars: list[Bar] = field(default_factory=list[Bar])


def lanes_of(record: PipelineRunRecord, timeline: Timeline) -> tuple[list[Lane], int]:
    """Return the rows of the timeline in reading order, and how many are left out.

    All executions of a step share its row, unless they overlap.
    """
    groups: dict[tuple[int, str | None, str], list[StepExecutionEntry]] = {}
    for depth, step in outline(record.steps):
        groups.setdefault((depth, step.parent_step_id, step.step_id), []).append(step)
    ahead = "to come" if record.status in {"pending", "running"} else "not reached"
    rows = [_rows(steps, depth, timeline, ahead) for (depth, _, _), steps in groups.items()]
    if sum(map(len, rows)) <= MOST_LANES and sum(map(_bars, rows)) <= _MOST_BARS:
        return [lane for lanes in rows for lane in lanes], 0
    return _fewer(rows)


def _bars(rows: list[Lane]) -> int:
    return sum(len(lane.bars) for lane in rows)


def _ends(count: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last index, then those next to them, and so on."""
    return zip(range(count), reversed(range(count)), strict=True)


def _fewer(rows: list[list[Lane]]) -> tuple[list[Lane], int]:
    """Return one row with what ran at the top, and of the others what went wrong and both ends."""
    top = [bar for lanes in rows for lane in lanes if not lane.depth for bar in lane.bars]
    every = -(-len(top) // (_MOST_BARS // 2)) or 1
    # A failure is drawn in any case, and above the others.
    good = [bar for bar in top if bar.status == "completed"][::every]
    bad = [bar for bar in top if bar.status != "completed"][: _MOST_BARS // 4]
    executions = sum(map(_bars, rows))
    title = f"all {max(len(rows), executions):,} steps"
    overview = Lane(title, 0, bars=[*good, *bad])
    wrong = [index for index, lanes in enumerate(rows) if lanes[0].status in _WRONG]
    ends = [index for pair in _ends(len(rows)) for index in pair]
    shown: set[int] = set()
    lanes_left, bars_left = MOST_LANES - 1, _MOST_BARS
    for index in dict.fromkeys((*wrong[: MOST_LANES // 2], *ends)):
        lanes_left -= len(rows[index])
        bars_left -= _bars(rows[index])
        if lanes_left < 0 or bars_left < 0:
            break
        shown.add(index)
    drawn = [lane for index in sorted(shown) for lane in rows[index]]
    return [overview, *drawn], len(rows) - len(shown)


def _rows(
    steps: list[StepExecutionEntry], depth: int, timeline: Timeline, ahead: str
) -> list[Lane]:
    first = steps[0]
    titles = {step.display_name for step in steps}
    named = first.display_name if len(titles) == 1 else first.step_id
    title = one_line(named, _NAME) or one_line(first.step_id, _NAME) or "--"
    ran = [bar for step in steps if (bar := _bar(step, timeline)) is not None]
    lane = Lane(title, depth, note=_note(steps, ran, ahead), status=steps[-1].status)
    rows = [lane]
    for bar in sorted(ran, key=lambda bar: (bar.a, bar.b)):
        free = next((row for row in rows if not row.bars or row.bars[-1].b <= bar.a + 1e-6), None)
        if free is None:
            free = Lane("", depth)
            rows.append(free)
        free.bars.append(bar)
    return rows


def _bar(step: StepExecutionEntry, timeline: Timeline) -> Bar | None:
    started = unix_seconds(step.started_at)
    if started is None:
        return None
    a = timeline.at(started)
    ended = unix_seconds(step.ended_at)
    b = timeline.end if ended is None else timeline.at(ended)
    attempt = f", attempt {step.attempt}" if step.attempt > 1 else ""
    took = duration(step.duration_seconds if step.duration_seconds is not None else b - a)
    title = one_line(step.display_name, _NAME)
    return Bar(a, max(a, b), step.status, f"{title}{attempt}: {step.status}, {took}")


def _note(steps: list[StepExecutionEntry], ran: list[Bar], ahead: str) -> str:
    """Return what stands at the widest bar; of several executions it says what they took in all."""
    step = steps[-1]
    if step.status == "skipped":
        why = one_line(step.skip_reason or "", 80)
        return f"skipped: {why}" if why else "skipped"
    if not ran:
        return ahead
    if step.status == "running":
        last = f"running for {duration(ran[-1].b - ran[-1].a)}"
    elif step.status == "completed":
        last = duration(step.duration_seconds)
    else:
        last = f"{step.status} after {duration(step.duration_seconds)}"
    if len(ran) == 1:
        return last
    taken = [one.duration_seconds for one in steps if one.duration_seconds is not None]
    return f"{len(ran)} executions, {duration(sum(taken))} in all · the last {last}"
