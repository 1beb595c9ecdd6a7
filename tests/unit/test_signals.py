from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from robot_sf_otel.signals import SIGNUM, Termination


class Heard:
    """What a `Termination` told."""

    def __init__(self) -> None:
        self.woken: list[int] = []
        self.noted: list[str] = []
        self.handled: list[int] = []
        self.alive = True

    def wake(self, signum: int) -> bool:
        self.woken.append(signum)
        return self.alive

    def handler(self, signum: int, frame: object) -> None:
        self.handled.append(signum)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def termination(heard: Heard) -> Iterator[Termination]:
    before = signal.getsignal(SIGNUM)
    made = Termination(heard.wake, heard.noted.append)
    yield made
    made.restore()
    signal.signal(SIGNUM, before)


@pytest.fixture
def wakeup_fd() -> Iterator[int]:
    """Return the write end of a pipe, and leave no wake-up descriptor behind."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    yield writer
    signal.set_wakeup_fd(-1)
    os.close(reader)
    os.close(writer)


def current_wakeup_fd() -> int:
    found = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(found, warn_on_full_buffer=False)
    return found


def test_default_disposition_wakes_the_monitor(
    termination: Termination, heard: Heard, wakeup_fd: int
) -> None:
    signal.signal(SIGNUM, signal.SIG_DFL)
    termination.install(wakeup_fd)
    assert termination.is_default
    assert current_wakeup_fd() == wakeup_fd
    signal.raise_signal(SIGNUM)
    assert (heard.woken, heard.noted) == ([SIGNUM], ["SIGTERM"])


def test_handler_of_the_application_is_called_and_ours_only_notes(
    termination: Termination, heard: Heard, wakeup_fd: int
) -> None:
    signal.signal(SIGNUM, heard.handler)
    termination.install(wakeup_fd)
    assert not termination.is_default
    assert current_wakeup_fd() == -1
    signal.raise_signal(SIGNUM)
    assert (heard.handled, heard.noted, heard.woken) == ([SIGNUM], ["SIGTERM"], [])


@pytest.mark.parametrize("kind", ["default", "application"])
def test_restore_gives_back_what_was_there(
    termination: Termination, heard: Heard, wakeup_fd: int, kind: str
) -> None:
    before: Any = signal.SIG_DFL if kind == "default" else heard.handler
    signal.signal(SIGNUM, before)
    termination.install(wakeup_fd)
    assert termination.installed
    termination.restore()
    assert not termination.installed
    assert signal.getsignal(SIGNUM) == before
    assert current_wakeup_fd() == -1


def test_signal_that_is_known_before_it_was_given_back_still_counts_as_default(
    termination: Termination, wakeup_fd: int
) -> None:
    signal.signal(SIGNUM, signal.SIG_DFL)
    termination.install(wakeup_fd)
    termination.restore()
    assert termination.is_default


def test_ignored_signal_is_left_alone(termination: Termination, wakeup_fd: int) -> None:
    signal.signal(SIGNUM, signal.SIG_IGN)
    termination.install(wakeup_fd)
    assert not termination.installed
    assert signal.getsignal(SIGNUM) is signal.SIG_IGN


def test_handler_that_was_set_meanwhile_is_kept(
    termination: Termination, heard: Heard, wakeup_fd: int
) -> None:
    signal.signal(SIGNUM, signal.SIG_DFL)
    termination.install(wakeup_fd)
    signal.signal(SIGNUM, heard.handler)
    termination.restore()
    assert signal.getsignal(SIGNUM) == heard.handler


def test_wakeup_descriptor_of_an_event_loop_is_kept(
    termination: Termination, heard: Heard, wakeup_fd: int
) -> None:
    ours = os.dup(wakeup_fd)
    signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
    signal.signal(SIGNUM, signal.SIG_DFL)
    termination.install(ours)
    assert current_wakeup_fd() == wakeup_fd
    signal.raise_signal(SIGNUM)
    assert heard.woken == [SIGNUM]
    termination.restore()
    assert current_wakeup_fd() == wakeup_fd
    os.close(ours)


def test_wakeup_descriptor_that_an_event_loop_sets_during_the_run_is_kept(
    termination: Termination, wakeup_fd: int
) -> None:
    ours = os.dup(wakeup_fd)
    signal.signal(SIGNUM, signal.SIG_DFL)
    termination.install(ours)
    signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
    termination.restore()
    assert current_wakeup_fd() == wakeup_fd
    os.close(ours)


def in_thread(work: Any) -> None:  # noqa: ANN401 - any callable
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_another_thread_takes_nothing_over(termination: Termination, wakeup_fd: int) -> None:
    before = signal.getsignal(SIGNUM)
    in_thread(lambda: termination.install(wakeup_fd))
    assert not termination.installed
    assert signal.getsignal(SIGNUM) == before


def test_another_thread_gives_nothing_back(
    termination: Termination, heard: Heard, wakeup_fd: int
) -> None:
    signal.signal(SIGNUM, heard.handler)
    termination.install(wakeup_fd)
    in_thread(termination.restore)
    assert termination.installed
    signal.raise_signal(SIGNUM)
    assert heard.noted == ["SIGTERM"]


@pytest.fixture
def deaths(termination: Termination, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return what grows each time that the process would have ended."""
    died: list[int] = []

    def die(_: Termination) -> None:
        died.append(SIGNUM)

    monkeypatch.setattr(Termination, "die", die)
    return died


def test_first_signal_is_left_to_the_monitor_and_the_second_obeyed_at_once(
    termination: Termination, heard: Heard, wakeup_fd: int, deaths: list[int]
) -> None:
    signal.signal(SIGNUM, signal.SIG_DFL)
    termination.install(wakeup_fd)
    signal.raise_signal(SIGNUM)
    assert (heard.woken, deaths) == ([SIGNUM], [])
    signal.raise_signal(SIGNUM)
    assert deaths == [SIGNUM]


def test_signal_without_a_monitor_is_obeyed_at_once(
    termination: Termination, heard: Heard, wakeup_fd: int, deaths: list[int]
) -> None:
    signal.signal(SIGNUM, signal.SIG_DFL)
    termination.install(wakeup_fd)
    heard.alive = False
    signal.raise_signal(SIGNUM)
    assert deaths == [SIGNUM]


def test_handler_that_was_set_meanwhile_makes_the_signal_the_applications(
    termination: Termination, heard: Heard, wakeup_fd: int
) -> None:
    signal.signal(SIGNUM, signal.SIG_DFL)
    termination.install(wakeup_fd)
    signal.signal(SIGNUM, heard.handler)
    assert not termination.is_default
