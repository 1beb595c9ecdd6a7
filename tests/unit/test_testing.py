"""The helpers for tests of instrumented code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace

from robot_sf_otel import current_run, pipeline, step
from robot_sf_otel.instrument import context
from robot_sf_otel.testing import FakeClock, SequentialIds, capture_run

if TYPE_CHECKING:
    from pathlib import Path


def test_captured_run_is_seen_as_record_events_and_spans(tmp_path: Path) -> None:
    with capture_run(tmp_path) as runs:
        with pipeline("p"), step("train"):
            assert runs.record.status == "running"
        assert runs.record.steps[0].step_id == "train"
        assert runs.events[0]["event"] == "run_started"
        assert [span.name for span in runs.spans] == ["train", "RUN p"]
        assert runs.run_dirs[0].parent == tmp_path / "run-tracker"


def test_record_is_that_of_the_only_run(tmp_path: Path) -> None:
    with capture_run(tmp_path) as runs:
        with pytest.raises(AssertionError, match="expected one run, found 0"):
            _ = runs.record
        for _ in range(2):
            with pipeline("p"):
                pass
        with pytest.raises(AssertionError, match="expected one run, found 2"):
            _ = runs.record


def test_telemetry_is_off_again_after_the_block_even_if_it_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), capture_run(tmp_path):
        raise ValueError("x")
    assert context.process.runtime is None
    with pipeline("p"):
        assert current_run().run_id is None


def test_block_within_a_block_records_apart(tmp_path: Path) -> None:
    with capture_run(tmp_path / "outer"):
        with capture_run(tmp_path / "inner") as inner, pipeline("p"):
            pass
        assert inner.record.pipeline == "p"


def test_settings_of_configure_are_passed_on(tmp_path: Path) -> None:
    with capture_run(tmp_path, run_name="night") as runs, pipeline("p"):
        assert runs.record.run_id == "night"


def test_clock_moves_only_when_it_is_told_to() -> None:
    clock = FakeClock(start_ns=5)
    assert (clock.time_ns(), clock.monotonic()) == (5, 0.0)
    clock.advance(1.5)
    assert (clock.time_ns(), clock.monotonic()) == (1_500_000_005, 1.5)


def test_ids_count_up() -> None:
    ids = SequentialIds()
    assert [ids.generate_trace_id(), ids.generate_span_id(), ids.generate_span_id()] == [1, 2, 3]
    assert not ids.is_trace_id_random()


def test_providers_of_the_application_are_not_touched(tmp_path: Path) -> None:
    before = trace.get_tracer_provider()
    with capture_run(tmp_path), pipeline("p"):
        pass
    assert trace.get_tracer_provider() is before
