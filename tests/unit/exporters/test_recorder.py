"""The recorder: what is on disk after each event, what waits, and what happens without a disk."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import guard
from robot_sf_otel.config import Config
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import decode_document
from robot_sf_otel.manifest.schema import (
    PipelineRunRecord,
    PlanStep,
    Progress,
    SelfCost,
    TelemetrySnapshot,
)
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.journal import JournalWriter, iter_events, iter_raw
from robot_sf_otel.store.lock import RunLock, is_locked, owner_state, read_owner
from robot_sf_otel.store.telemetry import iter_snapshots
from robot_sf_otel_manifest import recorder as module
from robot_sf_otel_manifest.recorder import ManifestRecorder, OwnerRecorder, WorkerRecorder
from tests.unit.warned import warnings_said

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.fold import RunFold

NOW = 1_767_225_600_000_000_000
SECOND = 1_000_000_000
TRACE, ROOT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def said() -> Iterator[list[str]]:
    with warnings_said() as messages:
        yield messages


@pytest.fixture
def open_run(tmp_path: Path) -> Iterator[Callable[..., OwnerRecorder]]:
    """Return what opens runs that are closed after the test."""
    opened: list[OwnerRecorder] = []

    def one(root: Path = tmp_path, **settings: Any) -> OwnerRecorder:  # noqa: ANN401 - of Config
        recorder = ManifestRecorder(Config(artifact_root=root, **settings)).open_run("p", NOW)
        opened.append(recorder)
        return recorder

    yield one
    for recorder in opened:
        recorder.close()


def started(recorder: OwnerRecorder | WorkerRecorder, **fields: Any) -> e.RunStarted:  # noqa: ANN401 - of the event
    return e.RunStarted(
        time_unix_nano=NOW,
        trace_id=TRACE,
        span_id=ROOT,
        run_id=recorder.run_id,
        pipeline="p",
        artifact_dir=str(recorder.run_dir),
        **fields,
    )


def step_started(span: str = "01", second: int = 1, **fields: Any) -> e.StepStarted:  # noqa: ANN401 - of the event
    return e.StepStarted(
        time_unix_nano=NOW + second * e.NANOSECONDS,
        trace_id=TRACE,
        span_id=span * 8,
        step_id="train",
        parent_span_id=ROOT,
        **fields,
    )


def finished(second: int = 9) -> e.RunFinished:
    return e.RunFinished(
        time_unix_nano=NOW + second * e.NANOSECONDS,
        trace_id=TRACE,
        span_id=ROOT,
        status="completed",
        result="success",
    )


def kinds(path: Path) -> list[str]:
    return [raw["event"] for raw in iter_raw(path)]


def manifest(recorder: OwnerRecorder) -> PipelineRunRecord:
    return decode_document((recorder.run_dir / "manifest.json").read_bytes(), PipelineRunRecord)


# ------------------------------------------------------------------------------------- the owner's


def test_event_is_in_the_journal_when_record_returns(
    open_run: Callable[..., OwnerRecorder],
) -> None:
    recorder = open_run()
    recorder.record(started(recorder))
    journal = recorder.run_dir / "manifest.jsonl"
    assert kinds(journal) == ["run_started"]
    recorder.record(step_started(), step_started("02"))
    assert kinds(journal) == ["run_started", "step_started", "step_started"]
    assert not (recorder.run_dir / "manifest.json").exists(), "never inside a step"


def test_run_lies_in_a_directory_of_its_own_and_is_locked(
    tmp_path: Path, open_run: Callable[..., OwnerRecorder]
) -> None:
    first, second = open_run(), open_run()
    assert first.run_dir != second.run_dir
    assert first.run_dir.parent == tmp_path / "run-tracker"
    assert first.run_id == first.run_dir.name
    assert first.run_id.startswith("20260101T000000Z-p-")
    assert is_locked(first.run_dir / "run.lock")
    owner = read_owner(first.run_dir / "run.lock")
    assert owner is not None
    assert owner.pid == os.getpid()
    assert owner_state(first.run_dir, 0.0) == "alive"


def test_given_name_is_the_directory_and_one_that_exists_counts_up(
    open_run: Callable[..., OwnerRecorder],
) -> None:
    assert [open_run(run_name="night").run_id for _ in range(2)] == ["night", "night-2"]


def test_name_that_no_directory_can_have_is_replaced_with_a_warning(
    open_run: Callable[..., OwnerRecorder], said: list[str]
) -> None:
    recorder = open_run(run_name="a/b")
    assert recorder.run_id.startswith("20260101T000000Z-p-")
    (warning,) = said
    assert "'a/b'" in warning


def test_derived_files_are_written_by_refresh_at_most_once_a_second(
    open_run: Callable[..., OwnerRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    recorder = open_run()
    recorder.record(started(recorder))
    recorder.refresh(SelfCost())
    assert (manifest(recorder).status, manifest(recorder).steps) == ("running", [])
    recorder.record(step_started())
    now[0] += 0.9
    recorder.refresh(SelfCost())
    assert manifest(recorder).steps == []
    now[0] += 0.2
    recorder.refresh(SelfCost(cpu_seconds=0.5))
    assert [entry.status for entry in manifest(recorder).steps] == ["running"]
    assert manifest(recorder).self_cost.cpu_seconds == 0.5
    assert "train" in (recorder.run_dir / "manifest.md").read_text()


def test_derived_files_are_left_alone_where_nothing_is_new(
    open_run: Callable[..., OwnerRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    recorder = open_run()
    recorder.record(started(recorder))
    recorder.refresh(SelfCost())
    (recorder.run_dir / "manifest.json").unlink()
    now[0] += 5
    recorder.refresh(SelfCost())
    assert not (recorder.run_dir / "manifest.json").exists()
    recorder.sample(TelemetrySnapshot(timestamp_ms=1))
    now[0] += 5
    recorder.refresh(SelfCost())
    assert (recorder.run_dir / "manifest.json").exists()


def test_slow_write_of_the_derived_files_makes_the_next_one_rarer(
    open_run: Callable[..., OwnerRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    writes: list[float] = []

    def slow(*_: object) -> int:
        writes.append(now[0])
        now[0] += 0.05
        return 10

    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(module, "write_derived", slow)
    recorder = open_run()
    recorder.record(started(recorder))
    for _ in range(20):
        recorder.sample(TelemetrySnapshot(timestamp_ms=1))
        recorder.refresh(SelfCost())
        now[0] += 1
    assert len(writes) == 4, "1 % of the time: every 5 s at 50 ms"


def test_close_writes_the_final_record_and_lets_go_of_the_run(
    open_run: Callable[..., OwnerRecorder],
) -> None:
    recorder = open_run()
    recorder.record(started(recorder), step_started())
    recorder.sample(TelemetrySnapshot(timestamp_ms=1, memory_rss_mb=5))
    recorder.record(finished())
    recorder.close()
    record = manifest(recorder)
    assert (record.status, record.steps[0].status) == ("completed", "failed")
    assert record.telemetry["memory_rss_mb"].maximum == 5
    assert not is_locked(recorder.run_dir / "run.lock")
    recorder.record(step_started("02"))
    recorder.refresh(SelfCost())
    recorder.close()
    assert manifest(recorder) == record
    assert len(kinds(recorder.run_dir / "manifest.jsonl")) == 3


def test_signal_handler_may_end_the_run_that_its_thread_is_looking_at(
    open_run: Callable[..., OwnerRecorder],
) -> None:
    recorder = open_run()
    recorder.record(started(recorder))

    def interrupted(_: RunFold) -> str:
        assert recorder.look(lambda _: "looked") is None
        recorder.record(finished())
        recorder.close()
        return "went on"

    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(recorder.look(interrupted)), daemon=True)
    thread.start()
    thread.join(10)
    assert seen == ["went on"]
    assert manifest(recorder).status == "completed"


def test_ctrl_c_while_events_are_taken_in_loses_none_of_them(
    open_run: Callable[..., OwnerRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = open_run()
    recorder.record(started(recorder), step_started())

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(recorder._running, "_worker_events", interrupt)
        with pytest.raises(KeyboardInterrupt):
            recorder.look(lambda fold: fold.status)
    assert recorder.look(lambda fold: len(fold.running())) == 1


def test_samples_are_appended_and_summarised(open_run: Callable[..., OwnerRecorder]) -> None:
    recorder = open_run()
    recorder.record(started(recorder))
    for number in range(3):
        recorder.sample(TelemetrySnapshot(timestamp_ms=number, cpu_percent_process=10.0 * number))
    recorder.close()
    assert [s.timestamp_ms for s in iter_snapshots(recorder.run_dir / "telemetry.jsonl")] == [
        0,
        1,
        2,
    ]
    summary = manifest(recorder).telemetry["cpu_percent_process"]
    assert (summary.count, summary.mean, summary.maximum) == (3, 10.0, 20.0)


def test_cost_of_writing_is_filled_in(open_run: Callable[..., OwnerRecorder]) -> None:
    recorder = open_run()
    recorder.record(started(recorder))
    recorder.sample(TelemetrySnapshot(timestamp_ms=1))
    journal = (recorder.run_dir / "manifest.jsonl").stat().st_size
    samples = (recorder.run_dir / "telemetry.jsonl").stat().st_size
    cost = recorder.cost(SelfCost(cpu_seconds=1.0, samples_taken=2))
    assert cost.bytes_written == journal + samples
    assert (cost.cpu_seconds, cost.samples_taken, cost.events_dropped) == (1.0, 2, 0)
    assert cost.slowest_sync_seconds is not None
    recorder.refresh(cost)
    derived = sum((recorder.run_dir / n).stat().st_size for n in ("manifest.json", "manifest.md"))
    assert recorder.cost(SelfCost()).bytes_written == journal + samples + derived


def test_forked_child_lets_go_without_touching_anything(
    open_run: Callable[..., OwnerRecorder], tmp_path: Path
) -> None:
    recorder = open_run()
    recorder.record(started(recorder))
    child = os.fork()
    if child == 0:  # pragma: no branch
        try:
            recorder.abandon()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert is_locked(recorder.run_dir / "run.lock")
    recorder.record(finished())
    assert kinds(recorder.run_dir / "manifest.jsonl") == ["run_started", "run_finished"]


# --------------------------------------------------------------------------------- child processes


def worker_journal_of(recorder: OwnerRecorder, name: str = "host-1-abcdef.jsonl") -> JournalWriter:
    folder = recorder.run_dir / "workers"
    folder.mkdir(exist_ok=True)
    return JournalWriter(folder / name, on_fault=guard.storage_fault)


def test_events_of_child_processes_are_taken_in_as_they_come(
    open_run: Callable[..., OwnerRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    recorder = open_run()
    recorder.record(started(recorder))
    worker = worker_journal_of(recorder)
    worker.append(step_started(total=10))
    recorder.refresh(SelfCost())
    assert [entry.status for entry in manifest(recorder).steps] == ["running"]
    progress = Progress(done=4, total=10, unit="it", rate=2.0)
    worker.append(
        e.StepProgress(time_unix_nano=NOW, trace_id=TRACE, span_id="01" * 8, progress=progress)
    )
    now[0] += 2
    recorder.refresh(SelfCost())
    assert manifest(recorder).steps[0].progress.done == 4
    worker.close()


def test_sample_has_the_progress_of_a_child_where_the_owner_runs_no_step(
    open_run: Callable[..., OwnerRecorder],
) -> None:
    recorder = open_run()
    recorder.record(started(recorder))
    worker = worker_journal_of(recorder)
    progress = Progress(done=4, total=10, unit="it", rate=2.0)
    worker.append(
        step_started(total=10),
        e.StepProgress(time_unix_nano=NOW, trace_id=TRACE, span_id="01" * 8, progress=progress),
    )
    worker.close()
    recorder.refresh(SelfCost())
    theirs, own = TelemetrySnapshot(timestamp_ms=1), TelemetrySnapshot(timestamp_ms=2, step_id="x")
    recorder.sample(theirs)
    recorder.sample(own)
    assert (theirs.step_id, theirs.progress_done, theirs.progress_total) == ("train", 4, 10)
    assert theirs.steps_per_sec == 2.0
    assert (own.step_id, own.progress_done) == ("x", None)


def test_step_that_a_child_left_open_is_closed_with_the_run(
    open_run: Callable[..., OwnerRecorder],
) -> None:
    recorder = open_run()
    recorder.record(started(recorder))
    worker = worker_journal_of(recorder)
    worker.append(step_started())
    worker.close()
    recorder.record(finished())
    recorder.close()
    assert [entry.status for entry in manifest(recorder).steps] == ["failed"]


def test_worker_writes_a_journal_of_its_own_at_its_first_event(
    open_run: Callable[..., OwnerRecorder],
) -> None:
    owner = open_run()
    owner.record(started(owner))
    worker = ManifestRecorder(Config(artifact_root=owner.run_dir)).worker(
        owner.run_dir, owner.run_id
    )
    worker.refresh(SelfCost())
    worker.sample(TelemetrySnapshot(timestamp_ms=1))
    assert not (owner.run_dir / "workers").exists()
    assert not (owner.run_dir / "telemetry.jsonl").exists()
    worker.record(step_started())
    worker.record(step_started("02"))
    worker.close()
    (journal,) = (owner.run_dir / "workers").iterdir()
    assert len(list(iter_events(journal))) == 2
    assert f"-{os.getpid()}-" in journal.name
    assert worker.cost(SelfCost(cpu_seconds=1.0)) == SelfCost(cpu_seconds=1.0)


def test_worker_that_recorded_nothing_has_nothing_to_close(tmp_path: Path) -> None:
    worker = WorkerRecorder(tmp_path, "r")
    worker.abandon()
    worker.close()
    assert list(tmp_path.iterdir()) == []


def test_worker_of_a_run_that_is_gone_warns_once(tmp_path: Path, said: list[str]) -> None:
    worker = WorkerRecorder(tmp_path / "gone", "r")
    worker.record(step_started())
    worker.record(step_started("02"))
    worker.close()
    (warning,) = said
    assert "FileNotFoundError" in warning
    assert list(tmp_path.iterdir()) == []


def test_run_of_another_process_is_joined_with_its_plan(
    open_run: Callable[..., OwnerRecorder], tmp_path: Path
) -> None:
    owner = open_run()
    owner.record(started(owner, plan=[PlanStep(step_id="a"), PlanStep(step_id="b")]))
    port = ManifestRecorder(Config(artifact_root=tmp_path))
    joined = port.join_run(owner.run_dir, NOW + SECOND)
    assert joined is not None
    recorder, state = joined
    assert isinstance(recorder, WorkerRecorder)
    assert (state.started.run_id, state.started.trace_id) == (owner.run_id, TRACE)
    assert (state.plan.ids, state.elapsed_seconds) == (["a", "b"], 1.0)
    assert not state.closed
    owner.record(finished())
    joined = port.join_run(owner.run_dir, NOW)
    assert joined is not None
    assert joined[1].closed


@pytest.mark.parametrize("content", [None, b"", b"no journal\n", b'{"event":"step_started"}\n'])
def test_directory_without_a_readable_start_is_not_joined(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "manifest.jsonl").write_bytes(content)
    assert ManifestRecorder(Config(artifact_root=tmp_path)).join_run(tmp_path, NOW) is None


# ---------------------------------------------------------------------------------- without a disk


def test_run_whose_directory_cannot_be_created_keeps_its_events_until_it_can(
    tmp_path: Path,
    open_run: Callable[..., OwnerRecorder],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    root = tmp_path / "root"
    root.write_text("a file")
    recorder = open_run(root)
    recorder.record(started(recorder), step_started())
    recorder.sample(TelemetrySnapshot(timestamp_ms=1))
    recorder.refresh(SelfCost())
    (warning,) = said
    assert str(root) in warning
    root.unlink()
    now[0] += 10
    recorder._journal._failed_at = -1e9  # its own pause between attempts is over
    recorder.refresh(SelfCost())
    assert kinds(recorder.run_dir / "manifest.jsonl") == ["run_started", "step_started"]
    assert manifest(recorder).status == "running"
    assert is_locked(recorder.run_dir / "run.lock")
    recorder.record(finished())
    recorder.close()
    assert manifest(recorder).status == "completed"
    assert len(said) == 1


def test_lock_that_could_not_be_taken_is_tried_again(
    open_run: Callable[..., OwnerRecorder], monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    acquire = RunLock.acquire

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunLock, "acquire", full)
    recorder = open_run()
    recorder.record(started(recorder))
    assert not (recorder.run_dir / "run.lock").exists()
    monkeypatch.setattr(RunLock, "acquire", acquire)
    recorder.refresh(SelfCost())
    assert is_locked(recorder.run_dir / "run.lock")
    (warning,) = said
    assert "No space left on device" in warning


def test_derived_files_that_cannot_be_written_are_written_later(
    open_run: Callable[..., OwnerRecorder], monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    write = write_derived

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_derived", full)
    recorder = open_run()
    recorder.record(started(recorder))
    recorder.refresh(SelfCost())
    now[0] += 2
    recorder.refresh(SelfCost())
    monkeypatch.setattr(module, "write_derived", write)
    now[0] += 2
    recorder.refresh(SelfCost())
    assert manifest(recorder).status == "running"
    assert len(said) == 1


# ------------------------------------------------------------------------ files that are taken away


def test_folder_that_was_deleted_is_made_again_with_all_that_was_in_its_files(
    open_run: Callable[..., OwnerRecorder], said: list[str]
) -> None:
    recorder = open_run()
    recorder.record(started(recorder))
    recorder.sample(TelemetrySnapshot(timestamp_ms=1))
    shutil.rmtree(recorder.run_dir)
    recorder.record(e.ParamsLogged(time_unix_nano=NOW, params={"while": "gone"}))
    recorder.refresh(SelfCost())
    kinds = [raw["event"] for raw in iter_raw(recorder.run_dir / "manifest.jsonl")]
    assert kinds == ["run_started", "params_logged"]
    assert len(list(iter_snapshots(recorder.run_dir / "telemetry.jsonl"))) == 1
    assert (recorder.run_dir / "manifest.json").exists()
    assert is_locked(recorder.run_dir / "run.lock")
    (warning,) = said
    assert "deleted during the run" in warning


def test_another_run_that_took_the_name_of_a_deleted_one_is_not_written_into(
    open_run: Callable[..., OwnerRecorder], said: list[str]
) -> None:
    recorder = open_run()
    recorder.record(started(recorder))
    shutil.rmtree(recorder.run_dir)
    recorder.run_dir.mkdir()
    others = RunLock.acquire(recorder.run_dir / "run.lock")
    (recorder.run_dir / "manifest.jsonl").write_text("another run's\n")
    recorder.record(e.ParamsLogged(time_unix_nano=NOW, params={"x": 1}))
    recorder.refresh(SelfCost())
    recorder.close()
    assert (recorder.run_dir / "manifest.jsonl").read_text() == "another run's\n"
    assert not (recorder.run_dir / "manifest.json").exists()
    assert "is lost: its folder was deleted" in said[-1]
    others.close()


def test_run_whose_end_could_not_be_written_stays_open_and_can_be_closed_again(
    open_run: Callable[..., OwnerRecorder], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = open_run()
    recorder.record(started(recorder))

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        recorder.record(
            e.RunFinished(
                time_unix_nano=NOW + 1, span_id=ROOT, status="completed", result="success"
            )
        )
        recorder.close()
        assert recorder.is_open()
        recorder.close()
    assert sum("could not be written" in line for line in said) == 1
    recorder.close()
    assert not recorder.is_open()
    kinds = [raw["event"] for raw in iter_raw(recorder.run_dir / "manifest.jsonl")]
    assert kinds == ["run_started", "run_finished"]
    assert not is_locked(recorder.run_dir / "run.lock")


def test_samples_that_were_lost_count_as_missed_and_not_as_taken(
    open_run: Callable[..., OwnerRecorder], said: list[str]
) -> None:
    recorder = open_run()
    recorder.record(started(recorder))
    (recorder.run_dir / "telemetry.jsonl").mkdir()
    recorder.sample(TelemetrySnapshot(timestamp_ms=1))
    cost = recorder.cost(SelfCost(samples_taken=3, samples_missed=1))
    assert (cost.samples_taken, cost.samples_missed) == (2, 2)
    assert len(said) == 1
    recorder.record(
        e.RunFinished(time_unix_nano=NOW + 1, span_id=ROOT, status="completed", result="success")
    )
    faults = [
        raw["message"]
        for raw in iter_raw(recorder.run_dir / "manifest.jsonl")
        if raw["event"] == "telemetry_fault"
    ]
    assert len(faults) == 1
    assert faults[0].startswith("1 sample lost at ")
