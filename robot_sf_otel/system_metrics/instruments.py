"""The tables of `semconv.instruments` as OpenTelemetry instruments.

Callbacks only return the monitor's last reading: a callback runs once for each metric reader, and
one that measured would give each reader another value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from robot_sf_otel import semconv
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

    from robot_sf_otel.system_metrics.points import Points

    Readings = Callable[[], Points]
    AttributesOut = Callable[[Mapping[str, str]], Mapping[str, AttributeValue]]


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
    create = {
        "gauge": meter.create_observable_gauge,
        "counter": meter.create_observable_counter,
        "updowncounter": meter.create_observable_up_down_counter,
    }
    for instrument in INSTRUMENTS:
        create[instrument.kind](
            instrument.name,
            callbacks=[_callback(instrument.reading, readings, outgoing)],
            unit=instrument.unit,
            description=instrument.description,
        )


def _callback(
    reading: str, readings: Readings, outgoing: AttributesOut
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, outgoing(which)) for value, which in readings().get(reading, ())]

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

    def add(
        self, pipeline: str, result: semconv.Result, seconds: float, error_type: str | None
    ) -> None:
        """Count a run that has ended.

        Args:
            pipeline: Its pipeline's name.
            result: How it ended.
            seconds: How long it took.
            error_type: The class of what failed it; None unless it failed.
        """
        which = {semconv.PIPELINE_NAME: pipeline}
        ended = {**which, semconv.RUN_STATE: "executing", semconv.PIPELINE_RESULT: result}
        if error_type is not None:
            ended[semconv.ERROR_TYPE] = error_type
            self._errors.add(1, self._outgoing({**which, semconv.ERROR_TYPE: error_type}))
        self._duration.record(seconds, self._outgoing(ended))

    def add_step(self, pipeline: str, step: str, result: semconv.Result, seconds: float) -> None:
        """Count a step that has ended."""
        which = {
            semconv.PIPELINE_NAME: pipeline,
            semconv.TASK_NAME: step,
            semconv.TASK_RUN_RESULT: result,
        }
        self._steps.record(seconds, self._outgoing(which))

    def add_finding(self, pipeline: str, finding: str, severity: str, kind: str) -> None:
        """Count a recommendation or an anomaly."""
        which = {
            semconv.PIPELINE_NAME: pipeline,
            semconv.FINDING_ID: finding,
            semconv.FINDING_SEVERITY: severity,
            semconv.FINDING_KIND: kind,
        }
        self._findings.add(1, self._outgoing(which))
