"""What a terminal can do: characters, colours, a second screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLAIN: Final = ("vt", "ansi-m", "dumb")
"""Beginnings of the names of terminals without colours and without a second screen."""
_ONE_SCREEN: Final = frozenset({"linux", "ansi", "cons25"})
_POOR_FONTS: Final = frozenset({"linux"})
"""The console of Linux: UTF-8, but a font of 512 characters without most blocks."""


class Capabilities(NamedTuple):
    """What can be used on a terminal."""

    unicode: bool = True
    colour: bool = True
    alternate: bool = True


def capabilities(stream: TextIO, environ: Mapping[str, str]) -> Capabilities:
    """Return what the terminal behind a stream can do.

    Its name decides, as a remote machine has no description of the newest ones: whatever is not
    known to be poor is taken for a modern terminal.
    """
    term = environ.get("TERM", "")
    plain = term.startswith(_PLAIN)
    return Capabilities(
        unicode=_is_utf(stream.encoding or "")
        and _locale_is_utf(environ)
        and term not in _POOR_FONTS,
        colour=not environ.get("NO_COLOR") and not plain,
        alternate=not plain and term not in _ONE_SCREEN,
    )


def _is_utf(encoding: str) -> bool:
    return encoding.lower().replace("-", "").startswith("utf")


def _locale_is_utf(environ: Mapping[str, str]) -> bool:
    """Return whether the user's locale has UTF-8.

    Python replaces the C locale by C.UTF-8 (PEP 538), and leaves LC_CTYPE as the only trace of it:
    that says nothing of the terminal. A user who sets PYTHONIOENCODING or PYTHONUTF8 knows.
    """
    if environ.get("PYTHONIOENCODING") or environ.get("PYTHONUTF8"):
        return True
    named = environ.get("LC_ALL") or ""
    if not named:
        named = environ.get("LC_CTYPE") or ""
        coerced = named in {"C.UTF-8", "C.utf8", "UTF-8"}
        if not named or (coerced and environ.get("LANG", "") in {"", "C", "POSIX"}):
            named = environ.get("LANG") or ""
    return "utf" in named.lower()
