"""The one thread that reads the sensors: ticks at a pace, and a byte that wakes it for a signal."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Final

from robot_sf_otel import guard
from robot_sf_otel.system_metrics.pace import Pace

JOIN_SECONDS: Final = 2.0
"""How long `stop` waits for a tick under way."""


class Monitor:
    """Calls `tick` every `interval` seconds in a daemon thread, and `on_signal` for each signal.

    Ticks that take over 1 % of a core come less often.

    Signals come through a pipe whose write end is given to `signal.set_wakeup_fd`: the byte
    arrives while the main thread is still inside C code, and no lock is involved.
    """

    def __init__(
        self,
        interval: float,
        tick: Callable[[], None],
        on_signal: Callable[[int], None] = lambda _: None,
        upkeep: Callable[[], None] = lambda: None,
    ) -> None:
        """Start nothing yet.

        Args:
            interval: Seconds between ticks.
            tick: Takes the samples; what it costs decides how often it is called.
            on_signal: Told of each signal.
            upkeep: Called after each tick; sees itself that it costs little.
        """
        self.pace = Pace(interval)
        self.ticks_missed = 0
        self.cpu_seconds = 0.0
        self.longest_tick_seconds = 0.0
        self._tick = tick
        self._upkeep = upkeep
        self._on_signal = on_signal
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)

    @property
    def wakeup_fd(self) -> int:
        """The end of the pipe that takes signal numbers."""
        return self._write_fd

    @property
    def running(self) -> bool:
        """Whether the thread was started and not stopped."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread, once.

        Raises:
            RuntimeError: No thread can be started.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._loop, name="robot-sf-otel-monitor", daemon=True)
            thread.start()
            self._thread = thread

    def wake(self, signum: int = 0) -> None:
        """Hand a signal number to the thread; 0 only makes it look up. Safe anywhere."""
        try:
            os.write(self._write_fd, bytes([signum]))
        except OSError:  # full: it is awake anyway; closed: nobody is there
            return

    def stop(self) -> None:
        """End the thread; waits for a tick under way, up to 2 s."""
        self._stopping = True
        self.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_SECONDS)
        if self._thread is None or not self._thread.is_alive():
            self.abandon()
        self._thread = None

    def abandon(self) -> None:
        """Close the pipe without touching the thread: in a forked child there is none."""
        self._thread = None
        for fd in (self._read_fd, self._write_fd):
            try:
                os.close(fd)
            except OSError:
                continue
        self._read_fd = self._write_fd = -1  # the numbers may soon be those of other files

    def _loop(self) -> None:
        self._watch()
        self._drain()  # a signal that came while it was being stopped

    def _watch(self) -> None:
        poller = select.poll()
        poller.register(self._read_fd, select.POLLIN)
        due = time.monotonic() + self.pace.interval
        while not self._stopping:
            wait = max(0.0, due - time.monotonic())
            if poller.poll(wait * 1000):
                self._drain()
            if self._stopping:
                return
            now = time.monotonic()
            if now < due:
                continue
            self._run_tick()
            interval = self.pace.interval
            due += interval
            behind = time.monotonic() - due
            if behind > 0:
                missed = int(behind / interval) + 1
                self.ticks_missed += missed
                due += missed * interval

    def _run_tick(self) -> None:
        began, cpu = time.monotonic(), time.thread_time()
        with guard.shielded("monitor"):
            self._tick()
        took = time.thread_time() - cpu
        self.longest_tick_seconds = max(self.longest_tick_seconds, time.monotonic() - began)
        if self.pace.took(took) and (note := self.pace.note()):
            guard.warn_once("pace", note)
        with guard.shielded("monitor"):
            self._upkeep()
        self.cpu_seconds += time.thread_time() - cpu

    def _drain(self) -> None:
        try:
            received = os.read(self._read_fd, 4096)
        except OSError:
            return
        for signum in received:
            if signum:
                with guard.shielded("signal"):
                    self._on_signal(signum)
