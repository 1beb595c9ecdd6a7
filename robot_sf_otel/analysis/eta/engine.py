"""The estimate of a run's remaining time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from robot_sf_otel.analysis.eta.curves import Progress, Reference, Rest, compare, rest_by_pace
from robot_sf_otel.analysis.eta.factor import Deviation, run_factor
from robot_sf_otel.analysis.eta.history import History
from robot_sf_otel.analysis.eta.outlook import SIMILAR_SIGMA, Outlook, family
from robot_sf_otel.analysis.eta.records import (
    Estimate,
    FinishedStep,
    PastRun,
    PlannedStep,
    RunningStep,
    Situation,
)
from robot_sf_otel.analysis.eta.statistics import clean, duration_quantile, exp, positive
from robot_sf_otel.analysis.eta.sums import BAND_SIGMAS, Sum

# A step of which nothing but the pace of others is known: how long it takes, and how fast it grows
# when overdue.
PACE_SIGMA = 1.0
PACE_GROWTH_SIGMA = 0.6
# An ETA is shown when its band is no wider than half of the run: "in 40 to 60 minutes" helps, "in 1
# to 3 hours" does not. What rests on the pace of other steps alone is right too seldom to be shown.
WIDEST_SHOWN = 0.5


class EtaEngine:
    """Predicts the remaining time of runs of one pipeline.

    Args:
        history: Completed runs of the pipeline, oldest first; the latest 50 count.
    """

    def __init__(self, history: Sequence[PastRun]) -> None:
        self._history = History(history)

    def predict(self, situation: Situation) -> Estimate:
        """Return when a run will be done, as far as that is known."""
        return _Prediction(self._history, situation).estimate()


class _Prediction:
    """One estimate in the making: expectations, the run's factor, the sum of what is left."""

    def __init__(self, history: History, situation: Situation) -> None:
        self._history = history
        self._situation = situation
        self._outlook = Outlook(history, situation)
        self._progress = [
            Progress(step.curve, None if step.done is None else (clean(step.elapsed), step.done))
            for step in situation.running
        ]
        self._past = [
            self._compare(step, now)
            for step, now in zip(situation.running, self._progress, strict=True)
        ]
        self._factor = run_factor(self._deviations(), self._outlook.prior_variance)
        self._basis: set[str] = set()
        self._expected_seconds: list[float] = []
        self._steps: list[tuple[str, float]] = []
        self._left = Sum()

    def estimate(self) -> Estimate:
        """Return the estimate; empty where a step that is left is of unknown length."""
        if not self._situation.plan and not self._situation.running:
            return Estimate()
        todo = _todo(self._situation)
        rests = [
            self._rest(step, now, past)
            for step, now, past in zip(
                self._situation.running, self._progress, self._past, strict=True
            )
        ]
        under_way = [
            clean(step.elapsed) + rest.seconds
            for step, rest in zip(self._situation.running, rests, strict=True)
            if rest is not None
        ]
        strangers = self._add_expected(todo)
        pace = _Pace(self._situation.finished, under_way, self._expected_seconds)
        if not self._history.runs and not all(pace.resembles(one.step_id) for one in strangers):
            pace.forget_families()
        if not self._add_running(rests, pace) or not self._add_strangers(strangers, pace):
            return Estimate()
        if self._history.closing:
            self._left.add(self._history.closing, self._history.closing)
        return self._result()

    def _result(self) -> Estimate:
        remaining = self._left.seconds
        sigma = self._left.sigma(self._factor) * BAND_SIGMAS
        if "history" in self._basis:
            sigma *= self._history.band
        low, high = remaining * exp(-sigma), remaining * exp(sigma)
        total = clean(self._situation.elapsed) + remaining
        by_strangers = "pace" in self._basis and "history" not in self._basis
        return Estimate(
            remaining_seconds=remaining,
            low_seconds=low,
            high_seconds=high,
            total_seconds=total,
            basis="+".join(sorted(self._basis)) or "plan",
            history_runs=len(self._history.runs) if "history" in self._basis else 0,
            shown=high - low <= WIDEST_SHOWN * total and not by_strangers,
            steps=tuple(self._steps),
        )

    def _compare(self, step: RunningStep, now: Progress) -> Reference | None:
        """Return what the past curves of a running step say at its progress."""
        expected = self._outlook.expected(step.step_id, step.total)
        if expected is None or expected.history is None:
            return None
        past = [
            (
                value.progress,
                value.seconds,
                positive(value.step.total),
                exp(expected.scale - expected.history.scaling.log(value.size)),
                weight,
            )
            for value, weight in self._history.latest(expected.history, self._outlook.weights)
            if value.step.curve
        ]
        return compare(now, self._outlook.total(step), past)

    def _deviations(self) -> list[Deviation]:
        """Return how far this run's steps, finished or under way, are from what was expected."""
        found = [self._outlook.deviation(step) for step in self._situation.finished]
        for step, past in zip(self._situation.running, self._past, strict=True):
            expected = self._outlook.expected(step.step_id, step.total)
            if past is not None and expected is not None:
                found.append(
                    self._outlook.weigh(expected, step.step_id, past.deviation, past.variance)
                )
        return [one for one in found if one is not None]

    def _rest(self, step: RunningStep, now: Progress, past: Reference | None) -> Rest | None:
        """Return what is left of a running step; None where only other steps' pace can tell."""
        elapsed = clean(step.elapsed)
        expected = self._outlook.expected(step.step_id, step.total)
        own = rest_by_pace(now, self._outlook.total(step), elapsed)
        if expected is None:
            if own is not None:
                self._basis.add("progress")
            return own
        self._basis.add(expected.basis)
        shift = expected.loading * self._factor.mean
        variance = expected.sigma**2 + expected.loading**2 * self._factor.variance
        if past is not None:
            # Two opinions on this step's own deviation, each with the weight of its precision.
            part = past.variance / (variance + past.variance)
            deviation = part * shift + (1 - part) * past.deviation
            waiting = max(0.0, elapsed - now.seconds)
            return past.rest_after(deviation, part * variance, waiting)
        rest = _unseen(exp(expected.log + shift), math.sqrt(variance), elapsed)
        if own is None:
            return rest
        self._basis.add("progress")
        return _both(rest, own)

    def _add_running(self, rests: Sequence[Rest | None], pace: _Pace) -> bool:
        """Add the longest rest of the running steps; False where one is unknown."""
        longest: Rest | None = None
        for step, rest in zip(self._situation.running, rests, strict=True):
            known = rest or self._rest_by_others(step, pace)
            if known is None:
                return False
            self._steps.append((step.step_id, known.seconds))
            if longest is None or known.seconds > longest.seconds:
                longest = known
        if longest is not None:
            self._left.add(longest.seconds, longest.sigma)
        return True

    def _rest_by_others(self, step: RunningStep, pace: _Pace) -> Rest | None:
        """Return what is left of a step by the steps that are done, None before the first."""
        seconds = pace.seconds(step.step_id)
        if seconds is None:
            return None
        self._basis.add("pace")
        if pace.resembles(step.step_id):
            return _unseen(max(seconds, 1e-6), SIMILAR_SIGMA, clean(step.elapsed))
        rest = _unseen(max(seconds, 1e-6), PACE_GROWTH_SIGMA, clean(step.elapsed))
        # A stranger that is under way is not a short one: as long again as the others took.
        return Rest(max(rest.seconds, seconds), PACE_SIGMA * max(rest.seconds, seconds))

    def _add_expected(self, todo: Sequence[PlannedStep]) -> list[PlannedStep]:
        """Add the steps to come that something is known of; return the others."""
        strangers: list[PlannedStep] = []
        for step in todo:
            expected = self._outlook.expected(step.step_id, step.total)
            if expected is None:
                strangers.append(step)
                continue
            self._basis.add(expected.basis)
            duration = exp(expected.log + expected.loading * self._factor.mean)
            self._expected_seconds.append(duration)
            seconds = expected.added * duration
            self._steps.append((step.step_id, seconds))
            self._left.add(seconds, expected.sigma * seconds, expected.loading * seconds)
        return strangers

    def _add_strangers(self, strangers: Sequence[PlannedStep], pace: _Pace) -> bool:
        """Add the steps to come that nothing is known of; False where there is no pace yet."""
        guesses = [(step.step_id, pace.seconds(step.step_id)) for step in strangers]
        guessed = [(step_id, seconds) for step_id, seconds in guesses if seconds is not None]
        known = [seconds for _, seconds in guessed]
        self._steps += guessed
        if known:
            self._basis.add("pace")
        # What is wrong with the pace is wrong with all steps that are guessed by it.
        self._left.add(sum(known), PACE_SIGMA * sum(known))
        return len(known) == len(strangers)


