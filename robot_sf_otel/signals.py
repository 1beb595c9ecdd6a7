"""SIGTERM: the record is closed first, then the signal does what it would have done anyway.

A Python signal handler only runs once C code returns, and must not take a lock that the
interrupted code holds. So the signal's number goes through a pipe to the monitor thread, which
closes the record; the handler itself only notes the signal or calls the application's own handler.
Ctrl-C needs nothing: its KeyboardInterrupt passes through the open blocks.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from robot_sf_otel import guard
from robot_sf_otel.instrument import child_process

SIGNUM: Final = signal.SIGTERM
Handler = Callable[[int, FrameType | None], Any]


class Termination:
    """Our hand on SIGTERM while runs are live; `restore` takes it away again."""

    def __init__(self, wake: Callable[[int], bool], note: Callable[[str], None]) -> None:
        """Take nothing over yet.

        Args:
            wake: Hands a signal number to the monitor thread and returns whether there is one;
                must be safe anywhere.
            note: Remembers that live runs were interrupted; must take no lock.
        """
        self._wake = wake
        self._note = note
        self._signals = 0
        self._previous: Any = None
        self._previous_wakeup = -1
        self._installed = False

    def install(self, wakeup_fd: int) -> None:
        """Take SIGTERM over, where this is the main thread and it is not ignored."""
        if self._installed or threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(SIGNUM)
        if previous is signal.SIG_IGN or previous is None:  # None: a handler that is not Python's
            return
        self._previous = previous
        signal.signal(SIGNUM, self._handle)
        self._installed = True
        if previous is signal.SIG_DFL:
            before = signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
            if before != -1:  # an event loop has one already; our handler wakes the thread then
                signal.set_wakeup_fd(before, warn_on_full_buffer=False)
            else:
                self._previous_wakeup = wakeup_fd

    def restore(self) -> None:
        """Give SIGTERM back, where it is still ours and this is the main thread."""
        if not self._installed or threading.current_thread() is not threading.main_thread():
            return
        self._installed = False
        # Bound methods are made anew at each access: compare by equality.
        if signal.getsignal(SIGNUM) == self._handle:
            signal.signal(SIGNUM, self._previous)
        if self._previous_wakeup != -1:
            current = signal.set_wakeup_fd(-1)
            if current not in (-1, self._previous_wakeup):
                signal.set_wakeup_fd(current, warn_on_full_buffer=False)
            self._previous_wakeup = -1

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self._note("SIGTERM")
        if callable(self._previous):
            child_process.forward(signum)
            self._previous(signum, frame)
            return
        self._signals += 1
        # Nobody there to close the record, or not getting on with it: obey all the same.
        if not self._installed or self._signals > 1 or not self._wake(signum):
            self.die()

    def die(self) -> None:
        """End this process by SIGTERM's default action, from any thread.

        `signal.signal` works in the main thread only, which may be inside C code for seconds, so
        the disposition is reset through the C library.
        """
        import ctypes

        with guard.shielded("default action of SIGTERM"):
            ctypes.CDLL(None).signal(int(SIGNUM), None)
        os.kill(os.getpid(), SIGNUM)

    @property
    def is_default(self) -> bool:
        """Whether the application left SIGTERM alone, before our hand on it and since."""
        since = signal.getsignal(SIGNUM)
        untouched = since == self._handle or since is signal.SIG_DFL
        return self._previous is signal.SIG_DFL and untouched

    @property
    def installed(self) -> bool:
        """Whether SIGTERM is still ours: only the main thread can give it back."""
        return self._installed
