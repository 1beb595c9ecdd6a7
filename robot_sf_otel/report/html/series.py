"""Telemetry thinned out for a chart: the least and the largest value of each moment survive.

An average, or every n-th sample, would lose the peaks that a report is read for. A chart cannot show
more than its pixels, so the time axis is cut into as many buckets; of each the extremes are kept in
the order in which they came (M4 without first and last). A bucket of one or two samples keeps them
as they are, so that short runs are shown whole. Samples are read as a stream: memory follows the
number of buckets, not that of the samples.
"""

from __future__ import annotations

import math
from array import array
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BUCKETS: Final = 2_000
"""Moments of a chart: over one a pixel of a wide window, so that zooming in shows more."""
_GAP_INTERVALS: Final = 10.0
_LEAST_GAP: Final = 5.0
"""Seconds that samples have to be apart for a gap, at least."""
_MEASURED: Final = 2_000


class Thinner:
    """Takes samples in the order of time; returns an axis and columns that share it.

    Args:
        end: Seconds of the whole axis.
        buckets: Moments that are told apart.

    Attributes:
        count: Samples taken.
    """

    def __init__(self, end: float, buckets: int = BUCKETS) -> None:
        self._width = max(end, 1e-3) / buckets
        self._last = buckets - 1
        self._bucket = -1
        self._times: list[float] = []
        self._values: dict[str, list[tuple[int, float]]] = {}
        self._first = array("d")
        self._second = array("d")
        self._columns: dict[str, dict[int, tuple[float, float]]] = {}
        self._before: float | None = None
        self._distances: list[float] = []
        self.count = 0

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
        bucket = max(0, min(self._last, int(time / self._width)))
        if bucket != self._bucket:
            self._close()
            self._bucket = bucket
        index = len(self._times)
        self._times.append(time)
        kept = self._values
        for name, value in values.items():
            if name in kept:
                kept[name].append((index, value))
            else:
                kept[name] = [(index, value)]
        self.count += 1

    def _close(self) -> None:
        """Keep the extremes of the bucket that is over."""
        if not self._times:
            return
        row = len(self._first)
        self._first.append(self._times[0])
        self._second.append(self._times[-1] if len(self._times) > 1 else math.nan)
        for name, pairs in self._values.items():
            low = min(pairs, key=_value)
            high = max(pairs, key=_value)
            pair = (low[1], high[1]) if low[0] <= high[0] else (high[1], low[1])
            if len(pairs) == 1 and len(self._times) > 1:
                pair = (low[1], low[1])
            self._columns.setdefault(name, {})[row] = pair
        self._times = []
        self._values = {}

    @property
    def names(self) -> list[str]:
        """Return the columns, in the order in which they were first seen."""
        self._close()
        return list(self._columns)

    def axis(self) -> list[float]:
        """Return the moments of the columns, seconds; a gap has a moment of its own."""
        return [moment for moment, _, _ in self._rows()]

    def column(self, name: str) -> list[float | None]:
        """Return the values of a column at the moments of the axis, None where none is known."""
        self._close()
        kept = self._columns.get(name, {})
        values: list[float | None] = []
        for _, row, second in self._rows():
            pair = kept.get(row) if row >= 0 else None
            values.append(None if pair is None else pair[1 if second else 0])
        return values

    def gaps(self) -> list[tuple[float, float]]:
        """Return where no sample was taken for much longer than usual: from, to, in seconds."""
        self._close()
        usual = median(self._distances) if self._distances else 0.0
        least = max(_LEAST_GAP, _GAP_INTERVALS * usual)
        found: list[tuple[float, float]] = []
        for row in range(1, len(self._first)):
            before = self._end_of(row - 1)
            # Two buckets hide what lies between them only by their width.
            if self._first[row] - before > least:
                found.append((before, self._first[row]))
        return found

    def _end_of(self, row: int) -> float:
        second = self._second[row]
        return self._first[row] if math.isnan(second) else second

    def _rows(self) -> Iterator[tuple[float, int, bool]]:
        """Yield the moments: time, row (-1 in a gap), and whether it is the row's second one."""
        self._close()
        breaks = {after: before for before, after in self.gaps()}
        for row, first in enumerate(self._first):
            if first in breaks:
                yield (breaks[first] + first) / 2, -1, False
            yield first, row, False
            if not math.isnan(self._second[row]):
                yield self._second[row], row, True


def _value(pair: tuple[int, float]) -> float:
    return pair[1]


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
