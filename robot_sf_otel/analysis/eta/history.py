"""What past runs teach: each step's level, how it drifts, and how good predictions were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from robot_sf_otel.analysis.eta.curves import Progress
from robot_sf_otel.analysis.eta.factor import FactorModel, Surprise
from robot_sf_otel.analysis.eta.scaling import Scaling, fit_scaling
from robot_sf_otel.analysis.eta.statistics import clean, exp, positive, weighted_median
from robot_sf_otel.analysis.eta.sums import BAND_SIGMAS, Sum

if TYPE_CHECKING:
    from robot_sf_otel.analysis.eta.records import PastRun, PastStep

# Past runs that are looked at; of these, the ones that are predicted from their own past, to learn
# from the errors.
RUNS = 50
LESSONS = 20
SCORED = 10
# Values of a step that its level is made of: with the quick forgetting the weight of an older one
# is below 1/1,000.
WINDOW = 16
# How much weight a value keeps when a newer one comes. The quick one follows a shift that is seen
# twice (1 + 0.65 is more than half of the whole weight) and ignores a lone stall (1 is less than
# half, even of three values). Without evidence it is preferred: real pipelines jump and then hold
# their level.
QUICK, NEVER = 0.65, 1.0
CLEARLY_BETTER = 0.9
# A deviation beyond e^0.5 is an outlier for the choice, however large.
OUTLIER = 0.5
# What a past run of another host or scenario weighs: less, but it is not excluded.
ELSEWHERE = 0.5
# Durations are known to a thousandth of a usual run: clocks of a second, and things that nobody
# declared.
RESOLUTION = 0.001
# Sizes of deviation of eight imagined predictions, evenly spread over a normal distribution that is
# 1.3 times too wide: with few errors of its own a pipeline's band is a cautious one.
IMAGINED = tuple(1.3 * size for size in (0.08, 0.24, 0.4, 0.58, 0.78, 1.01, 1.3, 1.86))


@dataclass(slots=True)
class Value:
    """A step in a past run: its size, and its duration's logarithm at the reference size."""

    run: int
    step: PastStep
    seconds: float
    size: float | None
    log: float = 0.0
    _progress: Progress | None = None

    @property
    def progress(self) -> Progress:
        """The step's curve, made when it is first asked for."""
        if self._progress is None:
            self._progress = Progress(self.step.curve)
        return self._progress


@dataclass(slots=True)
class StepHistory:
    """A step in all past runs, oldest first.

    Attributes:
        values: Its durations.
        by_units: Its size is its own declared units; else it is the run's.
        scaling: How its duration follows the size.
        added: What it adds to the run's time, as a part of its duration.
        share: Its part of the run's time.
        resolution: Variance of its logarithm for the clock's sake.
    """

    values: list[Value] = field(default_factory=list[Value])
    by_units: bool = False
    scaling: Scaling = field(default_factory=Scaling)
    added: float = 1.0
    share: float = 0.0
    resolution: float = 0.0


def run_size(size: float | None, totals: Sequence[float | None]) -> float | None:
    """Return a run's size: the declared one, else its steps' units together, else None."""
    known = [total for total in map(positive, totals) if total is not None]
    return positive(size) or (sum(known) if known else None)


def weighted(step: StepHistory, weights: Sequence[float], keep: float) -> list[tuple[Value, float]]:
    """Return a step's latest values, newest first, each with its run's weight and its age's."""
    chosen: list[tuple[Value, float]] = []
    age = 1.0
    before = len(weights)
    for value in reversed(step.values):
        if value.run < before:
            chosen.append((value, weights[value.run] * age))
            age *= keep
            if len(chosen) == WINDOW:
                break
    return chosen


