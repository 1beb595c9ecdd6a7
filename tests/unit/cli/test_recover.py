"""`recover`: what it says, and its exit codes."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.cli.main import run_command
from robot_sf_otel.store.identity import process_identity
from tests.data import sample_runs

if TYPE_CHECKING:
    from pathlib import Path

DEAD = dataclasses.replace(process_identity(), start_time=1)


@pytest.fixture
def dead(tmp_path: Path) -> Path:
    """A run of a process that is gone, beside one that has ended."""
    sample_runs.healthy().write(tmp_path / "output")
    run_dir = sample_runs.running().write(tmp_path / "output")
    (run_dir / "run.lock").write_text(json.dumps(dataclasses.asdict(DEAD)))
    return run_dir


def test_each_run_is_a_line(dead: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["recover", "--dry-run"]) == 0
    would, _ = capsys.readouterr()
    assert run_command(["recover"]) == 0
    said, err = capsys.readouterr()
    reason = f"the process that ran it is gone and did not close the record (pid {DEAD.pid} on "
    assert said.startswith(f"closed       {dead.name}  {reason}")
    assert would == said.replace("closed     ", "would close")
    assert not err


def test_nothing_to_do_is_said_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_runs.healthy().write(tmp_path / "output")
    assert run_command(["recover"]) == 0
    assert capsys.readouterr() == ("", "robot-sf-otel: no run is open\n")


def test_json_is_an_array(dead: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["recover", "latest", "--format", "json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry | {"reason": ""} == {
        "run_id": dead.name,
        "artifact_dir": str(dead),
        "action": "closed",
        "status": "failed",
        "reason": "",
    }


def test_run_that_was_named_twice_is_one(dead: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["recover", "latest", dead.name]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_run_that_lives_is_no_failure_unless_it_was_named(
    dead: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dead / "run.lock").write_text(json.dumps(dataclasses.asdict(process_identity())))
    assert run_command(["recover"]) == 0
    assert run_command(["recover", "latest"]) == 1
    assert capsys.readouterr().out.count("still runs") == 2


def test_run_that_cannot_be_written_is_a_failure(
    dead: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "manifest.jsonl")

    monkeypatch.setattr("robot_sf_otel.store.recovery.close_dead_run", refuse)
    assert run_command(["recover"]) == 1
    assert capsys.readouterr().out.startswith(f"failed       {dead.name}  [Errno 13] Permission")


def test_unknown_run_is_a_failure(dead: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["recover", "nonsense"]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("robot-sf-otel: no run 'nonsense'")
