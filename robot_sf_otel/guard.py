"""The one place where errors of telemetry itself are caught, counted and said once.

A fault in telemetry must never reach the pipeline that it watches. Code at the edges wraps its
work in `shielded`; what is caught is logged once a place and kind, and kept for the manifest
(`drain`), where it appears as a `telemetry_fault` event.
"""

from __future__ import annotations

import errno
import sys
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

_seen: Final[set[str]] = set()
_faults: Final[Counter[tuple[str, str]]] = Counter()


def warn(message: str) -> None:
    """Log a warning through Loguru, whose sinks belong to the application. Never raises."""
    try:
        from loguru import logger

        # The message is an argument, not the template: it may hold braces.
        logger.opt(depth=1).warning("{}", message)
    except Exception:
        with suppress(Exception):
            sys.stderr.write(f"robot_sf_otel: {message}\n")


def warn_once(key: str, message: str) -> bool:
    """Log a warning the first time that `key` comes; return whether it did."""
    if key in _seen:
        return False
    _seen.add(key)
    warn(message)
    return True


def take_as_said(key: str) -> None:
    """Let `warn_once` keep quiet about `key`: its cause has been named already."""
    _seen.add(key)


def fault(where: str, error: BaseException) -> None:
    """Count a fault of telemetry and log it the first time that its place or its cause come."""
    text = f"{type(error).__name__}: {error}"
    _faults[where, text] += 1
    place = f"{where}:{type(error).__name__}"
    cause = _cause(error)
    if cause in _seen:  # one cause fails many places in turn
        _seen.add(place)
    elif warn_once(place, f"telemetry: {where} failed, going on: {text}"):
        _seen.add(cause)


def count(where: str, error: BaseException) -> None:
    """Count a fault without a line in the log: it happened while a line was being logged."""
    _faults[where, f"{type(error).__name__}: {error}"] += 1


def _cause(error: BaseException) -> str:
    """Return what the faults of one cause have in common."""
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        return "no file can be opened"  # whichever it is
    return f"{type(error).__name__}: {error}"


def storage_fault(where: str, error: BaseException) -> None:
    """Count a fault of writing; whatever file it was, one warning says that the disk is the cause.

    A full disk or a folder that cannot be written fails every file of the run in turn.
    """
    if not isinstance(error, OSError):
        fault(where, error)
        return
    text = f"{type(error).__name__}: {error}"
    _faults[where, text] += 1
    _seen.add(_cause(error))
    warn_once(
        "storage",
        f"the record of the run cannot be written: {text}. The pipeline goes on; events are kept "
        "in memory and written as soon as that is possible",
    )


class shielded:  # noqa: N801 - used like a function: `with shielded("where"):`
    """Run a block of telemetry code; what it raises is counted as a fault and goes no further.

    A class and not a generator: a step passes through several of them.
    """

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        fault(self._where, error)
        return True


def drain() -> list[tuple[str, str, int]]:
    """Return the faults since the last call as (where, message, count), and forget them."""
    taken: list[tuple[str, str, int]] = []
    while _faults:
        (where, message), count = _faults.popitem()
        taken.append((where, message, count))
    return taken


def reset() -> None:
    """Forget what was seen, for tests and for a new configuration."""
    _seen.clear()
    _faults.clear()
