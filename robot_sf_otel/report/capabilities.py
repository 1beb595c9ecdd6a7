"""What a terminal can do: characters, colours, a second screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

_FEW_COLOURS: Final = 8
_POOR_FONTS: Final = frozenset({"linux"})
"""The console of Linux: UTF-8, but a font of 512 characters without most blocks."""


class Capabilities(NamedTuple):
    """What can be used on a terminal."""

    unicode: bool = True
    colour: bool = True
    alternate: bool = True


def capabilities(stream: TextIO, environ: Mapping[str, str]) -> Capabilities:
    """Return what the terminal behind a stream can do.

    Its description in terminfo decides; without one it is taken for a modern terminal, as those are
    what remote machines have no description of.
    """
    term = environ.get("TERM", "")
    colours, alternate = _described(term)
    return Capabilities(
        unicode=_is_utf(stream.encoding or "")
        and _locale_is_utf(environ)
        and term not in _POOR_FONTS,
        colour=not environ.get("NO_COLOR") and (colours is None or colours >= _FEW_COLOURS),
        alternate=alternate,
    )


def _described(term: str) -> tuple[int | None, bool]:
    """Return the number of colours, None where it is not known, and whether there is a screen."""
    try:
        import curses

        curses.setupterm(term, 1)
        return curses.tigetnum("colors"), bool(curses.tigetstr("smcup"))
    except (ImportError, OSError, ValueError):
        return None, True
    except Exception as error:
        if type(error).__module__ in {"curses", "_curses"}:  # no description
            return None, True
        raise


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
