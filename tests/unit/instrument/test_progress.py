from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from robot_sf_otel import current_step, pipeline, step, track
from robot_sf_otel.instrument.live_step import MAX_METRICS
from robot_sf_otel.testing import CapturedRuns, FakeClock, capture_run
from tests.unit.warned import warnings_said

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import Progress


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[CapturedRuns]:
    with capture_run(tmp_path) as captured:
        yield captured


@pytest.fixture
def said() -> Iterator[list[str]]:
    with warnings_said() as messages:
        yield messages


def progress(captured: CapturedRuns) -> Progress:
    return captured.record.steps[0].progress


# ------------------------------------------------------------------------------------------- track


def test_track_yields_what_it_is_given_and_counts_it(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s"):
        assert list(track("abc", unit="letters")) == ["a", "b", "c"]
    assert (progress(runs).done, progress(runs).total, progress(runs).unit) == (3, 3, "letters")


def test_track_takes_its_total_from_the_length_where_there_is_one(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s") as this:
        for _ in track(iter(range(4))):
            assert this.total is None
        for _ in track(np.arange(3)):
            assert this.total == 7
    assert (progress(runs).done, progress(runs).total) == (7, 7)


def test_declared_total_and_unit_win_over_those_of_track(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s", total=100, unit="timesteps"):
        list(track(range(4), unit="episodes"))
    assert (progress(runs).done, progress(runs).total, progress(runs).unit) == (
        4,
        100,
        "timesteps",
    )


def test_outermost_track_drives_and_successive_ones_add(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s"):
        for _ in track(range(2), unit="epochs"):
            list(track(range(50), unit="batches"))
        list(track(range(3), unit="epochs"))
    assert (progress(runs).done, progress(runs).total, progress(runs).unit) == (5, 5, "epochs")


def fails_at_2(number: int) -> float:
    return 1 / (2 - number)


def test_track_that_is_left_by_break_or_error_lets_the_next_one_drive(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s"):
        for number in track(range(10)):
            if number == 3:
                break
        with pytest.raises(ZeroDivisionError):
            list(map(fails_at_2, track(range(10))))
        list(track(range(4)))
    assert progress(runs).done == 3 + 2 + 4


def test_track_is_settled_by_the_step_in_which_it_is_looped_over(runs: CapturedRuns) -> None:
    with pipeline("p"):
        items = track(range(3))
        with step("s"):
            assert len(items) == 3
            assert list(items) == [0, 1, 2]
    assert progress(runs).done == 3


def test_track_of_a_nested_step_leaves_the_outer_one_alone(runs: CapturedRuns) -> None:
    with pipeline("p"), step("outer"):
        for _ in track(range(2)):
            with step("inner"):
                list(track(range(5)))
    found = [(entry.step_id, entry.progress.done) for entry in runs.record.steps]
    assert found == [("outer", 2), ("inner", 5), ("inner", 5)]


def test_track_outside_a_step_or_run_only_iterates(runs: CapturedRuns) -> None:
    assert list(track(range(3), total=9, unit="x")) == [0, 1, 2]
    with pipeline("p"):
        assert list(track(range(3))) == [0, 1, 2]
    assert runs.record.steps == []


def test_exception_of_the_iterable_passes_through(runs: CapturedRuns) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"), pipeline("p"), step("s"):
        list(track(broken()))
    assert progress(runs).done == 1


def test_iterable_without_a_length_has_none_under_track() -> None:
    with pytest.raises(TypeError):
        len(track(iter([1])))


@pytest.mark.parametrize("total", [-1, float("nan")])
def test_negative_total_of_track_is_refused(total: float) -> None:
    with pytest.raises(ValueError, match="total="):
        track([], total=total)


@pytest.mark.parametrize("total", [-1, float("nan"), -0.5])
def test_negative_total_of_a_step_is_refused_in_one_clear_line(total: float) -> None:
    with pytest.raises(ValueError, match=rf"step 's': total={total!r} must not be negative"):
        step("s", total=total)


# ----------------------------------------------------------------------------- advance and the rest


def test_advance_counts_whole_and_broken_units(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s", unit="GB") as this:
        this.advance()
        this.advance(2)
        this.advance(0.5)
        assert (this.done, this.unit) == (3.5, "GB")
    assert progress(runs).done == 3.5


def test_set_progress_replaces_what_was_counted_and_the_total(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s", total=10) as this:
        this.advance(8)
        this.set_progress(4)
        this.set_progress(5, total=20)
    assert (progress(runs).done, progress(runs).total) == (5, 20)


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "three", None])
def test_progress_that_is_no_number_is_ignored_with_one_warning(
    runs: CapturedRuns,
    said: list[str],
    bad: Any,  # noqa: ANN401 - what users hand over
) -> None:
    with pipeline("p"), step("s", total=10) as this:
        this.set_progress(3)
        this.set_progress(bad)
        this.set_progress(bad)
    assert progress(runs).done == 3
    (warning,) = said
    assert repr(bad) in warning


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf")])
def test_total_that_no_step_can_have_is_ignored_with_a_warning(
    runs: CapturedRuns, said: list[str], bad: float
) -> None:
    with pipeline("p"), step("s", total=10) as this:
        this.set_progress(3, total=bad)
    assert (progress(runs).done, progress(runs).total) == (3, 10)
    (warning,) = said
    assert repr(bad) in warning


def test_rate_in_the_samples_is_that_of_the_last_interval(tmp_path: Path) -> None:
    clock = FakeClock()
    with capture_run(tmp_path, clock=clock, interval=600) as runs, pipeline("p"):
        with step("s", total=100) as this:
            live: Any = this
            this.advance(10)
            clock.advance(2)
            assert live.measure(clock.monotonic()).rate == pytest.approx(5.0)
            this.advance(30)
            clock.advance(1)
            assert live.measure(clock.monotonic()).rate == pytest.approx(30.0)
            clock.advance(1)
            assert live.measure(clock.monotonic()).rate == 0.0
        assert progress(runs).rate == pytest.approx(10.0)


def test_step_that_reports_no_progress_has_no_rate(tmp_path: Path) -> None:
    clock = FakeClock()
    with capture_run(tmp_path, clock=clock, interval=600) as runs, pipeline("p"), step("s") as this:
        live: Any = this
        clock.advance(2)
        assert live.measure(clock.monotonic()).rate is None
    assert progress(runs).rate is None


# ----------------------------------------------------------------------------------------- metrics


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        (1, 1.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (np.array(2.5), 2.5),
        ("0.25", 0.25),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
    ],
    ids=repr,
)
def test_metric_is_recorded_as_json_can_hold_it(
    runs: CapturedRuns,
    value: Any,  # noqa: ANN401 - what users hand over
    recorded: object,
) -> None:
    with pipeline("p"), step("s") as this:
        this.log_metric("m", value)
    assert runs.record.steps[0].metrics == {"m": recorded}


@pytest.mark.parametrize(
    "value", [None, "high", object(), [1, 2], 10**400], ids=lambda v: type(v).__name__
)
def test_metric_that_is_no_number_is_left_out_with_one_warning(
    runs: CapturedRuns,
    said: list[str],
    value: Any,  # noqa: ANN401 - what users hand over
) -> None:
    with pipeline("p"), step("s") as this:
        this.log_metric("bad", value)
        this.log_metric("bad", value)
        this.log_metric("good", 1)
    assert runs.record.steps[0].metrics == {"good": 1.0}
    (warning,) = said
    assert "'bad'" in warning


def test_last_value_of_each_metric_is_kept(runs: CapturedRuns) -> None:
    with pipeline("p"), step("s"):
        for value in range(5):
            current_step().log_metric("reward", value)
            current_step().log_metric("fps", 10 * value)
    assert runs.record.steps[0].metrics == {"reward": 4.0, "fps": 40.0}


def test_number_of_metric_names_is_bounded(runs: CapturedRuns, said: list[str]) -> None:
    with pipeline("p"), step("s") as this:
        for number in range(MAX_METRICS + 10):
            this.log_metric(f"m{number}", 1)
        this.log_metric("m0", 2)
    metrics = runs.record.steps[0].metrics
    assert len(metrics) == MAX_METRICS
    assert metrics["m0"] == 2.0
    (warning,) = said
    assert f"over {MAX_METRICS} metrics" in warning


def test_metrics_and_progress_go_with_the_next_sample(tmp_path: Path) -> None:
    from robot_sf_otel.store.reader import load_run

    with capture_run(tmp_path, interval=600) as runs:
        with pipeline("p") as run, step("s", total=10) as this:
            this.advance(4)
            this.log_metric("fps", 30)
            this.log_metric("loss", float("nan"))
            live: Any = run
            live.runtime.observer._sample(live)
        samples = list(load_run(runs.run_dirs[0]).telemetry())
    sample = next(sample for sample in samples if sample.step_id == "s")
    assert (sample.progress_done, sample.progress_total, sample.fps) == (4, 10, 30.0)
    assert sample.metrics == {"fps": 30.0, "loss": "NaN"}
    assert sample.steps == []


def test_sample_names_all_steps_when_several_run(tmp_path: Path) -> None:
    from robot_sf_otel.store.reader import load_run

    with capture_run(tmp_path, interval=600) as runs:
        with pipeline("p") as run, step("outer", total=3), step("inner", total=5) as inner:
            inner.advance(2)
            live: Any = run
            live.runtime.observer._sample(live)
        samples = list(load_run(runs.run_dirs[0]).telemetry())
    sample = next(sample for sample in samples if sample.steps)
    assert [(s.step_id, s.done, s.total) for s in sample.steps] == [
        ("outer", 0, 3),
        ("inner", 2, 5),
    ]
    assert sample.step_id == "inner"


# ---------------------------------------------------------------------------------- after a resume


def test_first_progress_of_a_resumed_step_is_where_it_goes_on_and_no_speed(tmp_path: Path) -> None:
    clock = FakeClock()
    with capture_run(tmp_path, clock=clock, run_name="r"):
        run = pipeline("p").start()
        with step("train", total=100) as first:
            first.set_progress(60)
        run.finish("failed")
    with capture_run(tmp_path, clock=clock, resume="r") as runs:
        with pipeline("p"), step("train", total=100) as again:
            again.set_progress(60)
            clock.advance(4)
            again.advance(40)
        record = runs.record
    assert [entry.attempt for entry in record.steps] == [1, 2]
    assert (record.steps[1].progress.done, record.steps[1].progress.rate) == (100, 10)
