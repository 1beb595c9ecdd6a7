"""Reading runs in whatever state they were left."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_document, encode_event, encode_snapshot
from robot_sf_otel.manifest.schema import FieldSummary, PipelineRunRecord, TelemetrySnapshot
from robot_sf_otel.store.identity import process_identity
from robot_sf_otel.store.reader import (
    LOST,
    UnreadableRun,
    closing_event,
    fold_run,
    load_run,
    unreadable_record,
)

START = 1_767_225_600_000_000_000
SECOND = 1_000_000_000


def started(artifact_dir: str | None = None) -> e.RunStarted:
    return e.RunStarted(
        time_unix_nano=START,
        trace_id="t",
        span_id="root",
        run_id="r",
        pipeline="p",
        artifact_dir=artifact_dir,
    )


def begin(name: str, at: float) -> e.StepStarted:
    return e.StepStarted(
        time_unix_nano=START + int(at * SECOND), span_id=name, step_id=name, parent_span_id="root"
    )


def end(name: str, at: float) -> e.StepFinished:
    return e.StepFinished(
        time_unix_nano=START + int(at * SECOND),
        span_id=name,
        status="completed",
        result="success",
        duration_seconds=1.0,
    )


def finished(at: float) -> e.RunFinished:
    return e.RunFinished(
        time_unix_nano=START + int(at * SECOND), status="completed", result="success"
    )


def write(path: Path, *events: e.Event, tail: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(encode_event(event) for event in events) + tail)


def write_owner(run_dir: Path, *, alive: bool) -> None:
    owner = process_identity()
    if not alive:
        owner = dataclasses.replace(owner, start_time=1)
    (run_dir / "run.lock").write_text(json.dumps(dataclasses.asdict(owner)))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run-tracker" / "r"


def test_worker_that_ended_its_step_before_the_run_ended_counts(run_dir: Path) -> None:
    write(run_dir / "manifest.jsonl", started(), finished(9))
    write(run_dir / "workers" / "h-1-aaaaaa.jsonl", begin("w", 1), end("w", 5))
    record = load_run(run_dir).record
    assert [(step.step_id, step.status) for step in record.steps] == [("w", "completed")]
    assert record.status == "completed"


def test_journal_is_in_order_of_time_and_keeps_every_field(run_dir: Path) -> None:
    write(
        run_dir / "manifest.jsonl",
        started(),
        finished(9),
        tail=b'{"event":"from_the_future","time_unix_nano":1,"colour":"blue"}\n',
    )
    write(run_dir / "workers" / "h-1-aaaaaa.jsonl", begin("w", 1))
    assert [raw["event"] for raw in load_run(run_dir).journal()] == [
        "run_started",
        "step_started",
        "run_finished",
        "from_the_future",
    ]


def test_problems_are_said_and_hide_nothing(run_dir: Path) -> None:
    write(
        run_dir / "manifest.jsonl",
        started(),
        tail=b"broken\n" + encode_event(begin("a", 1)) + b'{"event":"new_one"}\n{"event":"step_fi',
    )
    write_owner(run_dir, alive=True)
    run = load_run(run_dir)
    assert [step.step_id for step in run.record.steps] == ["a"]
    assert run.problems == [
        "manifest.jsonl: 1 line is damaged and left out",
        "manifest.jsonl: 1 line is of a kind that this version does not know",
        "manifest.jsonl: the last line is incomplete and was ignored",
    ]


def test_run_of_a_living_process_is_running(run_dir: Path) -> None:
    write(run_dir / "manifest.jsonl", started(), begin("a", 1))
    write_owner(run_dir, alive=True)
    run = load_run(run_dir)
    assert (run.status, run.summary.running_steps, run.problems) == ("running", ["a"], [])


def test_run_of_a_dead_process_is_shown_as_failed_and_nothing_is_written(run_dir: Path) -> None:
    write(run_dir / "manifest.jsonl", started(), begin("a", 1), end("a", 2), begin("b", 3))
    (run_dir / "telemetry.jsonl").write_bytes(
        encode_snapshot(TelemetrySnapshot(timestamp_ms=(START + 7 * SECOND) // 1_000_000))
    )
    write_owner(run_dir, alive=False)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in run_dir.iterdir())
    record = load_run(run_dir).record
    assert record.status == "failed"
    assert (record.status_reason or "").startswith(LOST)
    assert f"pid {os.getpid()}" in (record.status_reason or "")
    assert [(step.step_id, step.status) for step in record.steps] == [
        ("a", "completed"),
        ("b", "failed"),
    ]
    assert record.completed_at == "2026-01-01T00:00:07.000000Z"
    assert record.duration_seconds == 7.0
    assert record.summary.last_completed_step == "a"
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in run_dir.iterdir())


def test_closing_event_written_by_a_reader_gives_what_was_shown(run_dir: Path) -> None:
    write(run_dir / "manifest.jsonl", started(), begin("a", 1))
    write_owner(run_dir, alive=False)
    shown = load_run(run_dir).record
    event = closing_event(run_dir, fold_run(run_dir)[0])
    with (run_dir / "manifest.jsonl").open("ab") as file:
        file.write(encode_event(event))
    assert load_run(run_dir).record == shown


def test_record_of_a_run_that_ended_is_taken_as_it_is_written(run_dir: Path) -> None:
    write(run_dir / "manifest.jsonl", started(), finished(1))
    record = PipelineRunRecord(
        run_id="r", pipeline="written", status="completed", artifact_dir=str(run_dir)
    )
    (run_dir / "manifest.json").write_bytes(encode_document(record))
    os.utime(run_dir / "manifest.jsonl", ns=(START, START))
    assert load_run(run_dir).record == record


def test_a_moved_run_says_where_it_lies_now(run_dir: Path, tmp_path: Path) -> None:
    write(run_dir / "manifest.jsonl", started(artifact_dir=str(run_dir)), finished(1))
    assert load_run(run_dir).artifact_dir == str(run_dir)
    (tmp_path / "link").symlink_to(run_dir)
    assert load_run(tmp_path / "link").artifact_dir == str(run_dir)
    moved = run_dir.rename(tmp_path / "moved")
    assert load_run(moved).artifact_dir == str(moved)


@pytest.mark.parametrize("status", ["running", "completed"])
def test_record_that_is_older_than_a_journal_or_not_final_is_not_taken(
    run_dir: Path, status: str
) -> None:
    write(run_dir / "manifest.jsonl", started(), finished(1))
    record = PipelineRunRecord(run_id="r", pipeline="written", status=status)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    (run_dir / "manifest.json").write_bytes(encode_document(record))
    os.utime(run_dir / "manifest.json", ns=(START, START))
    assert load_run(run_dir).pipeline == "p"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"run_id": 5}', b"[" * 100_000])
def test_damaged_record_is_derived_again_from_the_journal(run_dir: Path, content: bytes) -> None:
    write(run_dir / "manifest.jsonl", started(), finished(1))
    (run_dir / "manifest.json").write_bytes(content)
    assert load_run(run_dir).record.status == "completed"


def test_record_of_a_later_version_is_read_and_said_to_be_one(run_dir: Path) -> None:
    write(run_dir / "manifest.jsonl", started(), finished(1))
    os.utime(run_dir / "manifest.jsonl", ns=(START, START))
    later = {"run_id": "r", "pipeline": "p", "status": "failed", "schema_version": 99, "new": 1}
    (run_dir / "manifest.json").write_text(json.dumps(later))
    run = load_run(run_dir)
    assert run.status == "failed"
    assert "newer version (schema 99)" in run.problems[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"broken\n", encode_event(begin("a", 1)), b'{"run_id": 5}\n', b'{"x": "\xff"}\n'],
    ids=["empty", "damaged", "no start", "no id", "invalid utf-8"],
)
def test_directory_without_a_readable_start_is_no_run(run_dir: Path, content: bytes) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "manifest.jsonl").write_bytes(content)
    with pytest.raises(UnreadableRun, match="no readable start"):
        load_run(run_dir)
    record = unreadable_record(run_dir, "why")
    assert (record.run_id, record.status, record.status_reason) == ("r", "failed", "why")


def test_time_that_no_calendar_has_is_an_unreadable_run(run_dir: Path) -> None:
    write(run_dir / "manifest.jsonl", started())
    text = (run_dir / "manifest.jsonl").read_text()
    (run_dir / "manifest.jsonl").write_text(
        text.replace(f'"time_unix_nano":{START}', f'"time_unix_nano":{2**63 - 1}{"0" * 9}')
    )
    with pytest.raises(UnreadableRun):
        load_run(run_dir)


def test_links_among_the_worker_journals_are_not_followed(run_dir: Path, tmp_path: Path) -> None:
    write(run_dir / "manifest.jsonl", started(), finished(9))
    write(tmp_path / "outside.jsonl", begin("x", 1))
    (run_dir / "workers").mkdir()
    (run_dir / "workers" / "h-1-aaaaaa.jsonl").symlink_to(tmp_path / "outside.jsonl")
    assert load_run(run_dir).record.steps == []


def test_without_telemetry_the_figures_of_the_written_record_are_taken(run_dir: Path) -> None:
    write(run_dir / "manifest.jsonl", started())
    write_owner(run_dir, alive=True)
    (run_dir / "telemetry.jsonl").write_bytes(
        encode_snapshot(TelemetrySnapshot(timestamp_ms=1, fps=5.0))
    )
    assert load_run(run_dir, telemetry=False).record.telemetry == {}
    assert load_run(run_dir).record.telemetry["fps"].maximum == 5.0


@pytest.mark.parametrize(
    ("alive", "behind", "count"),
    [(True, 3.0, 7), (True, 9.0, 1), (False, 3.0, 1), (False, -1.0, 7)],
    ids=["live and fresh", "live but stale", "dead and behind", "dead and complete"],
)
def test_written_figures_are_taken_where_they_are_fresh(
    run_dir: Path, *, alive: bool, behind: float, count: int
) -> None:
    write(run_dir / "manifest.jsonl", started())
    write_owner(run_dir, alive=alive)
    (run_dir / "telemetry.jsonl").write_bytes(
        encode_snapshot(TelemetrySnapshot(timestamp_ms=1, fps=5.0))
    )
    figures = FieldSummary(count=7, mean=1.0, p95=1.0, maximum=1.0)
    record = PipelineRunRecord(run_id="r", pipeline="p", telemetry={"fps": figures})
    (run_dir / "manifest.json").write_bytes(encode_document(record))
    sampled = (run_dir / "telemetry.jsonl").stat().st_mtime
    os.utime(run_dir / "manifest.json", (sampled - behind, sampled - behind))
    assert load_run(run_dir).record.telemetry["fps"].count == count


@pytest.mark.parametrize("written", [True, False], ids=["manifest.json behind", "none"])
def test_of_too_many_samples_the_written_figures_are_shown_and_that_is_said(
    run_dir: Path, *, written: bool
) -> None:
    write(run_dir / "manifest.jsonl", started())
    write_owner(run_dir, alive=False)
    samples = [TelemetrySnapshot(timestamp_ms=number, fps=5.0) for number in range(10)]
    (run_dir / "telemetry.jsonl").write_bytes(b"".join(map(encode_snapshot, samples)))
    if written:
        figures = FieldSummary(count=7, mean=1.0, p95=1.0, maximum=1.0)
        record = PipelineRunRecord(run_id="r", pipeline="p", telemetry={"fps": figures})
        (run_dir / "manifest.json").write_bytes(encode_document(record))
        os.utime(run_dir / "manifest.json", (1, 1))
    size = (run_dir / "telemetry.jsonl").stat().st_size

    assert load_run(run_dir, most_bytes=size).record.telemetry["fps"].count == 10
    bounded = load_run(run_dir, most_bytes=size - 1)
    assert {name: field.count for name, field in bounded.record.telemetry.items()} == (
        {"fps": 7} if written else {}
    )
    assert "`summary` reads all of them" in bounded.problems[-1]
    assert load_run(run_dir, telemetry=False).problems == bounded.problems[:-1]


def test_loaded_run_can_be_copied(run_dir: Path) -> None:
    write(run_dir / "manifest.jsonl", started(), finished(9))
    run = load_run(run_dir)
    assert copy.copy(run).run_id == copy.deepcopy(run).run_id == "r"


OLD_RUN = Path(__file__).parents[2] / "data" / "runs" / "old-tracker"


def test_run_of_the_original_tracker_is_read_and_left_alone(tmp_path: Path) -> None:
    run_dir = tmp_path / "run-tracker" / "old"
    shutil.copytree(OLD_RUN, run_dir)
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    run = load_run(run_dir)
    assert (run.run_id, run.pipeline, run.status, run.tags) == (
        "old",
        "robot_sf",
        "completed",
        ["robot_sf"],
    )
    assert [step.step_id for step in run.steps] == ["train_expert", "compare_runs"]
    assert run.created_at == "2026-11-22T22:39:21.296000Z"
    assert run.duration_seconds == pytest.approx(131.292)
    assert (run.summary.steps_completed, run.summary.steps_total) == (2, 2)
    assert run.problems == ["recorded by the original robot_sf tracker"]
    assert len(list(run.telemetry())) == 2
    assert before == {path.name: path.read_bytes() for path in run_dir.iterdir()}


def test_damaged_run_of_the_original_tracker_is_read_as_far_as_it_goes(run_dir: Path) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "manifest.jsonl").write_text(
        '{"run_id": "x", "status": "odd", "created_at": 5, "steps": [{"step_id": "a"}, 7], '
        '"enabled_steps": ["a", 1]}\n{"recommendation": {}}\n{"run_id": "x", "sta'
    )
    run = load_run(run_dir)
    assert (run.status, run.created_at, run.steps, run.enabled_steps) == ("failed", None, [], ["a"])
