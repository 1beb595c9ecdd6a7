"""What the instruments show of a reading: every row of the table, and no point of the unknown."""

from __future__ import annotations

from dataclasses import replace

from robot_sf_otel import semconv
from robot_sf_otel.system_metrics.gpu import GpuReading
from robot_sf_otel.system_metrics.points import Point, StepProgress, machine_points, run_points
from robot_sf_otel.system_metrics.reading import MIB
from tests.unit.system_metrics.machine import DEVICE, EVERYTHING, NOTHING, later

AFTER = later(EVERYTHING, 2.0, tree={"cpu_seconds": 12.0})
STEPS = [StepProgress("imitation", "train", 5.0, 2.5), StepProgress("imitation", "eval", 1.0, None)]


def test_every_instrument_has_points_of_a_reading_in_which_nothing_is_missing() -> None:
    points = machine_points(EVERYTHING, AFTER) | run_points(["imitation"], STEPS)
    assert {row.reading for row in semconv.INSTRUMENTS} == set(points)
    assert [name for name, found in points.items() if not found] == []


def test_points_have_the_attributes_that_the_table_names() -> None:
    points = machine_points(EVERYTHING, AFTER) | run_points(["imitation"], STEPS)
    for row in semconv.INSTRUMENTS:
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


def test_runs_of_one_pipeline_are_counted_together() -> None:
    points = run_points(["a", "b", "a"], [])
    which = [
        (point.attributes["cicd.pipeline.name"], point.value) for point in points["active_runs"]
    ]
    assert which == [("a", 2), ("b", 1)]


def test_pipeline_without_an_open_run_has_0_of_them() -> None:
    points = run_points(["a"], [], ended=["a", "b"])
    assert [point.value for point in points["active_runs"]] == [1, 0]


def test_last_of_several_steps_of_one_name_is_shown() -> None:
    points = run_points(["a"], [StepProgress("a", "s", 1, None), StepProgress("a", "s", 2, 3.0)])
    which = {"cicd.pipeline.name": "a", "cicd.pipeline.task.name": "s"}
    assert points["progress_done"] == [Point(2, which)]
    assert points["progress_rate"] == [Point(3.0, which)]
