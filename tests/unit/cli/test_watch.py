"""`watch` where nobody looks at a terminal: lines, and the exit code of the run."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.cli import watch
from robot_sf_otel.store import reader
from tests.data.ended_runs import write_run
from tests.unit.cli.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord
    from robot_sf_otel.store.reader import LoadedRun


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("failed", 1), ("cancelled", 1)])
def test_a_run_that_has_ended_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: str, code: int
) -> None:
    write_run(tmp_path / "output", "a", status=status)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    answer = Answer(capsys, "watch")
    assert answer.code == code
    assert answer.out.count("\n") == 1
    assert f" p {status} after 1s, " in answer.out


class Time:
    """Time that passes only in pauses, with what the run looks like then."""

    def __init__(self, looks: Callable[[float, PipelineRunRecord], None]) -> None:
        self.now = 1000.0
        self._looks = looks
        self._real = reader.load_run

    def monotonic(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def load_run(
        self, run_dir: Path, *, telemetry: bool = True, most_bytes: int | None = None
    ) -> LoadedRun:
        run = self._real(run_dir, telemetry=telemetry, most_bytes=most_bytes)
        self._looks(self.now - 1000, run.record)
        return run


def watched(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: Callable[[float, PipelineRunRecord], None],
) -> Answer:
    time = Time(looks)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=time.pause)
    monkeypatch.setattr(watch, "time", clock)
    monkeypatch.setattr(reader, "load_run", time.load_run)
    return Answer(capsys, "watch")


def test_a_line_is_written_when_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def looks(seconds: float, record: PipelineRunRecord) -> None:
        record.status = "running" if seconds < 9 else "completed"
        record.summary.steps_completed = 0 if seconds < 5 else 1
        record.steps[0].progress.done = seconds

    write_run(tmp_path / "output", "a")
    answer = watched(monkeypatch, capsys, looks)
    assert answer.code == 0
    assert [line.split(", ")[1] for line in answer.out.splitlines()] == [
        "0 of 1 steps",
        "1 of 1 steps",
        "1 of 1 steps",
    ]


def test_where_only_progress_changes_there_is_a_line_every_half_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def looks(seconds: float, record: PipelineRunRecord) -> None:
        record.status = "running" if seconds < 100 else "failed"
        record.steps[0].status = "running"
        record.steps[0].progress.done = seconds

    write_run(tmp_path / "output", "a")
    answer = watched(monkeypatch, capsys, looks)
    assert answer.code == 1
    assert answer.out.count(" running ") == 4
    assert "train 30 it" in answer.out


def test_a_run_that_is_deleted_meanwhile_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(tmp_path / "output", "a")

    def looks(seconds: float, record: PipelineRunRecord) -> None:
        record.status = "running"
        shutil.rmtree(run_dir, ignore_errors=True)

    answer = watched(monkeypatch, capsys, looks)
    assert answer.code == 1
    assert "holds no run" in answer.err


@pytest.mark.parametrize("arguments", [("--interval", "0"), ("--interval", "x")])
def test_an_interval_that_is_none_is_a_wrong_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    write_run(tmp_path / "output", "a")
    assert Answer(capsys, "watch", *arguments).code == 2


def test_a_run_that_is_not_there_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert Answer(capsys, "watch").code == 1
