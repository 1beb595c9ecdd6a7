"""The steps of a run as people read them: each one below its parent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import StepExecutionEntry


def outline(steps: Sequence[StepExecutionEntry]) -> list[tuple[int, StepExecutionEntry]]:
    """Return (depth, step) in reading order: nested steps follow their parent, depth 0 is the top.

    A nested step belongs to the latest execution of its parent that stands before it; where there
    is none (the parent was never told of) it is shown at the top.
    """
    children: dict[int, list[int]] = {}
    top: list[int] = []
    latest: dict[str, int] = {}
    for index, step in enumerate(steps):
        parent = latest.get(step.parent_step_id) if step.parent_step_id is not None else None
        (top if parent is None else children.setdefault(parent, [])).append(index)
        latest[step.step_id] = index
    rows: list[tuple[int, StepExecutionEntry]] = []
    waiting = [(0, index) for index in reversed(top)]
    while waiting:
        depth, index = waiting.pop()
        rows.append((depth, steps[index]))
        waiting.extend((depth + 1, child) for child in reversed(children.get(index, [])))
    return rows
