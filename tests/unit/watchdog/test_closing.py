"""What the watchdog writes, once the process that it watched has ended."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import on_finish
from robot_sf_otel.report.terminal import RESTORE
from robot_sf_otel.store.identity import process_identity
from robot_sf_otel.store.journal import iter_raw
from robot_sf_otel.store.reader import load_run
from robot_sf_otel.system_metrics import cgroup
from robot_sf_otel.watchdog.closing import close_lost_run
from tests.data import sample_runs

if TYPE_CHECKING:
    from pathlib import Path

DEAD = dataclasses.replace(process_identity(), start_time=1)
STAT = b"12 (python) Z 1" + b" 0" * 47 + b" 9"
LATER = 1_767_300_000_000_000_000


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    run_dir = sample_runs.running().write(tmp_path)
    (run_dir / "run.lock").write_text(json.dumps(dataclasses.asdict(DEAD)))
    return run_dir


def task(**told: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of a task
    return {"path": [], "owner": dataclasses.asdict(DEAD), **told}


def last(run_dir: Path) -> dict[str, Any]:
    return list(iter_raw(run_dir / "manifest.jsonl"))[-1]


def test_run_is_closed_at_the_moment_of_the_end_with_its_cause(run_dir: Path) -> None:
    close_lost_run(str(run_dir), task(), LATER, STAT, None)
    end = last(run_dir)
    assert (end["event"], end["time_unix_nano"]) == ("run_recovered", LATER)
    who = f"the process that ran it (pid {DEAD.pid} on {DEAD.host})"
    assert end["reason"] == f"{who} was killed by SIGKILL"


def test_kill_for_memory_is_told_by_the_counter_of_the_group(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(sensor: cgroup.CgroupSensor) -> cgroup.CgroupReading:
        return cgroup.CgroupReading(oom_kills=3)

    monkeypatch.setattr(cgroup.CgroupSensor, "read", read)
    close_lost_run(str(run_dir), task(oom_kills=2), LATER, STAT, None)
    assert "(oom_kill 2 → 3)" in last(run_dir)["reason"]


def test_operators_command_is_started_only_by_who_closed_the_run(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[object, ...]] = []

    def start(*given: object, folder: str) -> None:
        started.append((*given, folder))

    monkeypatch.setattr(on_finish, "start_on_finish", start)
    for _ in range(2):
        told = task(on_finish="notify", folder=str(run_dir.parent))
        close_lost_run(str(run_dir), told, LATER, STAT, None)
    assert started == [("notify", run_dir, "failed", str(run_dir.parent))]


@pytest.mark.parametrize("folder", [None, "/no/such/folder"])
def test_operators_command_runs_at_the_root_where_the_pipelines_folder_is_gone(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, folder: str | None
) -> None:
    folders: list[str] = []

    def start(*_: object, folder: str) -> None:
        folders.append(folder)

    monkeypatch.setattr(on_finish, "start_on_finish", start)
    close_lost_run(str(run_dir), task(on_finish="notify", folder=folder), LATER, STAT, None)
    assert folders == ["/"]


@pytest.mark.parametrize("command", ["./no-such-command", "notify 'without an end"])
def test_operators_command_that_cannot_be_started_is_in_the_record(
    run_dir: Path, command: str
) -> None:
    close_lost_run(str(run_dir), task(on_finish=command), LATER, STAT, None)
    fault = last(run_dir)
    assert (fault["event"], fault["where"]) == ("telemetry_fault", "on_finish")
    written = json.loads((run_dir / "manifest.json").read_bytes())
    assert written["status"] == "failed"
    assert written["self"]["faults"] == [f"on_finish: {fault['message']}"]
    assert load_run(run_dir).record.status == "failed"


def test_rows_of_the_bar_are_given_back(run_dir: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        close_lost_run(str(run_dir), task(terminal=os.ttyname(theirs)), LATER, STAT, None)
        assert os.read(ours, 100).decode() == RESTORE
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("terminal", ["/dev/null", "/dev/no-such-terminal"])
def test_terminal_that_is_none_any_more_hinders_nothing(run_dir: Path, terminal: str) -> None:
    close_lost_run(str(run_dir), task(terminal=terminal), LATER, STAT, None)
    assert last(run_dir)["event"] == "run_recovered"
