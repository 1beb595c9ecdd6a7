"""Tables and facts of a report: texts, links and the classes that colour them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from robot_sf_otel.manifest.facts import exact_phrase
from robot_sf_otel.manifest.formats import UNKNOWN, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TEXT_LIMIT: Final = 300
MOST_ROWS: Final = 300


class Cell(NamedTuple):
    """A cell of a table: text, the relative link that it is, classes, and what a pointer shows."""

    text: str
    href: str | None = None
    kind: str = ""
    title: str = ""


@dataclass(slots=True)
class Table:
    """A table with its caption.

    Attributes:
        head: Titles; one that ends with `:` is a column of numbers.
        rows: The cells.
        left_out: Rows that are not shown.
    """

    caption: str
    head: list[str]
    rows: list[list[Cell]] = field(default_factory=list[list[Cell]])
    left_out: int = 0

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Return titles, and whether each is a column of numbers."""
        return [(name.removesuffix(":"), name.endswith(":")) for name in self.head]


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str | Cell]], most: int = MOST_ROWS
) -> Table | None:
    """Return a table, None where it would be empty."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    if not cells:
        return None
    return Table(caption, list(head), cells[:most], max(0, len(cells) - most))


def said(text: str | None, limit: int = TEXT_LIMIT) -> str:
    """Return outside text as one line, `--` where there is none."""
    return one_line(text or "", limit) or UNKNOWN


def value(found: object) -> str:
    """Return a parameter or fact as one line."""
    return UNKNOWN if found is None else (one_line(exact_phrase(found), TEXT_LIMIT) or "(empty)")


def values(caption: str, found: Mapping[str, object]) -> Table | None:
    """Return a table of names and values; nested ones have dots in their names."""
    return table(caption, ["Name", "Value"], [[said(n), value(v)] for n, v in _flat(found)])


def _flat(
    found: Mapping[str, object], prefix: str = "", depth: int = 0
) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, item in found.items():
        inner = cast("dict[str, object]", item) if isinstance(item, dict) else {}
        if inner and depth < 4:  # noqa: PLR2004 - deeper ones are JSON
            rows += _flat(inner, f"{prefix}{name}.", depth + 1)
        else:
            rows.append((f"{prefix}{name}", cast("object", item)))
    return rows


def count(number: int, one: str, many: str | None = None) -> str:
    """Return `1 step`, `3 steps`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
