from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.analysis.eta import EtaEngine
from robot_sf_otel.analysis.eta_input import past_run, situation
from robot_sf_otel.interop.robot_sf import (
    NO_REASON,
    UNKNOWN_CAUSE,
    NotImportable,
    read_history,
)
from robot_sf_otel.interop.robot_sf_import import find_old_runs, import_old_runs
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.redaction import MASK
from robot_sf_otel.store.imported import Written
from robot_sf_otel.store.reader import load_run
from tests.data.old_tracker import (
    BEGAN,
    INTERVAL,
    STEPS,
    moment,
    record,
    sample,
    samples,
    step,
    write_old_run,
)

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PipelineRunRecord

NOW = BEGAN + 1_000
NOW_NS = round(NOW * 1e9)
REAL = Path(__file__).parents[3].parent / "shared" / "data" / "robot_sf_run"


def imported(run_dir: Path) -> PipelineRunRecord:
    """The record that an import of `run_dir` would write."""
    history = read_history(run_dir, now=NOW)
    fold = RunFold()
    for event in history.events:
        fold.apply(event)
    return fold.record()


def written(place: Path, root: Path) -> list[Written]:
    return [one for one in import_old_runs([place], root, NOW_NS) if isinstance(one, Written)]


def names(place: Path) -> list[str]:
    return [path.name for path in find_old_runs(place)]


def test_a_file_of_a_run_stands_for_its_folder(tmp_path: Path) -> None:
    run_dir = write_old_run(tmp_path / "old", [record("old")])
    (run_dir / "notes.txt").write_text("mine")
    assert [path.name for path in find_old_runs(run_dir / "manifest.jsonl")] == ["old"]
    assert find_old_runs(run_dir / "notes.txt") == []
    files = [path for path in run_dir.iterdir() if path.name != "notes.txt"]
    outcomes = list(import_old_runs(files, tmp_path / "output", NOW_NS))
    assert len(files) > 1
    assert len([one for one in outcomes if isinstance(one, Written)]) == 1


# -- what is taken over --------------------------------------------------------------------------


def test_a_completed_run_keeps_its_steps_times_and_results(tmp_path: Path) -> None:
    lines = [record("old", status="running"), record("old", summary={"demo_mode": True})]
    run = imported(write_old_run(tmp_path / "old", lines))
    assert (run.run_id, run.pipeline, run.status) == ("old", "imitation", "completed")
    assert {one.step_id: one.duration_seconds for one in run.steps} == pytest.approx(STEPS)
    assert run.steps[0].display_name == "Train Expert"
    assert run.created_at == "2026-11-22T22:39:21.296000Z"
    assert run.duration_seconds == pytest.approx(sum(STEPS.values()), abs=0.01)
    assert run.summary.custom == {"demo_mode": True}
    assert run.argv == ["/home/user/16_imitation.py", "--demo-mode"]
    assert (run.tags, run.self_cost.faults) == (["robot_sf"], [])


def test_what_was_not_recorded_stays_unknown(tmp_path: Path) -> None:
    run = imported(write_old_run(tmp_path / "old"))
    assert (run.host, run.vcs, run.runtime, run.cwd) == ({}, {}, {}, None)
    assert {one.eta_snapshot_seconds for one in run.steps} == {None}, "sums of declarations"


def test_readings_of_the_parent_alone_are_not_passed_off_as_those_of_the_run(
    tmp_path: Path,
) -> None:
    first, second, *_ = read_history(write_old_run(tmp_path / "old"), now=NOW).samples
    assert (first.cpu_percent_process, first.memory_rss_mb, first.steps_per_sec) == (None,) * 3
    assert first.metrics == {
        "parent_cpu_percent": 1.0,
        "parent_memory_rss_mb": 264.8,
        "pipeline_steps_per_sec": 0.02,
    }
    assert first.cpu_percent_system == 56.3
    assert "parent process alone" in (first.notes or "")
    assert second.notes is None


