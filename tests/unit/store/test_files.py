from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.files import is_deleted, replace_atomically, write_again

if TYPE_CHECKING:
    from pathlib import Path


def test_content_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    target = tmp_path / "manifest.json"
    replace_atomically(target, b"old")
    replace_atomically(target, b"new", sync=True)
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_failure_keeps_the_old_content_and_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "manifest.json"
    replace_atomically(target, b"old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_atomically(target, b"new", sync=True)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_atomically(tmp_path / "gone" / "x", b"")


def test_permissions_are_what_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        replace_atomically(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_threads_that_replace_the_same_file_leave_one_whole_content(tmp_path: Path) -> None:
    target = tmp_path / "x"
    contents = [bytes([65 + number]) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=replace_atomically, args=(target, c)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [target]


def test_deleted_file_is_written_again_from_its_descriptor(tmp_path: Path) -> None:
    target = tmp_path / "manifest.jsonl"
    target.write_bytes(b"x" * 3_000_000)
    fd = os.open(target, os.O_RDWR | os.O_APPEND)
    target.unlink()
    os.write(fd, b"later")
    assert is_deleted(fd)
    write_again(fd, target)
    assert target.read_bytes() == b"x" * 3_000_000 + b"later"
    assert list(tmp_path.iterdir()) == [target]
    os.close(fd)


def test_what_took_the_name_of_a_deleted_file_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "manifest.jsonl"
    target.write_bytes(b"old")
    fd = os.open(target, os.O_RDWR)
    target.unlink()
    target.mkdir()
    with pytest.raises(FileExistsError):
        write_again(fd, target)
    assert list(tmp_path.iterdir()) == [target]
    os.close(fd)
    assert not is_deleted(fd)
