"""What the instruments show of the runs and steps of this process: open ones, and last values."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from robot_sf_otel.instrument import context
from robot_sf_otel.system_metrics.run_points import RunShown, StepShown, run_points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.instrument.live_step import LiveStep
    from robot_sf_otel.instrument.outcome import Outcome
    from robot_sf_otel.manifest.fold import RunFold
    from robot_sf_otel.manifest.schema import Eta, MetricValue
    from robot_sf_otel.system_metrics.points import Points

KEPT_RUNS: Final = 100
"""Ended runs that are still shown: a process may have thousands, and each is a series."""
KEPT_STEPS: Final = 100
"""Ended steps whose last values are still shown."""
SHOWN_METRICS: Final = 100
"""Logged metrics of one step or run that are shown; each is a series."""
COUNT_SHARE: Final = 0.002
"""Largest share of the time that counting the steps of a run may take."""


class RunFigures:
    """Keeps what is shown of runs and steps from their end on: short ones end unseen otherwise.

    Args:
        eta: Returns the ETA of a run that this process owns, as of a monotonic time.
    """

    def __init__(self, eta: Callable[[LiveRun, float], Eta | None]) -> None:
        self._eta = eta
        self._now = 0.0
        self._ended: deque[RunShown] = deque(maxlen=KEPT_RUNS)
        self._left: deque[str] = deque(maxlen=KEPT_RUNS)
        self._steps: dict[tuple[str, str | None], StepShown] = {}
        self._waiting: deque[tuple[str, LiveStep]] = deque(maxlen=KEPT_STEPS)
        self._counted: dict[str, tuple[int, int]] = {}
        self._due: dict[str, float] = {}

    def now(self) -> None:
        """Let times be shown as of now: all readers see the same until the next time."""
        if (runtime := context.process.runtime) is not None:
            self._now = runtime.clock.monotonic()

    def opened(self, run: LiveRun) -> None:
        """Forget the steps of the pipeline's run before this one."""
        self.now()
        self._take_in()
        self._steps = {key: step for key, step in self._steps.items() if key[0] != run.name}

    def step_ended(self, run: LiveRun, step: LiveStep) -> None:
        """Keep the last values of a step; whoever asks for them next does the work."""
        self._waiting.append((run.name, step))

    def _take_in(self) -> None:
        with suppress(IndexError):  # another reader's thread took the last one
            while self._waiting:
                pipeline, step = self._waiting.popleft()
                self._keep(self._step(pipeline, step))

    def _keep(self, last: StepShown) -> None:
        key = last.pipeline, last.step
        kept = dict(self._steps)
        kept.pop(key, None)  # what ended last comes last
        if len(kept) >= KEPT_STEPS:
            del kept[next(iter(kept))]
        kept[key] = last
        self._steps = kept  # replaced and not changed: an exporter's thread may be reading it

    def left(self, run: LiveRun) -> None:
        """Keep what this process reported of a run as a whole."""
        self._left.append(run.run_id)
        self._keep(_whole(run))

    def ended(self, run: LiveRun, outcome: Outcome) -> None:
        """Keep a run with how it ended."""
        self.now()
        self._ended.append(self._run(run, outcome.status))
        self.left(run)
        self._counted.pop(run.run_id, None)
        self._due.pop(run.run_id, None)

    def count(self, run: LiveRun, *, last: bool = False) -> None:
        """Count the steps of a run, those of its child processes too; one may have named it.

        Args:
            run: A run that this process owns.
            last: Whether the run ends: counts whatever it costs.
        """
        now = time.monotonic()
        if not last and now < self._due.get(run.run_id, 0.0):
            return
        began = time.thread_time()
        counted = run.recorder.look(_counts)
        if counted is not None:
            pipeline, scenario, completed, planned = counted
            self._counted[run.run_id] = completed, planned
            if pipeline is not None and pipeline != run.name:
                run.rename(pipeline, scenario)
        self._due[run.run_id] = now + (time.thread_time() - began) / COUNT_SHARE

    def points(self) -> Points:
        """Return the points of runs and steps as they stand now."""
        self._take_in()
        live = list(context.process.live_runs)
        owned = [self._run(run) for run in live if run.owner]
        steps = [*self._steps.values(), *map(_whole, live)]
        steps += [self._step(run.name, step) for run in live for step in run.running_steps()]
        members = dict.fromkeys([*self._left, *(run.run_id for run in live)])
        return run_points([*self._ended, *owned], steps, members)

    def forget(self) -> None:
        """In a forked child: what is shown is the parent's."""
        self._ended.clear()
        self._left.clear()
        self._waiting.clear()
        self._steps = {}
        self._counted.clear()
        self._due.clear()

    def _run(self, run: LiveRun, status: str = "running") -> RunShown:
        open_still = status == "running"
        eta = self._eta(run, self._now) if open_still else None
        own, own_plan = _own_counts(run)
        completed, planned = self._counted.get(run.run_id, (own, own_plan))
        return RunShown(
            pipeline=run.name,
            run_id=run.run_id,
            trace_id=run.trace_id,
            status="completed" if status == "skipped" else status,
            elapsed=max(0.0, self._now - run.steps.opened),
            scenario=run.scenario,
            former=run.former,
            ending=run.ending,
            completed=max(completed, own),
            planned=planned or None,
            remaining=eta.remaining_seconds if eta is not None else None,
            low=eta.low_seconds if eta is not None else None,
            high=eta.high_seconds if eta is not None else None,
        )

    def _step(self, pipeline: str, step: LiveStep) -> StepShown:
        reports = step.total is not None or bool(step.done)
        return StepShown(
            pipeline=pipeline,
            step=step.step_id,
            elapsed=None if step.ended else max(0.0, self._now - step.started),
            done=step.done if reports else None,
            total=step.total,
            rate=None if step.ended or not reports else step.rate,
            metrics=_numbers(step.metrics),
        )


def _whole(run: LiveRun) -> StepShown:
    return StepShown(run.name, None, metrics=_numbers(run.telemetry.shown))


def _numbers(metrics: Mapping[str, MetricValue]) -> Mapping[str, float]:
    """Return the metrics that are finite numbers, the first ones of too many."""

    def finite() -> Iterator[tuple[str, float]]:
        for name, value in list(metrics.items()):
            if isinstance(value, float):
                yield name, value

    return dict(islice(finite(), SHOWN_METRICS))


def _counts(fold: RunFold) -> tuple[str | None, str | None, int, int]:
    plan = fold.plan
    completed = sum(not plan.is_skipped(step) for step in fold.completed())
    return fold.pipeline, fold.scenario, completed, plan.total


def _own_counts(run: LiveRun) -> tuple[int, int]:
    plan = run.steps.plan
    return sum(not plan.is_skipped(step) for step in list(run.steps.completed)), plan.total
