"""What a process tells of its runs by OpenTelemetry, besides spans: instruments and events."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from robot_sf_otel import guard
from robot_sf_otel.announcements import Announcements
from robot_sf_otel.figures import RunFigures
from robot_sf_otel.instrument import child_process
from robot_sf_otel.manifest.schema import Anomaly
from robot_sf_otel.semconv.spans import error_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span

    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.instrument.live_step import LiveStep
    from robot_sf_otel.instrument.outcome import Outcome
    from robot_sf_otel.manifest.schema import Eta, PerformanceRecommendation
    from robot_sf_otel.semconv import Result
    from robot_sf_otel.system_metrics.instruments import RunOutcomes
    from robot_sf_otel.system_metrics.points import Points

WAITING_STEPS: Final = 10_000
"""How many ended steps wait for the next sample to be counted by the instruments."""

_Ended: TypeAlias = "tuple[str, str, Result, float]"
"""Pipeline, step, result and seconds."""


class Outward:
    """Feeds instruments and events; a step leaves the work to the next sample.

    Args:
        eta: Returns the ETA of a run that this process owns, as of a monotonic time.
        flush: Sends what waits.

    Attributes:
        outcomes: The instruments that are written; None without a meter.
        in_child: Called at the first step of a forked child.
    """

    def __init__(
        self, eta: Callable[[LiveRun, float], Eta | None], flush: Callable[[], None]
    ) -> None:
        self.outcomes: RunOutcomes | None = None
        self.in_child: Callable[[], None] | None = None
        self._flush = flush
        self._figures = RunFigures(eta)
        self._announcements = Announcements()
        self._steps: deque[_Ended] = deque()
        self._at_work = False

    def run_opened(self, run: LiveRun) -> None:
        """Show a run, and tell that it began."""
        with guard.shielded("event log"):
            self._figures.opened(run)
            self._announcements.run_opened(run)

    def step_began(self) -> None:
        """Show a step; the first one of a process says that the process is at work."""
        self._figures.now()
        if self._at_work:
            return
        self._at_work = True
        with guard.shielded("exit of a worker"):
            child_process.at_exit_of_worker(self.send)
            if self.in_child is not None:
                self.in_child()

    def step_ended(self, run: LiveRun, step: LiveStep, outcome: Outcome) -> None:
        """Take the last values of a step, of whichever process the run is."""
        self._figures.step_ended(run, step)
        ended = (run.name, step.step_id, outcome.result, step.elapsed())
        if len(self._steps) < WAITING_STEPS:
            self._steps.append(ended)
        else:  # none is left out of the counts
            with guard.shielded("instruments"):
                self._count(ended)

    def sampled(self) -> None:
        """Let all be shown as of now, and do what was left to do. Monitor thread only."""
        self._figures.now()
        with guard.shielded("event log"):
            self._announcements.steps()
        self._count_steps()

    def kept_up(self, run: LiveRun, *, last: bool = False) -> None:
        """Count the steps of a run, which take a while to count."""
        with guard.shielded("instruments"):
            self._figures.count(run, last=last)

    def found(self, run: LiveRun, finding: Anomaly | PerformanceRecommendation, span: Span) -> None:
        """Count what the rules found, and tell of it."""
        with guard.shielded("instruments"):
            self._announcements.found(run, finding, span)
            if self.outcomes is not None:
                kind = "anomaly" if isinstance(finding, Anomaly) else "recommendation"
                self.outcomes.add_finding(
                    run.name, finding.trigger, finding.step_id, finding.severity, kind
                )

    def run_left(self, run: LiveRun) -> None:
        """Take the last values of a run of another process, which goes on without this one."""
        self._figures.left(run)
        self._count_steps()

    def run_closed(self, run: LiveRun, outcome: Outcome) -> None:
        """Show how a run ended."""
        self._count_steps()
        with guard.shielded("instruments"):
            self._figures.ended(run, outcome)
            if self.outcomes is not None:
                known = outcome.error.type if outcome.error is not None else None
                error = error_type(outcome.result, known)
                self.outcomes.add(run.name, outcome.result, run.elapsed(), error)

    def points(self) -> Points:
        """Return the points of runs and steps as of the last sample."""
        return self._figures.points()

    def send(self) -> None:
        """Send what waits, for at most 2.5 s."""
        self._count_steps()
        self._flush()

    def forget(self) -> None:
        """In a forked child: all of it is the parent's."""
        self._figures.forget()
        self._announcements = Announcements()
        self._steps.clear()
        self._at_work = False

    def _count_steps(self) -> None:
        with guard.shielded("instruments"):
            while self._steps:
                try:
                    ended = self._steps.popleft()
                except IndexError:  # another thread has counted the last one
                    return
                self._count(ended)

    def _count(self, ended: _Ended) -> None:
        if self.outcomes is not None:
            self.outcomes.add_step(*ended)
