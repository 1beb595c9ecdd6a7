"""How busy the GPUs of the run are: NVML, read in a thread of its own and published for the others.

A call of NVML takes milliseconds now and then, and one for a GPU that fell off its bus may never
return. So no other thread makes one: the monitor and the steps read what was published last.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from robot_sf_otel import guard
from robot_sf_otel.system_metrics.gpu_reading import DeviceReading, GpuCounters, GpuReading

if TYPE_CHECKING:
    from robot_sf_otel.system_metrics.gpu_session import GpuSession

__all__ = ["DeviceReading", "GpuCounters", "GpuReading", "GpuSensor"]

PASS_SECONDS: Final = 0.25
"""Between two passes, at most: utilization covers the last 1/6 to 1 s."""
SHARE: Final = 0.005
"""What passes may take of a CPU, within `LONGEST_DELAY`; if they take more, the next comes later.
"""
LONGEST_DELAY: Final = 10.0
JOIN_SECONDS: Final = 0.05
"""How long `close` waits for a pass under way."""
_PASSES_AHEAD: Final = 3
"""For how many passes the counters go on without one."""

_Number = TypeVar("_Number", int, float)


class _Published(NamedTuple):
    """The state after a pass; replaced as a whole, so that readers need no lock."""

    reading: GpuReading
    time: float
    until: float
    """How far the counters may go on."""
    busy_seconds: float | None
    busy_rate: float
    joules: float | None
    watts: float


def _load() -> ModuleType:
    from robot_sf_otel.system_metrics import nvml

    return nvml.load()


_UNREAD: Final = GpuReading(notes=("gpu: the driver is being loaded",))


def _own_pid() -> Collection[int]:
    return (os.getpid(),)


class GpuSensor:
    """Reads the GPUs in a daemon thread; nothing here raises or waits for a driver.

    Devices are those of `CUDA_VISIBLE_DEVICES`, which is followed when it changes. Without NVML or
    a driver the thread ends, and a note says so. A driver or a device that fails later is tried
    again every 30 s; the other devices go on.

    Args:
        interval: Seconds between telemetry samples.
        pids: Returns the processes of the run; called in the sensor's thread.
        load: Returns the module pynvml; called in the sensor's thread.
        environ: Where `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER` are looked up.
        clock: Returns monotonic seconds.
        cpu_clock: Returns the CPU seconds of the calling thread.
    """

    def __init__(
        self,
        *,
        interval: float,
        pids: Callable[[], Collection[int]] = _own_pid,
        load: Callable[[], ModuleType] = _load,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._clock, self._cpu_clock = clock, cpu_clock
        self._interval, self._pids, self._load, self._environ = interval, pids, load, environ
        self._period = self._delay = min(interval, PASS_SECONDS)
        self._stale_seconds = max(3 * interval, 3.0)
        self._published = _Published(_UNREAD, 0.0, 0.0, None, 0.0, None, 0.0)
        self._due = math.inf
        """When the next pass should begin; only while there should be one."""
        self._before = 0.0
        self._debt = 0.0
        self._busy_shown = self._joules_shown = 0.0
        self._cpu_seconds = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def cpu_seconds(self) -> float:
        """What the passes cost so far."""
        return self._cpu_seconds

    def start(self) -> None:
        """Start the thread, once; where none can be started, nothing is ever read."""
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._loop, name="robot-sf-otel-gpu", daemon=True)
        self._due = self._clock()
        try:
            thread.start()
        except RuntimeError as error:
            self._due = math.inf
            guard.fault("gpu", error)
        else:
            self._thread = thread

    def read(self) -> GpuReading:
        """Return what was published last; while the thread is stuck, the devices without values."""
        reading = self._published.reading
        if not self._stale():
            return reading
        return GpuReading(
            devices=tuple(
                DeviceReading(index=d.index, nvml_index=d.nvml_index, uuid=d.uuid, name=d.name)
                for d in reading.devices
            ),
            notes=(f"gpu: NVML has not answered for more than {self._stale_seconds:g} s",),
        )

    def counters(self) -> GpuCounters:
        """Return the counters at this very moment: those of the last pass and its rates since."""
        last = self._published
        ahead = max(0.0, min(self._clock(), last.until) - last.time)
        busy = joules = None
        # A pass may find that less was used than the rates of the one before made us say.
        if last.busy_seconds is not None:
            busy = max(self._busy_shown, last.busy_seconds + last.busy_rate * ahead)
            self._busy_shown = busy
        if last.joules is not None:
            joules = max(self._joules_shown, last.joules + last.watts * ahead)
            self._joules_shown = joules
        return GpuCounters(busy, joules, None if self._stale() else last.reading.mem_used_bytes)

    def pass_once(self) -> float:
        """Ask what is due and publish it; return the seconds until the next pass.

        The thread does this again and again; tests call it instead of sleeping.
        """
        cpu, starts = self._cpu_clock(), self._session.starts
        now = self._clock()
        published = None
        with guard.shielded("gpu"):
            self._session.read(now, max(self._stale_seconds, _PASSES_AHEAD * self._delay))
            published = self._state(now)
        if published is None:
            published = self._published._replace(
                reading=GpuReading(notes=("gpu: the sensor failed",)), busy_rate=0.0, watts=0.0
            )
        self._published = published
        spent = self._cpu_clock() - cpu
        self._cpu_seconds += spent
        started = starts != self._session.starts  # dear, but rare
        self._delay = self._delay_after(0.0 if started else spent, now)
        ended = self._session.absent or self._stopping.is_set()
        self._due = math.inf if ended else self._clock() + self._delay
        return self._delay

    def close(self) -> None:
        """End the thread; one that is stuck in a call is left behind."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is None:
            self._shut_down()
        elif thread is not threading.current_thread():
            thread.join(JOIN_SECONDS)
        if not self._stale():
            self._due = math.inf

    @cached_property
    def _session(self) -> GpuSession:
        """What talks to NVML; imported by the sensor's thread, so that no start waits for it."""
        from robot_sf_otel.system_metrics.gpu_session import GpuSession

        return GpuSession(
            interval=self._interval, pids=self._pids, load=self._load, environ=self._environ
        )

    def _loop(self) -> None:
        with guard.shielded("gpu"):
            delay = self.pass_once()
            while not self._session.absent and not self._stopping.wait(delay):
                delay = self.pass_once()
        self._shut_down()

    def _shut_down(self) -> None:
        if "_session" in self.__dict__:  # made by the first pass
            with guard.shielded("gpu"):
                self._session.close()

    def _delay_after(self, spent: float, now: float) -> float:
        """Return the seconds until the next pass, after one that took that much CPU time.

        What a pass takes is paid off by the time that passes. Some debt is allowed: now and then a
        pass has a dear question, and the others should not come later for that.
        """
        allowed = SHARE * LONGEST_DELAY
        paid, self._before = SHARE * (now - self._before), now
        self._debt = min(max(0.0, self._debt - paid) + spent, 2 * allowed)
        return max(self._period, (self._debt - allowed) / SHARE)

    def _stale(self) -> bool:
        return self._clock() - self._due > self._stale_seconds

    def _state(self, now: float) -> _Published:
        probes, retired = self._session.probes, self._session.retired
        devices = tuple(probe.reading() for probe in probes)
        totals = [probe.totals for probe in (*probes, *retired)]
        utilizations = [d.util_percent for d in devices if d.util_percent is not None]
        busy = sum(utilizations)
        return _Published(
            reading=GpuReading(
                devices=devices,
                util_percent=busy / len(utilizations) if utilizations else None,
                mem_used_bytes=_sum_known(d.mem_used_bytes for d in devices),
                mem_total_bytes=_sum_known(d.mem_total_bytes for d in devices),
                notes=self._session.notes(),
            ),
            time=now,
            until=now + _PASSES_AHEAD * self._delay,
            busy_seconds=_sum_known(total.busy_seconds for total in totals),
            busy_rate=busy / 100,
            joules=_sum_known(total.joules for total in totals),
            watts=sum(d.power_w for d in devices if d.power_w is not None),
        )


def _sum_known(values: Iterable[_Number | None]) -> _Number | None:
    """Return the sum of what is known, None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None
