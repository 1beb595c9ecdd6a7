"""The table of `semconv.INSTRUMENTS` as OpenTelemetry observable instruments.

Callbacks only return the monitor's last reading: a callback runs once for each metric reader, and
one that measured would give each reader another value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from robot_sf_otel.semconv import INSTRUMENTS

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter

    Readings = Callable[[], Mapping[str, float]]


def register(meter: Meter, readings: Readings) -> None:
    """Create the instruments; one whose reading is unknown reports no point.

    Args:
        meter: Where they are created.
        readings: Returns the last reading by name, in SI units.
    """
    create = {
        "gauge": meter.create_observable_gauge,
        "counter": meter.create_observable_counter,
        "updowncounter": meter.create_observable_up_down_counter,
    }
    for instrument in INSTRUMENTS:
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
        value = readings().get(reading)
        return () if value is None else (Observation(value),)

    return observe