def test_recommendations_and_performance_tests_come_along_once(tmp_path: Path) -> None:
    advice = {
        "trigger": "cpu_saturation",
        "severity": "critical",
        "message": "CPU utilization remained high",
        "suggested_actions": ["Reduce"],
        "evidence": {"max_cpu_percent_system": 99.5},
        "timestamp_ms": 1795387292587,
    }
    test = {
        "test_id": "smoke",
        "matrix": "default",
        "throughput_baseline": 20.0,
        "throughput_measured": 15.0,
        "duration_seconds": 3.0,
        "status": "soft-breach",
        "recommendations_ref": [0],
    }
    lines = [
        {"recommendation": advice},
        {"recommendation": {"severity": "odd"}},
        {"perf_test": test},
        {"perf_test": {"test_id": "without a result"}},
        record("old", recommendations=[advice], perf_tests=[test]),
    ]
    run = imported(write_old_run(tmp_path / "old", lines))
    first, second = run.recommendations
    assert (first.trigger, first.severity, first.suggested_actions) == (
        "cpu_saturation",
        "critical",
        ["Reduce"],
    )
    assert first.evidence == {"max_cpu_percent_system": 99.5, "recorded_by": "robot_sf"}
    assert (second.severity, second.suggested_actions) == ("info", ["none was recorded"])
    (result,) = run.perf_tests
    assert (result.ratio, result.status, result.recommendations_ref) == (
        0.75,
        "soft-breach",
        [first.id],
    )
    assert run.self_cost.faults == ["import: 1 performance tests have no result and are left out"]


def test_secrets_of_its_command_line_and_summary_are_masked(tmp_path: Path) -> None:
    command = "run.py --api-key=hunter2 --password hunter2 --seed 3"
    steps = [step("train_expert", 1, BEGAN, BEGAN, "completed")]
    steps[0]["artifacts"] = ["https://me:hunter2@host/policy.npz"]
    lines = [record("old", initiator=command, summary={"password": "hunter2"}, steps=steps)]
    run = imported(write_old_run(tmp_path / "old", lines, steps=steps))
    assert "hunter2" not in repr(run)
    assert run.initiator == f"run.py --api-key={MASK} --password {MASK} --seed 3"
    assert [one.name for one in run.artifacts] == ["policy.npz"]
    assert run.summary.custom == {"password": MASK}


def test_skipped_and_unreached_steps_stay_so(tmp_path: Path) -> None:
    steps = [
        step("train_expert", 1, BEGAN, BEGAN, "skipped"),
        step("collect_trajectories", 2, BEGAN, BEGAN + 5, "failed"),
        step("compare_runs", 3, None, None, "pending"),
    ]
    failed = record("old", status="failed", steps=steps, completed_at=moment(BEGAN + 5))
    run = imported(write_old_run(tmp_path / "old", [failed], steps=steps))
    assert {one.step_id: one.status for one in run.steps} == {
        "train_expert": "skipped",
        "collect_trajectories": "failed",
        "compare_runs": "pending",
    }
    assert (run.status, run.status_reason) == ("failed", NO_REASON)
    error = next(one.error for one in run.steps if one.status == "failed")
    assert error is not None
    assert error.exit_code is None


# -- the ETA -------------------------------------------------------------------------------------


def test_the_eta_learns_from_imported_runs_at_once(tmp_path: Path) -> None:
    past = past_run(imported(write_old_run(tmp_path / "old")))
    assert past is not None
    fold = RunFold()
    start = e.RunStarted(time_unix_nano=NOW_NS, run_id="new", pipeline="imitation")
    fold.apply(start)
    seen = situation(fold, NOW_NS, "host", usual=list(STEPS), elapsed=0.0)
    assert seen is not None
    estimate = EtaEngine([past]).predict(seen)
    assert estimate.history_runs == 1
    assert estimate.remaining_seconds == pytest.approx(sum(STEPS.values()), rel=0.02)


# -- runs that nobody closed ---------------------------------------------------------------------


def dead_run(run_dir: Path, age: float | None = None) -> Path:
    steps = [
        step("train_expert", 1, BEGAN, BEGAN + 40, "completed"),
        step("collect_trajectories", 2, BEGAN + 40, None, "running"),
        step("compare_runs", 3, None, None, "pending"),
    ]
    seen = samples()[:20]
    alive = record(run_dir.name, status="running", completed_at=None, steps=steps)
    return write_old_run(run_dir, [alive], steps=steps, telemetry=seen, age=age)


def test_a_run_that_is_running_for_ever_is_failed_for_an_unknown_cause(tmp_path: Path) -> None:
    run = imported(dead_run(tmp_path / "old"))
    assert (run.status, run.status_reason) == ("failed", UNKNOWN_CAUSE)
    assert [one.status for one in run.steps] == ["completed", "failed", "pending"]
    assert run.duration_seconds == pytest.approx(19 * INTERVAL, abs=0.01), "its last sample"
    assert past_run(run) is None, "nothing is learned from it"


def test_a_run_that_was_written_to_just_now_is_left_alone(tmp_path: Path) -> None:
    run_dir = dead_run(tmp_path / "old", age=3.0)
    with pytest.raises(NotImportable, match=r"written to 3 s ago and seems to run"):
        read_history(run_dir, now=NOW)


