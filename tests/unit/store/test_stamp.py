"""A stamp changes with every file that a record is derived from."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.stamp import Stamp, take_stamp
from tests.data.ended_runs import write_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def stamp(run_dir: Path) -> Stamp:
    found = take_stamp(str(run_dir))
    assert found is not None
    return found


def append(run_dir: Path, name: str = "manifest.jsonl") -> None:
    path = run_dir / name
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.write(b"{}\n")


def replace(run_dir: Path) -> None:
    """Replace manifest.json by one of the same size and time."""
    old = run_dir / "manifest.json"
    times = old.stat()
    new = run_dir / "new"
    shutil.copy(old, new)
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.replace(old)


def test_a_run_that_nobody_touches_keeps_its_stamp(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, "a")
    assert stamp(run_dir) == stamp(run_dir)
    assert stamp(run_dir).is_derived


def child_writes(run_dir: Path) -> None:
    append(run_dir, "workers/h-1-aaaaaa.jsonl")


def touch(run_dir: Path) -> None:
    os.utime(run_dir / "manifest.json", ns=(1, 1))


@pytest.mark.parametrize(
    "change",
    [append, replace, child_writes, touch],
    ids=["journal grows", "manifest.json is replaced", "a child writes", "another time"],
)
def test_a_change_of_any_file_changes_the_stamp(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    run_dir = write_run(tmp_path, "a")
    before = stamp(run_dir)
    change(run_dir)
    assert stamp(run_dir) != before


def test_a_journal_of_a_child_that_grows_changes_the_stamp(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, "a")
    append(run_dir, "workers/h-1-aaaaaa.jsonl")
    append(run_dir, "workers/notes.txt")
    before = stamp(run_dir)
    assert before.workers == 1
    append(run_dir, "workers/h-1-aaaaaa.jsonl")
    assert stamp(run_dir) != before


@pytest.mark.parametrize("name", ["manifest.jsonl", "workers/h-1-aaaaaa.jsonl"])
def test_a_record_is_not_derived_where_a_journal_was_written_after_it(
    tmp_path: Path, name: str
) -> None:
    run_dir = write_run(tmp_path, "a")
    append(run_dir, name)
    later = (run_dir / "manifest.json").stat().st_mtime_ns + 1
    os.utime(run_dir / name, ns=(later, later))
    assert not stamp(run_dir).is_derived


@pytest.mark.parametrize("name", ["manifest.json", "manifest.jsonl"])
def test_where_a_file_is_missing_there_is_no_stamp(tmp_path: Path, name: str) -> None:
    run_dir = write_run(tmp_path, "a")
    (run_dir / name).unlink()
    assert take_stamp(str(run_dir)) is None


def test_links_in_the_folder_of_children_are_no_journals(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, "a")
    (run_dir / "workers").mkdir()
    (run_dir / "workers" / "h-1-aaaaaa.jsonl").symlink_to(run_dir / "manifest.jsonl")
    assert stamp(run_dir).workers == 0
