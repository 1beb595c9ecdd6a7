"""What the growth of counters says, whoever counted."""

from __future__ import annotations

from robot_sf_otel.manifest.from_points import Growth, snapshot_of
from robot_sf_otel.manifest.points import MetricPoint, name_of
from robot_sf_otel.redaction import Redactor

REDACT = Redactor()
SECOND = 1_000_000_000
T0 = 1_767_225_600 * SECOND
CPU_TIME = name_of("tree_cpu_time")


def cores(growth: Growth, value: float | None, at: int, start: int = 0) -> float | None:
    """Return the cores that a sample shows; the total since `start` is None where none is told."""
    points = [MetricPoint(name_of("threads"), 4, time_ns=at)]
    if value is not None:
        points.append(MetricPoint(CPU_TIME, value, time_ns=at, start_ns=start))
    sample = snapshot_of(points, REDACT, growth)
    assert sample is not None
    return sample.cpu_cores_process


def test_a_counter_that_begins_with_the_first_look_at_it_has_no_rate_yet() -> None:
    growth, start = Growth(), T0 - 400_000

    assert cores(growth, 465.0, T0, start) is None
    assert cores(growth, 467.0, T0 + SECOND, start) == 2.0


def test_a_counter_that_begins_anew_has_no_rate_until_it_has_grown() -> None:
    growth = Growth()
    cores(growth, 465.0, T0, T0 - 400_000)

    assert cores(growth, 500.0, T0 + SECOND, T0 + SECOND - 400_000) is None
    assert cores(growth, 3.0, T0 + 2 * SECOND, T0 + SECOND - 400_000) is None
    assert cores(growth, 4.0, T0 + 3 * SECOND, T0 + SECOND - 400_000) == 1.0


def test_a_sum_that_began_with_the_sample_before_has_grown_since_then() -> None:
    growth = Growth()
    cores(growth, None, T0)

    assert cores(growth, 1.5, T0 + SECOND, start=T0) == 1.5
