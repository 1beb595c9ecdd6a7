"""The operations for notebooks and producers that are not decorated code."""

from __future__ import annotations

import dataclasses
import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import runs
from robot_sf_otel.manifest.schema import PipelineRunRecord, TelemetrySnapshot
from robot_sf_otel.store import producer
from robot_sf_otel.store.history import AmbiguousRun, RunNotFound
from robot_sf_otel.store.identity import process_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from robot_sf_otel.store.reader import LoadedRun

DONE: Any = "done"
RECOMMENDATION: dict[str, object] = {
    "id": "r1",
    "trigger": "throughput_drop",
    "severity": "warning",
    "message": "slow",
    "suggested_actions": ["look at the disk"],
    "timestamp_ms": 1,
    "evidence": {"metric": "io_pressure", "value": 70.0},
}
PERF_TEST: dict[str, object] = {
    "test_id": "minimal",
    "metric": "steps",
    "unit": "1/s",
    "throughput_measured": 100.0,
    "duration_seconds": 2.0,
    "status": "passed",
}


@pytest.fixture(autouse=True)
def closed_afterwards() -> Iterator[None]:
    yield
    for opened in producer._open.values():
        opened.close()
    producer._open.clear()


def start(**more: object) -> LoadedRun:
    arguments: dict[str, Any] = {"initiator": "train.py --x", "enabled_steps": ["a", "b"], **more}
    return runs.start_run(**arguments)


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: start(initiator=" "), "initiator"),
    (lambda: start(enabled_steps=["a", "a"]), "enabled_steps"),
    (lambda: start(enabled_steps=[1]), "enabled_steps"),
    (lambda: start(run_id="../up"), "run_id"),
    (lambda: runs.list_runs(status=DONE), "status"),
    (lambda: runs.list_runs(since="yesterday"), "since"),
    (lambda: runs.list_runs(limit=-1), "limit"),
    (lambda: runs.update_run(start(), status=DONE), "status"),
    (lambda: runs.update_run(start(), status="pending"), "status"),
    (lambda: runs.update_step(start(), ""), "step_id"),
    (lambda: runs.update_step(start(), "a", status=DONE), "status"),
    (lambda: runs.update_step(start(), "a", duration_seconds=-1), "duration_seconds"),
    (lambda: runs.update_step(start(), "a", progress={"done": "x"}), r"progress\.done"),
    (lambda: runs.update_step(start(), "a", progress={"done": -1}), r"progress\.done"),
    (lambda: runs.update_step(start(), "a", eta_snapshot_seconds=-1), "eta_snapshot_seconds"),
    (lambda: runs.update_step(start(), "a", error={"message": "m"}), "error"),
    (lambda: runs.append_telemetry(start(), [{"fps": 1}]), r"timestamp_ms"),
    (
        lambda: runs.append_telemetry(start(), [{"timestamp_ms": 1, "fps": "x"}]),
        r"snapshots\[0\]\.fps",
    ),
    (
        lambda: runs.append_recommendations(start(), [{**RECOMMENDATION, "suggested_actions": []}]),
        "suggested_actions",
    ),
    (
        lambda: runs.append_recommendations(start(), [{**RECOMMENDATION, "evidence": {}}]),
        r"recommendations\[0\]\.evidence\.metric",
    ),
    (
        lambda: runs.append_recommendations(
            start(), [RECOMMENDATION, {**RECOMMENDATION, "evidence": {"metric": "fps"}}]
        ),
        r"recommendations\[1\]\.evidence\.value",
    ),
    (
        lambda: runs.append_recommendations(start(), [{**RECOMMENDATION, "severity": "bad"}]),
        r"recommendations\[0\]\.severity",
    ),
    (lambda: runs.record_perf_test(start(), {**PERF_TEST, "status": "ok"}), r"result\.status"),
    (
        lambda: runs.record_perf_test(start(), {**PERF_TEST, "status": "failed"}),
        "recommendations_ref",
    ),
]


def as_another_process(run: LoadedRun) -> None:
    """Make this process one that does not own the run, while its owner lives on."""
    opened = producer._open.pop(str(run.run_dir.resolve()))
    producer._open["owner"] = opened


