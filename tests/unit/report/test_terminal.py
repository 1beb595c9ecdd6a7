"""Rows at the bottom of a terminal: whatever else is written scrolls above them and stays whole."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_sf_otel.report.terminal import Terminal
from tests.unit.report.conftest import UTF8, PseudoTerminal

if TYPE_CHECKING:
    from collections.abc import Mapping

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("rows"), st.integers(0, 4)),
        st.tuples(st.just("print"), st.integers(1, 5)),
        st.tuples(st.just("half"), st.just(0)),
        st.tuples(st.just("keep"), st.integers(1, 3)),
    ),
    max_size=15,
)


def nothing_is_ready(*_: object) -> tuple[list[int], list[int], list[int]]:
    return [], [], []


def another_group(_: int) -> int:
    return os.getpgrp() + 1


@settings(max_examples=60)
@given(ACTIONS, st.integers(0, 11))
def test_every_line_stays_once_and_in_order_and_no_row_is_left(  # noqa: PLR0912 - an action each
    actions: list[tuple[str, int]], printed_before: int
) -> None:
    pty = PseudoTerminal(60, 12)
    try:
        lines = [f"before {index}" for index in range(printed_before)]
        for line in lines:
            pty.print(line)
        terminal = Terminal(pty.stream, UTF8)
        open_line = False
        for number, (action, count) in enumerate(actions):
            rows = ["BAR"] * terminal.rows
            if action == "rows":
                assert terminal.draw(["BAR"] * count) == 0
                shown = pty.show().rows
                assert shown[12 - count :] == ["BAR"] * count
                assert "BAR" not in shown[: 12 - count]
            elif action == "print":
                for index in range(count):
                    line = f"print {number} {index}"
                    pty.print(line)
                    if open_line:
                        lines[-1] += line
                    else:
                        lines.append(line)
                    open_line = False
            elif action == "half":
                pty.print("half ", end="")
                if open_line:
                    lines[-1] += "half "
                else:
                    lines.append("half ")
                open_line = True
            else:
                kept = [f"kept {number} {index}" for index in range(count)]
                assert terminal.draw(rows, kept) == count
                lines += kept
                open_line = False
        terminal.leave()
        text = pty.show().text
        # A very long half line wraps; nothing here is as long as the terminal is wide.
        if all(len(line) < 60 for line in lines):
            assert text == [line.rstrip() for line in lines]
        assert (pty.screen.top, pty.screen.bottom) == (0, 11)
    finally:
        pty.close()


def test_a_resize_moves_the_rows_and_loses_no_line(pseudo_terminal: PseudoTerminal) -> None:
    terminal = Terminal(pseudo_terminal.stream, UTF8)
    lines = [f"line {index}" for index in range(40)]
    for index, line in enumerate(lines):
        pseudo_terminal.print(line)
        if index == 25:
            pseudo_terminal.resize(40, 12)
        if index == 32:
            pseudo_terminal.resize(100, 30)
        terminal.draw(["BAR ONE", "BAR TWO"])
    assert pseudo_terminal.show().rows[-2:] == ["BAR ONE", "BAR TWO"]

    terminal.leave(["the end"])

    text = pseudo_terminal.show().text
    assert [line for line in text if line and "BAR" not in line] == [*lines, "the end"]


def test_leaving_without_rows_writes_nothing(pseudo_terminal: PseudoTerminal) -> None:
    Terminal(pseudo_terminal.stream, UTF8).leave()
    pseudo_terminal.show()

    assert not pseudo_terminal.raw


def test_rows_never_take_the_whole_screen(small_terminal: PseudoTerminal) -> None:
    terminal = Terminal(small_terminal.stream, UTF8)

    terminal.draw(["BAR"] * 50)

    assert small_terminal.show().rows.count("BAR") == 6


def test_a_terminal_that_takes_nothing_is_not_waited_for(
    pseudo_terminal: PseudoTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(pseudo_terminal.stream, UTF8)
    monkeypatch.setattr("select.select", nothing_is_ready)

    assert terminal.draw(["BAR"]) is None

    monkeypatch.undo()
    pseudo_terminal.show()
    assert not pseudo_terminal.raw


def test_a_background_process_writes_nothing(
    pseudo_terminal: PseudoTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.tcgetpgrp", another_group)

    assert Terminal.of(pseudo_terminal.stream, UTF8) is None
    assert Terminal(pseudo_terminal.stream, UTF8).draw(["BAR"]) is None


def test_a_background_process_leaves_unless_the_terminal_would_stop_it(
    pseudo_terminal: PseudoTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(pseudo_terminal.stream, UTF8)
    terminal.draw(["BAR"])
    monkeypatch.setattr("os.tcgetpgrp", another_group)
    stops = True
    monkeypatch.setattr(terminal, "_stops_background_writers", lambda: stops)
    terminal.leave()
    assert "BAR" in pseudo_terminal.show().text

    terminal.rows, stops = 1, False
    terminal.leave()

    assert "BAR" not in pseudo_terminal.show().text


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}, {"TERM": "unknown"}])
def test_an_incapable_terminal_is_none(
    pseudo_terminal: PseudoTerminal, environ: Mapping[str, str]
) -> None:
    assert Terminal.of(pseudo_terminal.stream, environ) is None


def test_what_is_no_terminal_is_none() -> None:
    closed = io.StringIO()
    closed.close()

    assert Terminal.of(io.StringIO(), UTF8) is None
    assert Terminal.of(closed, UTF8) is None


def test_a_tiny_terminal_is_none() -> None:
    pty = PseudoTerminal(20, 5)
    try:
        assert Terminal.of(pty.stream, UTF8) is None
    finally:
        pty.close()


def test_no_color_and_encoding_are_noticed(ascii_terminal: PseudoTerminal) -> None:
    terminal = Terminal.of(ascii_terminal.stream, {**UTF8, "NO_COLOR": "1"})

    assert terminal is not None
    assert not terminal.colour
    assert not terminal.unicode
