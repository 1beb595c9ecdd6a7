"""Console progress of a running pipeline: a live bar on a terminal, log lines elsewhere.

What the pipeline calls never raises and never waits for long. Which of the two it is, is settled
when a run opens. A forked child is silent for ever: the terminal belongs to its parent.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, Protocol, TextIO

from robot_sf_otel import guard
from robot_sf_otel.instrument.runtime import StepView
from robot_sf_otel.report import messages

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation

_PATIENCE_SECONDS: Final = 0.2
"""How long a caller waits for another thread's drawing before it goes on without."""


class Display(Protocol):
    """Shows what happens, one way or the other."""

    def run_started(
        self, run_id: str, pipeline: str, run_dir: Path, *, resumed: bool = False
    ) -> None:
        """A run opened."""
        ...

    def step_started(
        self, view: StepView, eta_seconds: float | None, elapsed_seconds: float
    ) -> None:
        """A step began."""
        ...

    def step_finished(
        self,
        view: StepView,
        status: str,
        eta_seconds: float | None,
        elapsed_seconds: float,
    ) -> None:
        """A step ended; the time of the view is how long it took."""
        ...

    def tick(
        self, steps: Sequence[StepView], eta_seconds: float | None, elapsed_seconds: float
    ) -> None:
        """About a second went by."""
        ...

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
        """A run ended; others may still be live."""
        ...

    def close(self) -> None:
        """No run is live any more: leave the terminal as it was."""
        ...


class ConsoleProgress:
    """Tells the operator what happens in the runs of this process.

    Args:
        mode: `auto` is a bar where `stream` is a terminal in the foreground and lines elsewhere.
        clock: Seconds that never run backwards.
        stream: Where a bar is drawn, `sys.stderr` by default; lines go where Loguru's sinks are.
        environ: Environment that says what the terminal can do (TERM, NO_COLOR).
    """

    def __init__(
        self,
        mode: Literal["auto", "lines", "off"] = "auto",
        *,
        clock: Callable[[], float] = time.monotonic,
        stream: TextIO | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._mode = mode
        self._clock = clock
        self._stream = stream
        self._environ = environ
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._live = 0
        self._display: Display | None = None

    @contextmanager
    def _shown(self, *, patience: float = _PATIENCE_SECONDS) -> Generator[Display | None]:
        """Give the display to one caller at a time; None where there is nothing to show it on."""
        with guard.shielded("console"):
            if not self._silent() and self._lock.acquire(timeout=patience):
                try:
                    yield self._display
                finally:
                    self._lock.release()
            else:
                yield None

    def _silent(self) -> bool:
        return self._mode == "off" or os.getpid() != self._pid

    def run_started(
        self, run_id: str, pipeline: str, run_dir: Path, *, resumed: bool = False
    ) -> None:
        """Say that a run opened, and settle how its progress is shown."""
        with self._shown():
            if self._silent():
                return
            self._live += 1
            self._display = self._display or self._choose()
            self._display.run_started(run_id, pipeline, run_dir, resumed=resumed)

    def run_joined(self) -> None:
        """Show the steps of this process, whose run another process opened and will end."""
        with self._shown():
            if not self._silent():
                self._live += 1
                self._display = self._display or self._choose()

    def step_started(  # noqa: PLR0917 - the order of the port that it implements
        self,
        step_id: str,
        title: str,
        position: int | None,
        total: int,
        eta_seconds: float | None,
        elapsed_seconds: float,
    ) -> None:
        """Say that a step began.

        Args:
            step_id: The step.
            title: What people read.
            position: The x of "x of N", None for a step outside the count.
            total: The N.
            eta_seconds: Predicted time to the end of the run, None where unknown.
            elapsed_seconds: Time since the start of the run.
        """
        with self._shown() as display:
            if display is not None:
                view = StepView(step_id, title, position, total, 0, None, "it", None, 0.0)
                display.step_started(view, eta_seconds, elapsed_seconds)

    def step_finished(  # noqa: PLR0917 - the order of the port that it implements
        self,
        step_id: str,
        title: str,
        status: str,
        duration_seconds: float,
        position: int | None,
        total: int,
        eta_seconds: float | None,
        elapsed_seconds: float,
    ) -> None:
        """Say how a step ended; the arguments are those of `step_started`."""
        with self._shown() as display:
            if display is not None:
                ended = StepView(
                    step_id, title, position, total, 0, None, "it", None, duration_seconds
                )
                display.step_finished(ended, status, eta_seconds, elapsed_seconds)

    def tick(
        self,
        steps: Sequence[StepView],
        eta_seconds: float | None = None,
        elapsed_seconds: float = 0.0,
    ) -> None:
        """Show the running steps; the monitor thread calls this about once a second."""
        with self._shown(patience=0) as display:
            if display is not None:
                display.tick(steps, eta_seconds, elapsed_seconds)

    def warning(self, text: str) -> None:
        """Log a warning, in every mode: it is no progress."""
        if os.getpid() == self._pid:
            guard.warn(text)

    def run_finished(
        self,
        status: str,
        duration_seconds: float,
        report_path: Path | None = None,
        reason: str | None = None,
        *,
        anomalies: Sequence[Anomaly] = (),
        recommendations: Sequence[PerformanceRecommendation] = (),
    ) -> None:
        """Say how the run ended, what was found, and where the report lies."""
        with self._shown() as display:
            if display is None:
                return
            self._live = max(0, self._live - 1)
            report = messages.shown_path(report_path) if report_path is not None else None
            try:
                display.run_finished(
                    status,
                    duration_seconds=duration_seconds,
                    reason=reason,
                    anomalies=anomalies,
                    recommendations=recommendations,
                    report=report,
                )
            finally:
                if self._live == 0:
                    self._display = None
                    display.close()

    def silence(self) -> None:
        """Never show anything again, without touching the terminal: this is a forked child."""
        self._mode = "off"
        self._display = None
        # The parent's thread may have held the lock at the moment of the fork.
        self._lock = threading.RLock()

    def _choose(self) -> Display:
        if self._mode == "auto":
            from robot_sf_otel.report.terminal import Terminal

            stream = self._stream if self._stream is not None else sys.stderr
            terminal = Terminal.of(stream, self._environ)
            if terminal is not None:
                from robot_sf_otel.report.bar import BarDisplay

                return BarDisplay(terminal, self._clock)
        from robot_sf_otel.report.lines import LineDisplay

        return LineDisplay(self._clock)