class _Pace:
    """Guesses for steps of which nothing is known, from the steps of this run."""

    def __init__(
        self,
        finished: Sequence[FinishedStep],
        under_way: Sequence[float],
        expected: Sequence[float],
    ) -> None:
        # The latest of a family speaks for it: the first one has the start-up to bear.
        self._families = {family(step.step_id): clean(step.seconds) for step in finished}
        known = [*(clean(step.seconds) for step in finished), *expected]
        # One step under way is no pace: nobody knows whether the plan's longest comes first.
        self._mean = sum([*known, *under_way]) / len([*known, *under_way]) if known else None

    def resembles(self, step_id: str) -> bool:
        """Return whether a step of a similar name is done."""
        return family(step_id) in self._families

    def forget_families(self) -> None:
        """Guess by the mean alone: beside strangers, familiar steps would only shift the sum."""
        self._families.clear()

    def seconds(self, step_id: str) -> float | None:
        """Return the duration of the latest similar step, else the mean of all, else None."""
        return self._families.get(family(step_id), self._mean)


def _todo(situation: Situation) -> list[PlannedStep]:
    """Return the planned steps that have not begun; a name that stands twice is due twice."""
    begun = Counter(step.step_id for step in situation.finished)
    begun.update(step.step_id for step in situation.running)
    todo: list[PlannedStep] = []
    for step in situation.plan:
        if begun[step.step_id]:
            begun[step.step_id] -= 1
        else:
            todo.append(step)
    return todo


def _unseen(median: float, sigma: float, elapsed: float) -> Rest:
    """Return what is left of a step whose progress nobody sees."""
    low, middle, high = (
        duration_quantile(median, sigma, elapsed, share) for share in (0.1, 0.5, 0.9)
    )
    return Rest(middle - elapsed, (high - low) / 2 / BAND_SIGMAS)


def _both(one: Rest, other: Rest) -> Rest:
    """Return two estimates of the same rest as one, each with the weight of its precision."""
    variance, others = one.sigma**2 + 1e-12, other.sigma**2 + 1e-12
    part = others / (variance + others)
    seconds = part * one.seconds + (1 - part) * other.seconds
    return Rest(seconds, math.sqrt(part * variance))
