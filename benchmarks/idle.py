"""Processes that do nothing: children of this one, and strangers on the same host."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Final

_IDLE: Final = "cat"
"""Waits for input; ends with the last process that holds the other end, however that dies."""
_STRANGERS: Final = (
    'exec 3<&0; i=0; while [ "$i" -lt "$1" ]; do cat <&3 >/dev/null & i=$((i + 1)); done'
)
"""Ends at once: its children are given to the system, in a session whose leader is gone."""


@contextmanager
def children(count: int) -> Generator[None]:
    """Keep idle children of this process."""
    with ExitStack() as started:
        for _ in range(count):
            started.enter_context(
                subprocess.Popen([_IDLE], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            )
        yield


@contextmanager
def strangers(count: int) -> Generator[None]:
    """Keep idle processes on the host that are no descendants of this one."""
    if count <= 0:
        yield
        return
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "wb"):
        with os.fdopen(ours, "rb") as stdin:
            subprocess.run(
                ["/bin/sh", "-c", _STRANGERS, "sh", str(count)],
                stdin=stdin,
                start_new_session=True,
                check=True,
            )
        yield


def on_host() -> int | None:
    """Return how many processes this host has; None where /proc does not tell."""
    try:
        return sum(name.isdecimal() for name in os.listdir("/proc"))  # noqa: PTH208 - names alone
    except OSError:
        return None
