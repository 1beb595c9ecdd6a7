"""Pieces of text with a style, cut to columns; bars and curves; and how a terminal gets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from rich.cells import cell_len, set_cell_size

Line: TypeAlias = list[tuple[str, str]]
"""Pieces of text, each with the name of a style, or an empty one."""

_SGR: Final[Mapping[str, str]] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
}
_WITHOUT_COLOUR: Final = frozenset({"bold"})
"""Styles that terminals without colours, and people who want none, get all the same."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that pictures are made of."""

    levels: str
    full: str
    empty: str
    marks: Mapping[str, str]
    more: str
    warn: str
    cursor: str


UNICODE: Final = Glyphs(
    levels="▁▂▃▄▅▆▇█",
    full="█",
    empty="░",
    marks={
        "completed": "✓",
        "failed": "✗",
        "cancelled": "✗",
        "running": "▶",
        "skipped": "–",
        "pending": "·",
    },
    more="…",
    warn="▲",
    cursor="▶",
)
ASCII: Final = Glyphs(
    levels="_.-:=+*#",
    full="#",
    empty=".",
    marks={
        "completed": "+",
        "failed": "x",
        "cancelled": "x",
        "running": ">",
        "skipped": "-",
        "pending": " ",
    },
    more="~",
    warn="!",
    cursor=">",
)


def width_of(line: Line) -> int:
    """Return the columns that a line takes."""
    return sum(cell_len(text) for text, _ in line)


def clip(line: Line, width: int, glyphs: Glyphs, *, pad: bool = False) -> Line:
    """Return a line that takes at most `width` columns, or with `pad` just as many."""
    total = width_of(line)
    if total <= width:
        return [*line, (" " * (width - total), "")] if pad and total < width else line
    kept: Line = []
    room = width - 1
    for text, style in line:
        cells = cell_len(text)
        if cells > room:
            kept.append((set_cell_size(text, room), style))
            break
        kept.append((text, style))
        room -= cells
    return [*kept, (glyphs.more, "dim")]


def spread(left: Line, right: Line, width: int) -> Line:
    """Return a line with one part at its left and one at its right edge, if there is room."""
    gap = width - width_of(left) - width_of(right)
    if gap < 1 or not width_of(right):
        return [*left, ("  ", ""), *right] if width_of(right) else left
    return [*left, (" " * gap, ""), *right]


def bar(part: float | None, width: int, glyphs: Glyphs) -> Line:
    """Return a bar of which a part, in [0, 1], is full; None is a bar that tells nothing."""
    if part is None:
        return [(glyphs.empty * width, "dim")]
    full = min(width, int(part * width + 0.5)) if part < 1 else width
    return [(glyphs.full * full, "cyan"), (glyphs.empty * (width - full), "dim")]


def sparkline(
    values: Sequence[tuple[float, float | None]],
    width: int,
    highest: float,
    seconds: float,
    glyphs: Glyphs,
) -> str:
    """Return the highest value of each of `width` spans of time, the newest at the right.

    The spans begin at multiples of their length, so that a curve moves as a whole.

    Args:
        values: Times in seconds and values, None where there was none, oldest first.
        width: Columns.
        highest: Value of the highest level; the lowest one is 0.
        seconds: How much time is shown.
        glyphs: The levels.
    """
    length = max(1.0, float(-(-seconds // width)))
    found: dict[int, float] = {}
    for when, value in values:
        if value is not None:
            slot = int(when // length)
            found[slot] = max(value, found.get(slot, 0.0))
    if not found:
        return " " * width
    newest = int(values[-1][0] // length)
    return "".join(
        _level(found.get(slot), highest, glyphs) for slot in range(newest - width + 1, newest + 1)
    )


def _level(value: float | None, highest: float, glyphs: Glyphs) -> str:
    if value is None:
        return " "
    steps = len(glyphs.levels)
    part = value / highest if highest > 0 else 0.0
    return glyphs.levels[max(0, min(steps - 1, int(part * steps)))]


def paint(lines: Iterable[Line], *, colour: bool) -> str:
    """Return lines as a terminal shows them, without the last newline."""
    return "\n".join(
        "".join(_painted(text, style, colour=colour) for text, style in line).rstrip()
        for line in lines
    )


def _painted(text: str, style: str, *, colour: bool) -> str:
    code = _SGR.get(style)
    if not text or code is None or not (colour or style in _WITHOUT_COLOUR):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"
