"""The gradient of a loss by finite differences, to compare a calculated one with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from robot_sf_otel.demo.networks import Array

STEP: Final = 1e-6


def differences(loss: Callable[[], float], parameters: Array) -> Array:
    """Return the central differences of `loss` in every parameter; `parameters` are restored."""
    slopes = np.empty_like(parameters)
    for index in range(parameters.size):
        kept = float(parameters[index])
        parameters[index] = kept + STEP
        above = loss()
        parameters[index] = kept - STEP
        slopes[index] = (above - loss()) / (2.0 * STEP)
        parameters[index] = kept
    return slopes
