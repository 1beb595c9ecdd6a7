"""The stopwatch, the calibration loop, the worker and what the built-in scenarios run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel import pipeline
from robot_sf_otel.analysis.baseline import Baseline
from robot_sf_otel.perf import stopwatch
from robot_sf_otel.perf.builtin import Pendulum, minimal, tracker_overhead
from robot_sf_otel.perf.calibration import calibration_seconds, machine_speed
from robot_sf_otel.perf.in_process import measure
from robot_sf_otel.perf.worker import Task, resolve, work
from robot_sf_otel.testing import capture_run

if TYPE_CHECKING:
    from pathlib import Path


def test_what_a_thread_waited_for_a_cpu_is_taken_off() -> None:
    assert stopwatch.elapsed(10.0, 4.0, 5.0) == (6.0, 4.0, 5.0)


@pytest.mark.parametrize("waited", [-1.0, 0.0])
def test_nobody_waits_less_than_nothing(waited: float) -> None:
    assert stopwatch.elapsed(10.0, waited, 5.0).seconds == 10.0


def test_nobody_waits_longer_than_it_took() -> None:
    assert stopwatch.elapsed(10.0, 11.0, 5.0).seconds > 0


def test_a_process_that_the_kernel_does_not_tell_of_waited_for_nothing() -> None:
    assert stopwatch.waited_seconds("no-such-process") == 0.0


def test_a_thread_that_works_waits_no_longer_than_time_passes() -> None:
    began, waited = time.perf_counter(), stopwatch.waited_seconds()
    sum(range(100_000))
    waited = stopwatch.waited_seconds() - waited

    assert 0 <= waited <= time.perf_counter() - began + 0.01


def test_work_is_timed_by_both_clocks() -> None:
    took = stopwatch.timed(lambda: sum(range(300_000)))

    assert took.seconds > 0
    assert took.cpu > 0


@pytest.mark.parametrize("cpu", [False, True])
def test_the_machine_has_a_speed(*, cpu: bool) -> None:
    assert machine_speed(0.005, cpu=cpu) > 0


def test_calibration_takes_a_part_of_the_repetition_within_bounds() -> None:
    assert calibration_seconds(0.001) == 0.05
    assert calibration_seconds(0.4) == 0.2
    assert calibration_seconds(100.0) == 0.5


def test_an_episode_depends_on_its_number_alone() -> None:
    one, other = Pendulum(), Pendulum()
    other.reset(9)
    other.step(1.0)

    assert one.reset(3) == other.reset(3)
    assert one.step(0.5) == other.step(0.5)
    assert one.reset(4) != other.reset(3)


def test_more_resets_are_more_work() -> None:
    assert minimal(resets=1, episode_steps=3) != minimal(resets=2, episode_steps=3)


def test_repetitions_are_steps_with_times_and_speed(tmp_path: Path) -> None:
    task = Task(
        call="robot_sf_otel.perf.builtin:minimal",
        params={"resets": 2, "episode_steps": 3},
        unit="resets",
        warmup=1,
        repetitions=2,
    )
    with capture_run(tmp_path) as runs, pipeline("perf"):
        work(task, minimal)

    steps = runs.record.steps
    assert [step.step_id for step in steps] == ["warm-up", "repetition", "repetition"]
    assert (steps[1].progress.done, steps[1].progress.unit) == (2, "resets")
    assert set(steps[1].metrics) == {"seconds", "waited_seconds", "cpu_seconds", "machine_speed"}


def test_without_calibration_there_is_no_speed(tmp_path: Path) -> None:
    with capture_run(tmp_path) as runs, pipeline("perf"):
        work(Task(call="m:f", warmup=0, repetitions=1, calibrate=False), lambda: None)

    assert "machine_speed" not in runs.record.steps[0].metrics


def test_the_tracker_itself_counts_the_steps_that_it_records(tmp_path: Path) -> None:
    with capture_run(tmp_path) as runs, pipeline("perf"):
        work(
            Task(call="m:f", warmup=0, repetitions=1, calibrate=False),
            lambda: tracker_overhead(steps=3, units=4),
        )

    outer, *inner = runs.record.steps
    assert outer.progress.done == 3
    assert [step.progress.done for step in inner] == [4, 4, 4]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("robot_sf_otel.perf.builtin:maximal", "no attribute 'maximal'"),
        ("robot_sf_otel.perf.builtin:math.pi", "is no function"),
    ],
)
def test_a_function_that_is_not_there_is_said(call: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        resolve(call)


def test_short_calls_are_put_together_and_judged() -> None:
    calls = 0

    def function() -> None:
        nonlocal calls
        calls += 1
        sum(range(20_000))

    samples, judgement = measure(
        function, units=2, baseline=None, host_class="box", tolerance=0.25, max_seconds=0.2
    )

    assert judgement.status == "no-baseline"
    assert calls > 2 * len(samples)
    slow = Baseline(
        test_id="t",
        host_class="box",
        metric="wall",
        unit="calls/s",
        median=1.0,
        samples=[judgement.measured * 10] * 5,
    )
    _, judged = measure(
        function, units=2, baseline=slow, host_class="box", tolerance=0.25, max_seconds=5
    )
    assert judged.status == "failed"


def test_a_call_that_takes_long_enough_is_a_repetition_of_its_own() -> None:
    calls = 0

    def function() -> None:
        nonlocal calls
        calls += 1
        machine_speed(0.2)

    samples, _ = measure(
        function, units=1, baseline=None, host_class="box", tolerance=0.25, max_seconds=0.1
    )

    assert calls == 1 + len(samples)
