"""Rules of readings: each fires on its condition, and is silent short of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest

from robot_sf_otel.analysis.rules import BUILT_IN
from robot_sf_otel.manifest.schema import GpuSample, PerformanceRecommendation
from tests.unit.analysis.streams import Told, span_of


class Condition(NamedTuple):
    """What samples say when a rule is to fire, and what is just not enough."""

    rule: str
    severity: str
    seconds: float
    holds: dict[str, Any]
    below: dict[str, Any]
    """Changes of `holds` after which it must not fire."""


def gpu(util: float, used: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - of the record
    device = GpuSample(index=0, util_percent=util, mem_used_mb=used, mem_total_mb=81_000.0, **more)
    return {"gpu_util_percent": util, "gpu_mem_used_mb": used, "gpus": [device]}


def always(reading: dict[str, Any]) -> Callable[[float], dict[str, Any]]:
    """Return a reading that is the same in all samples."""
    return lambda _: reading


FULL: Final[dict[str, Any]] = {
    "cpu_percent_process": 95.0,
    "cpu_cores_process": 15.2,
    "cpu_percent_system": 96.0,
}
ONE: Final[dict[str, Any]] = {
    "cpu_percent_process": 6.25,
    "cpu_cores_process": 1.0,
    "cpu_percent_system": 9.0,
}
CONDITIONS: Final = (
    Condition(
        "cpu_saturation",
        "info",
        30,
        FULL,
        {"cpu_percent_process": 89.0, "cpu_percent_system": 89.9},
    ),
    Condition(
        "cpu_saturation",
        "info",
        30,
        {**FULL, "cpu_pressure": 80.0},
        {"cpu_percent_process": 40.0, "cpu_cores_process": 6.4, "cpu_percent_system": 89.0},
    ),
    Condition("single_core_bound", "info", 120, ONE, {"cpu_cores_process": 0.88}),
    Condition("single_core_bound", "info", 120, ONE, {"cpu_cores_process": 1.2}),
    Condition("single_core_bound", "info", 120, ONE, {"cpu_percent_system": 95.0}),
    Condition(
        "cpu_throttled",
        "warning",
        60,
        {"cpu_throttled_percent": 40.0},
        {"cpu_throttled_percent": 24.0},
    ),
    Condition(
        "noisy_neighbour",
        "warning",
        60,
        {"cpu_percent_process": 40.0, "cpu_cores_process": 6.4, "cpu_percent_system": 98.0},
        {"cpu_percent_system": 89.0},
    ),
    Condition(
        "memory_pressure",
        "warning",
        30,
        {"memory_available_mb": 4000.0},
        {"memory_available_mb": 6600.0},
    ),
    Condition(
        "memory_pressure",
        "critical",
        30,
        {"memory_limit_mb": 1000.0, "memory_available_mb": 30.0},
        {"memory_available_mb": 101.0},
    ),
    Condition(
        "swap_thrashing",
        "warning",
        30,
        {"memory_pressure": 30.0, "swap_used_mb": 400.0},
        {"memory_pressure": 19.0},
    ),
    Condition(
        "swap_thrashing",
        "critical",
        30,
        {"memory_pressure": 60.0, "swap_used_mb": 400.0},
        {"swap_used_mb": 60.0},
    ),
    Condition(
        "io_bound",
        "warning",
        60,
        {"io_pressure": 60.0, "disk_read_mb_s": 20.0, "cpu_cores_process": 0.5},
        {"io_pressure": 24.0},
    ),
    Condition(
        "io_bound",
        "warning",
        60,
        {"io_pressure": 60.0, "disk_read_mb_s": 20.0, "cpu_cores_process": 0.5},
        {"cpu_cores_process": 9.0, "cpu_percent_process": 56.25},
    ),
    Condition("disk_space_low", "warning", 10, {"disk_free_mb": 900.0}, {"disk_free_mb": 1025.0}),
    Condition("disk_space_low", "critical", 10, {"disk_free_mb": 200.0}, {"disk_free_mb": 1025.0}),
    Condition(
        "gpu_unused", "warning", 180, gpu(0.0, 900.0, run_mem_used_mb=900.0), gpu(2.0, 900.0)
    ),
    Condition(
        "gpu_unused",
        "info",
        180,
        {**gpu(0.0, 0.0), "cpu_percent_process": 90.0},
        {"cpu_percent_process": 70.0},
    ),
    Condition(
        "gpu_starved",
        "info",
        120,
        gpu(15.0, 3000.0, run_mem_used_mb=3000.0),
        gpu(36.0, 3000.0, run_mem_used_mb=3000.0),
    ),
    Condition(
        "gpu_starved",
        "warning",
        120,
        {**ONE, **gpu(15.0, 3000.0, run_mem_used_mb=3000.0)},
        gpu(15.0, 3000.0, run_mem_used_mb=100.0),
    ),
    Condition(
        "gpu_throttled",
        "warning",
        60,
        gpu(90.0, 3000.0, throttle_reasons=["hw_thermal_slowdown"], temperature_c=88.0),
        gpu(90.0, 3000.0, throttle_reasons=["sw_power_cap"]),
    ),
)
IDS: Final = [f"{one.rule}-{one.severity}-{index}" for index, one in enumerate(CONDITIONS)]
each = pytest.mark.parametrize("one", CONDITIONS, ids=IDS)


@each
def test_a_rule_fires_when_its_condition_has_lasted(one: Condition) -> None:
    told = Told().starts()

    told.goes_on(one.seconds + 20, lambda _: one.holds)

    (found,) = [live for live in told.live if live.trigger == one.rule]
    assert isinstance(found, PerformanceRecommendation)
    assert (found.id, found.severity, found.step_id) == (f"{one.rule}:train", one.severity, "train")
    assert found.suggested_actions
    assert found.evidence["samples"] >= one.seconds
    assert found.evidence["span_id"] == span_of("train")
    assert {"metric", "value", "threshold", "unit"} <= found.evidence.keys()
    assert found.evidence["window_start"] < found.evidence["window_end"]


@each
def test_a_rule_is_silent_just_below(one: Condition) -> None:
    told = Told().starts()

    found = told.goes_on(3 * one.seconds + 30, lambda _: {**one.holds, **one.below}).ends().found()

    assert f"{one.rule}:train" not in found


@each
def test_a_rule_is_silent_when_its_condition_is_too_short(one: Condition) -> None:
    told = Told().starts()

    found = told.goes_on(one.seconds * 0.6, lambda _: one.holds).goes_on(60).ends().found()

    assert f"{one.rule}:train" not in found


@each
def test_one_sample_never_fires_a_rule(one: Condition) -> None:
    told = Told().starts().goes_on(10)

    # As if the pace had been lengthened: the one sample stands for more than the rule asks for.
    found = (
        told.goes_on(100, lambda _: one.holds, interval=100).goes_on(20, interval=10).ends().found()
    )

    assert f"{one.rule}:train" not in found


@each
def test_a_rule_is_silent_without_the_fields_that_it_needs(one: Condition) -> None:
    (rule,) = [kind for kind in BUILT_IN if kind.id == one.rule]
    for name in rule.needs:
        told = Told().starts()
        reading: dict[str, Any] = {**one.holds, name: [] if name == "gpus" else None}

        found = told.goes_on(one.seconds + 40, always(reading)).found()

        if name not in {"disk_read_mb_s", "cpu_percent_process"}:  # others tell the same
            assert f"{one.rule}:train" not in found, name


def test_a_healthy_run_is_told_nothing() -> None:
    told = Told().starts(total=1000.0, baseline_rate=10.0)

    assert told.goes_on(90, rate=10.0).ends().found() == {}


def test_a_gpu_at_its_power_cap_is_healthy() -> None:
    told = Told().starts()

    found = told.goes_on(400, lambda _: gpu(98.0, 3000.0, throttle_reasons=["sw_power_cap"]))

    assert found.found() == {}


def test_memory_of_others_on_a_gpu_is_not_held_by_the_run() -> None:
    told = Told().starts()

    assert told.goes_on(400, lambda _: gpu(0.0, 40_000.0)).found() == {}


def test_saturation_of_a_part_of_the_host_is_told_by_the_runs_own_load() -> None:
    told = Told().starts()

    def pinned(_: float) -> dict[str, Any]:
        return {"cpu_percent_process": 98.0, "cpu_cores_process": 3.92, "cpu_percent_system": 30.0}

    told.evaluator.scene.usable_cpus = 4.0
    found = told.goes_on(60, pinned).found()

    assert found["cpu_saturation:train"].evidence["value"] == pytest.approx(98.0)


@pytest.mark.parametrize(
    ("pressure", "throttled", "action"),
    [(20.0, None, "Profile"), (99.0, None, "Tasks waited"), (99.0, 99.0, "Profile")],
)
def test_fewer_workers_are_advised_where_tasks_wait_for_each_other_and_for_no_quota(
    pressure: float, throttled: float | None, action: str
) -> None:
    told = Told().starts()
    waiting = {**FULL, "cpu_pressure": pressure, "cpu_throttled_percent": throttled}

    found = told.goes_on(90, always(waiting)).found()["cpu_saturation:train"]

    assert isinstance(found, PerformanceRecommendation)
    assert found.suggested_actions[0].startswith(action)
