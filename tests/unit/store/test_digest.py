"""Digests of files and folders, as sha256sum has them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store import digest as module
from robot_sf_otel.store.digest import NoDigest, Stopped, digest_of

if TYPE_CHECKING:
    from pathlib import Path

LATER = time.time_ns() + 10**18


def never() -> bool:
    return False


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 1_000_000)
    assert digest_of(path, LATER, never) == (
        3_000_000,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def test_a_folder_is_what_sha256sum_says_of_its_files(tmp_path: Path) -> None:
    for name in ("b", "a/c", "a/ d", "a.x"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_text(name)
    (tmp_path / "f" / "link").symlink_to("/etc/passwd")
    (tmp_path / "f" / "loop").symlink_to(tmp_path / "f")
    os.mkfifo(tmp_path / "f" / "pipe")
    command = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    said = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path / "f", capture_output=True, text=True, check=True
    )
    assert digest_of(tmp_path / "f", LATER, never) == (11, said.stdout.split()[0])


def test_what_was_changed_since_it_was_reported_has_none(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    with pytest.raises(NoDigest, match="changed after"):
        digest_of(path, path.stat().st_mtime_ns - 10**9, never)


def test_what_grows_while_it_is_read_has_none(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")

    def grow() -> bool:
        with path.open("ab") as file:
            file.write(b"x")
            file.flush()
        os.utime(path, ns=(1, 1))
        return path.stat().st_size > 5

    with pytest.raises((NoDigest, Stopped)):
        digest_of(path, LATER, grow)


@pytest.mark.parametrize("kind", ["missing", "pipe", "loop", "socketless device"])
def test_what_is_neither_file_nor_folder_has_none_and_does_not_block(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind != "missing":
        path.symlink_to(os.devnull)
    with pytest.raises(NoDigest):
        digest_of(path, LATER, never)


def test_reading_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    for path in (tmp_path / "x", tmp_path):
        with pytest.raises(Stopped):
            digest_of(path, LATER, lambda: True)


def test_a_folder_of_too_many_files_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 1)
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    with pytest.raises(NoDigest, match="more than 1 files"):
        digest_of(tmp_path, LATER, never)
