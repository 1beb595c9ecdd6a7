"""The product's ETA engine behind the interface of an evaluator of recorded timings.

The evaluator hands over earlier runs and what is known of a run at a moment; it wants the remaining
seconds with their 10 % and 90 % quantiles. No model stands here: values are converted.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from robot_sf_otel.analysis.eta import (
    Curve,
    EtaEngine,
    FinishedStep,
    PastRun,
    PastStep,
    PlannedStep,
    RunningStep,
    Situation,
)


class EarlierRun(Protocol):
    """A complete run: a value for each step; ticks are seconds since the step's start."""

    names: Sequence[str]
    dur: Sequence[float]
    ticks: Sequence[Sequence[float] | None]
    ticks_total: Sequence[float | None]
    total: float
    system: str
    size: float | None


class Observation(Protocol):
    """What is known of a run at the time `t`: `k` steps are done, the next one runs."""

    t: float
    names: Sequence[str]
    ticks_total: Sequence[float | None]
    k: int
    dur: Sequence[float]
    cur_start: float | None
    cur_ticks: Sequence[float]
    system: str
    size: float | None
    run_key: Hashable


class Engine:
    """A predictor of the evaluator; it prepares the product's engine once for each run."""

    name = "robot_sf_otel"

    def __init__(self) -> None:
        self._key: Hashable = None
        self._engine = EtaEngine([])

    def predict(
        self, hist: Sequence[EarlierRun], obs: Observation
    ) -> float | tuple[float, float, float]:
        """Return remaining, low and high seconds; 0 alone where the engine says unknown."""
        if self._key != obs.run_key:
            self._key = obs.run_key
            self._engine = EtaEngine([_past(run) for run in hist])
        estimate = self._engine.predict(_situation(obs))
        remaining, low, high = (
            estimate.remaining_seconds,
            estimate.low_seconds,
            estimate.high_seconds,
        )
        if remaining is None or low is None or high is None:
            return 0.0
        return remaining, low, high


def _situation(obs: Observation) -> Situation:
    plan = tuple(
        PlannedStep(name, total=total)
        for name, total in zip(obs.names, obs.ticks_total, strict=True)
    )
    finished = tuple(
        FinishedStep(step.step_id, float(seconds), step.total)
        for step, seconds in zip(plan, obs.dur, strict=False)
    )
    running: tuple[RunningStep, ...] = ()
    if obs.cur_start is not None:
        step = plan[obs.k]
        curve = _curve(obs.cur_ticks)
        elapsed = float(obs.t) - obs.cur_start
        running = (RunningStep(step.step_id, elapsed, len(curve), step.total, curve),)
    return Situation(float(obs.t), plan, finished, running, host=obs.system, size=obs.size)


def _past(run: EarlierRun) -> PastRun:
    steps = tuple(
        PastStep(name, float(seconds), total, _curve(ticks))
        for name, seconds, total, ticks in zip(
            run.names, run.dur, run.ticks_total, run.ticks, strict=True
        )
    )
    return PastRun(steps, run.total, host=run.system, size=run.size)


def _curve(ticks: Sequence[float] | None) -> Curve:
    return () if ticks is None else tuple((float(t), float(n)) for n, t in enumerate(ticks, 1))
