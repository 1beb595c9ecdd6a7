"""Ctrl-C waits while a run is opened or closed: no record is left half begun or half ended."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class CtrlCHeld:
    """A block that Ctrl-C does not cut short; KeyboardInterrupt is raised at its end.

    A second Ctrl-C goes through at once. Only Python's own handler is stood in for, and only in the
    main thread: a handler of the application is left alone.
    """

    __slots__ = ("_came", "_ours")

    def __init__(self) -> None:
        """Change nothing yet."""
        self._came = False
        self._ours = False

    def __enter__(self) -> None:
        """Stand in for Python's handler."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._ours = True
            signal.signal(signal.SIGINT, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._came:
            signal.default_int_handler(signum, frame)
        self._came = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the handler back, and raise what was kept back.

        Raises:
            KeyboardInterrupt: Ctrl-C came meanwhile.
        """
        if not self._ours:
            return
        if signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._came and error is None:
            raise KeyboardInterrupt
