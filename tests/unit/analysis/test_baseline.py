"""What a measurement says beside its baseline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.analysis.baseline import (
    Baseline,
    Judgement,
    Sample,
    host_class,
    is_narrow,
    judge,
)

HERE = "box"
SCATTER = (0.98, 0.99, 1.0, 1.01, 1.02)


def taken(
    level: float, speed: float | None = None, scatter: tuple[float, ...] = SCATTER
) -> list[Sample]:
    """Samples around a level."""
    return [Sample(level * part, speed) for part in scatter]


def baseline(level: float = 100.0, *, host: str = HERE, speed: float | None = None) -> Baseline:
    """A baseline around a level."""
    samples = [sample.value for sample in taken(level)]
    return Baseline(
        test_id="t",
        host_class=host,
        metric="advance",
        unit="it/s",
        median=level,
        samples=samples,
        speeds=[] if speed is None else [speed] * len(samples),
    )


def judged(samples: list[Sample], known: Baseline | None, tolerance: float = 0.25) -> Judgement:
    return judge(samples, known, host_class=HERE, tolerance=tolerance)


@pytest.mark.parametrize(
    ("level", "status"),
    [
        (60, "failed"),
        (72, "failed"),
        (80, "soft-breach"),
        (85, "soft-breach"),
        (95, "passed"),
        (130, "passed"),
    ],
)
def test_the_whole_interval_decides(level: float, status: str) -> None:
    found = judged(taken(level), baseline())

    assert found.status == status
    assert found.decided
    assert found.ratio == pytest.approx(level / 100)
    assert found.expected == pytest.approx(100)


@pytest.mark.parametrize(("level", "status"), [(75.5, "soft-breach"), (87.0, "inconclusive")])
def test_an_interval_across_a_limit_is_undecided(level: float, status: str) -> None:
    """Below the one limit for sure, whatever it is to the other."""
    found = judged(taken(level, scatter=(0.9, 0.95, 1.0, 1.05, 1.1)), baseline())

    assert (found.status, found.decided) == (status, False)


@given(st.lists(st.floats(min_value=1, max_value=1_000), min_size=2, max_size=12))
def test_noise_never_fails_it_as_the_interval_lies_below_the_limit(values: list[float]) -> None:
    found = judged([Sample(value) for value in values], baseline())

    assert found.interval is not None
    assert (found.status == "failed") == (found.interval[1] <= 75.0 * (1 + 1e-12))


def test_a_wide_interval_around_the_baseline_does_not_pass() -> None:
    found = judged([Sample(value) for value in (50.0, 60.0, 100.0, 140.0, 150.0)], baseline())

    assert found.status == "inconclusive"


def test_the_tolerance_is_the_callers() -> None:
    assert judged(taken(85), baseline(), tolerance=0.1).status == "failed"
    assert judged(taken(85), baseline(), tolerance=0.5).status == "passed"


def test_without_a_baseline_there_is_an_interval_and_no_verdict() -> None:
    found = judged(taken(10), None)

    assert found.status == "no-baseline"
    assert found.interval is not None
    assert found.ratio is None


def test_a_machine_as_fast_as_then_is_not_put_in_relation() -> None:
    found = judged(taken(60, speed=95), baseline(speed=100))

    assert (found.status, found.scaled) == ("failed", False)
    assert found.machine_speed == pytest.approx(0.95)


def test_a_machine_that_is_noticeably_slower_than_then_is_put_in_relation() -> None:
    found = judged(taken(60, speed=60), baseline(speed=100))

    assert (found.status, found.scaled) == ("passed", True)
    assert found.expected == pytest.approx(60)


def test_a_slow_down_shows_on_a_machine_that_became_faster() -> None:
    assert judged(taken(100, speed=200), baseline(speed=100)).status == "failed"


def test_a_baseline_of_other_machines_counts_where_both_speeds_are_known() -> None:
    found = judged(taken(104, speed=104), baseline(host="other", speed=100))

    assert (found.status, found.scaled) == ("passed", True)
    assert judged(taken(104), baseline(host="other", speed=100)).status == "no-baseline"
    assert judged(taken(104, speed=104), baseline(host="other")).status == "no-baseline"


def test_one_sample_beside_one_sample_is_inconclusive() -> None:
    known = baseline()
    known.samples = [100.0]

    assert judged([Sample(10.0)], known).status == "inconclusive"


def test_a_speed_that_varies_is_told() -> None:
    steady = judged(taken(100, speed=10), None)
    noisy = judged([Sample(1.0, speed) for speed in (5.0, 10.0, 10.0, 20.0)], None)

    assert steady.speed_spread == 0
    assert noisy.speed_spread is not None
    assert noisy.speed_spread > 0.3


def test_narrow_is_relative_to_the_median() -> None:
    assert is_narrow(Judgement(status="passed", measured=100, interval=(99, 101)), 0.02)
    assert not is_narrow(Judgement(status="passed", measured=100, interval=(99, 103)), 0.02)
    assert not is_narrow(Judgement(status="passed", measured=100), 0.02)


def test_a_class_of_machines_is_processor_cpus_and_interpreter() -> None:
    host = {"architecture": "x86_64", "cpu_model": "AMD EPYC (TM) 7", "usable_cpus": 2.0}
    runtime = {"implementation": "CPython", "python": "3.11.7"}

    assert host_class(host, runtime) == "x86-64-amd-epyc-tm-7-2cpu-cpython3.11"
    assert host_class({}, {}) == "unknown-unknown-unknown-unknown"
