"""The recorder and child processes that go without a word."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.config import Config
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.manifest.schema import RunStatus, SelfCost
from robot_sf_otel.store.identity import process_identity
from robot_sf_otel.store.journal import iter_events
from robot_sf_otel.store.reader import load_run, worker_journals
from robot_sf_otel.store.recovery import lost_workers
from robot_sf_otel_manifest import recorder as module
from robot_sf_otel_manifest import worker
from robot_sf_otel_manifest.recorder import ManifestRecorder, OwnerRecorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robot_sf_otel.manifest.fold import RunFold

NOW = 1_767_225_600_000_000_000
TRACE, ROOT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[OwnerRecorder]:
    """A run that has begun."""
    recorder = ManifestRecorder(Config(artifact_root=tmp_path)).open_run("p", NOW)
    recorder.record(
        e.RunStarted(
            time_unix_nano=NOW, trace_id=TRACE, span_id=ROOT, run_id=recorder.run_id, pipeline="p"
        )
    )
    yield recorder
    recorder.close()


def step(span: str = "01", process: str = "box:9") -> e.StepStarted:
    return e.StepStarted(
        time_unix_nano=NOW + 1,
        trace_id=TRACE,
        span_id=span * 8,
        step_id="rollout",
        parent_span_id=ROOT,
        process=process,
    )


def finished(status: RunStatus) -> e.RunFinished:
    return e.RunFinished(time_unix_nano=NOW + 2, span_id=ROOT, status=status, result="")


def work(recorder: OwnerRecorder, *, gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a child process begin a step."""
    me = process_identity()
    child = dataclasses.replace(me, start_time=1) if gone else me
    monkeypatch.setattr(worker, "process_identity", lambda: child)
    ManifestRecorder(Config(artifact_root=recorder.run_dir.parent)).worker(
        recorder.run_dir, recorder.run_id
    ).record(step())


def kinds(recorder: OwnerRecorder) -> list[str]:
    journal = iter_events(recorder.run_dir / "manifest.jsonl")
    return [type(event).__name__ for event in journal]


def test_first_step_of_a_child_says_who_it_is(recorder: OwnerRecorder) -> None:
    child = ManifestRecorder(Config(artifact_root=recorder.run_dir)).worker(
        recorder.run_dir, recorder.run_id
    )
    child.record(step("01"))
    child.record(step("02"))
    (journal,) = worker_journals(recorder.run_dir)
    said = [event.identity for event in iter_events(journal) if isinstance(event, e.StepStarted)]
    assert said == [dataclasses.asdict(process_identity()), {}]


def test_lost_child_is_noticed_once_while_the_run_goes_on(
    recorder: OwnerRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(recorder, gone=True, monkeypatch=monkeypatch)
    for _ in range(2):
        recorder._next_look = 0.0
        recorder.refresh(SelfCost())
    assert kinds(recorder) == ["RunStarted", "WorkerLost"]
    recorder.record(finished("completed"))
    assert kinds(recorder) == ["RunStarted", "WorkerLost", "RunFinished"]


def test_look_at_the_children_is_taken_every_few_seconds(
    recorder: OwnerRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def look(fold: RunFold, now_ns: int) -> list[e.WorkerLost]:
        looked.append(now_ns)
        return []

    monkeypatch.setattr(module, "lost_workers", look)
    for _ in range(3):
        recorder.refresh(SelfCost())
    assert len(looked) == 1


def test_child_that_lives_is_not_lost(
    recorder: OwnerRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(recorder, gone=False, monkeypatch=monkeypatch)
    recorder.refresh(SelfCost())
    recorder.record(finished("completed"))
    assert kinds(recorder) == ["RunStarted", "RunFinished"]


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_child_that_was_lost_last_is_said_before_the_end(
    recorder: OwnerRecorder, monkeypatch: pytest.MonkeyPatch, status: RunStatus
) -> None:
    work(recorder, gone=True, monkeypatch=monkeypatch)
    recorder.record(finished(status))
    assert kinds(recorder) == ["RunStarted", "WorkerLost", "RunFinished"]


def test_children_of_a_cancelled_run_are_cancelled_with_it(
    recorder: OwnerRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(recorder, gone=True, monkeypatch=monkeypatch)
    recorder.record(finished("cancelled"))
    assert kinds(recorder) == ["RunStarted", "RunFinished"]


def test_end_does_not_wait_for_ever_for_the_monitor(
    recorder: OwnerRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.0)
    with recorder._refreshing:
        recorder.record(finished("completed"))
    assert kinds(recorder) == ["RunStarted", "RunFinished"]


def test_child_that_ended_its_step_just_before_it_was_gone_is_not_lost(
    recorder: OwnerRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(recorder, gone=True, monkeypatch=monkeypatch)
    (journal,) = worker_journals(recorder.run_dir)
    looks: list[int] = []

    def look_late(fold: RunFold, now_ns: int) -> list[e.WorkerLost]:
        if not looks:  # between the look at the journals and the one at the processes
            end = e.StepFinished(
                time_unix_nano=NOW + 2,
                trace_id=TRACE,
                span_id="01" * 8,
                status="completed",
                result="success",
                duration_seconds=1.0,
            )
            with journal.open("ab") as file:
                file.write(encode_event(end))
        looks.append(now_ns)
        return lost_workers(fold, now_ns)

    monkeypatch.setattr(module, "lost_workers", look_late)
    recorder.refresh(SelfCost())
    assert looks
    assert "WorkerLost" not in kinds(recorder)
    assert [entry.status for entry in load_run(recorder.run_dir).record.steps] == ["completed"]
