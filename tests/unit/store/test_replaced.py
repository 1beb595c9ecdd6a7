"""A process that runs another program now finds what the one before left open."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.store.identity import ProcessIdentity, process_identity
from robot_sf_otel.store.reader import load_run
from robot_sf_otel.store.replaced import close_replaced_run, is_replaced, replaced_worker
from tests.data import sample_runs

if TYPE_CHECKING:
    from pathlib import Path

ME = process_identity()
OTHER = dataclasses.replace(ME, start_time=1)
NOW = 1_790_000_000_000_000_000


def owned_by(owner: ProcessIdentity, root: Path) -> Path:
    run_dir = sample_runs.running().write(root)
    (run_dir / "run.lock").write_text(json.dumps(dataclasses.asdict(owner)))
    return run_dir


def test_only_a_run_of_this_very_process_was_replaced(tmp_path: Path) -> None:
    assert is_replaced(owned_by(ME, tmp_path / "mine"))
    assert not is_replaced(owned_by(OTHER, tmp_path / "others"))
    assert not is_replaced(tmp_path)


def test_process_whose_start_is_not_known_takes_no_run_for_its_own(tmp_path: Path) -> None:
    unknown = dataclasses.replace(ME, start_time=None)
    assert not is_replaced(owned_by(unknown, tmp_path))


def test_run_is_closed_as_ended_by_exec(tmp_path: Path) -> None:
    run_dir = owned_by(ME, tmp_path)
    assert close_replaced_run(run_dir, NOW).action == "closed"
    record = load_run(run_dir).record
    assert record.status == "failed"
    assert "replaced itself by another program (exec)" in (record.status_reason or "")
    assert record.summary.running_steps == []


def fold(identity: ProcessIdentity) -> RunFold:
    made = RunFold()
    made.apply(
        e.StepStarted(
            time_unix_nano=NOW,
            span_id="a",
            step_id="rollout",
            process="box:9",
            identity=dataclasses.asdict(identity),
        )
    )
    return made


def test_steps_of_a_worker_that_was_this_process_are_lost() -> None:
    (lost,) = replaced_worker(fold(ME), NOW)
    assert lost.process == "box:9"
    assert "replaced itself" in (lost.reason or "")
    assert replaced_worker(fold(OTHER), NOW) == []
