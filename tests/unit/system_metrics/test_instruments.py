"""Instruments in a real meter: every reader sees the last reading; the unknown has no point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    InMemoryMetricReader,
    Metric,
    Sum,
)

from robot_sf_otel import semconv
from robot_sf_otel.semconv import SCOPE
from robot_sf_otel.semconv.instruments import INSTRUMENTS, WRITTEN
from robot_sf_otel.system_metrics import instruments
from robot_sf_otel.system_metrics.points import Point, Points


class Readings:
    """Readings, and how often they were asked for."""

    def __init__(self) -> None:
        self.now: Points = {
            one.reading: [Point(float(number), dict.fromkeys(one.attributes, "x"))]
            for number, one in enumerate(INSTRUMENTS, 1)
        }

        self.asked = 0

    def __call__(self) -> Points:
        self.asked += 1
        return self.now


@pytest.fixture
def readings() -> Readings:
    return Readings()


@pytest.fixture
def provider() -> Iterator[tuple[MeterProvider, list[InMemoryMetricReader]]]:
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    made = MeterProvider(readers, shutdown_on_exit=False)
    yield made, readers
    made.shutdown()


@pytest.fixture
def readers(
    readings: Readings, provider: tuple[MeterProvider, list[InMemoryMetricReader]]
) -> list[InMemoryMetricReader]:
    instruments.register(provider[0].get_meter(SCOPE), readings)
    return provider[1]


def collected(reader: InMemoryMetricReader) -> dict[str, Metric]:
    data: Any = reader.get_metrics_data()
    return {
        metric.name: metric
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def values(reader: InMemoryMetricReader) -> dict[str, list[tuple[float, dict[str, Any]]]]:
    found: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for name, metric in collected(reader).items():
        points: Any = metric.data.data_points
        found[name] = [(point.value, dict(point.attributes)) for point in points]
    return found


def test_every_reader_sees_the_same_values(
    readers: list[InMemoryMetricReader], readings: Readings
) -> None:
    first, second = (values(reader) for reader in readers)
    assert first == second
    assert first == {
        one.name: [(point.value, point.attributes) for point in readings.now[one.reading]]
        for one in INSTRUMENTS
    }


def test_reading_changes_nothing(readers: list[InMemoryMetricReader], readings: Readings) -> None:
    assert values(readers[0]) == values(readers[0])
    readings.now["progress_done"] = [Point(99.0)]
    assert values(readers[1])["robot_sf.run.progress.done"] == [(99.0, {})]


def test_unknown_reading_has_no_point(
    readers: list[InMemoryMetricReader], readings: Readings
) -> None:
    readings.now = {"progress_done": [Point(0.0)], "gpu_power": []}
    assert values(readers[0]) == {"robot_sf.run.progress.done": [(0.0, {})]}


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


def test_run_id_is_on_the_points_of_one_instrument_only() -> None:
    ids = {semconv.PIPELINE_RUN_ID, semconv.TASK_RUN_ID}
    with_ids = [one.name for one in (*INSTRUMENTS, *WRITTEN) if ids & set(one.attributes)]
    assert with_ids == ["robot_sf.run.info", "robot_sf.run.member"]


def test_end_of_a_run_is_a_duration_and_a_failure_an_error_too(
    provider: tuple[MeterProvider, list[InMemoryMetricReader]],
) -> None:
    outcomes = instruments.RunOutcomes(provider[0].get_meter(SCOPE))
    outcomes.add("imitation", "success", 90.0, None)
    outcomes.add("imitation", "failure", 5.0, "ValueError")
    found = collected(provider[1][0])
    duration, errors = found["cicd.pipeline.run.duration"], found["cicd.pipeline.run.errors"]
    assert (duration.unit, errors.unit) == ("s", "{error}")
    assert isinstance(duration.data, Histogram)
    told = {
        point.attributes["cicd.pipeline.result"]: (point.sum, point.attributes.get("error.type"))
        for point in duration.data.data_points
        if point.attributes is not None
    }
    assert told == {"success": (90.0, None), "failure": (5.0, "ValueError")}
    (point,) = errors.data.data_points
    assert getattr(point, "value", None) == 1
    assert dict(point.attributes or {}) == {
        "cicd.pipeline.name": "imitation",
        "error.type": "ValueError",
    }


def test_series_that_is_no_longer_reported_has_no_point(
    readers: list[InMemoryMetricReader], readings: Readings
) -> None:
    readings.now = {"run_info": [Point(1.0, {"robot_sf.run.status": "running"})]}
    values(readers[0])
    readings.now = {"run_info": [Point(1.0, {"robot_sf.run.status": "failed"})]}
    found = values(readers[0])
    assert found == {"robot_sf.run.info": [(1.0, {"robot_sf.run.status": "failed"})]}


def test_steps_and_findings_are_counted_as_the_table_says(
    provider: tuple[MeterProvider, list[InMemoryMetricReader]],
) -> None:
    outcomes = instruments.RunOutcomes(provider[0].get_meter(SCOPE))
    outcomes.add("imitation", "failure", 90.0, "ValueError")
    outcomes.add_step("imitation", "train", "success", 0.5)
    outcomes.add_finding("imitation", "stalled", "train", "warning", "anomaly")
    found = collected(provider[1][0])
    assert set(found) == {row.name for row in WRITTEN}
    for row in WRITTEN:
        metric = found[row.name]
        assert (metric.unit, metric.description) == (row.unit, row.description)
        assert isinstance(metric.data, Histogram if row.kind == "histogram" else Sum)
        (point,) = metric.data.data_points
        assert set(point.attributes or {}) == set(row.attributes)


def test_readings_are_worked_out_once_a_collection(
    readers: list[InMemoryMetricReader], readings: Readings
) -> None:
    for reader in (*readers, *readers):
        values(reader)
    assert readings.asked <= 2 * 4, "the clock may come in between"
    assert len(INSTRUMENTS) > 40
