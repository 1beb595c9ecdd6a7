"""Robust statistics of times, which are positive, skewed and have outliers."""

from __future__ import annotations

import math
from collections.abc import Iterable

# Times beyond 30,000 years or below a nanosecond, and ratios of e^50, are no longer times:
# arithmetic stays finite below them.
LONGEST = 1e12
SHORTEST = 1e-9
EXPONENT_LIMIT = 50.0
# From the standard deviation of a logistic distribution to its scale.
LOGISTIC_SCALE = math.sqrt(3) / math.pi


def clean(seconds: float) -> float:
    """Return a time as a finite number that is not negative; what is neither counts as 0."""
    return min(seconds, LONGEST) if seconds >= SHORTEST else 0.0


def positive(value: float | None) -> float | None:
    """Return a count or size where it is a finite number above 0, else None."""
    return value if value is not None and SHORTEST <= value <= LONGEST else None


def exp(value: float) -> float:
    """Return the exponential of a logarithm of seconds, kept finite."""
    return math.exp(max(-EXPONENT_LIMIT, min(value, EXPONENT_LIMIT)))


def weighted_median(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the weighted median of (value, weight) pairs.

    The value below which half of the weight lies, and the middle of two where the halves meet
    exactly. One of three or more values that has less than half of the weight does not decide
    alone, however far off it is. Of two values nobody can say which one is usual: theirs is the
    weighted mean.

    Raises:
        ValueError: There are no pairs.
    """
    ordered = sorted(pairs)
    if not ordered:
        raise ValueError("median of nothing")
    whole = sum(weight for _, weight in ordered)
    if len(ordered) == 2:  # noqa: PLR2004 - two: the least of which a median says nothing
        return sum(value * weight for value, weight in ordered) / whole
    passed = 0.0
    for position, (value, weight) in enumerate(ordered[:-1]):
        passed += weight
        if passed > whole / 2 * (1 + 1e-9):
            return value
        if passed >= whole / 2 * (1 - 1e-9):
            return (value + ordered[position + 1][0]) / 2
    return ordered[-1][0]


def duration_quantile(median: float, sigma: float, elapsed: float, share: float) -> float:
    """Return a quantile of a duration of which `elapsed` has passed already.

    The duration is log-logistic: a lognormal's shape with heavier tails, and a closed form for what
    is left. Its survival is S(x) = 1 / (1 + (x / median)^(1/b)), and the answer x solves S(x) = (1
    - share) S(elapsed). Long before the median the elapsed time changes nothing; long after it the
    answer grows in proportion to the elapsed time.

    Args:
        median: Median duration in seconds, positive.
        sigma: Standard deviation of the duration's logarithm, positive.
        elapsed: Seconds that have passed.
        share: The quantile asked for, between 0 and 1.
    """
    scale = sigma * LOGISTIC_SCALE
    exponent = -EXPONENT_LIMIT
    if elapsed > 0:
        exponent = (math.log(elapsed) - math.log(median)) / scale
    if exponent > EXPONENT_LIMIT:
        return elapsed * math.exp(-scale * math.log(1 - share))
    odds = (1 + exp(exponent)) / (1 - share) - 1
    return max(elapsed, median * math.exp(scale * math.log(odds)))
