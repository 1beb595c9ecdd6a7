"""A screen that is drawn over and over, and given back as it was."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.report.screen import Screen
from tests.unit.report.conftest import PseudoTerminal

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTERED, LEFT = "\x1b[?1049h", "\x1b[?1049l"


@pytest.fixture
def terminal() -> Iterator[PseudoTerminal]:
    """A terminal of five lines."""
    made = PseudoTerminal(columns=40, lines=5)
    yield made
    made.close()


def written(terminal: PseudoTerminal) -> str:
    """What was written since the last time."""
    terminal.show()
    said, terminal.raw = terminal.raw.replace("\r\r\n", "\r\n"), ""
    return said


def test_the_screen_is_taken_and_given_back(terminal: PseudoTerminal) -> None:
    with Screen(terminal.stream) as screen:
        assert ENTERED in written(terminal)
        screen.draw("one\ntwo\n")
        assert "one\x1b[K\r\ntwo\x1b[K" in written(terminal)
    assert written(terminal).endswith(LEFT)


def test_an_error_gives_the_screen_back_too(terminal: PseudoTerminal) -> None:
    with pytest.raises(KeyboardInterrupt), Screen(terminal.stream):
        raise KeyboardInterrupt
    assert written(terminal).endswith(LEFT)


def test_what_did_not_change_is_not_written_again(terminal: PseudoTerminal) -> None:
    with Screen(terminal.stream) as screen:
        screen.draw("one")
        written(terminal)
        screen.draw("one")
        assert written(terminal) == ""


def test_what_does_not_fit_is_said(terminal: PseudoTerminal) -> None:
    with Screen(terminal.stream) as screen:
        screen.draw("\n".join("abcdefgh"))
        said = written(terminal)
    assert "d\x1b[K\r\n(4 more lines do not fit)" in said
    assert "e\x1b[K" not in said


def test_a_screen_of_another_size_is_drawn_again(terminal: PseudoTerminal) -> None:
    with Screen(terminal.stream) as screen:
        screen.draw("\n".join("abcdefgh"))
        terminal.resize(40, 20)
        written(terminal)
        screen.draw("\n".join("abcdefgh"))
        assert "h\x1b[K" in written(terminal)


def test_sigterm_gives_the_screen_back_and_ends_with_its_code(terminal: PseudoTerminal) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, Screen(terminal.stream):
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143
    assert written(terminal).endswith(LEFT)
    assert signal.getsignal(signal.SIGTERM) == before
