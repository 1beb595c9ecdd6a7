"""What is taken for granted of a terminal."""

from __future__ import annotations

import io

import pytest

from robot_sf_otel.report.capabilities import capabilities

UTF8 = {"TERM": "xterm-256color", "LANG": "en_US.UTF-8"}


def stream(encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def test_a_modern_terminal_has_everything() -> None:
    assert capabilities(stream(), UTF8) == (True, True, True)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LC_ALL": "C.UTF-8", "LANG": "C"}, True),
        ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, False),
        ({"LANG": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ({"LC_CTYPE": "de_DE.utf8"}, True),
        ({"LANG": "de_DE.UTF-8", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({}, False),
        ({"PYTHONIOENCODING": "utf-8"}, True),
    ],
)
def test_unicode_needs_a_locale_that_has_it(environ: dict[str, str], *, expected: bool) -> None:
    assert capabilities(stream(), {"TERM": "xterm", **environ}).unicode is expected


def test_an_encoding_without_unicode_beats_the_locale() -> None:
    assert not capabilities(stream("latin-1"), UTF8).unicode


def test_the_console_of_linux_has_no_blocks_and_no_second_screen() -> None:
    found = capabilities(stream(), {**UTF8, "TERM": "linux"})
    assert (found.unicode, found.alternate) == (False, False)


def test_a_vt100_has_no_colours() -> None:
    assert not capabilities(stream(), {**UTF8, "TERM": "vt100"}).colour


def test_no_color_is_obeyed() -> None:
    assert not capabilities(stream(), {**UTF8, "NO_COLOR": "1"}).colour


def test_an_unknown_terminal_is_taken_for_a_modern_one() -> None:
    assert capabilities(stream(), {**UTF8, "TERM": "of-tomorrow"}) == (True, True, True)
