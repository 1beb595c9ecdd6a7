"""The index is a reason to skip a run, or nothing: whatever is wrong with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store import index as index_module
from robot_sf_otel.store.index import INDEX_NAME, Entry, Facts, RunIndex
from robot_sf_otel.store.stamp import Stamp

if TYPE_CHECKING:
    from pathlib import Path

STAMP = Stamp(*range(8))


def entry(name: str, status: str = "completed") -> Entry:
    facts = Facts(status, "p", None, ["h"], ["t"])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    return Entry(name, STAMP, facts)


@pytest.fixture
def tracker(tmp_path: Path) -> Path:
    """A folder with three runs."""
    folder = tmp_path / "run-tracker"
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
    return folder


def save(tracker: Path, *entries: Entry) -> None:
    index = RunIndex(tracker)
    for one in entries:
        index.add(one)
    index.save()


def content(tracker: Path) -> bytes:
    return (tracker / INDEX_NAME).read_bytes()


def test_what_was_saved_is_there_the_next_time(tracker: Path) -> None:
    save(tracker, entry("a"))
    save(tracker, entry("b", "failed"))
    assert RunIndex(tracker).entries == {"a": entry("a"), "b": entry("b", "failed")}


def test_the_last_line_of_a_run_counts(tracker: Path) -> None:
    save(tracker, entry("a"))
    save(tracker, entry("a", "failed"))
    assert RunIndex(tracker).entries == {"a": entry("a", "failed")}


def test_where_nothing_is_new_nothing_is_written(tracker: Path) -> None:
    save(tracker)
    assert not (tracker / INDEX_NAME).exists()
    save(tracker, entry("a"))
    before = (tracker / INDEX_NAME).stat()
    save(tracker)
    assert (tracker / INDEX_NAME).stat() == before


def test_runs_that_are_gone_are_forgotten_when_it_is_written_anew(
    tracker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_WASTE", 3)
    save(tracker, entry("a"), entry("gone"))
    for _ in range(5):
        save(tracker, entry("b"))
    assert set(RunIndex(tracker).entries) == {"a", "b"}
    assert content(tracker).count(b"\n") < 8


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_was_not_finished_costs_no_other(tracker: Path, cut: int) -> None:
    save(tracker, entry("a"), entry("b"))
    (tracker / INDEX_NAME).write_bytes(content(tracker)[:-cut])
    save(tracker, entry("c"))
    found = RunIndex(tracker).entries
    assert {"a", "c"} <= set(found)
    assert all(found[name] == entry(name) for name in found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"completed", b"cancelled"),
        (b'"p"', b'"q"'),
        (b'"p"', b"\xff"),
        (b'"p"', b"[" * 100_000),
        (b" [", b"\n["),
    ],
    ids=["status", "pipeline", "bytes", "depth", "broken in two"],
)
def test_damaged_lines_are_left_out(tracker: Path, old: bytes, new: bytes) -> None:
    save(tracker, entry("a"))
    (tracker / INDEX_NAME).write_bytes(content(tracker).replace(old, new))
    assert RunIndex(tracker).entries == {}
    save(tracker, entry("a"))
    assert RunIndex(tracker).entries == {"a": entry("a")}


def test_a_link_is_neither_read_nor_written(tracker: Path, tmp_path: Path) -> None:
    save(tracker, entry("a"))
    outside = tmp_path / "outside"
    (tracker / INDEX_NAME).rename(outside)
    (tracker / INDEX_NAME).symlink_to(outside)
    before = outside.read_bytes()
    assert RunIndex(tracker).entries == {}
    save(tracker, entry("b"))
    assert outside.read_bytes() == before
    assert (tracker / INDEX_NAME).is_symlink()


def test_a_folder_of_runs_that_is_a_link_gets_no_index(tracker: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tracker)
    save(link, entry("a"))
    assert not (tracker / INDEX_NAME).exists()


def test_a_link_that_appears_later_is_not_written_through(tracker: Path, tmp_path: Path) -> None:
    save(tracker, entry("a"))
    index = RunIndex(tracker)
    index.add(entry("b"))
    (tracker / INDEX_NAME).unlink()
    (tmp_path / "outside").write_text("mine")
    (tracker / INDEX_NAME).symlink_to(tmp_path / "outside")
    index.save()
    assert (tmp_path / "outside").read_text() == "mine"


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_the_umask_decides_who_may_read_and_write_it(tracker: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save(tracker, entry("a"))
    finally:
        os.umask(before)
    assert (tracker / INDEX_NAME).stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_is_no_file_is_left_alone(tracker: Path) -> None:
    (tracker / INDEX_NAME).mkdir()
    save(tracker, entry("a"))
    assert RunIndex(tracker).entries == {}
    assert sorted(path.name for path in tracker.iterdir()) == [INDEX_NAME, "a", "b", "c"]


def test_a_full_disk_is_no_error(tracker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tracker, entry("a"))

    def full(fd: int, data: bytes) -> int:
        return 0

    monkeypatch.setattr(os, "write", full)
    save(tracker, entry("b"))
    assert RunIndex(tracker).entries == {"a": entry("a")}


def test_a_file_of_another_format_is_left_alone(tracker: Path) -> None:
    other = tracker / ".index-2.jsonl"
    other.write_text("from the future")
    save(tracker, entry("a"))
    assert other.read_text() == "from the future"
    assert RunIndex(tracker).entries == {"a": entry("a")}


def test_a_folder_that_a_foreign_system_named_is_left_out(tracker: Path) -> None:
    save(tracker, entry("a\udcff"), entry("b"))
    assert RunIndex(tracker).entries == {"b": entry("b")}
