"""The product's ETA engine behind the interface of the evaluator of recorded timings.

The evaluator hands over earlier runs and what is known of a run at a moment, as objects that hold arrays; it wants the
remaining seconds with the 10 % and 90 % quantiles. No model stands here: the values are converted and handed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


class Engine:
    """A predictor of the evaluator."""

    name = "robot_sf_otel"

    def __init__(self) -> None:
        self._key: object = None
        self._engine = EtaEngine([])
        self._plan: tuple[PlannedStep, ...] = ()

    def predict(self, hist: Sequence[Any], obs: Any) -> float | tuple[float, float, float]:
        """Return the remaining seconds and the band; 0 alone where the engine says unknown."""
        if self._key != obs.run_key:
            self._key = obs.run_key
            self._engine = EtaEngine([_past(run) for run in hist])
            self._plan = tuple(
                PlannedStep(name, total=_float(total))
                for name, total in zip(obs.names, obs.ticks_total, strict=True)
            )
        estimate = self._engine.predict(_situation(obs, self._plan))
        if (
            estimate.remaining_seconds is None
            or estimate.low_seconds is None
            or estimate.high_seconds is None
        ):
            return 0.0
        return estimate.remaining_seconds, estimate.low_seconds, estimate.high_seconds


def _situation(obs: Any, plan: tuple[PlannedStep, ...]) -> Situation:
    finished = tuple(
        FinishedStep(step.step_id, float(seconds), step.total)
        for step, seconds in zip(plan, obs.dur, strict=False)
    )
    running: tuple[RunningStep, ...] = ()
    if obs.cur_start is not None:
        step = plan[obs.k]
        curve = _curve(obs.cur_ticks)
        running = (
            RunningStep(
                step.step_id,
                float(obs.t) - obs.cur_start,
                done=float(len(curve)) if curve or step.total else None,
                total=step.total,
                curve=curve,
            ),
        )
    return Situation(
        float(obs.t), plan, finished, running, host=obs.system, size=_float(obs.size)
    )


def _past(run: Any) -> PastRun:
    steps = tuple(
        PastStep(name, float(seconds), _float(total), _curve(ticks))
        for name, seconds, total, ticks in zip(
            run.names, run.dur, run.ticks_total, run.ticks, strict=True
        )
    )
    return PastRun(steps, run.total, host=run.system, size=_float(run.size))


def _curve(ticks: Any) -> Curve:
    return () if ticks is None else tuple((float(t), float(n)) for n, t in enumerate(ticks, 1))


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
