"""The table of `semconv.INSTRUMENTS` as OpenTelemetry observable instruments.

Callbacks only return the monitor's last reading: a callback runs once for each metric reader, and
one that measured would give each reader another value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import Observation

from robot_sf_otel import semconv

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter

    from robot_sf_otel.system_metrics.points import Points

    Readings = Callable[[], Points]

_BUCKETS: Final = (1, 10, 60, 300, 900, 3600, 3 * 3600, 8 * 3600, 24 * 3600, 72 * 3600, 168 * 3600)
"""Seconds: a run takes anything from a smoke test to a week."""


def register(meter: Meter, readings: Readings) -> None:
    """Create the observable instruments; one whose reading is unknown reports no point.

    Args:
        meter: Where they are created.
        readings: Returns the points of the last reading.
    """
    create = {
        "gauge": meter.create_observable_gauge,
        "counter": meter.create_observable_counter,
        "updowncounter": meter.create_observable_up_down_counter,
    }
    for instrument in semconv.INSTRUMENTS:
        create[instrument.kind](
            instrument.name,
            callbacks=[_callback(instrument.reading, readings)],
            unit=instrument.unit,
            description=instrument.description,
        )


def _callback(
    reading: str, readings: Readings
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, which) for value, which in readings().get(reading, ())]

    return observe


class RunOutcomes:
    """The two instruments that are written when a run ends, not read from a sensor.

    Args:
        meter: Where they are created.
    """

    def __init__(self, meter: Meter) -> None:
        self._duration = meter.create_histogram(
            semconv.RUN_DURATION,
            unit="s",
            description="Duration of a pipeline run.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._errors = meter.create_counter(
            semconv.RUN_ERRORS, unit="{error}", description="Pipeline runs that failed."
        )

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
            self._errors.add(1, {**which, semconv.ERROR_TYPE: error_type})
        self._duration.record(seconds, ended)
