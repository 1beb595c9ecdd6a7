"""The ETA of a live run: learned from its history, worked out now and then, counted down between.

Every ETA that somebody can see (console, manifest) is one that was worked out and recorded.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Final

import msgspec

from robot_sf_otel.analysis.eta import Estimate, EtaEngine
from robot_sf_otel.analysis.eta_input import past_run, shown, situation, size_parameter
from robot_sf_otel.manifest.events import NANOSECONDS, EtaShown
from robot_sf_otel.manifest.schema import Eta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robot_sf_otel.analysis.eta import Curve, Situation
    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.manifest.fold import RunFold
    from robot_sf_otel.manifest.schema import PipelineRunRecord

BOUNDARY_SECONDS: Final = 1.0
"""Shortest time between two estimates at starts and ends of steps, where the last one still holds:
a run of thousands of short steps does not pay for each."""
LARGE_SHARE: Final = 0.1
"""Part of what is left that nobody waits for: the last estimate does not hold without it."""
BOUNDARY_COST: Final = 0.005
"""CPU seconds of an estimate from which on no step waits for one."""
WITHIN_SECONDS: Final = 5.0
"""Shortest time between two estimates within a step."""
WITHIN_SHARE: Final = 0.01
"""The same as a share of the time that the run has run, up to `WITHIN_LONGEST`."""
WITHIN_LONGEST: Final = 60.0
"""Seconds after which an ETA is old, whatever the age of the run; `status` shows the last one."""
COST_SHARE: Final = 0.01
"""Largest share of the time that estimates may take."""


class Forecast:
    """The ETA of one run that this process owns.

    Args:
        run: The run.
    """

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._host = socket.gethostname()
        self._engine = EtaEngine(())
        self._size: str | None = None
        self._usual: tuple[str, ...] = ()
        self._turns = 0
        self._shown: Eta | None = None
        self._shown_at = 0.0
        self._left = 0.0
        self._long: tuple[tuple[str, float], ...] = ()
        self._changes = 0
        self._boundary_due = 0.0
        self._due = 0.0
        self._took = 0.0

    def learn(self, records: Sequence[PipelineRunRecord]) -> None:
        """Learn from earlier runs, the oldest first; takes a moment."""
        size = size_parameter(records)
        seen = (past_run(record, size) for record in records)
        history = [past for past in seen if past is not None]
        engine = EtaEngine(history)
        self._size, self._engine = size, engine
        self._usual = tuple(step.step_id for step in history[-1].steps) if history else ()
        self._due = self._boundary_due = 0.0

    def at_boundary(self) -> float | None:
        """Return the remaining seconds at the start or end of a step, None where unknown."""
        now = self._now()
        # A run of thousands of steps leaves it to the monitor thread: the pipeline must not wait.
        if self._took <= BOUNDARY_COST and (now >= self._boundary_due or not self._holds(now)):
            self._work_out(now)
        return self._remaining(now)

    def within(self) -> float | None:
        """Return the remaining seconds while steps run, None where unknown. Monitor thread only."""
        now = self._now()
        turns = self._run.recorder.look(_turns) or self._turns
        if now >= self._due or (turns != self._turns and now >= self._boundary_due):
            self._work_out(now)
        return self._remaining(now)

    def as_of(self, now: float) -> Eta | None:
        """Return what was shown last, counted down to `now` (monotonic); None where unknown."""
        shown, at = self._shown, self._shown_at
        if shown is None:
            return None
        since = max(0.0, now - at)

        def left(seconds: float | None) -> float | None:
            return None if seconds is None else max(0.0, seconds - since)

        return msgspec.structs.replace(
            shown,
            remaining_seconds=left(shown.remaining_seconds),
            low_seconds=left(shown.low_seconds),
            high_seconds=left(shown.high_seconds),
        )

    def _now(self) -> float:
        return self._run.runtime.clock.monotonic()

    def _remaining(self, now: float) -> float | None:
        if self._shown is None or self._shown.remaining_seconds is None:
            return None
        return max(0.0, self._shown.remaining_seconds - (now - self._shown_at))

    def _holds(self, now: float) -> bool:
        """Return whether the last estimate is of this plan, and no long step came to its end early.

        Looked at before each step's start and end: few steps are a large part of what is left.
        """
        steps = self._run.steps
        if steps.plan.changes != self._changes:
            return False
        since = now - self._shown_at
        large = LARGE_SHARE * (self._left - since)
        return not any(
            seconds - since > large and step_id in steps.completed
            for step_id, seconds in self._long
        )

    def _work_out(self, now: float) -> None:
        began = time.thread_time()
        run = self._run
        changes = run.steps.plan.changes
        time_ns = run.runtime.clock.time_ns()

        elapsed = run.elapsed()
        own = [step for step in run.running_steps() if not step.nested]
        courses: dict[str, tuple[float, Curve]] = {}
        for step in own:
            seconds, points = step.course(now)
            courses[step.span_id] = seconds, tuple(points)

        def look(fold: RunFold) -> Situation | None:
            self._turns = fold.turns
            return situation(
                fold,
                time_ns,
                self._host,
                self._size,
                self._usual,
                elapsed=elapsed,
                own=courses,
            )

        seen = run.recorder.look(look)
        if seen is None:  # another thread is busy with the record
            return
        # Without a plan or runs before this one nobody knows what follows on the running step.
        estimate = self._engine.predict(seen) if seen.plan else Estimate()
        eta = shown(estimate)
        if run.ended:  # by another thread meanwhile: nothing comes after the end in its journal
            return
        if eta is not None or self._shown is not None:
            ids = run.ids()
            if own:
                ids["span_id"] = own[-1].span_id
            event = EtaShown(eta=eta or Eta(), elapsed_seconds=elapsed, **ids)
            run.recorder.record(event, sync=False)
        self._shown, self._shown_at = eta, now
        self._changes, self._left = changes, estimate.remaining_seconds or 0.0
        self._long = tuple(
            (step_id, seconds)
            for step_id, seconds in estimate.steps
            if seconds > LARGE_SHARE * self._left and step_id not in run.steps.completed
        )
        self._took = time.thread_time() - began
        cost = self._took / COST_SHARE
        self._boundary_due = now + max(BOUNDARY_SECONDS, cost)
        self._due = now + max(
            WITHIN_SECONDS, min(WITHIN_LONGEST, seen.elapsed * WITHIN_SHARE), cost
        )


def _turns(fold: RunFold) -> int:
    return fold.turns


class JoinedForecast:
    """The ETA of a run of another process: what its owner showed last.

    Args:
        run: The run.
    """

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._due = 0.0
        self._end_ns: float | None = None

    def at_boundary(self) -> float | None:
        """Return the remaining seconds, None where unknown."""
        clock = self._run.runtime.clock
        now = clock.monotonic()
        if now >= self._due:
            self._due = now + BOUNDARY_SECONDS
            self._end_ns = None
            if (event := self._run.recorder.shown_eta()) is not None:
                left = event.eta.remaining_seconds
                self._end_ns = None if left is None else event.time_unix_nano + left * NANOSECONDS
        if self._end_ns is None:
            return None
        return max(0.0, (self._end_ns - clock.time_ns()) / NANOSECONDS)

    within = at_boundary