@pytest.mark.parametrize("status", ["odd", None, 5])
def test_an_unknown_status_is_no_success(tmp_path: Path, status: object) -> None:
    run = imported(write_old_run(tmp_path / "old", [record("old", status=status)]))
    assert run.status == "failed"
    assert "recorded no status that is known" in (run.status_reason or "")


# -- damage --------------------------------------------------------------------------------------


def test_a_torn_line_does_not_swallow_the_next_record(tmp_path: Path) -> None:
    whole = json.dumps(record("old"))
    lines = [record("old", status="running"), whole[:500] + whole + "\n"]
    run = imported(write_old_run(tmp_path / "old", lines))
    assert run.status == "completed"
    assert run.self_cost.faults == [
        "import: manifest.jsonl: 1 line is torn or damaged and left out"
    ]


def test_a_torn_last_line_leaves_the_record_before_it(tmp_path: Path) -> None:
    run_dir = write_old_run(tmp_path / "old", [record("old"), json.dumps(record("old"))[:900]])
    assert imported(run_dir).status == "completed"


def test_a_last_record_without_its_newline_counts(tmp_path: Path) -> None:
    lines = [record("old", status="running"), json.dumps(record("old"))]
    run = imported(write_old_run(tmp_path / "old", lines))
    assert (run.status, run.self_cost.faults) == ("completed", [])


def test_an_empty_step_index_costs_nothing(tmp_path: Path) -> None:
    run_dir = write_old_run(tmp_path / "old")
    (run_dir / "steps.json").write_text("")
    run = imported(run_dir)
    assert len(run.steps) == 3
    assert run.self_cost.faults == ["import: steps.json is missing, empty or damaged"]


def test_a_step_index_that_is_further_on_than_the_journal_counts(tmp_path: Path) -> None:
    run_dir = dead_run(tmp_path / "old")
    done = [step("train_expert", 1, BEGAN, BEGAN + 40, "completed")]
    done.append(step("collect_trajectories", 2, BEGAN + 40, BEGAN + 76, "completed"))
    (run_dir / "steps.json").write_text(json.dumps(done))
    assert [one.status for one in imported(run_dir).steps] == ["completed", "completed", "pending"]


@pytest.mark.parametrize("name", ["manifest.jsonl", "telemetry.jsonl", "steps.json", "run.lock"])
@pytest.mark.parametrize("content", [None, b"", b"\0" * 99, b"[" * 5000, bytes(range(256)) * 9])
def test_a_file_that_is_missing_or_damaged_hides_nothing_else(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    run_dir = write_old_run(tmp_path / "old")
    if content is None:
        (run_dir / name).unlink()
    else:
        (run_dir / name).write_bytes(content)
    run = imported(run_dir)
    assert [one.status for one in run.steps] == ["completed"] * 3
    assert run.status == ("failed" if name == "manifest.jsonl" else "completed")
    assert bool(run.self_cost.faults) == (name != "run.lock")


@pytest.mark.parametrize("value", [[], {}, 5, None, [[]], {"a": 1}, "x", True, -1e300])
@pytest.mark.parametrize(
    "name",
    [
        *("status", "steps", "created_at", "completed_at", "enabled_steps", "summary"),
        *("initiator", "scenario_config_path", "recommendations", "perf_tests"),
    ],
)
def test_odd_values_are_read_as_far_as_they_go(tmp_path: Path, name: str, value: object) -> None:
    run = imported(write_old_run(tmp_path / "old", [{**record("old"), name: value}]))
    assert {one.step_id for one in run.steps} == set(STEPS)


@pytest.mark.parametrize("value", [[], {}, 5, None, "x", -1.0, 1e300])
@pytest.mark.parametrize(
    "name", ["display_name", "order", "started_at", "ended_at", "duration_seconds", "artifacts"]
)
def test_odd_values_of_a_step_are_read_as_far_as_they_go(
    tmp_path: Path, name: str, value: object
) -> None:
    odd = [{**step("train_expert", 1, BEGAN, BEGAN + 40, "completed"), name: value}]
    run_dir = write_old_run(tmp_path / "old", [record("old", steps=odd)], steps=odd)
    assert imported(run_dir).steps[0].step_id == "train_expert"


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotImportable, match="holds no run of the original robot_sf tracker"):
        read_history(tmp_path)


# -- clocks --------------------------------------------------------------------------------------


