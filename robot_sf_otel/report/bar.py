"""The live bar: a row for each running step and one for the run, at the bottom of a terminal.

Drawn when something happens and at each tick of the monitor thread; it has no thread of its own.
Rich is imported at the first tick, that is not on the pipeline's time.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.formats import coarse_duration, one_line
from robot_sf_otel.report import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from robot_sf_otel.instrument.runtime import StepView
    from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation
    from robot_sf_otel.report.bar_rows import RowPainter
    from robot_sf_otel.report.terminal import Terminal

_SHORTEST_PAUSE: Final = 0.1
"""Seconds between two drawings: thousands of short steps must not wait for a terminal."""
_MAX_WAITING: Final = 500
_LAST_WORDS: Final = 100
"""Lines that are still said when a run ends."""
_MAX_STEPS: Final = 4
"""Running steps with a row of their own."""

_GREEN: Final = "32"
_RED: Final = "31"
_YELLOW: Final = "33"
_DIM: Final = "2"
_MARKS: Final = {
    "completed": ("✓", "+", _GREEN),
    "failed": ("✗", "x", _RED),
    "cancelled": ("■", "-", _YELLOW),
    "skipped": ("↷", "-", _DIM),
}


class BarDisplay:
    """Draws progress on a terminal, and leaves it as it was.

    Args:
        terminal: Where to draw.
        clock: Seconds that never run backwards.
    """

    def __init__(self, terminal: Terminal, clock: Callable[[], float]) -> None:
        self._terminal = terminal
        self._clock = clock
        self._pid = os.getpid()
        self._waiting: deque[str] = deque()
        self._left_out = 0
        self._views: list[StepView] = []
        self._pipeline = ""
        self._eta: float | None = None
        self._elapsed = 0.0
        self._drawn = float("-inf")
        self._painter: RowPainter | None = None
        # What ends the interpreter without ending the run must not leave half a screen behind.
        atexit.register(self._at_exit)

    def run_started(
        self, run_id: str, pipeline: str, run_dir: Path, *, resumed: bool = False
    ) -> None:
        """Say which run this is and where its files lie."""
        self._pipeline = one_line(pipeline, messages.TITLE_LIMIT)
        self._keep(messages.opening(run_id, pipeline, run_dir, resumed=resumed), _DIM)
        self._draw()

    def step_started(
        self, view: StepView, eta_seconds: float | None, elapsed_seconds: float
    ) -> None:
        """Add the row of a step."""
        self._eta, self._elapsed = eta_seconds, elapsed_seconds
        self._views = [*self._views, view]
        self._draw()

    def step_finished(
        self,
        view: StepView,
        status: str,
        eta_seconds: float | None,
        elapsed_seconds: float,
    ) -> None:
        """Let a step scroll away as a permanent line with its duration."""
        self._eta, self._elapsed = eta_seconds, elapsed_seconds
        left = list(self._views)
        for shown in left:
            if shown.step_id == view.step_id:
                left.remove(shown)
                break
        self._views = left
        name = messages.step_name(view.title, view.position, view.total_steps)
        outcome = messages.outcome(status, view.elapsed_seconds)
        self._keep(f"{name} – {outcome}", None, status)
        self._draw()

    def tick(
        self, steps: Sequence[StepView], eta_seconds: float | None, elapsed_seconds: float
    ) -> None:
        """Draw the steps as they are now."""
        self._eta, self._elapsed = eta_seconds, elapsed_seconds
        self._views = list(steps)
        if self._painter is None:
            from robot_sf_otel.report.bar_rows import RowPainter

            self._painter = RowPainter(self._terminal)
        self._draw()

    def run_finished(
        self,
        status: str,
        *,
        duration_seconds: float,
        reason: str | None,
        anomalies: Sequence[Anomaly],
        recommendations: Sequence[PerformanceRecommendation],
        report: str | None,
    ) -> None:
        """Say the verdict, what was found, and where the report lies."""
        self._views = []
        self._keep(messages.verdict(status, duration_seconds, reason), None, status)
        for severity, text in messages.findings(anomalies, recommendations):
            self._keep(text, {"critical": _RED, "warning": _YELLOW}.get(severity))
        if report is not None:
            self._keep(f"Report: {report}")
        self._draw()

    def close(self) -> None:
        """Give the rows back to the terminal."""
        atexit.unregister(self._at_exit)
        self._terminal.leave(list(self._waiting)[-_LAST_WORDS:])
        self._waiting.clear()

    def _at_exit(self) -> None:
        if os.getpid() == self._pid:
            with suppress(OSError, ValueError):  # the terminal may be gone by now
                self.close()

    def _keep(self, text: str, colour: str | None = None, status: str | None = None) -> None:
        """Queue a permanent line: a terminal that is stopped must not stop the pipeline."""
        if status is not None:
            fancy, plain, tint = _MARKS.get(status, ("·", "-", _DIM))
            mark = fancy if self._terminal.unicode else plain
            text = f"{self._tinted(mark, tint)} {text}"
        line = self._tinted(text, colour)
        if not self._terminal.unicode:
            line = line.replace("–", "-").replace("…", "...")
        self._waiting.append(line)
        if len(self._waiting) > _MAX_WAITING:
            self._waiting.popleft()
            self._left_out += 1

    def _tinted(self, text: str, colour: str | None) -> str:
        if colour is None or not self._terminal.colour:
            return text
        return f"\x1b[{colour}m{text}\x1b[0m"

    def _draw(self) -> None:
        now = self._clock()
        if now - self._drawn < _SHORTEST_PAUSE:
            return
        self._drawn = now
        rows = self._rows() if self._terminal.large_enough() else []
        if self._left_out:
            self._waiting.appendleft(f"({self._left_out} lines left out)")
            self._left_out = 0
        written = self._terminal.draw(rows, list(self._waiting))
        for _ in range(written or 0):
            self._waiting.popleft()

    def _rows(self) -> list[str]:
        if self._painter is None:
            return []
        times = f"elapsed {coarse_duration(self._elapsed)}, ETA {coarse_duration(self._eta)}"
        more = len(self._views) - _MAX_STEPS
        note = f"{more} more steps running, " if more > 0 else ""
        return self._painter.paint(self._views[:_MAX_STEPS], f"{self._pipeline}: {note}{times}")
