"""Running totals of telemetry: count, mean, p95 and maximum of each field in bounded memory.

The 95th percentile comes from a histogram with logarithmic buckets, as in DDSketch (Masson, Rim,
Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB
2019): at most 1 % relative error, whatever the length of the run.
"""

from __future__ import annotations

import math
from typing import Final

from robot_sf_otel.manifest.schema import FieldSummary, TelemetrySnapshot

ACCURACY: Final = 0.01
"""Relative error of the percentile."""
_GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA: Final = math.log(_GAMMA)
_P95: Final = 0.95
_LEFT_OUT: Final = frozenset({"timestamp_ms"})
_FIELDS: Final = tuple(
    name for name in TelemetrySnapshot.__struct_fields__ if name not in _LEFT_OUT
)


class Distribution:
    """Count, sum, maximum and a histogram of one field."""

    __slots__ = ("_below", "_buckets", "_maximum", "_sum", "count")

    def __init__(self) -> None:
        """Start with nothing."""
        self.count = 0
        self._sum = 0.0
        self._maximum = -math.inf
        self._below = 0
        self._buckets: dict[int, int] = {}

    def add(self, value: float) -> None:
        """Take one value in; values up to zero share one bucket."""
        self.count += 1
        self._sum += value
        self._maximum = max(self._maximum, value)
        if value <= 0:
            self._below += 1
            return
        index = math.ceil(math.log(value) / _LOG_GAMMA)
        self._buckets[index] = self._buckets.get(index, 0) + 1

    def quantile(self, share: float) -> float:
        """Return the value below which `share` of all values lie, within 1 %."""
        rank = share * (self.count - 1)
        seen = self._below
        if rank < seen:
            return min(0.0, self._maximum)
        for index in sorted(self._buckets):
            seen += self._buckets[index]
            if rank < seen:
                return min(2 * _GAMMA**index / (_GAMMA + 1), self._maximum)
        return self._maximum

    def summary(self) -> FieldSummary:
        """Return the four figures."""
        return FieldSummary(
            count=self.count,
            mean=self._sum / self.count,
            p95=self.quantile(_P95),
            maximum=self._maximum,
        )


class TelemetrySummary:
    """Distributions of all numeric fields of a run's samples."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._fields: dict[str, Distribution] = {}

    def add(self, snapshot: TelemetrySnapshot) -> None:
        """Take one sample in; unknown readings are left out."""
        for name in _FIELDS:
            value = getattr(snapshot, name)
            if isinstance(value, int | float) and math.isfinite(value):
                field = self._fields.get(name)
                if field is None:
                    field = self._fields[name] = Distribution()
                field.add(value)

    def result(self) -> dict[str, FieldSummary]:
        """Return the figures of each field that was ever known."""
        return {name: field.summary() for name, field in self._fields.items()}
