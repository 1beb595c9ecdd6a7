"""`stop`: whom it refuses to signal, and when it says that a run has stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import pytest

from robot_sf_otel.cli import stop
from robot_sf_otel.cli.main import run_command
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.store.identity import ProcessIdentity, process_identity
from robot_sf_otel.store.reader import load_run
from tests.data import sample_runs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run that goes on, of nobody."""
    return sample_runs.running().write(tmp_path / "output")


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is sent, to nobody."""
    sent: list[int] = []

    def send(target: int, number: int) -> None:
        sent.append(number)

    monkeypatch.setattr(os, "kill", send)
    if hasattr(signal, "pidfd_send_signal"):
        monkeypatch.setattr(signal, "pidfd_send_signal", send)
    return sent


def owned(run_dir: Path, **fields: object) -> ProcessIdentity:
    """Let this process own the run, apart from some fields."""
    owner = {**msgspec.to_builtins(process_identity()), **fields}
    (run_dir / "run.lock").write_bytes(msgspec.json.encode(owner))
    return msgspec.convert(owner, ProcessIdentity)


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """Run `stop` and return the one line that says why it did nothing."""
    assert run_command(["stop", "--timeout", "0"]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err


def test_a_run_that_has_ended_is_left_alone(
    tmp_path: Path, signals: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    owned(sample_runs.healthy().write(tmp_path / "output"))

    assert "has ended already: completed" in refused(capsys)
    assert signals == []


def test_a_run_whose_process_is_gone_has_ended(
    run_dir: Path, signals: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    owned(run_dir, start_time=1)  # the number was given to another process since

    assert "has ended already: failed" in refused(capsys)
    assert signals == []


def test_a_run_of_another_host_names_the_host(
    run_dir: Path, signals: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(run_dir / "manifest.jsonl")
    owned(run_dir, host="gpu7", boot_id="another")

    assert f"belongs to process {os.getpid()} on host gpu7: stop it there" in refused(capsys)
    assert signals == []


def test_a_run_of_another_container_is_not_taken_for_a_process_of_this_one(
    run_dir: Path, signals: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    owned(run_dir, pid_namespace="pid:[1]")

    assert "in another container of" in refused(capsys)
    assert signals == []


def test_a_run_that_names_no_process_cannot_be_stopped(
    run_dir: Path, signals: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "it has no run.lock" in refused(capsys)
    assert signals == []


def test_a_process_that_ignores_sigterm_is_exit_code_1_with_json(
    run_dir: Path, signals: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    owned(run_dir)

    assert run_command(["stop", "--timeout", "0", "--format", "json"]) == 1
    out, err = capsys.readouterr()
    assert signals == [signal.SIGTERM]
    assert f"kill -9 {os.getpid()}" in err
    answer = json.loads(out)
    assert (answer["stopped"], answer["status"], answer["pid"]) == (False, "running", os.getpid())


def test_a_process_of_another_user_is_named(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owned(run_dir)

    def refuse(owner: ProcessIdentity) -> bool:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(stop, "send_sigterm", refuse)
    assert "belongs to another user" in refused(capsys)


def test_a_process_that_ends_before_the_signal_gets_none(
    run_dir: Path, signals: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    owner = owned(run_dir)
    reused = dataclasses.replace(owner, start_time=1)

    assert stop.send_sigterm(reused) is False
    assert signals == []


@pytest.mark.parametrize("pidfd", [True, False])
def test_a_process_that_does_not_exist_is_gone(
    monkeypatch: pytest.MonkeyPatch, *, pidfd: bool
) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    nobody = dataclasses.replace(process_identity(), pid=2**22 + 1, start_time=1)

    assert stop.send_sigterm(nobody) is False


@pytest.mark.parametrize("pidfd", [True, False])
def test_sigterm_goes_to_the_process_itself(
    monkeypatch: pytest.MonkeyPatch, signals: list[int], *, pidfd: bool
) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)

    assert stop.send_sigterm(process_identity()) is True
    assert signals == [signal.SIGTERM]


class Time:
    """A clock that moves only while somebody sleeps, and then lets things happen."""

    def __init__(self, happens: Callable[[float], object] = lambda now: None) -> None:
        self.now = 0.0
        self._happens = happens

    def clock(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self._happens(self.now)


def test_the_wait_ends_when_the_run_is_closed(run_dir: Path) -> None:
    owner = owned(run_dir)
    found = load_run(run_dir)

    def happens(now: float) -> None:
        if 1.0 <= now < 1.05:
            end = e.RunFinished(time_unix_nano=1, status="cancelled", result="cancellation")
            with (run_dir / "manifest.jsonl").open("ab") as file:
                file.write(encode_event(end))

    time = Time(happens)
    answer = stop.wait_for_end(found, owner, 10.0, clock=time.clock, sleep=time.pause)

    assert answer == (True, "cancelled")
    assert 1.0 <= time.now < 1.2


def test_a_process_that_is_gone_has_stopped_although_nobody_closes_its_run(run_dir: Path) -> None:
    found = load_run(run_dir)
    gone = owned(run_dir, start_time=1)
    time = Time()
    answer = stop.wait_for_end(found, gone, 60.0, clock=time.clock, sleep=time.pause)

    assert answer == (True, "failed")
    assert 5.0 <= time.now < 5.2


def test_the_wait_is_over_after_the_timeout(run_dir: Path) -> None:
    owner = owned(run_dir)
    time = Time()
    found = load_run(run_dir)

    answer = stop.wait_for_end(found, owner, 2.0, clock=time.clock, sleep=time.pause)

    assert answer == (False, "running")
    assert time.now == pytest.approx(2.0)


def test_a_negative_timeout_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["stop", "--timeout", "-1"]) == 2
    assert "--timeout" in capsys.readouterr().err
