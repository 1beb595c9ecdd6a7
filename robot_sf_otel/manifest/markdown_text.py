"""Outside text inside Markdown: escaping, code, links and tables that GitHub shows as meant.

Names of steps, artifacts and parameters come from anywhere. Whatever they hold, they appear as the
characters that they are: no markup, no HTML, no link that the report did not make.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from robot_sf_otel.manifest.facts import exact_phrase
from robot_sf_otel.manifest.formats import UNKNOWN, block, one_line

CELL_LIMIT: Final = 300
"""Characters of a name or value that a table shows."""

_PUNCTUATION: Final = re.compile(r"([\\`*\[\]|~$])")
_UNDERSCORE: Final = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_LINE_START: Final = re.compile(
    r"^(?:(?P<number>\d{1,9})(?P<after>[.)])(?=\s|$)"
    r"|(?P<mark>[-+](?=\s|$|--)|#(?=#*(?:\s|$))|=(?==*$)))"
)
"""What would begin a list, a heading or a rule."""
_AUTOLINK: Final = re.compile(
    r"(?i)(?:https?|ftp|mailto|xmpp)(?=:)|\bwww(?=\.)|@(?=\w)|(?:#|\bGH-)(?=\d)"
)
"""The part of an address, of a mention (`@name`) or of an issue (`#12`, `GH-12`) before a break."""
_SCHEME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


def escape(text: str, limit: int | None = CELL_LIMIT) -> str:
    """Return text as one line of Markdown that shows just that text, in a table cell or outside."""
    line = one_line(text, limit)
    line = _PUNCTUATION.sub(r"\\\1", line)
    line = _UNDERSCORE.sub(r"\\_", line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _LINE_START.sub(_escape_start, line)
    return _unlinked(line)


def _unlinked(line: str) -> str:
    """Return text without what GitHub makes links of: addresses, mentions, numbers of issues.

    An empty comment between the parts stops it, and is not seen.
    """
    return _AUTOLINK.sub(lambda found: f"{found.group()}<!---->", line)


def _escape_start(found: re.Match[str]) -> str:
    if mark := found["mark"]:
        return f"\\{mark}"
    return f"{found['number']}\\{found['after']}"


def code(text: str, limit: int | None = CELL_LIMIT) -> str:
    """Return text as a code span; as escaped text where a span cannot hold it (`|` in a table)."""
    line = one_line(text, limit)
    if not line:
        return UNKNOWN
    if "|" in line or "`" in line:
        return escape(line, None)
    return f"`{line}`"


def fence(text: str, language: str = "text") -> list[str]:
    """Return the lines of a code block that holds `text`, whatever backticks are in it."""
    body = block(text)
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    marks = "`" * max(3, longest + 1)
    return [f"{marks}{language}", *body.rstrip("\n").split("\n"), marks]


def details(summary: str, body: Iterable[str]) -> list[str]:
    """Return the lines of a folded section; `summary` is escaped text."""
    inner = "\n".join(body).strip("\n").split("\n")
    return ["<details>", f"<summary>{summary}</summary>", "", *inner, "", "</details>", ""]


def html_text(text: str, limit: int | None = CELL_LIMIT) -> str:
    """Return text for the inside of an HTML element."""
    line = one_line(text, limit)
    return _unlinked(line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; a heading that ends with `:` is a column of numbers."""
    names = [name.removesuffix(":") for name in head]
    rule = ["---:" if name.endswith(":") else "---" for name in head]
    lines = [names, rule, *rows]
    return [f"| {' | '.join(cell or ' ' for cell in line)} |" for line in lines] + [""]


@dataclass(frozen=True, slots=True)
class Links:
    """Makes links to files of a run, relative to where the text lies.

    Args:
        run_dir: The run directory, absolute; None where it is not known.
        lies_in: Directory of the text, absolute; the run directory by default.
    """

    run_dir: str | None
    lies_in: str | None = None

    def to(self, label: str, path: str) -> str:
        """Return a relative link, as plain text where there can be none.

        Args:
            label: What the link is called.
            path: Relative to the run directory, or absolute.
        """
        text = escape(label) or UNKNOWN
        target = self.target(path)
        return text if target is None else f"[{text}]({target})"

    def target(self, path: str) -> str | None:
        """Return the address of a relative link, percent-encoded; None where there can be none.

        Args:
            path: Relative to the run directory, or absolute.
        """
        here = self.lies_in or self.run_dir
        target = path
        if not path or "\0" in path or (_SCHEME.match(path) and not posixpath.isabs(path)):
            return None
        if posixpath.isabs(path) or self.lies_in is not None:
            if here is None or self.run_dir is None or not posixpath.isabs(here):
                return None
            target = posixpath.relpath(posixpath.join(self.run_dir, path), here)
        return quote(target, safe="/", errors="replace")


def value_text(value: object, limit: int | None = CELL_LIMIT) -> str:
    """Return a parameter, fact or metric as escaped text."""
    if value is None:
        return UNKNOWN
    return escape(exact_phrase(value), limit) or "(empty)"
