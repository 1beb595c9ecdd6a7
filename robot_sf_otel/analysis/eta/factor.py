"""One factor a run: how much slower it is as a whole, and how much each step follows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# How far a duration strays from its level before anything is learnt: 10 % (standard deviation of
# the logarithm). A pipeline's own runs soon replace it.
PRIOR_SIGMA = 0.1
# A host that the history has not seen may be half or twice as fast.
NEW_HOST_SIGMA = 0.5
# How far a step's loading may lie from 1, "it follows the run in full", before anything is learnt.
LOADING_SIGMA = 0.5
# Degrees of freedom of Student's t distribution, the usual choice for errors with outliers: a stall
# of one step says little about the run.
FREEDOM = 4.0
# No duration is known better than to 0.3 %.
LEAST_SIGMA = 0.003
# Passes over the past runs, and over the steps of one; more change the estimates by less than they
# are uncertain.
PASSES = 4
REWEIGHTINGS = 4


@dataclass(frozen=True, slots=True)
class Deviation:
    """A step's logarithmic deviation from its level, and what is known of the step.

    Attributes:
        value: log(seconds / level).
        loading: How much the step follows the run's factor.
        variance: Of the deviation around loading x factor.
    """

    value: float
    loading: float
    variance: float


@dataclass(frozen=True, slots=True)
class Factor:
    """The run's factor: mean and variance of its logarithm."""

    mean: float
    variance: float


@dataclass(slots=True)
class Trait:
    """What a step is like: how it follows the run, and how far it strays by itself."""

    loading: float = 1.0
    sigma: float = PRIOR_SIGMA


def robust_weight(residual: float, variance: float) -> float:
    """Return an observation's weight under Student's t distribution: less, the farther off."""
    return (FREEDOM + 1) / (FREEDOM + residual * residual / variance)


def run_factor(deviations: Sequence[Deviation], prior_variance: float) -> Factor:
    """Return the factor of a run, shrunk towards "as usual" and robust to single steps.

    The posterior of a Gaussian factor, found by iterated reweighting (Lange, Little and Taylor,
    1989).
    """
    mean = 0.0
    variance = prior_variance
    for pass_ in range(REWEIGHTINGS):
        precision = 1 / prior_variance
        total = 0.0
        for one in deviations:
            weight = one.loading / one.variance
            if pass_:
                weight *= robust_weight(one.value - one.loading * mean, one.variance)
            precision += weight * one.loading
            total += weight * one.value
        mean, variance = total / precision, 1 / precision
    return Factor(mean, variance)


@dataclass(frozen=True, slots=True)
class Surprise:
    """How a past run deviated from what its own past would have said.

    Attributes:
        deviations: log(seconds / level) of each step.
        levels: The levels, logarithms of seconds.
        known_host: The run's host had been seen before.
    """

    deviations: Mapping[str, float]
    levels: Mapping[str, float]
    known_host: bool


class FactorModel:
    """Loadings and spreads of a pipeline's steps, learnt from its past surprises.

    A factor analysis with one factor by expectation maximisation: loadings are shrunk to 1, spreads
    to the pipeline's own pooled spread, and the spread of the factor to `PRIOR_SIGMA`, so that few
    runs say little.

    Args:
        surprises: Of past runs.
        resolution: Variance of each step's deviation for the clock's sake; see `History`.
        share: Each step's share of the run's time.
    """

    def __init__(
        self,
        surprises: Sequence[Surprise],
        resolution: Mapping[str, float],
        share: Mapping[str, float],
    ) -> None:
        self.traits = {name: Trait() for name in resolution}
        self._variance = PRIOR_SIGMA**2
        self._resolution = resolution
        for _ in range(PASSES if surprises else 0):
            factors = [self.factor_of(one) for one in surprises]
            self._learn_variance(surprises, factors)
            self._learn_loadings(surprises, factors)
            self._learn_spreads(surprises, factors, share)

    def prior_variance(self, *, known_host: bool) -> float:
        """Return the variance of a run's factor before the run has begun."""
        return self._variance if known_host else max(self._variance, NEW_HOST_SIGMA**2)

    def deviation(self, name: str, value: float, extra: float = 0.0) -> Deviation:
        """Return a step's deviation with the step's traits, `extra` added to its variance."""
        trait = self.traits[name]
        variance = trait.sigma**2 + self._resolution[name] + extra
        return Deviation(value, trait.loading, variance)

    def factor_of(self, surprise: Surprise, steps: Iterable[str] | None = None) -> Factor:
        """Return the factor of a past run, by all of its steps or by the given ones."""
        names = surprise.deviations if steps is None else steps
        return run_factor(
            [self.deviation(name, surprise.deviations[name]) for name in names],
            self.prior_variance(known_host=surprise.known_host),
        )

    def _learn_variance(self, surprises: Sequence[Surprise], factors: Sequence[Factor]) -> None:
        squares = [
            factor.mean**2 + factor.variance
            for one, factor in zip(surprises, factors, strict=True)
            if one.known_host
        ]
        self._variance = (2 * PRIOR_SIGMA**2 + sum(squares)) / (2 + len(squares))

    def _learn_loadings(self, surprises: Sequence[Surprise], factors: Sequence[Factor]) -> None:
        products = dict.fromkeys(self.traits, 0.0)
        squares = dict.fromkeys(self.traits, 0.0)
        for one, factor in zip(surprises, factors, strict=True):
            for name, value in one.deviations.items():
                products[name] += factor.mean * value
                squares[name] += factor.mean**2 + factor.variance
        for name, trait in self.traits.items():
            # What never strays has not shown either whether it follows a run that is slower.
            shrink = (max(trait.sigma, PRIOR_SIGMA) / LOADING_SIGMA) ** 2
            trait.loading = max(0.0, (shrink + products[name]) / (shrink + squares[name]))

    def _learn_spreads(
        self, surprises: Sequence[Surprise], factors: Sequence[Factor], share: Mapping[str, float]
    ) -> None:
        squares = dict.fromkeys(self.traits, 0.0)
        counts = dict.fromkeys(self.traits, 0)
        for one, factor in zip(surprises, factors, strict=True):
            for name, value in one.deviations.items():
                trait = self.traits[name]
                square = (value - trait.loading * factor.mean) ** 2
                square += trait.loading**2 * factor.variance
                squares[name] += robust_weight(math.sqrt(square), trait.sigma**2) * square
                counts[name] += 1
        # Steps weigh as they take time; a third of a run's time speaks for what was assumed before.
        total = 0.3 * math.log(PRIOR_SIGMA**2)
        weight = 0.3
        for name, count in counts.items():
            if count:
                total += share[name] * math.log(squares[name] / count + LEAST_SIGMA**2)
                weight += share[name]
        pooled = math.exp(total / weight)
        for name, trait in self.traits.items():
            variance = (pooled + squares[name]) / (1 + counts[name]) + LEAST_SIGMA**2
            trait.sigma = math.sqrt(variance)
