"""Robust statistics of times, which are positive, skewed and have outliers."""

from __future__ import annotations

import math
from collections.abc import Iterable

# Beyond this an exponential would overflow; e^±600 is as good as infinite or nothing for a ratio of times.
EXPONENT_LIMIT = 600.0
# A logistic distribution of this scale has the standard deviation 1.
LOGISTIC_SCALE = math.sqrt(3) / math.pi


def weighted_median(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the weighted median of (value, weight) pairs.

    The value below which half of the weight lies; the middle of two where the halves meet exactly. A value with less than
    half of the weight never decides alone, however far off it is.

    Raises:
        ValueError: There are no pairs.
    """
    ordered = sorted(pairs)
    if not ordered:
        raise ValueError("median of nothing")
    if len(ordered) == 2:
        return sum(v * w for v, w in ordered) / sum(w for _, w in ordered)
    half = sum(weight for _, weight in ordered) / 2
    passed = 0.0
    for position, (value, weight) in enumerate(ordered):
        passed += weight
        if passed > half * (1 + 1e-9):
            return value
        if passed >= half * (1 - 1e-9) and position + 1 < len(ordered):
            return (value + ordered[position + 1][0]) / 2
    return ordered[-1][0]


def duration_quantile(median: float, sigma: float, elapsed: float, share: float) -> float:
    """Return a quantile of a duration of which `elapsed` has passed already.

    The duration is log-logistic: a lognormal's shape with heavier tails, and a closed form for what is left. Its survival
    is S(x) = 1 / (1 + (x / median)^(1/b)), and the answer x solves S(x) = (1 - share) S(elapsed). Long before the median the
    elapsed time changes nothing; long after it the answer grows in proportion to the elapsed time.

    Args:
        median: Median duration in seconds, positive.
        sigma: Standard deviation of the duration's logarithm, positive.
        elapsed: Seconds that have passed.
        share: The quantile asked for, between 0 and 1.
    """
    scale = sigma * LOGISTIC_SCALE
    exponent = math.log(elapsed / median) / scale if elapsed > 0 else -EXPONENT_LIMIT
    if exponent > EXPONENT_LIMIT:
        return elapsed * math.exp(-scale * math.log1p(-share))
    odds = (1 + math.exp(max(exponent, -EXPONENT_LIMIT))) / (1 - share) - 1
    return max(elapsed, median * math.exp(scale * math.log(odds)))
