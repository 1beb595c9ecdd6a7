"""A screen that is drawn over and over, and given back as it was."""

from __future__ import annotations

import os
import signal
import termios
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.report.capabilities import Capabilities
from robot_sf_otel.report.screen import Screen
from tests.unit.report.conftest import PseudoTerminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
        assert "\x1b[1;1Hone\x1b[K\x1b[2;1Htwo\x1b[K" in written(terminal)
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


def test_of_a_picture_only_the_rows_that_differ_are_written(terminal: PseudoTerminal) -> None:
    with Screen(terminal.stream) as screen:
        screen.draw("one\ntwo\nthree")
        written(terminal)
        screen.draw("one\nzwei\nthree")
        said = written(terminal)
    assert "zwei" in said
    assert "one" not in said
    assert "three" not in said


def test_rows_that_are_gone_are_erased(terminal: PseudoTerminal) -> None:
    with Screen(terminal.stream) as screen:
        screen.draw("one\ntwo\nthree")
        written(terminal)
        screen.draw("one")
        assert "\x1b[2;1H\x1b[J" in written(terminal)


def test_without_an_alternate_screen_the_picture_stays_above_what_comes(
    terminal: PseudoTerminal,
) -> None:
    with Screen(terminal.stream, able=Capabilities(alternate=False)) as screen:
        screen.draw("one\ntwo")
        assert ENTERED not in written(terminal)
    assert written(terminal) == "\x1b[2;1H\x1b[?7h\x1b[?25h\r\n"


def test_without_unicode_nothing_but_ascii_is_written(terminal: PseudoTerminal) -> None:
    with Screen(terminal.stream, able=Capabilities(unicode=False)) as screen:
        screen.draw("h\u00f6her \u2588")
        assert "h?her ?" in written(terminal)


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("q", ["q"]),
        ("nn", ["n", "n"]),
        ("\x1b[A", ["up"]),
        ("\x1b[B\r", ["down", "enter"]),
        ("\x1bOC", ["right"]),
        ("\x1b", ["escape"]),
        ("\x1b[5~q", [""]),
    ],
)
def test_keys_have_names(terminal: PseudoTerminal, typed: str, keys: list[str]) -> None:
    with Screen(terminal.stream, terminal.stream) as screen:
        os.write(terminal._master, typed.encode())
        assert [screen.key(5.0) for _ in keys] == keys
        assert screen.key(0.0) is None


def _look_and_leave(fd: int) -> None:
    assert not termios.tcgetattr(fd)[3] & (termios.ECHO | termios.ICANON)
    assert termios.tcgetattr(fd)[3] & termios.ISIG
    raise KeyboardInterrupt


def test_keys_are_not_echoed_and_the_terminal_gets_its_modes_back(
    terminal: PseudoTerminal,
) -> None:
    fd = terminal.stream.fileno()
    before = termios.tcgetattr(fd)
    screen = Screen(terminal.stream, terminal.stream)
    with pytest.raises(KeyboardInterrupt), screen:
        _look_and_leave(fd)
    assert termios.tcgetattr(fd) == before


def test_without_a_keyboard_no_key_comes(terminal: PseudoTerminal, tmp_path: Path) -> None:
    with (tmp_path / "x").open("w+") as file, Screen(terminal.stream, file) as screen:
        assert screen.key(0.0) is None


def test_what_does_not_fit_is_said(terminal: PseudoTerminal) -> None:
    with Screen(terminal.stream) as screen:
        screen.draw("\n".join("abcdefgh"))
        said = written(terminal)
    assert "d\x1b[K\x1b[5;1H(4 more lines do not fit)" in said
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
