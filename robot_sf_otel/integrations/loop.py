"""A loop that a framework runs, as the running step sees it: progress and metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, SupportsFloat

from robot_sf_otel import guard
from robot_sf_otel.instrument.context import current_step
from robot_sf_otel.instrument.progress import driven_step
from robot_sf_otel.instrument.step import INERT_STEP

if TYPE_CHECKING:
    from collections.abc import Callable

    from robot_sf_otel.instrument.live_step import LiveStep
    from robot_sf_otel.instrument.step import StepHandle

SHORTEST_SECONDS: Final = 0.5
"""Shortest time over which a rate is told: over less it is noise."""


class Loop:
    """What a callback tells the step in which its framework's loop runs.

    As with `track`, the outermost loop drives the progress of the step and successive ones add up;
    what the step itself declared (`total`, `unit`) stays. Metrics always reach the step.

    Args:
        framework: Named where something goes wrong.
        unit: What the loop counts.
    """

    def __init__(self, framework: str, unit: str) -> None:
        self._framework = framework
        self._unit = unit
        self._step: StepHandle = INERT_STEP
        self._driven: LiveStep | None = None

    def begin(self, total: Callable[[], float | None]) -> None:
        """Begin to report to the step that is running now, if there is one. Never raises.

        Args:
            total: Tells how many units there will be, None where nobody knows.
        """
        self.end()
        with guard.shielded(self._framework):
            self._step = current_step()
            driven = driven_step()
            if driven is not None:
                driven.begin_track(total(), self._unit)
                self._driven = driven

    def advance(self, n: float = 1) -> None:
        """Count `n` more units as done: an addition."""
        if self._driven is not None:
            self._driven.done += n

    @property
    def listens(self) -> bool:
        """Whether there is a step to report to."""
        return self._step is not INERT_STEP

    def log(self, name: str, value: SupportsFloat) -> None:
        """Report the value of a metric; converted only where there is a step. Never raises.

        Args:
            name: The metric.
            value: A number, or a tensor that holds one.
        """
        if self.listens:
            with guard.shielded(self._framework):
                self._step.log_metric(name, float(value))

    def end(self) -> None:
        """Let the step go: it is another loop's to drive."""
        driven, self._driven = self._driven, None
        self._step = INERT_STEP
        if driven is not None:
            driven.tracked = False


class Rate:
    """Units a second, told now and then."""

    __slots__ = ("_clock", "_count", "_since")

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Begin to count now."""
        self._clock = clock
        self._count = 0.0
        self._since = clock()

    def add(self, n: float = 1) -> float | None:
        """Count `n` units; return the rate since it was last told, None where that is too soon."""
        self._count += n
        now = self._clock()
        seconds = now - self._since
        if seconds < SHORTEST_SECONDS:
            return None
        rate = self._count / seconds
        self._count, self._since = 0.0, now
        return rate
