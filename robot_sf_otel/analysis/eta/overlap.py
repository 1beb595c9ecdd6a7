"""What each step added to its run's time, where steps overlap and leave gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def added_seconds(
    intervals: Sequence[tuple[float, float]], began: float | None = None
) -> tuple[float, ...]:
    """Return by how much each step moved the latest end of all steps.

    The steps are taken in the order in which they ended. What lies between the latest end so far
    and a step's own end is the step's: so a wait before a step belongs to the step that follows it,
    and a step that ran inside another adds nothing. The values add up to the time from the run's
    start to the last end.

    Args:
        intervals: (start, end) of each step, in seconds of one clock.
        began: When the run began; without it the earliest start.

    Returns:
        Seconds for each interval, in the order of the argument.
    """
    latest = min((start for start, _ in intervals), default=0.0) if began is None else began
    added = [0.0] * len(intervals)
    for index in _by_end(intervals):
        end = intervals[index][1]
        added[index] = max(0.0, end - latest)
        latest = max(latest, end)
    return tuple(added)


def _by_end(intervals: Sequence[tuple[float, float]]) -> Iterable[int]:
    return sorted(range(len(intervals)), key=lambda index: intervals[index][1])
