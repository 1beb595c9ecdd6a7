"""What is unusual for a step: stalls, breaks of the rate, outliers, memory that climbs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.analysis.rules.test_pauses import idle, took
from tests.unit.analysis.streams import Told


def test_a_stall_is_recorded_when_it_is_over() -> None:
    told = Told().starts(total=1000.0).goes_on(60, rate=2.0).goes_on(100, idle)
    assert "stall:train" not in {one.id for one in told.live}

    told.goes_on(20, rate=2.0)

    (found,) = [one for one in told.live if one.trigger == "stall"]
    assert found.evidence["value"] == pytest.approx(101, abs=2)
    assert found.step_id == "train"


def test_each_stall_of_a_step_has_an_id() -> None:
    told = Told().starts(total=1000.0).goes_on(60, rate=2.0)
    told.goes_on(100, idle).goes_on(20, rate=2.0)
    told.goes_on(1100, idle).goes_on(20, rate=2.0)

    assert [one.id for one in told.live if one.trigger == "stall"] == [
        "stall:train",
        "stall:train:2",
    ]


def test_a_step_that_fails_in_a_stall_has_one() -> None:
    told = Told().starts(total=1000.0).goes_on(60, rate=2.0).goes_on(100, idle)

    assert "stall:train" in told.ends(status="failed").found()


def test_a_rate_that_breaks_down_is_recorded_with_its_time() -> None:
    told = Told().starts().goes_on(200, rate=20.0).goes_on(120, rate=9.0)

    found = told.ends().found()["throughput_break:train"]

    assert found.evidence["rate_before"] == pytest.approx(20.0, rel=0.1)
    assert found.evidence["value"] == pytest.approx(9.0, rel=0.1)
    assert found.evidence["done"] == pytest.approx(4000, rel=0.05)


def test_work_that_gets_slower_little_by_little_does_not_break() -> None:
    told = Told().starts()
    for second in range(300):
        told.goes_on(1, rate=20.0 - second * 0.05)

    assert "throughput_break:train" not in told.ends().found()


def test_a_steady_rate_with_noise_does_not_break() -> None:
    told = Told().starts()
    for second in range(400):
        told.goes_on(1, rate=20.0 + (second * 7919 % 13 - 6))

    assert "throughput_break:train" not in told.ends().found()


def test_a_step_far_outside_its_history_is_an_outlier() -> None:
    past = took(100, 101, 102, 99, 100, 98)

    longer = Told(past=past).starts().goes_on(300).ends().found()["step_outlier:train"]
    shorter = Told(past=past).starts().goes_on(5).ends().found()["step_outlier:train"]
    usual = Told(past=past).starts().goes_on(120).ends().found()

    assert (longer.severity, shorter.severity) == ("warning", "info")
    assert "step_outlier:train" not in usual


def climbing(second: float) -> dict[str, Any]:
    return {"memory_rss_mb": 1000.0 + second}


def test_memory_that_climbs_is_information() -> None:
    found = Told().starts().goes_on(700, climbing).found()["memory_climb:train"]

    assert (found.severity, found.evidence["mb_per_minute"]) == (
        "info",
        pytest.approx(60, rel=0.05),
    )


def test_memory_that_stays_does_not_climb() -> None:
    assert Told().starts().goes_on(900).found() == {}