def test_a_step_in_which_the_clock_was_set_back_is_counted_in_samples(tmp_path: Path) -> None:
    steps = [
        step("train_expert", 1, BEGAN, BEGAN - 20, "completed"),  # 40 s, and an hour back
        step("collect_trajectories", 2, BEGAN - 20, BEGAN + 16, "completed"),
    ]
    seen = [sample(BEGAN + at, "train_expert") for at in (0, 3, 6)]
    seen += [sample(BEGAN - 50 + at, "train_expert") for at in range(9, 40, 3)]
    seen += [sample(BEGAN - 20 + at, "collect_trajectories") for at in range(0, 36, 3)]
    lines = [record("old", steps=steps, completed_at=moment(BEGAN + 16))]
    run_dir = write_old_run(tmp_path / "old", lines, steps=steps, telemetry=seen)
    run = imported(run_dir)
    first, second = run.steps[:2]
    assert first.duration_seconds == pytest.approx(40, abs=INTERVAL)
    assert second.duration_seconds == pytest.approx(36, abs=0.01)
    assert run.duration_seconds == pytest.approx(76, abs=INTERVAL)
    assert (first.ended_at or "") <= (second.started_at or "")
    stamps = [one.timestamp_ms for one in read_history(run_dir, now=NOW).samples]
    assert stamps == sorted(stamps)
    assert [fault.partition(":")[2].strip() for fault in run.self_cost.faults] == [
        "the clock was set back during step train_expert: its duration is counted in samples",
        "the clock was set back: the run ends with its last step",
    ]


def test_a_duration_that_nothing_tells_is_said_to_be_unknown(tmp_path: Path) -> None:
    steps = [step("train_expert", 1, BEGAN, BEGAN - 20, "completed")]
    lines = [record("old", steps=steps)]
    run = imported(write_old_run(tmp_path / "old", lines, steps=steps, telemetry=[]))
    assert any("its duration is unknown, and recorded as 0" in one for one in run.self_cost.faults)


# -- folders -------------------------------------------------------------------------------------


def test_a_run_a_folder_of_runs_and_an_artifact_root_are_found(tmp_path: Path) -> None:
    tracker = tmp_path / "run-tracker"
    for name in ("b", "a"):
        write_old_run(tracker / name)
    (tracker / "empty").mkdir()
    (tracker / "link").symlink_to(tracker / "a")
    for place, found in ((tmp_path, ["a", "b"]), (tracker, ["a", "b"]), (tracker / "a", ["a"])):
        assert names(place) == found
    assert names(tracker / "empty") == []


def test_an_import_is_made_once_and_touches_no_old_directory(tmp_path: Path) -> None:
    root = tmp_path / "output"
    old = [write_old_run(root / "run-tracker" / name) for name in ("first", "second")]
    before = {path: path.read_bytes() for run_dir in old for path in run_dir.iterdir()}
    made = written(root, root)
    assert [one.run_dir.name for one in made] == ["first-2", "second-2"]
    assert names(root) == ["first", "second"], "what was imported is in our format"
    again = written(root, root)
    assert [(one.run_dir, one.is_new) for one in again] == [(one.run_dir, False) for one in made]
    assert before == {path: path.read_bytes() for run_dir in old for path in run_dir.iterdir()}


def test_a_copy_of_a_run_is_the_same_run(tmp_path: Path) -> None:
    run_dir = write_old_run(tmp_path / "there" / "old")
    shutil.copytree(run_dir, tmp_path / "copy" / "renamed")
    first, second = [
        *written(run_dir, tmp_path / "output"),
        *written(tmp_path / "copy" / "renamed", tmp_path / "output"),
    ]
    assert (second.run_dir, second.is_new) == (first.run_dir, False)


def test_one_bad_folder_does_not_hide_the_others(tmp_path: Path) -> None:
    tracker = tmp_path / "run-tracker"
    write_old_run(tracker / "good")
    dead_run(tracker / "live", age=1.0)
    told = list(import_old_runs([tracker, tmp_path / "nowhere"], tmp_path / "new", NOW_NS))
    assert [one.run_dir.name for one in told if isinstance(one, Written)] == ["good"]
    live, nowhere = [one for one in told if isinstance(one, str)]
    assert "seems to run" in live
    assert "nowhere holds no run" in nowhere


@pytest.mark.skipif(
    not REAL.is_dir(), reason="the recorded run of the original tracker is not here"
)
def test_a_real_run_is_imported_whole(tmp_path: Path) -> None:
    (made,) = written(REAL, tmp_path)
    run = load_run(made.run_dir)
    assert (run.status, run.summary.steps_completed, run.problems) == ("completed", 5, [])
    assert run.duration_seconds == pytest.approx(131.292)
    assert {one.step_id: round(one.duration_seconds or 0, 1) for one in run.steps} == {
        "train_expert": 40.0,
        "collect_trajectories": 35.7,
        "bc_pretrain": 20.3,
        "ppo_finetune": 34.6,
        "compare_runs": 0.6,
    }
    assert len(list(run.telemetry())) == 45
    assert past_run(run.record) is not None
