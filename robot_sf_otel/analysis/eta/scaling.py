"""How the duration of a step follows the size of its work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# The part of a step's duration that is proportional to its size: close steps at the ends, where it
# decides most.
PARTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 1.0)
# Before anything is learnt: declared units are what a step's work consists of; of a run's input
# size nobody knows how much of a step depends on it. The weak pull towards it decides among parts
# that fit alike.
UNITS_PART = 1.0
INPUT_PART = 0.8
PULL = 1.0
# Runs of one size say nothing of another: the square root lies half way between "all of it" and
# "none of it".
UNKNOWN_POWER = 0.5
# Durations that agree within this (a ratio of 3 %) are equally good fits.
GOOD_FIT = 0.03


@dataclass(frozen=True, slots=True)
class Scaling:
    """A law of size: duration = duration(reference) x (1 - part + part x size / reference).

    Attributes:
        reference: Size at which the level is stated, None where sizes are not known: then nothing
            scales.
        part: Proportional part of the duration at the reference size.
        power: Instead of that law, the exponent of the size.
    """

    reference: float | None = None
    part: float = 0.0
    power: float | None = None

    def log(self, size: float | None) -> float:
        """Return the logarithm of what a size does to the duration, 0 where it is not known."""
        if size is None or self.reference is None:
            return 0.0
        ratio = size / self.reference
        if self.power is not None:
            return self.power * math.log(ratio)
        return math.log(max(1 - self.part + self.part * ratio, 1e-12))


def fit_scaling(points: Sequence[tuple[float, float]], *, units: bool) -> Scaling:
    """Return the scaling that brings past durations closest together.

    Args:
        points: (size, logarithm of the seconds) of past runs, at least one; sizes are positive.
        units: The sizes are the step's own declared units, and not the run's input.
    """
    logs = [math.log(size) for size, _ in points]
    reference = math.exp(sum(logs) / len(logs))
    expected = UNITS_PART if units else INPUT_PART
    if max(logs) - min(logs) < GOOD_FIT:
        return Scaling(reference, expected, None if units else UNKNOWN_POWER)

    def cost(part: float) -> float:
        scaling = Scaling(reference, part)
        values = sorted(seconds - scaling.log(size) for size, seconds in points)
        middle = values[len(values) // 2]
        spread = sum(abs(value - middle) for value in values) / len(values)
        return len(values) * math.log(spread + GOOD_FIT) + PULL * abs(part - expected)

    return Scaling(reference, min(PARTS, key=cost))
