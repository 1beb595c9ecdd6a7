"""A value over a long time in bounded memory, and whether it keeps rising. Pure."""

from __future__ import annotations

from bisect import bisect_right
from math import inf
from typing import Final

_POINTS: Final = 64
"""Points that are kept; when there are twice as many, every second one goes."""
_QUARTERS: Final = 4


class Trend:
    """The values of the last `seconds` or more, thinned out as they get many.

    Args:
        seconds: How far back the trend is looked at.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._spacing = seconds / _POINTS
        self._points: list[tuple[float, float]] = []

    def add(self, now: float, value: float) -> None:
        """Take a value in; `now` is seconds and never goes back."""
        points = self._points
        if points and now - points[-1][0] < self._spacing:
            return
        points.append((now, value))
        if len(points) >= 2 * _POINTS:
            horizon = now - self._seconds - self._spacing
            self._points = [point for point in points if point[0] >= horizon]

    def clear(self) -> None:
        """Forget everything: something else begins."""
        self._points.clear()

    def rise(self) -> tuple[float, float, float, float] | None:
        """Return the rise in the window, its rate a second, and from when to when.

        None unless the window is full and the value rose in each quarter of it. The rate is that
        of the second half, so that what levels out is not carried on.
        """
        points = self._points
        if not points:
            return None
        end, last = points[-1]
        start = end - self._seconds
        if points[0][0] > start + 2 * self._spacing:
            return None
        quarter = self._seconds / _QUARTERS
        levels = [last]
        for index in reversed(range(_QUARTERS)):
            level = self._at(start + index * quarter)
            if level >= levels[-1]:
                return None
            levels.append(level)
        return last - levels[-1], (last - levels[2]) / (2 * quarter), start, end

    def _at(self, moment: float) -> float:
        """Return the last value at or before a moment, else the first."""
        return self._points[max(0, bisect_right(self._points, (moment, inf)) - 1)][1]
