"""Rules of what grows: memory until there is none, GPU memory until it is full."""

from __future__ import annotations

from typing import Any

import pytest

from robot_sf_otel.manifest.schema import GpuSample
from tests.unit.analysis.streams import Told


def leaking(mb_per_second: float, *, limit: float = 20_000.0, until: float = 1e9) -> Any:  # noqa: ANN401 - a reading
    def reading(second: float) -> dict[str, Any]:
        rss = 1000.0 + mb_per_second * min(second, until)
        return {
            "memory_rss_mb": rss,
            "memory_limit_mb": limit,
            "memory_available_mb": max(0.0, limit - rss),
        }

    return reading


def test_memory_that_reaches_the_limit_before_the_end_is_told() -> None:
    told = Told().starts(total=10_000.0)

    told.goes_on(300, leaking(10.0), rate=1.0)

    (found,) = [one for one in told.live if one.trigger == "memory_growth"]
    assert (found.id, found.severity) == ("memory_growth:train", "warning")
    assert found.evidence["mb_per_minute"] == pytest.approx(600, rel=0.05)
    assert found.evidence["seconds_to_limit"] == pytest.approx(1700, rel=0.1)


def test_memory_that_lasts_until_the_end_is_not_told() -> None:
    told = Told().starts(total=800.0)

    assert "memory_growth:train" not in told.goes_on(300, leaking(10.0), rate=1.0).found()


def test_memory_that_levels_out_is_not_told() -> None:
    told = Told().starts(total=10_000.0)

    assert (
        "memory_growth:train" not in told.goes_on(600, leaking(10.0, until=100), rate=1.0).found()
    )


def test_the_warm_up_of_a_step_may_fill_memory() -> None:
    told = Told().starts(total=10_000.0)

    assert "memory_growth:train" not in told.goes_on(170, leaking(20.0), rate=1.0).found()


def test_an_imminent_limit_is_critical() -> None:
    told = Told().starts(total=10_000.0)

    told.goes_on(290, leaking(60.0), rate=1.0)

    severities = [one.severity for one in told.live if one.trigger == "memory_growth"]
    assert severities[-1] == "critical"


@pytest.mark.parametrize("name", ["memory_rss_mb", "memory_available_mb"])
def test_growth_needs_both_readings(name: str) -> None:
    told = Told().starts(total=10_000.0)
    leak = leaking(10.0)

    assert told.goes_on(300, lambda second: {**leak(second), name: None}, rate=1.0).found() == {}


def filling(mb_per_second: float) -> Any:  # noqa: ANN401 - a reading
    def reading(second: float) -> dict[str, Any]:
        used = min(80_000.0, 5000.0 + mb_per_second * second)
        device = GpuSample(index=0, util_percent=90.0, mem_used_mb=used, mem_total_mb=81_000.0)
        return {"gpu_util_percent": 90.0, "gpu_mem_used_mb": used, "gpus": [device]}

    return reading


def test_gpu_memory_that_will_be_full_before_the_end_is_told() -> None:
    told = Told().starts(total=10_000.0)

    found = told.goes_on(200, filling(100.0), rate=1.0).found()

    assert found["gpu_memory_pressure:train"].severity == "warning"


def test_gpu_memory_that_an_allocator_takes_at_once_is_information() -> None:
    told = Told().starts(total=10_000.0)

    found = told.goes_on(200, filling(1e6), rate=1.0).found()

    assert found["gpu_memory_pressure:train"].severity == "info"


def test_gpu_memory_that_grows_slowly_is_not_told() -> None:
    told = Told().starts(total=500.0)

    assert told.goes_on(300, filling(10.0), rate=1.0).found() == {}
