"""Who a process is: the same number after a restart or on another machine is another process."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store import identity
from robot_sf_otel.store.identity import ProcessIdentity, is_alive, process_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST_NAMESPACE = "pid:[4026531836]"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process seems to run in the initial pid namespace of a host of a telling name."""
    monkeypatch.setattr(identity, "host_name", lambda: "trainer-7")
    monkeypatch.setattr(identity, "pid_namespace", lambda: HOST_NAMESPACE)


def test_this_process_is_alive_and_fully_identified() -> None:
    mine = process_identity()

    assert mine.pid == os.getpid()
    assert mine.host
    assert mine.boot_id
    assert mine.start_time is not None
    assert is_alive(mine) is True


def test_the_identity_of_a_process_does_not_change() -> None:
    assert process_identity() == process_identity(os.getpid())


def test_a_process_that_was_waited_for_is_dead(child: subprocess.Popen[bytes]) -> None:
    theirs = process_identity(child.pid)
    assert is_alive(theirs) is True

    child.kill()
    child.wait()

    assert is_alive(theirs) is False


def test_a_killed_process_is_dead_before_anybody_waited_for_it(
    child: subprocess.Popen[bytes],
) -> None:
    theirs = process_identity(child.pid)

    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert is_alive(theirs) is False


def test_a_number_that_was_used_again_is_another_process() -> None:
    mine = process_identity()
    assert mine.start_time is not None

    assert is_alive(replace(mine, start_time=mine.start_time - 1)) is False


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 7, 2**40])
def test_a_number_that_no_process_has_is_dead(pid: int) -> None:
    assert is_alive(replace(process_identity(), pid=pid)) is False
    assert process_identity(pid).start_time is None


def test_a_process_in_another_pid_namespace_cannot_be_judged() -> None:
    assert is_alive(replace(process_identity(), pid_namespace="pid:[4026599999]")) is None


@pytest.mark.usefixtures("host")
def test_a_process_before_a_restart_of_this_host_is_dead() -> None:
    assert is_alive(replace(process_identity(), boot_id="before")) is False


@pytest.mark.usefixtures("host")
def test_a_process_on_another_host_cannot_be_judged() -> None:
    elsewhere = replace(process_identity(), host="trainer-8", boot_id="of trainer-8")

    assert is_alive(elsewhere) is None


@pytest.mark.usefixtures("host")
def test_a_container_of_the_same_name_on_another_machine_cannot_be_judged() -> None:
    elsewhere = replace(process_identity(), boot_id="other", pid_namespace="pid:[4026532001]")

    assert is_alive(elsewhere) is None


@pytest.mark.usefixtures("host")
def test_a_name_that_many_machines_have_does_not_mean_the_same_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(identity, "host_name", lambda: "localhost")

    assert is_alive(replace(process_identity(), boot_id="other")) is None


def test_a_host_that_was_renamed_is_still_the_same_machine() -> None:
    assert is_alive(replace(process_identity(), host="another-name")) is True


def test_without_boot_ids_only_the_same_host_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "boot_id", lambda: None)
    mine = process_identity()

    assert is_alive(mine) is True
    assert is_alive(replace(mine, host="trainer-8")) is None


def test_without_a_start_time_a_running_process_of_that_number_proves_nothing() -> None:
    assert is_alive(replace(process_identity(), start_time=None)) is None


def test_without_a_start_time_a_number_that_no_process_has_is_dead() -> None:
    assert is_alive(replace(process_identity(), start_time=None, pid=2**22 + 7)) is False


def test_a_process_that_is_hidden_from_this_user_cannot_be_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With hidepid its files are not there, but a signal would be refused."""

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)

    assert is_alive(replace(process_identity(), pid=2**22 + 7)) is None


def test_a_process_can_be_there_without_procfs(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = process_identity()

    def no_file(path: Path) -> bytes:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_bytes", no_file)

    assert is_alive(mine) is None


def test_without_procfs_there_is_neither_boot_nor_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_file(path: Path, encoding: str = "") -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", no_file)
    monkeypatch.setattr(Path, "readlink", no_file)

    assert identity._linux_boot_id.__wrapped__() is None
    assert identity.pid_namespace() is None


@pytest.mark.skipif(sys.platform == "darwin", reason="where the library has these functions")
def test_without_the_calls_of_darwin_a_process_is_there_and_no_more_is_known() -> None:
    assert identity._darwin_incarnation(os.getpid()) == (True, None)
    assert identity._darwin_boot_id() is None


def test_a_name_with_spaces_and_parentheses_does_not_shift_the_fields() -> None:
    after_name = b"S 1 " + b"0 " * 15 + b"3 0 4711 0 0"

    assert identity.parse_linux_stat(b"12 (a) R (b c) " + after_name) == (True, 4711)


@pytest.mark.parametrize(("threads", "runs"), [(1, False), (2, True)])
def test_a_zombie_runs_only_while_it_has_other_threads(threads: int, *, runs: bool) -> None:
    stat = b"12 (python) Z 1 " + b"0 " * 15 + b"%d 0 4711 0 0" % threads

    assert identity.parse_linux_stat(stat) == (runs, 4711)


def test_an_unreadable_stat_line_leaves_the_start_time_unknown() -> None:
    assert identity.parse_linux_stat(b"12 (python) S") == (True, None)


@pytest.mark.parametrize(("status", "runs"), [(2, True), (5, False)])
def test_the_start_time_on_darwin_has_microseconds(status: int, *, runs: bool) -> None:
    raw = bytearray(136)
    struct.pack_into("=I", raw, 4, status)
    struct.pack_into("=QQ", raw, 120, 1_700_000_000, 123_456)

    assert identity.parse_darwin_bsd_info(bytes(raw)) == (runs, 1_700_000_000_123_456)


def test_an_identity_has_no_other_fields_than_the_lock_names() -> None:
    assert ProcessIdentity.__slots__ == ("host", "boot_id", "pid_namespace", "pid", "start_time")
