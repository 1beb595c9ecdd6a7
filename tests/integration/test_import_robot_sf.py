"""History of the original tracker, as a new run of the same pipeline sees it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.cli.main import run_command
from robot_sf_otel.store.history import newest_first
from robot_sf_otel.store.reader import load_run
from tests.data.old_tracker import STEPS, write_old_run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

NEW_RUN = f"""
import time
from robot_sf_otel import configure, pipeline, step
configure(console="lines")
with pipeline("imitation", steps={list(STEPS)!r}) as run:
    with step("train_expert"):
        time.sleep(1.2)  # estimates are a second apart
    with step("collect_trajectories"):
        until = time.monotonic() + 60  # history is read beside the run
        while '"history_runs":2' not in (run.run_dir / "manifest.jsonl").read_text():
            assert time.monotonic() < until
            time.sleep(1.1)
            with step("train_expert"):
                pass
"""


def test_a_new_run_has_an_eta_from_imported_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("monday", "tuesday"):
        write_old_run(tmp_path / "old" / "run-tracker" / name)
    root = tmp_path / "new"
    arguments = ["--artifact-root", str(root), "import", "--from", "robot_sf"]
    assert run_command([*arguments, str(tmp_path / "old")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "imported monday (completed, 3 steps)",
        "imported tuesday (completed, 3 steps)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", NEW_RUN],
        cwd=tmp_path,
        env={"ROBOT_SF_ARTIFACT_ROOT": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    new = load_run(next(newest_first([root])))
    shown = [event["eta"] for event in new.journal() if event["event"] == "eta_shown"]
    learned = [eta for eta in shown if eta["history_runs"] == 2]
    assert learned, done.stderr
    assert learned[0]["remaining_seconds"] > 0


def test_the_pipeline_that_the_runs_count_for_can_be_named(tmp_path: Path) -> None:
    old = write_old_run(tmp_path / "old")
    arguments = ["--artifact-root", str(tmp_path), "import", str(old), "--pipeline", "nightly"]
    assert run_command(arguments) == 0
    assert load_run(tmp_path / "run-tracker" / "old").pipeline == "nightly"


def test_a_folder_without_old_runs_is_an_error_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["import", "--from", "robot_sf", str(tmp_path)]) == 1
    assert "holds no run of the original robot_sf tracker" in capsys.readouterr().err
