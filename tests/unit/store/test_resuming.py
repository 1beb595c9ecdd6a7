"""Taking over a run that was stopped: the dead and the ended, never the living or the done."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.manifest.state import RunState, state_of
from robot_sf_otel.store.identity import process_identity
from robot_sf_otel.store.lock import RunLock, is_locked, read_owner
from robot_sf_otel.store.reader import fold_run
from robot_sf_otel.store.resuming import CannotResume, find_resumable, take_over
from tests.data import sample_runs

if TYPE_CHECKING:
    from pathlib import Path

ME = process_identity()
DEAD = dataclasses.replace(ME, start_time=1)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run in its second step, whose process is gone."""
    made = sample_runs.running().write(tmp_path)
    (made / "run.lock").write_text(json.dumps(dataclasses.asdict(DEAD)))
    return made


def refused(run_dir: Path, pipeline: str | None = None) -> str:
    with pytest.raises(CannotResume) as raised:
        take_over(run_dir, time.time_ns(), pipeline=pipeline)
    return str(raised.value)


def append(run_dir: Path, event: e.Event) -> None:
    with (run_dir / "manifest.jsonl").open("ab") as journal:
        journal.write(encode_event(event))


def state(run_dir: Path) -> RunState:
    found = state_of(fold_run(run_dir)[0], time.time_ns())
    assert found is not None
    return found


def test_a_dead_run_is_closed_and_then_owned_by_this_process(run_dir: Path) -> None:
    lock = take_over(run_dir, time.time_ns())
    assert read_owner(run_dir / "run.lock") == ME
    assert is_locked(run_dir / "run.lock")
    assert state(run_dir).closed
    lock.close()


def test_a_run_that_ended_otherwise_than_completed_is_taken_over(run_dir: Path) -> None:
    ended = e.RunFinished(
        time_unix_nano=time.time_ns(), status="cancelled", result="cancellation", reason="SIGTERM"
    )
    append(run_dir, ended)
    take_over(run_dir, time.time_ns()).close()
    assert state(run_dir).closed


def test_a_completed_run_is_not_taken_over(run_dir: Path) -> None:
    append(
        run_dir,
        e.RunFinished(time_unix_nano=time.time_ns(), status="completed", result="success"),
    )
    assert "it has completed" in refused(run_dir)


def test_a_run_that_another_process_holds_is_not_taken_over(run_dir: Path) -> None:
    ended = e.RunFinished(time_unix_nano=time.time_ns(), status="failed", result="failure")
    append(run_dir, ended)
    (run_dir / "run.lock").unlink()
    held = RunLock.acquire(run_dir / "run.lock")
    assert "another process owns it" in refused(run_dir)
    held.close()


def test_a_live_run_is_not_taken_over(run_dir: Path) -> None:
    (run_dir / "run.lock").write_text(json.dumps(dataclasses.asdict(ME)))
    assert f"pid {os.getpid()}" in refused(run_dir)
    assert not state(run_dir).closed


def test_a_run_of_another_pipeline_is_not_taken_over(run_dir: Path) -> None:
    name = state(run_dir).pipeline
    assert f"a run of pipeline {name!r}, not of 'other'" in refused(run_dir, "other")
    take_over(run_dir, time.time_ns(), pipeline=name).close()


def test_a_folder_without_a_readable_start_is_not_taken_over(tmp_path: Path) -> None:
    assert str(tmp_path / "manifest.jsonl") in refused(tmp_path)
    (tmp_path / "manifest.jsonl").write_bytes(b"damaged\n")
    assert "no readable start" in refused(tmp_path)


def test_an_unknown_name_is_answered_with_the_closest_ones(run_dir: Path, tmp_path: Path) -> None:
    assert find_resumable([tmp_path], run_dir.name) == run_dir
    with pytest.raises(CannotResume, match=f"the closest are {run_dir.name}"):
        find_resumable([tmp_path], "nowhere")


def test_the_state_tells_what_began_what_completed_and_who_owns_the_trace(run_dir: Path) -> None:
    append(
        run_dir,
        e.RunRecovered(
            time_unix_nano=time.time_ns(), status="failed", result="error", duration_seconds=12.0
        ),
    )
    closed = state(run_dir)
    assert (closed.closed, closed.resumed, closed.elapsed_seconds) == (True, False, 12.0)
    assert closed.completed < closed.begun <= set(closed.plan.ids)
    now = time.time_ns()
    append(
        run_dir,
        e.RunResumed(time_unix_nano=now, span_id="ab" * 8, duration_seconds=12.0, adoptable=True),
    )
    live = state_of(fold_run(run_dir)[0], now + 2 * e.NANOSECONDS)
    assert live is not None
    assert (live.closed, live.resumed, live.adoptable) == (False, True, True)
    assert (live.span_id, live.elapsed_seconds) == ("ab" * 8, 14.0)
