"""Artifacts: figures are saved, copies made, digests filled in; what cannot be, ends nothing."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import pipeline, step
from robot_sf_otel.testing import CapturedRuns, capture_run
from tests.unit.warned import warnings_said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robot_sf_otel.manifest.schema import Artifact


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[CapturedRuns]:
    with capture_run(tmp_path / "root") as captured:
        yield captured


@pytest.fixture
def said() -> Iterator[list[str]]:
    with warnings_said() as messages:
        yield messages


class Figure:
    """Has what a matplotlib figure has."""

    def savefig(self, fname: Any, /, **options: Any) -> None:  # noqa: ANN401 - as theirs
        Path(fname).write_bytes(b"picture")


class Image:
    """Has what a Pillow image has."""

    def save(self, fp: Any, /, **options: Any) -> None:  # noqa: ANN401 - as theirs
        Path(fp).write_bytes(b"image")


def log(runs: CapturedRuns, *what: Any, **how: Any) -> list[Artifact]:  # noqa: ANN401 - whatever it takes
    with pipeline("p"), step("train") as this:
        for one in what:
            this.log_artifact(one, **how)
    record = runs.record
    assert record.status == "completed"
    assert record.steps[0].artifacts == record.artifacts
    return record.artifacts


def test_a_file_gets_its_size_and_digest(runs: CapturedRuns, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(b"12345")
    (found,) = log(runs, path)
    assert (found.path, found.kind, found.size_bytes) == (str(path), "file", 5)
    assert found.sha256 == hashlib.sha256(b"12345").hexdigest()
    assert found.step_id == "train"


def test_a_folder_gets_the_size_of_its_files(runs: CapturedRuns, tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "x").write_bytes(b"123")
    (found,) = log(runs, str(tmp_path / "data"))
    assert (found.kind, found.name, found.size_bytes) == ("directory", "data", 3)
    assert found.sha256 is not None


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (None, "figure.png"),
        ("learning curve", "learning-curve.png"),
        ("../../curve.pdf", "curve.pdf"),
        ("a.b", "a-b.png"),
        ("曲线", "曲线.png"),
        ("奖励.PDF", "奖励.pdf"),
        ("📈", "figure.png"),
        ("/etc/passwd", "etc-passwd.png"),
        ("..", "figure.png"),
        (".png", "png.png"),
        ("x\u202egnp.\x00.svg", "x-gnp.svg"),
        ("caf\udce9", "caf.png"),
    ],
)
def test_a_figure_is_saved_with_the_run(runs: CapturedRuns, name: str | None, file: str) -> None:
    (found,) = log(runs, Figure(), name=name)
    assert (found.path, found.kind) == (f"artifacts/{file}", "figure")
    assert (runs.run_dirs[0] / found.path).read_bytes() == b"picture"
    assert found.sha256 == hashlib.sha256(b"picture").hexdigest()


def test_figures_of_one_name_do_not_overwrite_each_other(runs: CapturedRuns) -> None:
    found = log(runs, Figure(), Image(), Figure(), name="x")
    assert [one.path for one in found] == [
        "artifacts/x.png",
        "artifacts/x-2.png",
        "artifacts/x-3.png",
    ]
    assert [one.kind for one in found] == ["figure", "image", "figure"]


@pytest.mark.parametrize("name", ["曲" * 5000, "a/" * 5000, "\u0301" * 5000])
def test_the_name_of_a_figure_may_be_of_any_length(runs: CapturedRuns, name: str) -> None:
    found = log(runs, Figure(), Figure(), name=name)
    files = [runs.run_dirs[0] / one.path for one in found]
    assert [path.read_bytes() for path in files] == [b"picture"] * 2
    assert {path.parent for path in files} == {runs.run_dirs[0] / "artifacts"}


def test_a_figure_that_cannot_be_saved_leaves_nothing(runs: CapturedRuns, said: list[str]) -> None:
    class Broken:
        def savefig(self, fname: Any, /, **options: Any) -> None:  # noqa: ANN401 - as theirs
            raise RuntimeError("no backend")

    assert log(runs, Broken()) == []
    assert list((runs.run_dirs[0] / "artifacts").iterdir()) == []
    assert "no backend" in said[0]


def test_what_is_no_artifact_is_said(runs: CapturedRuns, said: list[str]) -> None:
    assert log(runs, 42) == []
    assert "int is neither a path nor something with `savefig` or `save`" in said[0]


def test_a_copy_keeps_the_content_and_the_name(runs: CapturedRuns, tmp_path: Path) -> None:
    path = tmp_path / "Best Model.tar.gz"
    path.write_bytes(b"old")
    with pipeline("p") as run:
        run.log_artifact(path, copy=True)
        path.write_bytes(b"newer")
    (found,) = runs.record.artifacts
    assert found.path == "artifacts/Best Model.tar.gz"
    assert (runs.run_dirs[0] / found.path).read_bytes() == b"old"
    assert found.sha256 == hashlib.sha256(b"old").hexdigest()


def test_a_folder_is_copied_without_what_could_block(runs: CapturedRuns, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "x").write_bytes(b"123")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    (found,) = log(runs, folder, copy=True)
    copied = runs.run_dirs[0] / found.path
    assert found.path == "artifacts/data"
    assert sorted(path.name for path in copied.iterdir()) == ["loop", "x"]
    assert (copied / "loop").is_symlink()


def test_what_lies_in_the_run_already_is_not_copied(runs: CapturedRuns) -> None:
    with pipeline("p") as run:
        assert run.artifacts_dir is not None
        (run.artifacts_dir / "x").write_bytes(b"1")
        run.log_artifact(run.artifacts_dir / "x", copy=True)
    assert [one.path for one in runs.record.artifacts] == ["artifacts/x"]


@pytest.mark.parametrize("copy", [False, True], ids=["in place", "copied"])
@pytest.mark.parametrize("kind", ["missing", "pipe", "socket", "loop", "device", "nul"])
def test_what_cannot_be_read_is_recorded_as_it_is(
    runs: CapturedRuns, said: list[str], tmp_path: Path, kind: str, *, copy: bool
) -> None:
    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            os.chdir(tmp_path)
            listening.bind("x")
        elif kind == "loop":
            path.symlink_to(path)
        elif kind == "device":
            path = Path("/dev/zero")
        elif kind == "nul":
            path = tmp_path / "x\0y"
        (found,) = log(runs, path, copy=copy)
    assert (found.size_bytes, found.sha256) == (None, None)
    assert any("does not exist" in line for line in said) == (kind in {"missing", "loop", "nul"})


def test_what_is_changed_after_it_was_reported_has_no_digest(
    runs: CapturedRuns, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    with pipeline("p") as run:
        run.log_artifact(path)
        path.write_bytes(b"12346")
        later = path.stat().st_mtime_ns + 10**9
        os.utime(path, ns=(later, later))
    (found,) = runs.record.artifacts
    assert (found.size_bytes, found.sha256) == (5, None)


def test_what_takes_too_long_to_read_does_not_hold_up_the_end(
    runs: CapturedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robot_sf_otel.artifact_digests.END_SECONDS", 0.0)
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    (found,) = log(runs, path)
    assert (found.size_bytes, found.sha256) == (5, None)


def test_the_digest_is_read_while_the_run_goes_on(runs: CapturedRuns, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    with pipeline("p") as run:
        run.log_artifact(path)
        live: Any = run
        observer = live.runtime.observer
        digests = observer._digests[run.run_id]
        assert digests.has_work()
        digests.work()
        assert not digests.has_work()
        path.unlink()
    assert runs.record.artifacts[0].sha256 == hashlib.sha256(b"12345").hexdigest()


def test_a_small_file_has_its_digest_although_a_huge_one_was_reported_before(
    runs: CapturedRuns, tmp_path: Path
) -> None:
    huge, small = tmp_path / "huge", tmp_path / "small"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    small.write_bytes(b"12345")
    with pipeline("p") as run:
        run.log_artifact(huge)
        run.log_artifact(small)
    first, second = runs.record.artifacts
    assert (first.size_bytes, first.sha256) == (1 << 40, None)
    assert second.sha256 == hashlib.sha256(b"12345").hexdigest()


def test_the_end_reads_what_waits_behind_a_huge_file(runs: CapturedRuns, tmp_path: Path) -> None:
    huge, small = tmp_path / "huge", tmp_path / "small"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    small.write_bytes(b"12345")
    with pipeline("p") as run:
        run.log_artifact(huge)
        live: Any = run
        digests = live.runtime.observer._digests[run.run_id]
        assert digests.has_work()
        thread = threading.Thread(target=digests.work, daemon=True)
        thread.start()
        while not digests._working.locked() or digests._waiting:
            assert thread.is_alive()
        run.log_artifact(small)
    thread.join()
    assert [found.sha256 for found in runs.record.artifacts] == [
        None,
        hashlib.sha256(b"12345").hexdigest(),
    ]
