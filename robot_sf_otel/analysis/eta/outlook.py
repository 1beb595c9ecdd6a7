"""What is expected of each step of a run before it begins."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robot_sf_otel.analysis.eta.factor import Deviation
from robot_sf_otel.analysis.eta.history import History, StepHistory, run_size
from robot_sf_otel.analysis.eta.statistics import exp, positive, weighted_median

if TYPE_CHECKING:
    from robot_sf_otel.analysis.eta.records import FinishedStep, RunningStep, Situation

# A declared duration is somebody's guess, and a step of a similar name another step (standard
# deviation of the logarithm).
DECLARED_SIGMA = 0.5
SIMILAR_SIGMA = 0.3
# Below 2 % two past runs do not differ in what they say about a third.
ALIKE_SIGMA = 0.02
# A step that is off by more than three standard deviations is an outlier, however far off.
OUTLIER = 9.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of a step.

    Attributes:
        log: Logarithm of its seconds, were the run as fast as usual.
        loading: How much it follows the run's factor.
        sigma: How far it strays by itself (standard deviation of the logarithm).
        added: What it adds to the run's time, as a part of its duration.
        basis: Where this comes from.
        scale: Logarithm of its size's effect, contained in `log`.
        history: The same step in past runs, None where it is new.
    """

    log: float
    loading: float
    sigma: float
    added: float
    basis: str
    scale: float = 0.0
    history: StepHistory | None = None


def family(step_id: str) -> str:
    """Return a step's name without its numbers: `train_3` resembles `train_1`."""
    return re.sub(r"\d+", "#", step_id)


class Outlook:
    """Expectations for the steps of a run, given how it has gone so far.

    Args:
        history: The past runs.
        situation: The run.
    """

    def __init__(self, history: History, situation: Situation) -> None:
        self._history = history
        self._size = run_size(situation.size, [step.total for step in situation.plan])
        self._totals = {step.step_id: positive(step.total) for step in situation.plan}
        self._declared = {step.step_id: positive(step.expected_seconds) for step in situation.plan}
        self.prior_variance = history.model.prior_variance(
            known_host=history.knows_host(situation.host)
        )
        usual = history.weights(situation.host, situation.scenario, self._size)
        self.weights = self._alike(situation.finished, usual)
        self._known: dict[str, Expected | None] = {}

    def expected(self, step_id: str, total: float | None = None) -> Expected | None:
        """Return what is expected of a step, None where nothing is known of it or its like."""
        if step_id not in self._known:
            self._known[step_id] = (
                self._by_history(step_id, total)
                or self._by_declaration(step_id)
                or self._by_similar(step_id)
            )
        return self._known[step_id]

    def deviation(self, step: FinishedStep) -> Deviation | None:
        """Return how far a finished step was from what was expected of it."""
        expected = self.expected(step.step_id, step.total)
        if expected is None:
            return None
        return self.weigh(expected, step.step_id, self._history.log(step.seconds) - expected.log)

    def weigh(
        self, expected: Expected, step_id: str, value: float, extra: float = 0.0
    ) -> Deviation:
        """Return a deviation with what is known of the step, `extra` added to its variance."""
        if expected.history is not None:
            return self._history.model.deviation(step_id, value, extra)
        return Deviation(value, expected.loading, expected.sigma**2 + extra)

    def total(self, step: RunningStep) -> float | None:
        """Return the units of a running step: its own word, else the plan's."""
        return positive(step.total) or self._totals.get(step.step_id)

    def _by_history(self, step_id: str, total: float | None) -> Expected | None:
        step = self._history.steps.get(step_id)
        if step is None:
            return None
        level = self._history.level(step, self.weights)
        if level is None:
            return None
        trait = self._history.model.traits[step_id]
        scale = self._scale(step, step_id, total)
        return Expected(
            level + scale, trait.loading, trait.sigma, step.added, "history", scale, step
        )

    def _by_declaration(self, step_id: str) -> Expected | None:
        seconds = self._declared.get(step_id)
        if seconds is None:
            return None
        return Expected(math.log(seconds), 1.0, DECLARED_SIGMA, 1.0, "declared")

    def _by_similar(self, step_id: str) -> Expected | None:
        like = family(step_id)
        levels = [
            self._history.level(step, self.weights)
            for name, step in self._history.steps.items()
            if family(name) == like
        ]
        known = [(level, 1.0) for level in levels if level is not None]
        if not known:
            return None
        return Expected(weighted_median(known), 1.0, SIMILAR_SIGMA, 1.0, "history")

    def _scale(self, step: StepHistory, step_id: str, total: float | None) -> float:
        own = positive(total) or self._totals.get(step_id)
        return step.scaling.log(own if step.by_units else self._size)

    def _alike(self, finished: Sequence[FinishedStep], usual: Sequence[float]) -> list[float]:
        """Return the weights, those of past runs lower the less the finished steps resemble theirs.

        A Gaussian kernel over the mean squared deviation: a run that took another path (a cold
        cache, another branch) from its first steps on says less about the rest.
        """
        distance = [0.0] * len(usual)
        count = [0] * len(usual)
        for done in finished:
            step = self._history.steps.get(done.step_id)
            if step is None:
                continue
            log = self._history.log(done.seconds) - self._scale(step, done.step_id, done.total)
            sigma = max(self._history.model.traits[done.step_id].sigma, ALIKE_SIGMA)
            variance = sigma**2 + step.resolution
            for value in step.values:
                distance[value.run] += min((log - value.log) ** 2 / variance, OUTLIER)
                count[value.run] += 1
        return [
            weight * exp(-distance[run] / (2 * (count[run] + 1)))
            for run, weight in enumerate(usual)
        ]
