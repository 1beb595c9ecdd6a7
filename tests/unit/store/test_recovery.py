"""Closing dead runs: once, with what is known, and never one that lives."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import decode_document, encode_event
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.schema import PipelineRunRecord, StepSample, TelemetrySnapshot
from robot_sf_otel.store import recovery
from robot_sf_otel.store.appending import AppendingFile
from robot_sf_otel.store.identity import ProcessIdentity, process_identity
from robot_sf_otel.store.journal import iter_raw
from robot_sf_otel.store.reader import load_run
from robot_sf_otel.store.recovery import (
    close_dead_run,
    has_ended,
    lost_workers,
    recover_run,
    recover_runs,
)
from tests.data import sample_runs

if TYPE_CHECKING:
    from collections.abc import Callable

ME = process_identity()
DEAD = dataclasses.replace(ME, start_time=1)
ELSEWHERE = ProcessIdentity(
    host="another", boot_id="other", pid_namespace="pid:[9]", pid=3, start_time=1
)


def own(run_dir: Path, owner: ProcessIdentity) -> None:
    (run_dir / "run.lock").write_text(json.dumps(dataclasses.asdict(owner)))


def write(story: sample_runs.Story, root: Path, owner: ProcessIdentity = DEAD) -> Path:
    run_dir = story.write(root)
    own(run_dir, owner)
    return run_dir


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run in its second step, whose process is gone."""
    return write(sample_runs.running(), tmp_path)


def now() -> int:
    return time.time_ns()


def raw(run_dir: Path) -> list[dict[str, Any]]:
    return list(iter_raw(run_dir / "manifest.jsonl"))


def manifest(run_dir: Path) -> PipelineRunRecord:
    return decode_document((run_dir / "manifest.json").read_bytes(), PipelineRunRecord)


# ---------------------------------------------------------------------------------- what is closed


def test_dead_run_is_closed_and_its_running_steps_with_it(run_dir: Path) -> None:
    outcome = close_dead_run(run_dir, now())
    assert (outcome.action, outcome.status) == ("closed", "failed")
    record = manifest(run_dir)
    assert (record.status, record.status_reason) == ("failed", outcome.reason)
    assert record.summary.last_completed_step == "train"
    assert [(step.step_id, step.status) for step in record.steps] == [
        ("train", "completed"),
        ("collect", "failed"),
        ("clone", "pending"),
    ]
    assert outcome.reason in (run_dir / "manifest.md").read_text()
    assert record == load_run(run_dir).record


def ended(root: Path, owner: ProcessIdentity = DEAD) -> Path:
    """A run whose process was killed after the end was in the journal: nothing is derived."""
    return write(sample_runs.healthy(), root, owner)


