"""Outside text inside Markdown: escaping, code, links and tables that GitHub shows as meant.

Names of steps, artifacts and parameters come from anywhere. Whatever they hold, they appear as the
characters that they are: no markup, no HTML, no link that the report did not make.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote

from robot_sf_otel.manifest.formats import UNKNOWN, block, number, one_line

CELL_LIMIT: Final = 300
"""Characters of a name or value that a table shows."""

_PUNCTUATION: Final = re.compile(r"([\\`*\[\]|~$])")
_UNDERSCORE: Final = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_LINE_START: Final = re.compile(r"^(\d{1,9})([.)])|^([-+#=:])")
_AUTOLINK: Final = re.compile(r"(?i)(https?|ftp|mailto|xmpp)(?=:)|\b(www)(?=\.)|(?<=\w)(?=@\w)")
_SCHEME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")


def escape(text: str, limit: int | None = CELL_LIMIT) -> str:
    """Return text as one line of Markdown that shows just that text, in a table cell or outside."""
    line = one_line(text, limit)
    line = _PUNCTUATION.sub(r"\\\1", line)
    line = _UNDERSCORE.sub(r"\\_", line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _LINE_START.sub(_escape_start, line)
    # GitHub turns bare addresses into links; an empty comment between their parts stops it.
    return _AUTOLINK.sub(lambda found: f"{found.group()}<!---->", line)


def _escape_start(found: re.Match[str]) -> str:
    if found.group(3):
        return f"\\{found.group(3)}"
    return f"{found.group(1)}\\{found.group(2)}"


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
    return ["<details>", f"<summary>{summary}</summary>", "", *body, "", "</details>", ""]


def html_text(text: str, limit: int | None = CELL_LIMIT) -> str:
    """Return text for the inside of an HTML element."""
    line = one_line(text, limit)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; a heading that ends with `:` is a column of numbers."""
    names = [name.removesuffix(":") for name in head]
    rule = ["---:" if name.endswith(":") else "---" for name in head]
    lines = [names, rule, *rows]
    return [f"| {' | '.join(cell or ' ' for cell in line)} |" for line in lines] + [""]


def link(label: str, path: str, artifact_dir: str | None) -> str:
    """Return a relative link to a file of the run, as plain text where there is none.

    Args:
        label: What the link is called.
        path: Relative to the run directory, or absolute.
        artifact_dir: The run directory; absolute paths become relative to it.
    """
    target = path
    if posixpath.isabs(path):
        if artifact_dir is None or not posixpath.isabs(artifact_dir):
            return escape(label)
        target = posixpath.relpath(path, artifact_dir)
    elif _SCHEME.match(path):
        return escape(label)
    if not target or "\0" in target:
        return escape(label)
    address = quote(target, safe="/", errors="replace")
    return f"[{escape(label) or UNKNOWN}]({address})"


def value_text(value: object, limit: int | None = CELL_LIMIT) -> str:
    """Return a recorded value as escaped text: strings as they are, the rest as JSON."""
    if isinstance(value, str):
        return escape(value, limit) or "(empty)"
    if value is None:
        return UNKNOWN
    return escape(json.dumps(value, ensure_ascii=False, default=str), limit)


def evidence_text(evidence: dict[str, Any]) -> str:
    """`cpu_percent_process = 97.1 % (threshold 90 %)`, then whatever else was recorded."""
    rest = dict(evidence)
    parts: list[str] = []
    if (metric := rest.pop("metric", None)) is not None:
        unit = rest.pop("unit", None)
        ending = f" {escape(str(unit))}" if unit else ""
        text = f"{code(str(metric))} = {reading(rest.pop('value', None))}{ending}"
        if (threshold := rest.pop("threshold", None)) is not None:
            text += f" (threshold {reading(threshold)}{ending})"
        parts.append(text)
    parts += [f"{escape(str(name))} {reading(value)}" for name, value in rest.items()]
    return ", ".join(parts)


def reading(value: object) -> str:
    """Return a measured value: numbers with three significant digits, the rest as recorded."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    return value_text(value)
