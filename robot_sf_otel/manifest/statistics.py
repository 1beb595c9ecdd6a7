"""Running totals of telemetry: count, mean, p95 and maximum of each field in bounded memory.

The 95th percentile comes from a histogram with logarithmic buckets, as in DDSketch (Masson, Rim,
Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", PVLDB
12(12), 2019): at most 1 % relative error, whatever the length of the run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from robot_sf_otel.manifest.schema import FieldSummary, TelemetrySnapshot

ACCURACY: Final = 0.01
"""Relative error of the percentile."""
_GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA: Final = math.log(_GAMMA)
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


class Distribution:
    """Count, sum, maximum and a histogram of one field."""

    __slots__ = ("_above", "_below", "_maximum", "_minimum", "_sum", "_zeros", "count")

    def __init__(self) -> None:
        """Start with nothing."""
        self.count = 0
        self._sum = 0.0
        self._minimum = math.inf
        self._maximum = -math.inf
        self._zeros = 0
        self._above: Counter[int] = Counter()
        self._below: Counter[int] = Counter()

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
        self._minimum = min(self._minimum, *finite)
        self._maximum = max(self._maximum, *finite)
        # Readings repeat (threads, limits, a steady rate): each is looked up once.
        for value, times in Counter(finite).items():
            if value > 0:
                self._above[_bucket(value)] += times
            elif value < 0:
                self._below[_bucket(-value)] += times
            else:
                self._zeros += times

    def quantile(self, share: float) -> float:
        """Return the nearest-rank quantile within 1 %: `share` (0 to 1) of all values reach it.

        The smallest value that at least `share` of all values do not exceed (Hyndman, Fan:
        "Sample Quantiles in Statistical Packages", 1996, definition 1).
        """
        rank = math.ceil(share * self.count) - 1
        seen = 0
        estimate = self._maximum
        for value, times in self._ascending():
            seen += times
            if rank < seen:
                estimate = value
                break
        return min(max(estimate, self._minimum), self._maximum)

    def _ascending(self) -> Iterable[tuple[float, int]]:
        for index in sorted(self._below, reverse=True):
            yield -_middle(index), self._below[index]
        yield 0.0, self._zeros
        for index in sorted(self._above):
            yield _middle(index), self._above[index]

    def summary(self) -> FieldSummary:
        """Return the four figures."""
        return FieldSummary(
            count=self.count,
            mean=self._sum / self.count,
            p95=self.quantile(_P95),
            maximum=self._maximum,
        )


def _bucket(value: float) -> int:
    return math.ceil(math.log(value) / _LOG_GAMMA)


def _middle(index: int) -> float:
    """Return the value that is within 1 % of all values of a bucket."""
    return 2 * math.exp(index * _LOG_GAMMA) / (_GAMMA + 1)


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