def test_run_from_start_to_end(tmp_path: Path) -> None:
    run = start(scenario_config_path="conf/s.yaml")
    assert run.run_dir.parent == tmp_path / "output" / "run-tracker"
    assert (run.status, run.enabled_steps, run.pipeline) == ("running", ["a", "b"], "train")
    runs.update_step(run, "a", status="running", progress={"done": 1, "total": 4})
    runs.update_step(run, "a", status="completed", progress={"done": 4}, artifacts=["a.pt"])
    runs.update_step(run, "b", status="skipped", skip_reason="cached")
    ended = runs.update_run(run, status="completed", summary={"reward": 3.5}, reason="all done")
    assert ended.status == "completed"
    assert ended.status_reason == "all done"
    assert ended.summary.custom == {"reward": 3.5}
    assert (ended.summary.steps_completed, ended.summary.steps_total) == (1, 1)
    assert [(s.step_id, s.status, s.skip_reason) for s in ended.steps] == [
        ("a", "completed", None),
        ("b", "skipped", "cached"),
    ]
    assert ended.steps[0].artifacts[0].path == "a.pt"
    written = json.loads((run.run_dir / "manifest.json").read_text())
    assert written["status"] == "completed"
    assert (run.run_dir / "manifest.md").read_text()
    assert runs.load_run("latest").record == ended.record


def test_ids_come_from_the_system_and_not_from_the_global_generator() -> None:
    random.seed(1)
    first = start()
    after = random.random()  # noqa: S311 - a seeded experiment
    random.seed(1)
    second = start()
    assert random.random() == after  # noqa: S311 - a seeded experiment
    assert first.trace_id != second.trace_id


def test_run_is_found_again_by_id_prefix_path_and_latest() -> None:
    run = start(run_id="nightly")
    for name in ("nightly", "night", "latest", str(run.run_dir), run.run_dir, run):
        assert runs.load_run(name).run_id == "nightly"
    with pytest.raises(RunNotFound, match="closest are nightly"):
        runs.load_run("nigthly")
    start(run_id="nightly")
    with pytest.raises(AmbiguousRun, match="nightly-2, nightly"):
        runs.load_run("nigh")
    assert runs.load_run("nightly").run_id == "nightly"


def test_list_is_filtered_and_newest_first() -> None:
    old = start(run_id="old", pipeline="p", scenario_config_path="conf/s1.yaml")
    new = start(run_id="new", pipeline="q")
    runs.update_run(old, status="failed")
    assert [run.run_id for run in runs.list_runs()] == ["new", "old"]
    assert [run.run_id for run in runs.list_runs(limit=1)] == ["new"]
    assert [run.run_id for run in runs.list_runs(status="failed")] == ["old"]
    assert [run.run_id for run in runs.list_runs(pipeline="q")] == ["new"]
    assert [run.run_id for run in runs.list_runs(scenario="s1")] == ["old"]
    assert runs.list_runs(tag="x") == []
    assert runs.list_runs(host="elsewhere") == []
    assert len(runs.list_runs(since="1h")) == 2
    assert runs.list_runs(since=datetime(2100, 1, 1, tzinfo=UTC)) == []
    assert runs.list_runs(until="2020-01-01") == []
    assert runs.list_runs()[0].run_dir == new.run_dir