def test_end_that_is_written_while_somebody_looks_is_no_death(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = e.RunFinished(time_unix_nano=now(), status="completed", result="success")

    def ends(folder: Path, seconds: float) -> str:
        with (folder / "manifest.jsonl").open("ab") as journal:
            journal.write(encode_event(end))
        return "dead"

    monkeypatch.setattr(recovery, "owner_state", ends)
    outcome = close_dead_run(run_dir, now())
    assert (outcome.action, outcome.status) == ("left", "completed")
    assert not [event for event in raw(run_dir) if event["event"] == "run_recovered"]


@pytest.mark.parametrize("stale", [b"", b"{", b'{"status": "running"}'])
def test_run_that_ended_is_derived_where_its_process_was_killed_before_it_could(
    tmp_path: Path, stale: bytes
) -> None:
    run_dir = ended(tmp_path)
    if stale:
        written = (run_dir / "manifest.jsonl").stat().st_mtime_ns
        for name in ("manifest.json", "manifest.md"):  # of the same moment as the end
            (run_dir / name).write_bytes(stale)
            os.utime(run_dir / name, ns=(written, written))
    before = raw(run_dir)
    assert list(recover_runs([run_dir], now())) == []
    assert raw(run_dir) == before
    assert manifest(run_dir) == load_run(run_dir).record
    assert manifest(run_dir).status == "completed"
    assert (run_dir / "manifest.md").exists()


def test_watchdog_that_saw_the_end_derives_too(tmp_path: Path) -> None:
    run_dir = ended(tmp_path)
    outcome = close_dead_run(run_dir, now(), owner=DEAD, ended_ns=now())
    assert (outcome.action, outcome.status) == ("left", "completed")
    assert manifest(run_dir).status == "completed"


def test_living_process_derives_the_end_of_its_run_itself(tmp_path: Path) -> None:
    run_dir = ended(tmp_path, ME)
    close_dead_run(run_dir, now())
    assert not (run_dir / "manifest.json").exists()


def test_derived_files_of_a_run_that_has_ended_are_written_once(tmp_path: Path) -> None:
    run_dir = ended(tmp_path)
    close_dead_run(run_dir, now())
    first = (run_dir / "manifest.json").stat()
    close_dead_run(run_dir, now())
    assert (run_dir / "manifest.json").stat() == first


def test_dry_run_derives_nothing(tmp_path: Path) -> None:
    run_dir = ended(tmp_path)
    assert list(recover_runs([run_dir], now(), dry_run=True)) == []
    assert not (run_dir / "manifest.json").exists()


def test_end_that_nobody_saw_follows_the_last_sign_of_life(run_dir: Path) -> None:
    signs = [event["time_unix_nano"] for event in raw(run_dir)]
    close_dead_run(run_dir, now())
    assert raw(run_dir)[-1]["time_unix_nano"] == max(signs) + 1


@pytest.mark.parametrize(("last", "status"), [("started", "failed"), ("finished", "completed")])
def test_last_sign_of_life_of_a_child_comes_before_the_end(
    run_dir: Path, last: str, status: str
) -> None:
    begun = max(event["time_unix_nano"] for event in raw(run_dir)) + sample_runs.SECOND
    ids: dict[str, Any] = {"span_id": "c" * 16}
    events: list[e.Event] = [e.StepStarted(time_unix_nano=begun, step_id="rollout", **ids)]
    if last == "finished":
        ending = e.StepFinished(
            time_unix_nano=begun + 1,
            status="completed",
            result="success",
            duration_seconds=1,
            **ids,
        )
        events.append(ending)
    (run_dir / "workers").mkdir()
    (run_dir / "workers" / "host-1-abcdef.jsonl").write_bytes(b"".join(map(encode_event, events)))
    close_dead_run(run_dir, now())
    rollout = next(step for step in manifest(run_dir).steps if step.step_id == "rollout")
    assert rollout.status == status
    assert manifest(run_dir).summary.running_steps == []


def test_end_that_was_seen_has_its_time_and_its_cause(run_dir: Path) -> None:
    begun = raw(run_dir)[0]["time_unix_nano"]
    ended = begun + 90 * sample_runs.SECOND
    close_dead_run(run_dir, now(), ended_ns=ended, cause="was killed by SIGKILL")
    record = manifest(run_dir)
    assert record.duration_seconds == 90.0
    who = f"(pid {DEAD.pid} on {DEAD.host})"
    assert record.status_reason == f"the process that ran it {who} was killed by SIGKILL"


@pytest.mark.parametrize(
    ("readings", "said"),
    [
        ({"memory_rss_mb": 812.0, "memory_limit_mb": 1024.0}, "812 MiB, limit 1 GiB"),
        ({"memory_rss_mb": 812.0, "memory_available_mb": 64.0}, "812 MiB, 64 MiB available"),
        ({"memory_rss_mb": 812.0}, "812 MiB"),
    ],
)
def test_last_memory_reading_is_told(tmp_path: Path, readings: dict[str, float], said: str) -> None:
    story = sample_runs.running()
    milliseconds = story.now() // 1_000_000
    sample = TelemetrySnapshot(timestamp_ms=milliseconds)
    for name, value in readings.items():
        setattr(sample, name, value)
    story.samples = [sample]
    outcome = close_dead_run(write(story, tmp_path), now())
    assert outcome.reason.endswith(f"; last memory reading {said}")


def test_progress_of_a_step_that_did_not_end_is_that_of_the_last_sample(tmp_path: Path) -> None:
    story = sample_runs.running()
    sample = StepSample(step_id="collect", span_id="0000000000000002", done=300, total=500)
    story.samples = [TelemetrySnapshot(timestamp_ms=story.now() // 1_000_000, steps=[sample])]
    run_dir = write(story, tmp_path)
    close_dead_run(run_dir, now())
    collect = next(step for step in manifest(run_dir).steps if step.step_id == "collect")
    assert (collect.progress.done, collect.progress.total) == (300, 500)
    assert collect.progress.unit == "episodes"


def test_torn_last_line_is_not_glued_to_the_closing_event(run_dir: Path) -> None:
    with (run_dir / "manifest.jsonl").open("ab") as journal:
        journal.write(b'{"event":"step_fi')
    close_dead_run(run_dir, now())
    assert raw(run_dir)[-1]["event"] == "run_recovered"
    assert manifest(run_dir).status == "failed"


def test_worker_that_is_gone_too_is_said_before_the_end(tmp_path: Path) -> None:
    story = sample_runs.running()
    identity = dataclasses.asdict(DEAD)
    story.begin("rollout", process="box:9", identity=identity)
    run_dir = write(story, tmp_path)
    close_dead_run(run_dir, now())
    assert [event["event"] for event in raw(run_dir)][-2:] == ["worker_lost", "run_recovered"]


@given(st.lists(st.sampled_from(["begin", "end", "skip", "artifact", "torn"]), max_size=12))
def test_whatever_happened_before_nothing_is_left_running(happened: list[str]) -> None:
    """Killed after any event: a terminal status, no running step, and the same when done again."""
    story = sample_runs.Story("20260101T000000Z-p-aaaaaa", plan=("a", "b"))
    spans: list[str] = []
    for what in happened:
        if what == "begin":
            spans.append(story.begin(f"s{len(spans)}"))
        elif what == "end" and spans:
            story.end(spans[-1])
        elif what == "skip":
            story.events.append(e.StepSkipped(time_unix_nano=story.now(), step_id="b"))
    with tempfile.TemporaryDirectory() as folder:
        run_dir = write(story, Path(folder))
        if "torn" in happened:
            with (run_dir / "manifest.jsonl").open("ab") as journal:
                journal.write(b'{"event"')
        assert close_dead_run(run_dir, now()).action == "closed"
        record = manifest(run_dir)
        assert record.status == "failed"
        assert record.summary.running_steps == []
        assert not [step for step in record.steps if step.status == "running"]
        before = (run_dir / "manifest.jsonl").read_bytes()
        assert close_dead_run(run_dir, now()).action == "left"
        assert (run_dir / "manifest.jsonl").read_bytes() == before


# ------------------------------------------------------------------------------------ what is left


@pytest.mark.parametrize("story", [sample_runs.healthy, sample_runs.failed, sample_runs.cancelled])
def test_terminal_status_is_never_overwritten(
    tmp_path: Path, story: Callable[[], sample_runs.Story]
) -> None:
    run_dir = write(story(), tmp_path)
    before = raw(run_dir)
    outcome = close_dead_run(run_dir, now(), owner=DEAD, cause="was killed")
    assert outcome.action == "left"
    assert outcome.reason == f"it has ended already: {outcome.status}"
    assert raw(run_dir) == before


def left(run_dir: Path, **more: Any) -> str:  # noqa: ANN401 - any argument
    before = raw(run_dir)
    outcome = close_dead_run(run_dir, now(), **more)
    assert (outcome.action, outcome.status) == ("left", "running")
    assert raw(run_dir) == before
    return outcome.reason


def test_run_of_a_living_process_is_left(run_dir: Path) -> None:
    own(run_dir, ME)
    assert left(run_dir) == f"pid {ME.pid} on {ME.host} still runs"


def test_run_that_another_process_has_taken_over_is_left(run_dir: Path) -> None:
    own(run_dir, ME)
    assert "still runs" in left(run_dir, owner=DEAD)


def test_run_of_another_host_is_left_while_its_heartbeat_is_fresh(run_dir: Path) -> None:
    own(run_dir, ELSEWHERE)
    assert left(run_dir) == (
        "pid 3 on another cannot be looked at from here, and gave a sign of life less than "
        "120 s ago"
    )


def test_run_of_another_host_is_left_while_its_lock_is_held(run_dir: Path) -> None:
    own(run_dir, ELSEWHERE)
    os.utime(run_dir / "manifest.jsonl", (1, 1))
    fd = os.open(run_dir / "run.lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert left(run_dir) == "pid 3 on another still runs"
    os.close(fd)


def test_run_of_another_host_with_a_free_lock_and_an_old_heartbeat_is_closed(
    run_dir: Path,
) -> None:
    own(run_dir, ELSEWHERE)
    os.utime(run_dir / "manifest.jsonl", (1, 1))
    assert close_dead_run(run_dir, now()).action == "closed"


def test_run_without_a_lock_is_given_a_day(run_dir: Path) -> None:
    (run_dir / "run.lock").unlink()
    assert left(run_dir) == "it has no lock file, and gave a sign of life less than a day ago"


def test_journal_without_a_start_is_left(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(b"?\n")
    outcome = close_dead_run(tmp_path, now())
    assert (outcome.action, outcome.run_id) == ("left", tmp_path.name)
    assert outcome.reason == "no readable start in manifest.jsonl"


def test_dry_run_writes_nothing(run_dir: Path) -> None:
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    outcome = close_dead_run(run_dir, now(), dry_run=True)
    assert (outcome.action, outcome.status) == ("would close", "running")
    assert {path.name: path.read_bytes() for path in run_dir.iterdir()} == before


# -------------------------------------------------------------------------------------- what fails


def test_somebody_else_who_closes_it_is_waited_for_but_not_for_ever(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "LOCK_SECONDS", -1.0)
    fd = os.open(run_dir / "manifest.jsonl", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        close_dead_run(run_dir, now())
    os.close(fd)
    assert close_dead_run(run_dir, now()).action == "closed"


def test_file_system_without_locks_does_without(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    assert close_dead_run(run_dir, now()).action == "closed"


def test_full_disk_is_an_error_and_the_run_stays_open(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = raw(run_dir)
    with monkeypatch.context() as patch:
        patch.setattr(AppendingFile, "write", full)
        with pytest.raises(OSError, match="No space left"):
            close_dead_run(run_dir, now())
        outcome = recover_run(run_dir, now())
    assert (outcome.action, outcome.status) == ("failed", "running")
    assert "No space left" in outcome.reason
    assert raw(run_dir) == before
    assert close_dead_run(run_dir, now()).action == "closed"


def test_derived_files_that_cannot_be_written_leave_the_run_closed(run_dir: Path) -> None:
    (run_dir / "manifest.json").mkdir()
    (run_dir / "manifest.json" / "in the way").touch()
    assert close_dead_run(run_dir, now()).action == "closed"
    assert load_run(run_dir).status == "failed"


def test_run_that_was_deleted_meanwhile_is_an_outcome_of_many(tmp_path: Path) -> None:
    dead = write(sample_runs.running(), tmp_path)
    outcomes = list(recover_runs([tmp_path / "gone", dead], now()))
    assert [outcome.action for outcome in outcomes] == ["failed", "closed"]


# ------------------------------------------------------------------------------------ many of them


def test_of_many_runs_those_that_have_ended_and_old_ones_are_passed_over(tmp_path: Path) -> None:
    ended = [
        write(story(), tmp_path)
        for story in (sample_runs.healthy, sample_runs.failed, sample_runs.cancelled)
    ]
    dead = write(sample_runs.running(), tmp_path)
    old = tmp_path / "run-tracker" / "old"
    old.mkdir()
    old_run = {"run_id": "old", "created_at": "2026-01-01T00:00:00Z", "status": "running"}
    (old / "manifest.jsonl").write_text(json.dumps(old_run) + "\n")
    outcomes = list(recover_runs([*ended, old, dead], now()))
    assert [(outcome.run_dir, outcome.action) for outcome in outcomes] == [(dead, "closed")]
    assert not list(recover_runs([*ended, old, dead], now()))


def test_run_has_ended_if_its_last_event_says_so(tmp_path: Path) -> None:
    assert has_ended(sample_runs.healthy().write(tmp_path))
    assert not has_ended(sample_runs.running().write(tmp_path))
    assert not has_ended(tmp_path / "nothing")


# ------------------------------------------------------------------------------------ lost workers


def fold_of(*steps: tuple[str, dict[str, Any]], ended: bool = False) -> RunFold:
    """A run with a running step for each (process, identity)."""
    story = sample_runs.Story("20260101T000000Z-p-aaaaaa")
    for index, (process, identity) in enumerate(steps):
        span = story.begin(f"s{index}", process=process, identity=identity)
        if ended:
            story.end(span)
    fold = RunFold()
    for event in story.events:
        fold.apply(event)
    return fold


@pytest.mark.parametrize(("alive", "count"), [(False, 1), (True, 0), (None, 0)])
def test_worker_is_lost_only_if_its_process_is_surely_gone(
    *, alive: bool | None, count: int
) -> None:
    fold = fold_of(("box:9", dataclasses.asdict(DEAD)))
    assert len(lost_workers(fold, 1, lambda _: alive)) == count


def test_lost_worker_is_named_and_its_steps_fail(tmp_path: Path) -> None:
    fold = fold_of(("box:9", dataclasses.asdict(DEAD)), ("box:8", dataclasses.asdict(ME)))
    (lost,) = lost_workers(fold, 2_000_000_000_000_000_000)
    assert lost.process == "box:9"
    assert lost.reason == f"its process (pid {DEAD.pid} on {DEAD.host}) was killed or lost"
    fold.apply(lost)
    steps = fold.record().steps
    assert [(step.step_id, step.status) for step in steps] == [("s0", "failed"), ("s1", "running")]
    assert not lost_workers(fold, 1)


def test_worker_whose_steps_have_ended_is_not_lost() -> None:
    fold = fold_of(("box:9", dataclasses.asdict(DEAD)), ended=True)
    assert not lost_workers(fold, 1, lambda _: False)


def test_second_step_of_a_worker_needs_no_identity_of_its_own() -> None:
    fold = fold_of(("box:9", dataclasses.asdict(DEAD)), ("box:9", {}))
    (lost,) = lost_workers(fold, 1, lambda _: False)
    fold.apply(lost)
    assert not fold.running()


@pytest.mark.parametrize("identity", [{}, {"pid": "x"}, {"pid": 1}])
def test_worker_that_did_not_say_who_it_is_cannot_be_missed(identity: dict[str, Any]) -> None:
    assert not lost_workers(fold_of(("box:9", identity)), 1, lambda _: False)
