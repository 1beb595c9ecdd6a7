"""Run directories are found and put in order, and read only where that must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.store import directories
from robot_sf_otel.store.directories import (
    find_runs,
    folders_newest_first,
    newest_first,
    stamp_seconds,
    started_ns,
)
from robot_sf_otel.store.layout import run_id
from tests.data.ended_runs import SECOND, START, write_run

if TYPE_CHECKING:
    from pathlib import Path


@given(st.integers(0, 4_000_000_000))
def test_the_time_in_a_generated_id_is_when_the_run_began(seconds: int) -> None:
    assert stamp_seconds(run_id("p", seconds * SECOND, "aaaaaa")) == seconds


@pytest.mark.parametrize(
    "name",
    [
        "",
        "run",
        "20260101T000000Z",
        "20260101 000000Z-p",
        "20261399T000000Z-p",
        "2026010aT000000Z-p",
        "20260101T00000xZ-p",
        "2026010\u0661T000000Z-p",
    ],
)
def test_other_names_hold_no_time(name: str) -> None:
    assert stamp_seconds(name) is None


def test_a_journal_whose_first_line_is_long_tells_its_start(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, "long", at=7, params={"text": "x" * 9_000, "more": ["y"] * 9_000})
    assert (run_dir / "manifest.jsonl").read_bytes().index(b"\n") > directories._FIRST_PART
    assert started_ns(run_dir) == (START + 7) * SECOND


def test_runs_with_a_time_in_their_name_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [run_id("p", (START + at) * SECOND, "aaaaaa") for at in range(5)]
    for at, name in enumerate(names):
        write_run(tmp_path, name, at=at)

    def refuse(run_dir: Path) -> int:
        raise AssertionError(run_dir)

    monkeypatch.setattr(directories, "precise_start", refuse)
    assert [run.name for run in newest_first([tmp_path])] == names[::-1]


def test_a_folder_without_a_journal_is_no_run(tmp_path: Path) -> None:
    write_run(tmp_path, "a")
    for name in ("empty", run_id("p", START * SECOND, "aaaaaa")):
        (tmp_path / "run-tracker" / name).mkdir()
    assert [run.name for run in find_runs([tmp_path])] == ["a"]
    assert [run.name for run in newest_first([tmp_path])] == ["a"]


def test_hidden_folders_and_files_are_no_folders_of_runs(tmp_path: Path) -> None:
    write_run(tmp_path, ".pruned-0123456789abcdef")
    (tmp_path / "run-tracker" / "file").write_text("")
    assert list(folders_newest_first([tmp_path])) == []
