"""`list`: groups of runs that differ in seeds only, tags, and several artifact roots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_sf_otel.cli import listing
from tests.data.ended_runs import write_run
from tests.unit.cli.answer import Answer

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def seeds(root: Path) -> None:
    for seed in range(3):
        write_run(
            root,
            f"r{seed}",
            at=seed * 100,
            params={"lr": 0.1},
            seeds={"seed": seed},
            steps={"train": 10.0 * (seed + 1)},
        )
    write_run(root, "other", at=900, status="failed", params={"lr": 0.2}, tags=["best", "nightly"])


def test_a_group_is_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds(tmp_path / "output")
    monkeypatch.setenv("COLUMNS", "150")
    answer = Answer(capsys, "list", "--group")
    assert answer.code == 0
    rows = answer.out.splitlines()
    assert "p lr=0.2" in rows[1]
    assert "1 failed" in rows[1]
    assert "p lr=0.1" in rows[2]
    assert "3 completed" in rows[2]
    assert "0-2" in rows[2]
    assert "20.0 s (10.0 s to 30.0 s)" in rows[2]
    monkeypatch.setenv("COLUMNS", "60")
    narrow = Answer(capsys, "list", "--group").out
    assert max(len(line) for line in narrow.splitlines()) <= 60


def test_groups_as_json_are_one_array(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seeds(tmp_path / "output")
    first, second = Answer(capsys, "list", "--group", "--format", "json").json
    assert (first["runs"], second["runs"]) == (1, 3)
    assert second["duration_seconds"]["median"] == 20.0
    assert second["run_ids"] == ["r2", "r1", "r0"]
    assert len(Answer(capsys, "list", "--group", "--limit", "1", "--format", "json").json) == 1
    assert Answer(capsys, "list", "--group", "--pipeline", "q", "--format", "json").json == []


def test_that_older_runs_were_left_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds(tmp_path / "output")
    monkeypatch.setattr(listing, "GROUPED", 2)
    answer = Answer(capsys, "list", "--group")
    assert "only the newest 2 runs" in answer.err


def test_tags_are_shown_and_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds(tmp_path / "output")
    monkeypatch.setenv("COLUMNS", "150")
    assert "best, nightly" in Answer(capsys, "list").out
    tagged = Answer(capsys, "list", "--tag", "best", "--format", "json").json
    assert [run["run_id"] for run in tagged] == ["other"]


def test_several_roots_are_one_list_that_says_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "one", "a", at=1)
    write_run(tmp_path / "two", "b", at=2)
    (tmp_path / "link").symlink_to(tmp_path / "two")
    monkeypatch.setenv("COLUMNS", "150")
    roots = [f"--artifact-root={tmp_path / name}" for name in ("one", "two", "link", "missing")]
    answer = Answer(capsys, *roots, "list")
    rows = answer.out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["b", "a"]
    assert "/two" in rows[0]
    assert "/one" in rows[1]
