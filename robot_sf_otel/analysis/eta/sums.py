"""A sum of uncertain times that share the run's factor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robot_sf_otel.analysis.eta.factor import Factor

# 10 % and 90 % quantiles of a normal distribution, in standard deviations from its middle.
BAND_SIGMAS = 1.2816


class Sum:
    """Seconds that are still to come, with what is uncertain about them.

    Attributes:
        seconds: Their sum.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._variance = 0.0
        self._follows = 0.0

    def add(self, seconds: float, own_sigma: float, follows: float = 0.0) -> None:
        """Add a time.

        Args:
            seconds: How long.
            own_sigma: Its own standard deviation, in seconds.
            follows: Seconds by which it grows when the run's factor grows by e.
        """
        self.seconds += seconds
        self._variance += own_sigma * own_sigma
        self._follows += follows

    def sigma(self, factor: Factor) -> float:
        """Return the standard deviation of the sum's logarithm; 0 for nothing."""
        if self.seconds <= 0:
            return 0.0
        variance = self._variance + self._follows**2 * factor.variance
        return math.log1p(math.sqrt(variance) / self.seconds)
