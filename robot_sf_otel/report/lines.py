"""Progress as single log lines, for CI, files and everything that is no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from robot_sf_otel.report import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from loguru import Record

    from robot_sf_otel.instrument.runtime import StepView
    from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation

PERIOD_SECONDS: Final = 30.0
"""How often a running step says that it runs."""
_BURST: Final = 50.0
"""Lines that may come at once; after them as many a second as `_LINES_PER_SECOND`."""
_LINES_PER_SECOND: Final = 10.0
_MAX_RUNNING: Final = 5
"""Running steps that one period names."""


class LineDisplay:
    """Says through Loguru what happens; sinks are the application's business.

    Thousands of short steps are not told one by one: what exceeds a burst is counted instead.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_line = clock()
        self._allowance = _BURST
        self._refilled = clock()
        self._left_out = 0
        self._eta_said = False

    def run_started(
        self, run_id: str, pipeline: str, run_dir: Path, *, resumed: bool = False
    ) -> None:
        """Say which run this is and where its files lie."""
        self._eta_said = False
        self._say(messages.opening(run_id, pipeline, run_dir, resumed=resumed))

    def step_started(
        self, view: StepView, eta_seconds: float | None, elapsed_seconds: float
    ) -> None:
        """Say that a step begins."""
        self._step(view, eta_seconds, elapsed_seconds)

    def step_finished(
        self,
        view: StepView,
        status: str,
        eta_seconds: float | None,
        elapsed_seconds: float,
    ) -> None:
        """Say how a step ended and how long it took."""
        note = messages.outcome(status, view.elapsed_seconds)
        sparing = status in {"completed", "skipped"}
        self._step(view, eta_seconds, elapsed_seconds, note, sparing=sparing)

    def tick(
        self, steps: Sequence[StepView], eta_seconds: float | None, elapsed_seconds: float
    ) -> None:
        """Say which steps run when nothing was said for `PERIOD_SECONDS`, or of the first ETA."""
        news = eta_seconds is not None and not self._eta_said
        if not news and self._clock() - self._last_line < PERIOD_SECONDS:
            return
        for view in steps[:_MAX_RUNNING]:
            self._step(view, eta_seconds, elapsed_seconds)
        if len(steps) > _MAX_RUNNING:
            self._say(f"{len(steps) - _MAX_RUNNING} more steps running")

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
        levels = {"completed": "INFO", "failed": "ERROR"}
        verdict = messages.verdict(status, duration_seconds, reason)
        self._say(verdict, levels.get(status, "WARNING"), sparing=False)
        for severity, text in messages.findings(anomalies, recommendations):
            self._say(text, "INFO" if severity == "info" else "WARNING", sparing=False)
        if report is not None:
            self._say(f"Report: {report}", sparing=False)

    def close(self) -> None:
        """Nothing was opened."""

    def _step(
        self,
        view: StepView,
        eta_seconds: float | None,
        elapsed_seconds: float,
        note: str = "",
        *,
        sparing: bool = True,
    ) -> None:
        name = messages.step_name(view.title, view.position, view.total_steps)
        self._eta_said |= eta_seconds is not None
        line = messages.step_line(name, eta_seconds, elapsed_seconds, note)
        self._say(line, sparing=sparing)

    def _say(self, text: str, level: str = "INFO", *, sparing: bool = True) -> None:
        now = self._clock()
        refill = (now - self._refilled) * _LINES_PER_SECOND
        self._allowance = min(_BURST, self._allowance + refill)
        self._refilled = now
        if sparing and self._allowance < 1:
            self._left_out += 1
            return
        from loguru import logger

        logger = logger.patch(_as_package)
        if self._left_out:
            logger.log("INFO", "{}", f"… {self._left_out} lines about short steps left out")
            self._left_out = 0
        self._allowance = max(0.0, self._allowance - 1)
        self._last_line = now
        logger.log(level, "{}", text)


def _as_package(record: Record) -> None:
    """Name the package as origin of a line: which function wrote it tells nobody anything."""
    record["name"] = "robot_sf_otel"
    record["function"] = "progress"
