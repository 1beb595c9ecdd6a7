from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from queue import Empty, SimpleQueue

import pytest

from robot_sf_otel import guard
from robot_sf_otel.system_metrics import monitor as module
from robot_sf_otel.system_metrics.monitor import Monitor
from robot_sf_otel.system_metrics.pace import WINDOW
from tests.unit.warned import warnings_said

DEADLINE = 30.0
NEVER = 3600.0
"""An interval after which no test waits."""

Make = Callable[..., Monitor]


@pytest.fixture
def make() -> Iterator[Make]:
    """Return what makes monitors that are stopped after the test."""
    made: list[Monitor] = []

    def one(
        interval: float = NEVER,
        tick: Callable[[], None] = lambda: None,
        on_signal: Callable[[int], None] = lambda _: None,
        upkeep: Callable[[], None] = lambda: None,
    ) -> Monitor:
        made.append(Monitor(interval, tick, on_signal, upkeep))
        return made[-1]

    yield one
    for monitor in made:
        monitor.stop()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which goes on only while the thread would wait."""
    seconds = [0.0]

    class Poller:
        def register(self, *_: object) -> None:
            pass

        def poll(self, milliseconds: float) -> bool:
            seconds[0] += milliseconds / 1000
            return False

    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    monkeypatch.setattr("select.poll", Poller)
    return seconds


def test_ticks_come_one_after_the_other_in_one_thread_of_its_own(make: Make) -> None:
    ticks: SimpleQueue[threading.Thread] = SimpleQueue()
    monitor = make(0.001, lambda: ticks.put(threading.current_thread()))
    monitor.start()
    monitor.start()
    seen = {ticks.get(timeout=DEADLINE) for _ in range(3)}
    (thread,) = seen
    assert thread.daemon
    assert thread.name == "robot-sf-otel-monitor"
    assert thread is not threading.current_thread()


def test_first_tick_comes_after_an_interval_and_not_at_once(make: Make) -> None:
    ticks: list[int] = []
    monitor = make(NEVER, lambda: ticks.append(1))
    monitor.start()
    monitor.stop()
    assert ticks == []


def test_no_tick_comes_after_stop(make: Make) -> None:
    ticks: SimpleQueue[int] = SimpleQueue()
    monitor = make(0.001, lambda: ticks.put(1))
    monitor.start()
    ticks.get(timeout=DEADLINE)
    monitor.stop()
    assert not monitor.running
    while True:
        try:
            ticks.get_nowait()
        except Empty:
            break
    assert not [t for t in threading.enumerate() if t.name == "robot-sf-otel-monitor"]


def test_stop_waits_for_the_tick_under_way(make: Make) -> None:
    begun, done, release = threading.Event(), threading.Event(), threading.Event()

    def tick() -> None:
        begun.set()
        while not monitor._stopping:
            release.wait(0.001)
        done.set()

    monitor = make(0.001, tick)
    monitor.start()
    assert begun.wait(DEADLINE)
    monitor.stop()
    assert done.is_set()


def test_stop_gives_up_on_a_tick_that_hangs(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOIN_SECONDS", 0.01)
    begun, release = threading.Event(), threading.Event()

    def tick() -> None:
        begun.set()
        release.wait(DEADLINE)

    monitor = make(0.001, tick)
    monitor.start()
    assert begun.wait(DEADLINE)
    monitor.stop()
    assert not monitor.running
    release.set()


def test_monitor_that_stops_itself_does_not_wait_for_itself(make: Make) -> None:
    stopped = threading.Event()

    def tick() -> None:
        monitor.stop()
        stopped.set()

    monitor = make(0.001, tick)
    monitor.start()
    assert stopped.wait(DEADLINE)


def test_stop_before_start_and_again_does_nothing(make: Make) -> None:
    monitor = make()
    monitor.stop()
    monitor.stop()
    assert not monitor.running


def test_tick_that_raises_does_not_end_the_thread(make: Make) -> None:
    ticks: SimpleQueue[int] = SimpleQueue()

    def tick() -> None:
        ticks.put(1)
        raise RuntimeError("no sensors")

    with warnings_said() as said:
        monitor = make(0.001, tick)
        monitor.start()
        for _ in range(3):
            ticks.get(timeout=DEADLINE)
        monitor.stop()
        assert said == ["telemetry: monitor failed, going on: RuntimeError: no sensors\n"]
        ((_, _, count),) = guard.drain()
        assert count >= 2


def test_signal_number_wakes_the_thread_at_once(make: Make) -> None:
    signals: SimpleQueue[int] = SimpleQueue()
    monitor = make(NEVER, on_signal=signals.put)
    monitor.start()
    monitor.wake(signal.SIGTERM)
    assert signals.get(timeout=DEADLINE) == signal.SIGTERM
    os.write(monitor.wakeup_fd, bytes([signal.SIGINT, 0, signal.SIGTERM]))
    assert [signals.get(timeout=DEADLINE) for _ in range(2)] == [signal.SIGINT, signal.SIGTERM]


def test_signal_that_comes_while_it_is_being_stopped_is_not_lost(make: Make) -> None:
    signals: list[int] = []
    begun, release = threading.Event(), threading.Event()

    def tick() -> None:
        begun.set()
        release.wait(DEADLINE)

    monitor = make(0.001, tick, signals.append)
    monitor.start()
    assert begun.wait(DEADLINE)
    monitor._stopping = True  # as `stop` has it while it waits
    monitor.wake(signal.SIGTERM)
    release.set()
    monitor.stop()
    assert signals == [signal.SIGTERM]


def test_signal_handler_that_raises_does_not_end_the_thread(make: Make) -> None:
    signals: SimpleQueue[int] = SimpleQueue()

    def on_signal(signum: int) -> None:
        signals.put(signum)
        raise OSError("broken")

    with warnings_said() as said:
        monitor = make(NEVER, on_signal=on_signal)
        monitor.start()
        for signum in (15, 2):
            monitor.wake(signum)
            assert signals.get(timeout=DEADLINE) == signum
        monitor.stop()
        assert said == ["telemetry: signal failed, going on: OSError: broken\n"]


def test_waking_never_blocks_and_never_raises(make: Make) -> None:
    monitor = make()
    for _ in range(100_000):  # more than a pipe holds
        monitor.wake(15)
    monitor.abandon()
    monitor.wake(15)


def test_closed_pipe_is_not_written_to_even_if_its_number_is_another_files(
    make: Make, tmp_path: object
) -> None:
    monitor = make()
    monitor.abandon()
    reader, writer = os.pipe()  # takes the numbers that have just become free
    os.set_blocking(reader, False)
    monitor.wake(15)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    os.close(reader)
    os.close(writer)


def test_late_ticks_are_counted_as_missed_and_not_caught_up_with(
    make: Make, now: list[float]
) -> None:
    done = threading.Event()
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(now[0])
        if len(ticks) == 1:
            now[0] += 3.5  # a sample that takes three intervals and a half
        if len(ticks) == 3:
            monitor._stopping = True
            done.set()

    monitor = make(1.0, tick)
    monitor._watch()
    assert done.is_set()
    assert ticks == [1.0, 5.0, 6.0]
    assert monitor.ticks_missed == 3
    assert monitor.longest_tick_seconds == 3.5


def test_cost_of_the_ticks_is_kept(make: Make) -> None:
    ticks: SimpleQueue[int] = SimpleQueue()

    def tick() -> None:
        sum(range(20_000))
        ticks.put(1)

    monitor = make(0.001, tick)
    monitor.start()
    for _ in range(2):
        ticks.get(timeout=DEADLINE)
    monitor.stop()
    assert monitor.cpu_seconds > 0
    assert 0 < monitor.longest_tick_seconds < DEADLINE


def test_dear_ticks_come_less_often_and_that_is_said_once(
    make: Make, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = [0.0]
    ticks: list[float] = []

    def tick() -> None:
        ticks.append(now[0])
        spent[0] += 0.04
        if len(ticks) == 3 * WINDOW:
            monitor._stopping = True

    monkeypatch.setattr("time.thread_time", lambda: spent[0])
    monitor = make(1.0, tick)
    with warnings_said() as said:
        monitor._watch()
    assert ticks[:WINDOW] == [float(number) for number in range(1, WINDOW + 1)]
    gaps = {round(later - earlier, 6) for earlier, later in pairwise(ticks[WINDOW - 1 :])}
    assert gaps == {4.0}
    assert said == [
        "telemetry: a sample every 4 s instead of 1 s, as more would take over 1% of a core\n"
    ]
    assert monitor.ticks_missed == 0


def test_upkeep_follows_each_tick_and_has_no_part_in_the_pace(
    make: Make, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = [0.0]
    done: list[str] = []

    def tick() -> None:
        done.append("tick")
        spent[0] += 0.001

    def upkeep() -> None:
        done.append("upkeep")
        spent[0] += 0.05
        now[0] += 0.05
        monitor._stopping = len(done) == 6 * WINDOW

    monkeypatch.setattr("time.thread_time", lambda: spent[0])
    monitor = make(1.0, tick, upkeep=upkeep)
    monitor._watch()
    assert done == ["tick", "upkeep"] * 3 * WINDOW
    assert monitor.pace.interval == 1.0
    assert monitor.cpu_seconds == pytest.approx(0.051 * 3 * WINDOW)
    assert monitor.longest_tick_seconds == 0.0
