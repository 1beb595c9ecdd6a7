"""When the steps of a run ran, as bars of characters: for Markdown, which has no charts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.events import unix_seconds
from robot_sf_otel.manifest.formats import coarse_duration, duration, one_line
from robot_sf_otel.manifest.outline import outline

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord, StepExecutionEntry

WIDTH: Final = 50
MOST_BARS: Final = 40
_NAME: Final = 60
_MARKS: Final = {"completed": "█", "failed": "▓", "cancelled": "▒", "running": "░"}
_SAID: Final = frozenset({"failed", "cancelled", "running"})


def bars(record: PipelineRunRecord) -> list[str]:
    """Return a line for each step that ran, `│  ██  │ 2.8 s  Train`, and one for the axis.

    Names stand behind the bars, so that none of them shifts anything. Of many steps only those at
    the top are drawn, and of many of those the two ends. Pauses of a resumed run are in the axis.

    Returns:
        Nothing where no step ran, or the times are not known.
    """
    ran = [(depth, step) for depth, step in outline(record.steps) if step.started_at is not None]
    if len(ran) > MOST_BARS:
        ran = [(depth, step) for depth, step in ran if depth == 0]
    first, left_out, last = ran, 0, ran[:0]
    if len(ran) > MOST_BARS:
        half = MOST_BARS // 2
        first, left_out, last = ran[:half], len(ran) - 2 * half, ran[-half:]
    drawn = [(depth, step, _span(step, record)) for depth, step in (*first, *last)]
    known = [span for _, _, span in drawn if span is not None]
    if not known:
        return []
    begun = unix_seconds(record.created_at)
    start = min(low for low, _ in known) if begun is None else begun
    width = max(max(high for _, high in known) - start, 1e-6)
    lines = [_bar(depth, step, span, start, width) for depth, step, span in drawn]
    if left_out:
        lines.insert(len(first), f"… {left_out:,} more")
    label = coarse_duration(width) if width >= 1 else duration(width)
    return [*lines, f" 0{label:>{WIDTH - 1}}"]


def _bar(
    depth: int,
    step: StepExecutionEntry,
    span: tuple[float, float] | None,
    start: float,
    width: float,
) -> str:
    cells = [" "] * WIDTH
    if span is not None:
        low = min(WIDTH - 1, max(0, math.floor((span[0] - start) / width * WIDTH)))
        high = min(WIDTH, max(low + 1, math.ceil((span[1] - start) / width * WIDTH - 1e-6)))
        cells[low:high] = _MARKS.get(step.status, "█") * (high - low)
    name = one_line(step.display_name, _NAME) or one_line(step.step_id, _NAME)
    said = f" ({step.status})" if step.status in _SAID else ""
    again = f", attempt {step.attempt}" if step.attempt > 1 else ""
    took = duration(step.duration_seconds)
    return f"│{''.join(cells)}│ {took:>8}  {'  ' * depth}{name}{again}{said}"


def _span(step: StepExecutionEntry, record: PipelineRunRecord) -> tuple[float, float] | None:
    low = unix_seconds(step.started_at)
    if low is None:
        return None
    high = unix_seconds(step.ended_at)
    if high is None and step.duration_seconds is not None:
        high = low + step.duration_seconds
    if high is None:
        high = unix_seconds(record.completed_at)
    return low, max(low, high if high is not None else low)
