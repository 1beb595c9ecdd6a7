"""`prune`: what it says, in which form, and with which exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.data import sample_runs
from tests.unit.cli.answer import Answer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An artifact root with three closed runs."""
    for story in (sample_runs.healthy, sample_runs.failed, sample_runs.cancelled):
        story().write(tmp_path / "output")
    return tmp_path / "output"


def left(root: Path) -> list[str]:
    return sorted(path.name[-6:] for path in (root / "run-tracker").iterdir())


def test_prune_says_what_it_deleted_and_what_that_freed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Answer(capsys, "prune", "--keep", "1")

    assert (answer.code, answer.err) == (0, "")
    assert "20260101T000000Z-imitation-aaaaaa" in answer.out
    assert "2 runs deleted, freed " in answer.out
    assert "under output; 1 run kept" in answer.out
    assert left(root) == ["cccccc"]


def test_prune_keeps_twenty_by_default(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "0 runs deleted, freed 0 B under output; 3 runs kept" in Answer(capsys, "prune").out
    assert len(left(root)) == 3


def test_a_dry_run_says_the_same_and_deletes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Answer(capsys, "prune", "--keep", "0", "--dry-run")

    assert "3 runs to delete, would free" in answer.out
    assert len(left(root)) == 3


def test_prune_as_json_is_one_object_an_artifact_root(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_runs.thousand().write(tmp_path / "other")
    roots = ["--artifact-root", "output", "--artifact-root", "other"]
    answer = Answer(capsys, *roots, "prune", "--keep", "2", "--format", "json")

    first, second = answer.json
    assert (first["artifact_root"], second["artifact_root"]) == ("output", "other")
    assert (first["keep"], first["kept"], first["dry_run"]) == (2, 2, False)
    (deleted,) = first["deleted"]
    assert deleted["run_id"] == "20260101T000000Z-imitation-aaaaaa"
    assert deleted["freed_bytes"] == first["freed_bytes"] > 0
    assert second["deleted"] == second["failed"] == second["live"] == []


def test_what_is_not_deleted_is_named_with_the_reason(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        broken = root / "run-tracker" / f"broken-{number}\x1b[31m"
        broken.mkdir()
        (broken / "manifest.jsonl").write_text("nonsense\n")
    answer = Answer(capsys, "prune", "--keep", "0")

    assert answer.code == 0
    assert "5 not readable, never deleted: broken-" in " ".join(answer.out.split())
    assert "and 2 more" in " ".join(answer.out.split())  # a line is as long as the terminal is wide
    assert "\x1b" not in answer.out


def test_a_tracker_that_is_a_link_is_one_line_and_exit_code_1(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "run-tracker").symlink_to(root / "run-tracker")
    answer = Answer(capsys, "--artifact-root", "linked", "prune", "--keep", "0")

    assert (answer.code, answer.out) == (1, "")
    assert answer.err.count("\n") == 1
    assert "linked/run-tracker" in answer.err
    assert "symbolic link" in answer.err
    assert len(left(root)) == 3


def test_a_run_that_cannot_be_deleted_is_exit_code_1(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path as RealPath

    def refuse(self: RealPath, target: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(RealPath, "rename", refuse)
    answer = Answer(capsys, "prune", "--keep", "2")

    assert answer.code == 1
    assert "aaaaaa could not be deleted: Permission denied" in answer.err
    assert len(left(root)) == 3


@pytest.mark.parametrize("arguments", [["--keep", "-1"], ["--keep", "few"], ["--format", "xml"]])
def test_bad_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    answer = Answer(capsys, "prune", *arguments)

    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