class History:
    """Past runs of a pipeline, prepared for predictions.

    Args:
        runs: Completed runs, oldest first.
    """

    def __init__(self, runs: Sequence[PastRun]) -> None:
        self.runs = tuple(runs)[-RUNS:]
        self.sizes = [run_size(run.size, [s.total for s in run.steps]) for run in self.runs]
        totals = sorted(clean(run.total_seconds) for run in self.runs)
        self._resolution = max(RESOLUTION * totals[len(totals) // 2], 1e-6) if totals else 1e-6
        self.steps = self._collect()
        self.closing = self._closing()
        self._first = max(1, len(self.runs) - LESSONS)
        comparable = [
            self.weights(run.host, run.scenario, self.sizes[index], index)
            for index, run in enumerate(self.runs[self._first :], self._first)
        ]
        surprises = {keep: self._surprises(keep, comparable) for keep in (QUICK, NEVER)}
        losses = {keep: self._loss(lessons) for keep, lessons in surprises.items()}
        better = losses[NEVER] < CLEARLY_BETTER * losses[QUICK]
        self.keep = NEVER if better else QUICK
        self.surprises = surprises[self.keep]
        self.model = FactorModel(
            self.surprises,
            {name: step.resolution for name, step in self.steps.items()},
            {name: step.share for name, step in self.steps.items()},
        )
        self.band = self._band()

    def log(self, seconds: float) -> float:
        """Return a duration's logarithm; a tenth of the resolution stands for all shorter ones."""
        return math.log(max(clean(seconds), self._resolution / 10))

    def knows_host(self, host: str | None, before: int | None = None) -> bool:
        """Return whether one of the runs (before the given one) was on this host."""
        return any(run.host == host for run in self.runs[:before])

    def weights(
        self, host: str | None, scenario: str | None, size: float | None, before: int | None = None
    ) -> list[float]:
        """Return how comparable each past run (before the given one) is, whatever its age."""
        return [
            (1.0 if run.host == host else ELSEWHERE)
            * (1.0 if run.scenario == scenario else ELSEWHERE)
            * (1 / (1 + math.log(size / other) ** 2) if size and other else 1.0)
            for run, other in zip(self.runs[:before], self.sizes[:before], strict=True)
        ]

    def level(
        self, step: StepHistory, weights: Sequence[float], keep: float | None = None
    ) -> float | None:
        """Return the usual logarithm of a step's seconds at its reference size.

        Args:
            step: The step.
            weights: Of the past runs; later runs than these are not looked at.
            keep: The forgetting, by default the one that was best for this pipeline.
        """
        keep = self.keep if keep is None else keep
        pairs = [(value.log, weight) for value, weight in weighted(step, weights, keep)]
        return weighted_median(pairs) if pairs else None

    def latest(self, step: StepHistory, weights: Sequence[float]) -> list[tuple[Value, float]]:
        """Return a step's latest values, newest first, with their weights."""
        return weighted(step, weights, self.keep)

    def _collect(self) -> dict[str, StepHistory]:
        steps: dict[str, StepHistory] = {}
        for index, run in enumerate(self.runs):
            # The last attempt of a step is the one that counts.
            for past in {past.step_id: past for past in run.steps}.values():
                seconds = clean(past.seconds if past.duration is None else past.duration)
                value = Value(index, past, seconds, self.sizes[index], self.log(seconds))
                steps.setdefault(past.step_id, StepHistory()).values.append(value)
        for step in steps.values():
            self._measure(step)
        whole = sum(step.share for step in steps.values()) or 1.0
        for step in steps.values():
            step.share /= whole
        return steps

    def _measure(self, step: StepHistory) -> None:
        values = step.values
        step.share = sum(value.seconds for value in values) / len(values)
        spread = self._resolution * exp(-sum(value.log for value in values) / len(values))
        step.resolution = spread * spread
        parts = [clean(v.step.seconds) / v.seconds for v in values if v.seconds > 0]
        step.added = weighted_median((part, 1.0) for part in parts) if parts else 1.0
        units = [positive(value.step.total) for value in values]
        inputs = [value.size for value in values]
        step.by_units = None not in units and (len(set(units)) > 1 or len(set(inputs)) == 1)
        sizes = units if step.by_units else inputs
        points = [(s, v.log) for s, v in zip(sizes, values, strict=True) if s is not None]
        if len(points) < len(values):
            return
        step.scaling = fit_scaling(points, units=step.by_units)
        for value, (size, log) in zip(values, points, strict=True):
            value.size = size
            value.log = log - step.scaling.log(size)

    def _closing(self) -> float:
        """Return the usual time between the last step's end and the run's, in seconds."""
        rests = [
            max(0.0, clean(run.total_seconds) - sum(clean(step.seconds) for step in run.steps))
            for run in self.runs
        ]
        return weighted_median((rest, 1.0) for rest in rests) if rests else 0.0

    def _surprises(self, keep: float, comparable: Sequence[Sequence[float]]) -> list[Surprise]:
        """Return how the latest runs deviated from what the comparable runs before them said."""
        lessons: list[Surprise] = []
        logs = {
            (name, value.run): value.log
            for name, step in self.steps.items()
            for value in step.values
        }
        for index, weights in enumerate(comparable, self._first):
            run = self.runs[index]
            levels: dict[str, float] = {}
            for step in run.steps:
                level = self.level(self.steps[step.step_id], weights, keep)
                if level is not None:
                    levels[step.step_id] = level
            deviations = {name: logs[name, index] - level for name, level in levels.items()}
            lessons.append(Surprise(deviations, levels, self.knows_host(run.host, index)))
        return lessons

    def _loss(self, lessons: Sequence[Surprise]) -> float:
        return sum(
            self.steps[name].share * min(abs(deviation), OUTLIER)
            for lesson in lessons
            for name, deviation in lesson.deviations.items()
        )

    def _band(self) -> float:
        """Return by what the band is widened, from the errors at three moments of past runs."""
        errors = list(IMAGINED)
        for lesson in self.surprises[-SCORED:]:
            names = list(lesson.deviations)
            for done in sorted({0, len(names) // 3, 2 * len(names) // 3}):
                error = self._error(lesson, names[:done], names[done:])
                if error is not None:
                    errors.append(error)
        errors.sort()
        return errors[int(0.8 * len(errors))] / BAND_SIGMAS

    def _error(self, lesson: Surprise, done: Sequence[str], left: Sequence[str]) -> float | None:
        """Return the error of what was left of a past run, in standard deviations."""
        factor = self.model.factor_of(lesson, done)
        predicted = Sum()
        actual = 0.0
        for name in left:
            trait = self.model.traits[name]
            seconds = exp(lesson.levels[name] + trait.loading * factor.mean)
            predicted.add(seconds, trait.sigma * seconds, trait.loading * seconds)
            actual += exp(lesson.levels[name] + lesson.deviations[name])
        sigma = predicted.sigma(factor)
        if not sigma or not actual:
            return None
        return abs(math.log(actual / predicted.seconds)) / sigma
