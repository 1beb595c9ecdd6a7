"""Telemetry thinned out for a chart: the least and the largest value of each moment survive.

An average, or every n-th sample, would lose the peaks that a report is read for. A chart cannot
show more than its pixels, so the time axis is cut into as many buckets, and of each the mean and
the extremes are kept: a line in a band. A run of no more samples than that is shown as it is.
Samples are read as a stream: memory follows the number of buckets, not that of the samples.
"""

from __future__ import annotations

import math
from array import array
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BUCKETS: Final = 1_500
"""Moments of a chart: over one a pixel of a wide window, so that zooming in shows more."""
_GAP_INTERVALS: Final = 10.0
_LEAST_GAP: Final = 5.0
"""Seconds that samples have to be apart for a gap, at least."""
_MEASURED: Final = 2_000
_FULL: Final = 4_096
"""Samples of one bucket beyond which its mean is no longer exact."""


class Values(NamedTuple):
    """A column at the moments of the axis, None where nothing is known.

    Attributes:
        mean: The values themselves where nothing was thinned out.
        low: The least ones; those of `mean` where nothing was thinned out.
        high: The largest ones.
    """

    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]


class _Bucket(NamedTuple):
    """One value in a bucket: the first extreme, the second one in time, and the mean."""

    first: float
    second: float
    mean: float


class Thinner:
    """Takes samples in the order of time; returns an axis and columns that share it.

    Args:
        end: Seconds of the whole axis.
        buckets: Moments that are told apart.

    Attributes:
        count: Samples taken.
    """

    def __init__(self, end: float, buckets: int = BUCKETS) -> None:
        self._buckets = buckets
        self._width = max(end, 1e-3) / buckets
        self._bucket = -1
        self._times: list[float] = []
        self._values: dict[str, list[float]] = {}
        self._first = array("d")
        self._last = array("d")
        self._columns: dict[str, dict[int, _Bucket]] = {}
        self._before: float | None = None
        self._distances: list[float] = []
        self.count = 0

    @property
    def is_thinned(self) -> bool:
        """Return whether the columns hold less than the samples did."""
        return self.count > 2 * self._buckets

    def add(self, time: float, values: Mapping[str, float]) -> None:
        """Take a sample.

        Args:
            time: Seconds on the axis; one before the last sample counts as at the same time.
            values: What is known, finite numbers.
        """
        if self._before is not None:
            time = max(time, self._before)
            if len(self._distances) < _MEASURED:
                self._distances.append(time - self._before)
        self._before = time
        bucket = max(0, min(self._buckets - 1, int(time / self._width)))
        if bucket != self._bucket:
            self._close()
            self._bucket = bucket
        elif len(self._times) >= _FULL:
            self._compact()
        self._times.append(time)
        kept = self._values
        for name, value in values.items():
            if name in kept:
                kept[name].append(value)
            else:
                kept[name] = [value]
        self.count += 1

    def _compact(self) -> None:
        """Keep only the extremes of a bucket that holds too much: samples far behind the end."""
        self._times = [self._times[0], self._times[-1]]
        for name, values in self._values.items():
            low, high = min(values), max(values)
            ordered = values.index(low) <= values.index(high)
            self._values[name] = [low, high] if ordered else [high, low]

    def _close(self) -> None:
        """Keep what the bucket that is over comes to."""
        if not self._times:
            return
        row = len(self._first)
        self._first.append(self._times[0])
        self._last.append(self._times[-1])
        for name, values in self._values.items():
            low, high = min(values), max(values)
            ordered = values.index(low) <= values.index(high)
            first, second = (low, high) if ordered else (high, low)
            mean = math.fsum(values) / len(values)
            self._columns.setdefault(name, {})[row] = _Bucket(first, second, mean)
        self._times = []
        self._values = {}

    @property
    def names(self) -> list[str]:
        """Return the columns, in the order in which they were first seen."""
        self._close()
        return list(self._columns)

    def axis(self) -> list[float]:
        """Return the moments of the columns, seconds; a gap has a moment of its own."""
        return [moment for moment, _, _ in self._moments()]

    def column(self, name: str) -> Values:
        """Return the values of a column at the moments of the axis."""
        self._close()
        kept = self._columns.get(name, {})
        buckets = [(kept.get(row), second) for _, row, second in self._moments()]
        if not self.is_thinned:
            values = [
                None if one is None else one.second if second else one.first
                for one, second in buckets
            ]
            return Values(values, values, values)
        return Values(
            [None if one is None else one.mean for one, _ in buckets],
            [None if one is None else min(one.first, one.second) for one, _ in buckets],
            [None if one is None else max(one.first, one.second) for one, _ in buckets],
        )

    def gaps(self) -> list[tuple[float, float]]:
        """Return where no sample was taken for much longer than usual: from, to, in seconds.

        A gap shorter than a bucket is not told.
        """
        self._close()
        usual = median(self._distances) if self._distances else 0.0
        least = max(_LEAST_GAP, _GAP_INTERVALS * usual)
        return [
            (before, after)
            for before, after in zip(self._last, self._first[1:], strict=False)
            if after - before > least
        ]

    def _moments(self) -> Iterator[tuple[float, int, bool]]:
        """Yield the moments: time, row (-1 in a gap), and whether it is the row's second one."""
        self._close()
        breaks = {after: before for before, after in self.gaps()}
        for row, (first, last) in enumerate(zip(self._first, self._last, strict=True)):
            if first in breaks:
                yield (breaks[first] + first) / 2, -1, False
            if self.is_thinned:
                yield (first + last) / 2, row, False
                continue
            yield first, row, False
            if last > first:
                yield last, row, True


def rounded(values: list[float | None], digits: int = 4) -> list[float | int | None]:
    """Return values with as many significant digits as a chart can show."""
    return [None if value is None else short(value, digits) for value in values]


def short(value: float, digits: int = 4) -> float | int:
    """Return a number with `digits` significant digits, whole ones without a point."""
    if value == 0:
        return 0
    places = digits - 1 - math.floor(math.log10(abs(value)))
    small = round(value, places)
    return int(small) if small == int(small) and abs(small) < 1e15 else small  # noqa: PLR2004 - beyond, a float is not exact
