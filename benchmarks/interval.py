"""How sure a mean is: bootstrap intervals."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import Final

_RESAMPLED: Final = 2_000


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean, the same for the same values.

    Source: B. Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.

    Args:
        values: At least one.
        confidence: Share of such intervals that hold the mean.
    """
    draw = random.Random(0)  # noqa: S311 - resampling, no secret
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(_RESAMPLED))
    outside = round(_RESAMPLED * (1 - confidence) / 2)
    return means[outside], means[-1 - outside]
