"""How a step went: a few points of its progress over time, whatever its length."""

from __future__ import annotations

from typing import Final

MOST: Final = 48
"""Points that are kept; beyond that every second one is left out and the next are as far apart."""


class ProgressCurve:
    """Pairs of (seconds since the step's start, units done), evenly thinned out."""

    __slots__ = ("_apart", "_points")

    def __init__(self) -> None:
        """Start with nothing."""
        self._points: list[tuple[float, float]] = []
        self._apart = 0.0

    def add(self, seconds: float, done: float) -> None:
        """Take a reading; one that brings nothing new, or comes too soon, is left out."""
        if not done:
            return
        if self._points:
            before, then = self._points[-1]
            if done == then or seconds - before < self._apart:
                return
        self._points.append((round(seconds, 3), done))
        if len(self._points) > MOST:
            self._points = self._points[::2]
            self._apart = 2 * self._points[-1][0] / MOST

    def points(self) -> list[tuple[float, float]]:
        """Return the points, in the order of time."""
        return list(self._points)
