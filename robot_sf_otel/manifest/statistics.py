"""Running totals of telemetry: count, mean, p95 and maximum of each field in bounded memory.

The 95th percentile comes from a histogram with logarithmic buckets, as in DDSketch (Masson, Rim,
Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", PVLDB
12(12), 2019). Each bucket also knows its smallest and largest value, between which the rank is
interpolated: at most 2 % relative error, whatever the length of the run, and none where a bucket
has one value only, as often as it may have been read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from robot_sf_otel.manifest.schema import FieldSummary, TelemetrySnapshot

ACCURACY: Final = 0.02
"""Largest relative error of the percentile: the width of a bucket."""
_LOG_WIDTH: Final = math.log(1 + ACCURACY)
_BEYOND: Final = 40_000
"""More than the index of any bucket, of the smallest number too (-37,593): keeps keys apart."""
_P95: Final = 0.95
_LARGEST: Final = 1e290
"""Beyond it nothing is a reading, and the sum of a long run would overflow."""
_BATCH: Final = 512
"""Samples that are taken in at once: whole columns in C are several times faster than values."""
_NOT_NUMERIC: Final = frozenset(
    {"timestamp_ms", "process", "step_id", "steps", "gpus", "metrics", "notes"}
)
FIELDS: Final = tuple(
    name for name in TelemetrySnapshot.__struct_fields__ if name not in _NOT_NUMERIC
)
"""The fields that have figures."""


class _Bucket:
    """How many values of about one size there were, and between which two they lie."""

    __slots__ = ("count", "high", "low")

    def __init__(self, value: float, count: int) -> None:
        self.low = self.high = value
        self.count = count

    def at(self, rank: int) -> float:
        """Return about the value that `rank` others of the bucket do not exceed."""
        if rank == self.count - 1:
            return self.high
        return self.low + (self.high - self.low) * rank / (self.count - 1)


class Distribution:
    """Count, sum, maximum and a histogram of one field."""

    __slots__ = ("_buckets", "_maximum", "_sum", "count")

    def __init__(self) -> None:
        """Start with nothing."""
        self.count = 0
        self._sum = 0.0
        self._maximum = -math.inf
        self._buckets: dict[int, _Bucket] = {}

    def add(self, value: float) -> None:
        """Take one value in; NaN and infinities are left out."""
        self.extend((value,))

    def extend(self, values: Iterable[float]) -> None:
        """Take values in; NaN and infinities are left out."""
        finite = [value for value in values if abs(value) < _LARGEST]
        if not finite:
            return
        self.count += len(finite)
        self._sum += math.fsum(finite)
        self._maximum = max(self._maximum, *finite)
        # Readings repeat (threads, limits, a steady rate): each is looked up once.
        for value, times in Counter(finite).items():
            key = _key(value)
            bucket = self._buckets.get(key)
            if bucket is None:
                self._buckets[key] = _Bucket(value, times)
                continue
            bucket.count += times
            if value < bucket.low:
                bucket.low = value
            elif value > bucket.high:
                bucket.high = value

    def quantile(self, share: float) -> float:
        """Return the nearest-rank quantile within 2 %: `share` (0 to 1) of all values reach it.

        The smallest value that at least `share` of all values do not exceed (Hyndman, Fan:
        "Sample Quantiles in Statistical Packages", 1996, definition 1).
        """
        rank = max(0, math.ceil(share * self.count) - 1)
        for key in sorted(self._buckets):
            bucket = self._buckets[key]
            if rank < bucket.count:
                return bucket.at(rank)
            rank -= bucket.count
        return self._maximum

    def summary(self) -> FieldSummary:
        """Return the four figures."""
        return FieldSummary(
            count=self.count,
            mean=self._sum / self.count,
            p95=self.quantile(_P95),
            maximum=self._maximum,
        )


def _key(value: float) -> int:
    """Return what the bucket of a value is found by: keys are in the order of their values."""
    if value == 0:
        return 0
    index = _BEYOND + math.ceil(math.log(abs(value)) / _LOG_WIDTH)
    return index if value > 0 else -index


class TelemetrySummary:
    """Distributions of all numeric fields of a run's samples."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._fields = {name: Distribution() for name in FIELDS}
        self._row = attrgetter(*FIELDS)
        self._waiting: list[tuple[float | None, ...]] = []

    def add(self, snapshot: TelemetrySnapshot) -> None:
        """Take one sample in; unknown readings are left out."""
        self._waiting.append(self._row(snapshot))
        if len(self._waiting) >= _BATCH:
            self._take_in()

    def _take_in(self) -> None:
        rows, self._waiting = self._waiting, []
        for field, column in zip(self._fields.values(), zip(*rows, strict=True), strict=False):
            known = [value for value in column if value is not None]
            if known:
                field.extend(known)

    def result(self) -> dict[str, FieldSummary]:
        """Return the figures of each field that was ever known."""
        self._take_in()
        return {name: field.summary() for name, field in self._fields.items() if field.count}
