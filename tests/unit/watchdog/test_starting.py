"""Starting and ending watchdogs: never in the way, never somebody else's."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import guard
from robot_sf_otel.config import Config
from robot_sf_otel.store.identity import ProcessIdentity, process_identity
from robot_sf_otel.watchdog import starting, waiting
from robot_sf_otel.watchdog.starting import Watchdog
from tests.unit.warned import warnings_said

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = Path("/runs/r")


class Shell:
    """Stands for the shell that starts a process, and for the signals that end it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.handed: list[os.stat_result] = []
        self.killed: list[tuple[int, int]] = []
        self.says = f"{os.getpid()}\n".encode()  # a process that certainly lives
        monkeypatch.setattr(starting, "_spawn", self._spawn)
        monkeypatch.setattr(os, "kill", self._kill)
        monkeypatch.setattr(os, "waitpid", self._waitpid)

    def _spawn(
        self, command: list[str], environment: dict[str, str], stdin: int, stdout: int
    ) -> int:
        self.handed.append(os.fstat(stdin))
        self.commands.append(command)
        self.environments.append(environment)
        os.write(stdout, self.says)
        return 7

    def _kill(self, pid: int, signum: int) -> None:
        self.killed.append((pid, signum))

    @staticmethod
    def _waitpid(pid: int, options: int) -> tuple[int, int]:
        raise ChildProcessError


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(monkeypatch)


@pytest.fixture
def said() -> Iterator[list[str]]:
    guard.reset()
    with warnings_said() as messages:
        yield messages
    guard.reset()


def config(**settings: Any) -> Config:  # noqa: ANN401 - of Config
    settings = {"artifact_root": Path("/runs"), "console": "off", **settings}
    return Config(**settings)


def test_run_has_its_own_until_it_is_closed(shell: Shell) -> None:
    watchdog = Watchdog(config())
    assert watchdog.run_opened(RUN) == os.getpid()
    assert watchdog.pids == {os.getpid()}
    watchdog.run_closed(RUN)
    assert shell.killed == [(os.getpid(), signal.SIGTERM)]
    assert not watchdog.pids
    watchdog.run_closed(RUN)
    assert len(shell.killed) == 1


def test_arguments_name_the_process_alone(shell: Shell) -> None:
    Watchdog(config(on_finish="notify --token secret")).run_opened(RUN)
    (command,) = shell.commands
    me = process_identity()
    assert command[-3:] == [waiting.__file__, str(os.getpid()), str(me.start_time or "-")]
    assert not any("secret" in word or str(RUN) in word for word in command)


def test_environment_holds_the_task_and_not_the_run_that_children_join(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_SF_OTEL_RUN_DIR", str(RUN))
    monkeypatch.setenv("TRACEPARENT", "00-1-2-01")
    monkeypatch.setenv("GREETING", "hello")
    monkeypatch.setattr(sys, "path", ["", "relative", *sys.path])
    Watchdog(config(on_finish="notify")).run_opened(RUN)
    (environment,) = shell.environments
    assert environment["GREETING"] == "hello"
    assert not {"ROBOT_SF_OTEL_RUN_DIR", "TRACEPARENT"} & set(environment)
    assert environment[waiting.RUN_DIR] == str(RUN)
    task = json.loads(environment[waiting.TASK])
    assert task["owner"]["pid"] == os.getpid()
    assert task["on_finish"] == "notify"
    assert task["terminal"] is None
    assert task["folder"] == str(Path.cwd())
    assert all(Path(entry).is_absolute() for entry in task["path"])


def test_folder_that_was_deleted_under_the_process_is_not_known(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getcwd() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", getcwd)
    monkeypatch.setattr(sys, "path", ["/absolute"])
    Watchdog(config()).run_opened(RUN)
    assert json.loads(shell.environments[0][waiting.TASK])["folder"] is None


def test_watchdogs_of_the_parent_are_not_ended_by_a_forked_child(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog = Watchdog(config())
    watchdog.run_opened(RUN)
    monkeypatch.setattr(os, "getpid", lambda: 4_000_000)
    assert not watchdog.pids
    watchdog.run_closed(RUN)
    assert not shell.killed


def test_process_that_has_the_number_of_an_ended_watchdog_is_left_alone(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog = Watchdog(config())
    watchdog.run_opened(RUN)

    def is_alive(identity: ProcessIdentity) -> bool:
        return False

    monkeypatch.setattr(starting, "is_alive", is_alive)
    watchdog.run_closed(RUN)
    assert not shell.killed


def test_switched_off_nothing_is_started(shell: Shell) -> None:
    assert Watchdog(config(watchdog=False)).run_opened(RUN) is None
    assert not shell.commands


def test_first_process_of_a_container_gets_none(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel ends all others with it."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert Watchdog(config()).run_opened(RUN) is None
    assert not shell.commands


def test_where_there_is_no_pidfd_nothing_is_handed_over(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    Watchdog(config()).run_opened(RUN)
    assert [stat.S_ISCHR(handed.st_mode) for handed in shell.handed] == [True]  # /dev/null


@pytest.mark.parametrize("answer", [b"", b"sh: cannot fork\n"])
def test_shell_that_started_nothing_is_one_warning(
    shell: Shell, said: list[str], monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(starting, "START_SECONDS", 0)
    shell.says = answer
    watchdog = Watchdog(config())
    assert watchdog.run_opened(RUN) is None
    assert watchdog.run_opened(RUN) is None
    watchdog.run_closed(RUN)
    (message,) = said
    assert message.startswith("no watchdog could be started: ")
    assert "`robot-sf-otel recover`" in message


def test_process_that_cannot_be_started_leaves_no_descriptor(
    shell: Shell, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(starting, "_spawn", refuse)
    before = sorted(os.listdir("/dev/fd"))  # noqa: PTH208 - names alone
    assert Watchdog(config()).run_opened(RUN) is None
    assert sorted(os.listdir("/dev/fd")) == before  # noqa: PTH208
    assert "Resource temporarily unavailable" in said[0]


def test_system_without_sessions_at_the_start_does_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []

    def posix_spawn(path: str, argv: object, environ: object, *, setsid: bool, **_: object) -> int:
        asked.append(setsid)
        if setsid:
            raise RuntimeError("not implemented")
        return 7

    monkeypatch.setattr(os, "posix_spawn", posix_spawn)
    assert starting._spawn(["sh"], {}, 0, 1) == 7
    assert asked == [True, False]
