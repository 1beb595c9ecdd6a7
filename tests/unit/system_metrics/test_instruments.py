"""Instruments in a real meter: every reader sees the last reading; the unknown has no point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, Metric, Sum

from robot_sf_otel.semconv import INSTRUMENTS, SCOPE
from robot_sf_otel.system_metrics import instruments


class Readings:
    """Readings, and how often they were asked for."""

    def __init__(self) -> None:
        self.now: dict[str, float] = {i.reading: float(n) for n, i in enumerate(INSTRUMENTS, 1)}
        self.asked = 0

    def __call__(self) -> Mapping[str, float]:
        self.asked += 1
        return self.now


@pytest.fixture
def readings() -> Readings:
    return Readings()


@pytest.fixture
def readers(readings: Readings) -> Iterator[list[InMemoryMetricReader]]:
    made = [InMemoryMetricReader(), InMemoryMetricReader()]
    provider = MeterProvider(made, shutdown_on_exit=False)
    instruments.register(provider.get_meter(SCOPE), readings)
    yield made
    provider.shutdown()


def collected(reader: InMemoryMetricReader) -> dict[str, Metric]:
    data: Any = reader.get_metrics_data()
    return {
        metric.name: metric
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def values(reader: InMemoryMetricReader) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for name, metric in collected(reader).items():
        points: Any = metric.data.data_points
        found[name] = [point.value for point in points]
    return found


def test_every_reader_sees_the_same_values(
    readers: list[InMemoryMetricReader], readings: Readings
) -> None:
    first, second = (values(reader) for reader in readers)
    assert first == second
    assert first == {one.name: [readings.now[one.reading]] for one in INSTRUMENTS}


def test_reading_changes_nothing(readers: list[InMemoryMetricReader], readings: Readings) -> None:
    assert values(readers[0]) == values(readers[0])
    readings.now["progress_done"] = 99.0
    assert values(readers[1])["robot_sf.run.progress.done"] == [99.0]


def test_unknown_reading_has_no_point(
    readers: list[InMemoryMetricReader], readings: Readings
) -> None:
    readings.now = {"progress_done": 0.0}
    assert values(readers[0]) == {"robot_sf.run.progress.done": [0.0]}


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda one: one.name)
def test_instrument_is_made_as_the_table_says(
    readers: list[InMemoryMetricReader],
    instrument: Any,  # noqa: ANN401 - a row of the table
) -> None:
    metric = collected(readers[0])[instrument.name]
    assert (metric.unit, metric.description) == (instrument.unit, instrument.description)
    if instrument.kind == "gauge":
        assert isinstance(metric.data, Gauge)
    else:
        assert isinstance(metric.data, Sum)
        assert metric.data.is_monotonic == (instrument.kind == "counter")


def test_run_ids_are_not_on_metric_points(readers: list[InMemoryMetricReader]) -> None:
    for metric in collected(readers[0]).values():
        points: Any = metric.data.data_points
        assert all(dict(point.attributes) == {} for point in points)
