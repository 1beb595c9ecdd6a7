"""Progress inside a step: what is left by its own pace, and by the curves of past runs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robot_sf_otel.analysis.eta.factor import LEAST_SIGMA
from robot_sf_otel.analysis.eta.statistics import (
    LONGEST,
    SHORTEST,
    clean,
    duration_quantile,
    exp,
    weighted_median,
)

if TYPE_CHECKING:
    from robot_sf_otel.analysis.eta.records import Curve

# One unit's time strays from the others' by this (standard deviation of the logarithm): decides how
# fast a unit that is overdue makes the estimate grow, and how little one or two units say.
UNIT_SIGMA = 0.2
# Pace that drifts in the rest of a step, which no number of finished units excludes.
DRIFT_SIGMA = 0.1
# Pace is that of the latest quarter of the units, and of five at least: early units are slow in
# real runs, and pace drifts.
LATEST = 4
LEAST_GRAINS = 5.0
# A deviation of e between two parts of a curve is an outlier, however large.
OUTLIER = 1.0


class Progress:
    """Units done over a step's time, made monotonic.

    Args:
        curve: Pairs of (seconds, units); progress that goes back, and what is not a number, is left
            out. Units at second 0 were done before: by the attempt that this one resumes.
        now: A last pair.
    """

    def __init__(self, curve: Curve, now: tuple[float, float] | None = None) -> None:
        self._seconds = [0.0]
        self._units = [0.0]
        for seconds, units in curve:
            self._add(clean(seconds), units)
        if now is not None:
            self._add(*now)

    def _add(self, seconds: float, units: float) -> None:
        if not self._seconds[-1] <= seconds < LONGEST:
            return
        if not self._units[-1] + SHORTEST <= units < LONGEST:
            return
        if seconds == 0:
            self._units[0] = units
            return
        self._seconds.append(seconds)
        self._units.append(units)

    @property
    def start(self) -> float:
        """Units that were done before the step's time began."""
        return self._units[0]

    @property
    def units(self) -> float:
        """Units done."""
        return self._units[-1]

    @property
    def seconds(self) -> float:
        """When the last of them was done; 0 where none was."""
        return self._seconds[-1]

    @property
    def grain(self) -> float:
        """Units between two points: an epoch, a batch of simulator steps, a second's worth."""
        return (self.units - self.start) / max(1, len(self._units) - 1)

    def when(self, units: float) -> float | None:
        """Return the seconds after which so many units were done, None where they never were."""
        index = bisect_left(self._units, units * (1 - 1e-9))
        if index == len(self._units):
            return None
        if index == 0:
            return 0.0
        before, after = self._units[index - 1], self._units[index]
        part = min(1.0, (units - before) / (after - before))
        start = self._seconds[index - 1]
        return start + part * (self._seconds[index] - start)

    def pace(self, units: float, grain: float) -> float:
        """Return the seconds that a unit took lately, at the moment when `units` were done.

        The first point is set apart as soon as there is a second: start-up and compilation make it
        slow.

        Args:
            units: How many, at most `self.units` and more than `self.start`.
            grain: The least that the pace is taken over is `LEAST_GRAINS` of these.
        """
        end = self.when(units) or 0.0
        first = self._units[1]
        since = max(first, units - max(LEAST_GRAINS * grain, (units - self.start) / LATEST))
        if units <= since:
            return end / max(units - self.start, SHORTEST)
        return (end - (self.when(since) or 0.0)) / (units - since)


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of a running step: seconds, and their standard deviation."""

    seconds: float
    sigma: float


@dataclass(frozen=True, slots=True)
class Reference:
    """Past curves at the progress of now.

    Attributes:
        rest: Seconds that usually followed.
        unit: Seconds that the next unit usually took; 0 where none followed.
        deviation: log(now / usual) of the time so far and of the recent pace, together.
        variance: How badly such a deviation foretold the rest, in past runs.
    """

    rest: float
    unit: float
    deviation: float
    variance: float

    def rest_after(self, deviation: float, variance: float, waiting: float) -> Rest:
        """Return the rest when the step deviates so much, `waiting` seconds after its last unit."""
        slower = exp(deviation)
        sigma = math.sqrt(variance + self.variance)
        rest, unit = self.rest * slower, self.unit * slower
        if unit > 0:
            seconds = max(0.0, rest - unit) + overdue(unit, UNIT_SIGMA, waiting)
        else:
            seconds = overdue(rest, max(sigma, UNIT_SIGMA), waiting)
        return Rest(seconds, seconds * sigma)


@dataclass(frozen=True, slots=True)
class _Point:
    so_far: float
    rest: float
    unit: float
    pace: float
    weight: float


def overdue(seconds: float, sigma: float, waiting: float) -> float:
    """Return what is left of a time after `waiting` seconds; it grows once it is overdue."""
    if seconds <= 0:
        return 0.0
    return duration_quantile(seconds, sigma, waiting, 0.5) - waiting


def compare(
    now: Progress,
    total: float | None,
    past: Sequence[tuple[Progress, float, float | None, float, float]],
) -> Reference | None:
    """Return what past curves say at the progress of now, None where they say nothing.

    Runs with another total are compared at the same part of it, runs without one at the same units.
    Two signs are weighed by how well they foretold the rest in the past runs themselves: the time
    so far, and the recent pace.

    Args:
        now: Progress of the running step.
        total: Its units.
        past: Progress, seconds, total units, scale to the size of now, and weight of past runs.
    """
    units, grain = now.units, now.grain
    if now.seconds <= 0:
        return None
    points: list[_Point] = []
    for progress, seconds, past_total, scale, weight in past:
        part = past_total / total if total and past_total else 1.0
        end = progress.when(units * part)
        so_far = 0.0 if end is None else end - (progress.when(now.start * part) or 0.0)
        if end is None or so_far <= 0:
            continue
        following = progress.when((units + grain) * part)
        points.append(
            _Point(
                so_far * scale,
                max(0.0, seconds - end) * scale,
                0.0 if following is None else (following - end) * scale,
                progress.pace(units * part, grain * part) * part * scale,
                weight,
            )
        )
    if not points:
        return None
    so_far = weighted_median((p.so_far, p.weight) for p in points)
    rest = weighted_median((p.rest, p.weight) for p in points)
    unit = weighted_median((p.unit, p.weight) for p in points)
    pace = weighted_median((p.pace, p.weight) for p in points)
    points_done = (units - now.start) / grain
    by_time, by_pace = _variances(points, _Point(so_far, rest, unit, pace, 1.0), points_done)
    deviation, variance = math.log(now.seconds / so_far), by_time
    recent = now.pace(units, grain)
    if points_done > 1 and recent > 0 and pace > 0:
        part = by_pace / (by_time + by_pace)
        deviation = part * deviation + (1 - part) * math.log(recent / pace)
        variance = min(by_time, by_pace)
    return Reference(rest, unit, deviation, variance)


def _variances(points: Sequence[_Point], usual: _Point, done: float) -> tuple[float, float]:
    """Return how badly time so far and recent pace foretold the rest; few runs say little."""
    by_time = by_pace = 2 * UNIT_SIGMA**2 / max(done, 1.0)
    by_pace *= 2
    known = 2
    for point in points:
        if point.rest > 0 and usual.rest > 0:
            rest = math.log(point.rest / usual.rest)
            by_time += _square(point.so_far, usual.so_far, rest)
            by_pace += _square(point.pace, usual.pace, rest)
            known += 1
    return by_time / known + LEAST_SIGMA**2, by_pace / known + LEAST_SIGMA**2


def _square(value: float, usual: float, rest: float) -> float:
    if value <= 0 or usual <= 0:
        return OUTLIER**2
    return min(abs(math.log(value / usual) - rest), OUTLIER) ** 2


def rest_by_pace(now: Progress, total: float | None, elapsed: float) -> Rest | None:
    """Return what is left of a step by its pace alone, None without a unit done or a total."""
    if not total or now.seconds <= 0:
        return None
    left = max(0.0, total - now.units)
    unit = now.pace(now.units, now.grain)
    waiting = max(0.0, clean(elapsed) - now.seconds)
    if left == 0 or unit <= 0:
        return Rest(0.0, 0.0)
    current = min(now.grain, left) * unit
    seconds = left * unit - current + overdue(current, UNIT_SIGMA, waiting)
    done = (now.units - now.start) / now.grain
    return Rest(seconds, seconds * math.hypot(DRIFT_SIGMA, UNIT_SIGMA / math.sqrt(done)))
