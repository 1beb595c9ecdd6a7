"""The tables of `semconv.instruments` as OpenTelemetry instruments.

Callbacks only return the monitor's last reading: a callback runs once for each metric reader, and
one that measured would give each reader another value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import Observation

from robot_sf_otel.semconv import metrics
from robot_sf_otel.semconv.instruments import (
    DURATION_BUCKETS,
    INSTRUMENTS,
    RUN_DURATION,
    RUN_ERRORS,
    RUN_FINDINGS,
    STEP_DURATION,
    WRITTEN,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter
    from opentelemetry.util.types import AttributeValue

    from robot_sf_otel.semconv import Result
    from robot_sf_otel.system_metrics.points import Point, Points

    Readings = Callable[[], Points]
    AttributesOut = Callable[[Mapping[str, str]], Mapping[str, AttributeValue]]


COLLECTION_SECONDS: Final = 0.5
"""Age of points from which on they belong to an earlier collection, whoever asked for them."""


def as_it_is(attributes: Mapping[str, str]) -> Mapping[str, AttributeValue]:
    """Return the attributes unchanged."""
    return attributes


def register(meter: Meter, readings: Readings, outgoing: AttributesOut = as_it_is) -> None:
    """Create the observable instruments; one whose reading is unknown reports no point.

    Args:
        meter: Where they are created.
        readings: Returns the points of the last reading.
        outgoing: Returns the attributes of a point as they may leave the machine.
    """
    shared = _Shared(readings)
    create = {
        "gauge": meter.create_observable_gauge,
        "counter": meter.create_observable_counter,
        "updowncounter": meter.create_observable_up_down_counter,
    }
    for instrument in INSTRUMENTS:
        create[instrument.kind](
            instrument.name,
            callbacks=[_callback(instrument.reading, shared, outgoing)],
            unit=instrument.unit,
            description=instrument.description,
        )


class _Shared:
    """Works the points out once for all instruments of a collection, and not once for each.

    Args:
        readings: Returns the points of the last reading.
    """

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._points: Points = {}
        self._asked: set[str] = set()
        self._at = -COLLECTION_SECONDS

    def points(self, reading: str) -> list[Point]:
        """Return the points of a reading: new ones if it was asked for before, or long ago."""
        now = time.monotonic()
        if reading in self._asked or now - self._at >= COLLECTION_SECONDS:
            self._points, self._asked, self._at = self._readings(), set(), now
        self._asked.add(reading)
        return self._points.get(reading, [])


def _callback(
    reading: str, shared: _Shared, outgoing: AttributesOut
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, outgoing(which)) for value, which in shared.points(reading)]

    return observe


class RunOutcomes:
    """The instruments that are written when something happens, not read from a sensor.

    Args:
        meter: Where they are created.
        outgoing: Returns the attributes of a point as they may leave the machine.
    """

    def __init__(self, meter: Meter, outgoing: AttributesOut = as_it_is) -> None:
        self._outgoing = outgoing
        rows = {row.name: row for row in WRITTEN}

        def histogram(name: str) -> Histogram:
            return meter.create_histogram(
                name,
                unit=rows[name].unit,
                description=rows[name].description,
                explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
            )

        def counter(name: str) -> Counter:
            return meter.create_counter(
                name, unit=rows[name].unit, description=rows[name].description
            )

        self._duration = histogram(RUN_DURATION)
        self._errors = counter(RUN_ERRORS)
        self._steps = histogram(STEP_DURATION)
        self._findings = counter(RUN_FINDINGS)

    def add(self, pipeline: str, result: Result, seconds: float, error_type: str | None) -> None:
        """Count a run that has ended.

        Args:
            pipeline: Its pipeline's name.
            result: How it ended.
            seconds: How long it took.
            error_type: The class of what failed it; None unless it failed.
        """
        self._duration.record(
            seconds, self._outgoing(metrics.run_duration(pipeline, result, error_type))
        )
        if error_type is not None:
            self._errors.add(1, self._outgoing(metrics.run_error(pipeline, error_type)))

    def add_step(self, pipeline: str, step: str, result: Result, seconds: float) -> None:
        """Count a step that has ended."""
        which = metrics.step_duration(pipeline, step, result)
        self._steps.record(seconds, self._outgoing(which))

    def add_finding(
        self, pipeline: str, rule: str, step: str | None, severity: str, kind: str
    ) -> None:
        """Count a recommendation or an anomaly."""
        which = metrics.finding(pipeline, rule, step, severity, kind)
        self._findings.add(1, self._outgoing(which))
