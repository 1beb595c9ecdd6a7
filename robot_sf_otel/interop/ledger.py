"""What an endpoint has accepted of recorded runs: a small file beside them."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

import msgspec

from robot_sf_otel.store.lines import iter_lines

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.interop.batches import Signal

LAYOUT: Final = 2
"""Of batches; a version that cuts them otherwise sends all again."""
LEDGERS: Final = ".replay"
"""Folder beside the runs with what was accepted by whom."""


class _Entry(msgspec.Struct, omit_defaults=True):
    """A line of a ledger: a batch that was accepted whole."""

    run: str
    print: str
    signal: str
    batch: int
    items: int = 0


class Ledger:
    """What an endpoint has accepted, in a small file beside the runs.

    Append-only, so that a replay that is killed at any moment is continued where it was.

    Args:
        tracker: The folder of the runs.
        endpoint: Where they are sent.
        private: Whether paths and parameters were left out: that is other data.
    """

    def __init__(self, tracker: Path, endpoint: str, *, private: bool) -> None:
        who = f"{LAYOUT}|{endpoint.rstrip('/')}|{'private' if private else ''}"
        name = hashlib.sha256(who.encode()).hexdigest()[:16]
        self._path = tracker / LEDGERS / f"{name}.jsonl"
        self._accepted: dict[tuple[str, str], set[tuple[str, int]]] = {}
        decode = msgspec.json.Decoder(_Entry).decode
        for line in iter_lines(self._path):
            try:
                entry = decode(line)
            except msgspec.DecodeError:
                continue
            self._of(entry.run, entry.print).add((entry.signal, entry.batch))
        self._fd: int | None = None

    def _of(self, run: str, fingerprint: str) -> set[tuple[str, int]]:
        return self._accepted.setdefault((run, fingerprint), set())

    def has(self, run: str, fingerprint: str, signal: Signal, batch: int) -> bool:
        """Return whether a batch was accepted."""
        return (signal, batch) in self._of(run, fingerprint)

    def accept(self, run: str, fingerprint: str, signal: Signal, batch: int, items: int) -> None:
        """Remember that a batch was accepted whole.

        Raises:
            OSError: It cannot be written.
        """
        self._of(run, fingerprint).add((signal, batch))
        if self._fd is None:
            self._path.parent.mkdir(exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._path, flags, 0o666)
        entry = _Entry(run, fingerprint, signal, batch, items)
        os.write(self._fd, msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