@pytest.mark.parametrize(("call", "field"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_what_is_not_valid_is_refused_and_the_field_named(
    call: Callable[[], object], field: str
) -> None:
    with pytest.raises(ValueError, match=field):
        call()


def test_terminal_status_is_final() -> None:
    run = runs.update_run(start(), status="failed", reason="boom")
    for change in (
        lambda: runs.update_run(run, status="completed"),
        lambda: runs.update_run(run, summary={"x": 1}),
        lambda: runs.update_step(run, "a", status="running"),
        lambda: runs.append_telemetry(run, [{"timestamp_ms": 1}]),
        lambda: runs.append_recommendations(run, [RECOMMENDATION]),
        lambda: runs.record_perf_test(run, PERF_TEST),
    ):
        with pytest.raises(ValueError, match="failed, which is final"):
            change()
    assert runs.load_run(run).status_reason == "boom"


def test_step_that_ended_runs_again_only_as_a_further_attempt() -> None:
    run = start()
    runs.update_step(run, "a", status="failed", error={"type": "OSError"}, duration_seconds=3.0)
    with pytest.raises(ValueError, match="'a' is failed, which is final"):
        runs.update_step(run, "a", status="completed")
    with pytest.raises(ValueError, match="cannot be pending again"):
        runs.update_step(run, "a", status="pending")
    runs.update_step(run, "a", status="running")
    again = runs.update_step(run, "a", status="completed")
    assert [(s.step_id, s.attempt, s.status) for s in again.steps] == [
        ("a", 1, "failed"),
        ("a", 2, "completed"),
        ("b", 1, "pending"),
    ]
    assert again.steps[0].duration_seconds == 3.0


def test_late_artifact_belongs_to_the_execution_that_ended() -> None:
    run = start()
    runs.update_step(run, "a", status="completed")
    late = runs.update_step(run, "a", artifacts=[{"path": "x", "kind": "checkpoint"}])
    assert [(s.step_id, s.status, len(s.artifacts)) for s in late.steps] == [
        ("a", "completed", 1),
        ("b", "pending", 0),
    ]


def test_unplanned_step_joins_the_plan() -> None:
    run = runs.update_step(start(), "extra", status="running", eta_snapshot_seconds=60)
    assert run.enabled_steps == ["a", "b", "extra"]
    assert run.steps[0].eta_snapshot_seconds == 60


def test_samples_and_recommendations_and_perf_tests_are_read_back() -> None:
    run = start()
    assert (
        runs.append_telemetry(
            run, [{"timestamp_ms": 1, "fps": 9.5}, TelemetrySnapshot(timestamp_ms=2)]
        )
        == 2
    )
    assert runs.load_run(run).record.telemetry["fps"].count == 1
    runs.append_telemetry(run, [{"timestamp_ms": 3, "fps": 10.5}])
    assert runs.load_run(run).record.telemetry["fps"].count == 2
    runs.append_recommendations(run, [RECOMMENDATION])
    runs.record_perf_test(run, PERF_TEST)
    read = runs.load_run(run)
    assert [(s.timestamp_ms, s.fps) for s in read.telemetry()] == [(1, 9.5), (2, None), (3, 10.5)]
    assert read.record.telemetry["fps"].count == 2
    assert read.summary.recommendation_count == 1
    assert read.perf_tests[0].test_id == "minimal"
    assert [event["event"] for event in read.journal()] == [
        "run_started",
        "recommendation_added",
        "perf_test_recorded",
    ]


def test_process_that_does_not_own_the_run_writes_one_journal_of_its_own() -> None:
    run = start()
    as_another_process(run)
    before = (run.run_dir / "manifest.jsonl").read_bytes()
    runs.update_step(run, "a", status="running")
    read = runs.update_step(run, "a", status="completed")
    assert (run.run_dir / "manifest.jsonl").read_bytes() == before
    assert len(list((run.run_dir / "workers").iterdir())) == 1
    assert read.steps[0].status == "completed"


def test_run_whose_owner_is_gone_is_shown_as_failed_but_can_still_be_ended() -> None:
    run = start()
    as_another_process(run)
    gone = dataclasses.replace(process_identity(), start_time=1)
    (run.run_dir / "run.lock").write_text(json.dumps(dataclasses.asdict(gone)))
    shown = runs.load_run(run)
    assert shown.status == "failed"
    assert "gone" in (shown.status_reason or "")
    assert runs.update_run(run, status="completed").status == "completed"
    assert json.loads((run.run_dir / "manifest.json").read_text())["status"] == "completed"


def test_secrets_in_the_initiator_and_the_summary_are_masked() -> None:
    run = start(initiator="train.py --api-key=hunter2secret")
    runs.update_run(run, summary={"api_key": "hunter2secret", "reward": 1.0})
    assert b"hunter2secret" not in (run.run_dir / "manifest.jsonl").read_bytes()
    assert runs.load_run(run).summary.custom["reward"] == 1.0


def test_record_is_what_the_attributes_show() -> None:
    run = start()
    assert isinstance(run.record, PipelineRunRecord)
    assert run.run_id == run.record.run_id
    assert repr(run) == f"<run {run.run_id} (running)>"
    with pytest.raises(AttributeError):
        _ = run.no_such_field


def test_artifact_root_comes_from_the_environment_or_the_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_SF_ARTIFACT_ROOT", str(tmp_path / "env"))
    assert start().run_dir.is_relative_to(tmp_path / "env")
    here = start(artifact_root=tmp_path / "arg")
    assert here.run_dir.is_relative_to(tmp_path / "arg")
    assert runs.load_run(artifact_root=tmp_path / "arg").run_id == here.run_id
