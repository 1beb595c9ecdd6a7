"""Following a run: what is new is read, the end is noticed."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event, encode_snapshot
from robot_sf_otel.manifest.schema import TelemetrySnapshot
from robot_sf_otel.store.following import FollowedRun
from robot_sf_otel.store.lock import RunLock
from tests.data import sample_runs
from tests.data.ended_runs import write_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECOND = 1_000_000_000


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Path]:
    """A run that this process owns."""
    run_dir = sample_runs.running().write(tmp_path)
    (run_dir / "manifest.json").unlink(missing_ok=True)
    lock = RunLock.acquire(run_dir / "run.lock", run_id=run_dir.name)
    yield run_dir
    lock.close()


def add(run_dir: Path, *events: e.Event) -> None:
    with (run_dir / "manifest.jsonl").open("ab") as file:
        file.writelines(encode_event(event) for event in events)


def sample(run_dir: Path, **fields: float) -> None:
    with (run_dir / "telemetry.jsonl").open("ab") as file:
        snapshot = TelemetrySnapshot(timestamp_ms=1_767_225_700_000, **fields)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        file.write(encode_snapshot(snapshot))


def test_events_and_samples_that_are_new_are_taken_in(live: Path) -> None:
    run = FollowedRun(live)
    assert run.record.status == "running"
    before = len(run.samples)
    now = (1_767_225_600 + 10_000) * SECOND
    add(live, e.StepStarted(time_unix_nano=now, span_id="f" * 16, step_id="later"))
    sample(live, cpu_percent_process=50.0)
    run.look(1.0)
    assert "later" in {step.step_id for step in run.record.steps}
    assert [one.cpu_percent_process for one in list(run.samples)[before:]] == [50.0]


def test_a_look_reads_no_byte_twice(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FollowedRun(live)
    run.look(1.0)
    read = 0
    real = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        nonlocal read
        data = real(fd, size, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    sample(live, cpu_percent_process=50.0)
    run.look(2.0)
    run.look(3.0)
    assert 0 < read < 200


def test_the_end_of_the_run_is_noticed(live: Path) -> None:
    run = FollowedRun(live)
    add(
        live,
        e.RunFinished(
            time_unix_nano=(1_767_225_600 + 20_000) * SECOND,
            status="completed",
            result="success",
            duration_seconds=1.0,
        ),
    )
    run.look(1.0)
    assert run.is_over
    shutil.rmtree(live)
    run.look(2.0)
    assert run.record.status == "completed"


def test_a_run_whose_process_is_gone_is_noticed_after_a_while(tmp_path: Path) -> None:
    run_dir = sample_runs.running().write(tmp_path)
    lock = RunLock.acquire(run_dir / "run.lock", run_id=run_dir.name)
    run = FollowedRun(run_dir)
    run.look(1.0)
    lock.close()
    text = (run_dir / "run.lock").read_text()
    (run_dir / "run.lock").write_text(text.replace(str(os.getpid()), "4194300"))
    run.look(2.0)
    assert not run.is_over
    run.look(10.0)
    assert run.record.status == "failed"


def test_a_run_that_is_deleted_meanwhile_is_an_error(live: Path) -> None:
    run = FollowedRun(live)
    run.look(1.0)
    shutil.rmtree(live)
    with pytest.raises(ValueError, match="holds no run"):
        run.look(100.0)


def test_a_run_that_has_ended_is_taken_as_it_is(tmp_path: Path) -> None:
    run = FollowedRun(write_run(tmp_path, "a", status="failed"))
    assert run.is_over
    run.look(1.0)
    assert run.record.status == "failed"
