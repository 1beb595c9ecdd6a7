"""What the instruments show of a reading: every row of the table, and no point of the unknown."""

from __future__ import annotations

from dataclasses import replace

from robot_sf_otel.semconv.instruments import INSTRUMENTS
from robot_sf_otel.system_metrics.gpu import GpuReading
from robot_sf_otel.system_metrics.points import Point, machine_points
from robot_sf_otel.system_metrics.reading import MIB
from robot_sf_otel.system_metrics.run_points import RunShown, StepShown, run_points
from tests.unit.system_metrics.machine import DEVICE, EVERYTHING, NOTHING, later

AFTER = later(EVERYTHING, 2.0, tree={"cpu_seconds": 12.0}, cgroup={"cpu_periods": 10_000})
RUN = RunShown(
    "imitation",
    "r-1",
    "t1",
    "running",
    9.0,
    "x.toml",
    completed=1,
    planned=2,
    remaining=5,
    low=4,
    high=6,
)
STEPS = [StepShown("imitation", "train", 3.0, 5.0, 10.0, 2.5, {"fps": 30.0})]


def test_every_instrument_has_points_of_a_reading_in_which_nothing_is_missing() -> None:
    points = machine_points(EVERYTHING, AFTER) | run_points([RUN], STEPS, ["r-1"])
    assert {row.reading for row in INSTRUMENTS} == set(points)
    assert [name for name, found in points.items() if not found] == []


def test_points_have_the_attributes_that_the_table_names() -> None:
    points = machine_points(EVERYTHING, AFTER) | run_points([RUN], STEPS, ["r-1"])
    for row in INSTRUMENTS:
        assert {tuple(point.attributes) for point in points[row.reading]} == {row.attributes}


def test_unknown_readings_have_no_point() -> None:
    points = machine_points(NOTHING, later(NOTHING, 1.0)) | run_points([], [])
    assert {name: found for name, found in points.items() if found} == {}


def test_values_are_in_the_units_of_the_conventions() -> None:
    points = machine_points(EVERYTHING, AFTER)
    assert points["system_cpu_utilization"] == [Point(0.5)]
    assert points["tree_cpu_utilization"] == [Point(0.25)]
    assert points["tree_memory"] == [Point(200 * MIB)]
    assert points["own_cpu_time"] == [
        Point(7.0, {"cpu.mode": "user"}),
        Point(1.0, {"cpu.mode": "system"}),
    ]
    assert points["system_paging"] == [
        Point(4 * MIB, {"system.paging.state": "used"}),
        Point(6 * MIB, {"system.paging.state": "free"}),
    ]
    assert [point.value for point in points["pressure"]] == [0.03, 0.02, 0.01]


def test_gpus_are_told_apart_by_their_uuid_and_else_by_their_index() -> None:
    devices = (DEVICE, replace(DEVICE, index=1, uuid=None, name=None, util_percent=None))
    now = replace(AFTER, gpu=GpuReading(devices=devices))
    points = machine_points(EVERYTHING, now)
    first = {"hw.id": "GPU-a", "hw.type": "gpu", "hw.name": "NVIDIA H100"}
    assert points["gpu_utilization"] == [Point(0.75, {**first, "hw.gpu.task": "general"})]
    assert points["gpu_power"] == [
        Point(350.5, first),
        Point(350.5, {"hw.id": "gpu1", "hw.type": "gpu"}),
    ]
    assert [point.value for point in points["gpu_memory_utilization"]] == [0.25, 0.25]
