"""A training loop in forked processes, which open a run or close it when they are told to.

Forked, because where code and arrays lie in memory changes their speed by several per cent, from
one interpreter to the next: a fork has everything that existed before where its twin has it.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

UNITS: Final = 1_000_000_000
"""More than anybody waits for: a block ends by the clock."""
_SETTLE_SECONDS: Final = 5.0
_LENGTH: Final = 64 * 64
"""Numbers in an array: enough for NumPy to release the GIL."""


class Block(NamedTuple):
    """What some units of work took together, CPU time of all threads."""

    units: int
    wall: float
    cpu: float


class Order(NamedTuple):
    """What to do next."""

    on: bool
    """Whether in a step of a run; without one everything is inert."""
    seconds: float


Trainer = Callable[[Order], Block]
"""Works for some time, with telemetry or without."""


def in_python(repeats: int) -> Callable[[], None]:
    """Return a unit of work in the interpreter."""

    def unit() -> None:
        total = 0.0
        for number in range(repeats):
            total += number * 0.5

    return unit


def in_numpy(repeats: int) -> Callable[[], None]:
    """Return a unit of work in compiled code, which allocates nothing.

    Raises:
        ImportError: NumPy is not installed.
    """
    import numpy as np

    state: Any = np.linspace(0.1, 0.9, _LENGTH)

    def unit() -> None:
        for _ in range(repeats):
            np.cos(state, out=state)

    return unit


def lasting(kind: Callable[[int], Callable[[], None]], seconds: float) -> Callable[[], None]:
    """Return a unit of work that takes about `seconds` where nothing disturbs it."""
    repeats = 1
    while True:
        unit = kind(repeats)
        fastest = min(seconds_of(unit) for _ in range(5))
        if fastest >= seconds / 2:
            return kind(max(1, round(repeats * seconds / fastest)))
        repeats *= 2


def seconds_of(unit: Callable[[], None]) -> float:
    """Return what one unit of work takes, in seconds."""
    began = time.perf_counter()
    unit()
    return time.perf_counter() - began


def train(unit: Callable[[], None], units: Iterator[int], seconds: float) -> Block:
    """Work for some time, a unit for each that the loop yields."""
    done = 0
    cpu, began = time.process_time(), time.perf_counter()
    for _ in units:
        unit()
        done += 1
        if time.perf_counter() - began >= seconds:
            break
    return Block(done, time.perf_counter() - began, time.process_time() - cpu)


@contextmanager
def forked(
    unit: Callable[[], None], artifact_root: Path, cpu: int | None = None
) -> Generator[Trainer]:
    """Fork a process that trains on demand.

    Args:
        unit: What it works on.
        artifact_root: Where its runs go.
        cpu: The only one it may use: one CPU is often several per cent slower than its neighbour.

    Raises:
        RuntimeError: The process failed; it has said why on stderr.
    """
    orders_out, orders_in = os.pipe()
    answers_out, answers_in = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(orders_in)
            os.close(answers_out)
            if sys.platform == "linux" and cpu is not None:
                os.sched_setaffinity(0, {cpu})
            _serve(unit, artifact_root, orders_out, answers_in)
            code = 0
        except BaseException:  # noqa: BLE001 - reported here, as nobody above is in this process
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(orders_out)
    os.close(answers_in)

    def trainer(order: Order) -> Block:
        os.write(orders_in, msgspec.json.encode(order) + b"\n")
        answer = os.read(answers_out, 4096)
        if not answer:
            raise RuntimeError("a training process ended early")
        return msgspec.json.decode(answer, type=Block)

    try:
        with os.fdopen(orders_in, "wb"), os.fdopen(answers_out, "rb"):
            yield trainer
    finally:
        _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError("a training process failed")


def cpus() -> list[int | None]:
    """Return the CPUs that a process can be bound to; None where it cannot."""
    if sys.platform != "linux":
        return [None]
    return [*os.sched_getaffinity(0)]


def _settle() -> None:
    """Wait until the facts of the environment are in: once a run, however long it is."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    # The main thread and the one that samples stay.
    while threading.active_count() > 2 and time.monotonic() < deadline:  # noqa: PLR2004 - those
        time.sleep(0.01)


def _shift() -> list[object]:
    """Return objects that push later numbers to other addresses, with telemetry and without.

    All forks are alike, so that the addresses which a run leaves free are the same in each: a
    loop that is faster or slower there looked like a cost of telemetry, and a certain one.
    """
    chance = random.SystemRandom()
    return [
        *map(float, range(chance.randrange(2_000))),
        *range(1_000, 1_000 + chance.randrange(2_000)),
    ]


def _serve(unit: Callable[[], None], artifact_root: Path, orders: int, answers: int) -> None:
    from robot_sf_otel import configure, pipeline, step, track

    configure(artifact_root=artifact_root)
    running = False
    shifted: list[object] = []
    units = iter(track(range(UNITS), unit="units"))
    with os.fdopen(orders, "rb") as lines, ExitStack() as run:
        for line in lines:
            on, seconds = msgspec.json.decode(line, type=Order)
            if on != running:
                run.close()
                if on:
                    run.enter_context(pipeline("benchmark"))
                    run.enter_context(step("train"))
                    _settle()
                # One loop for many blocks: its beginning and end belong to none of them.
                units = iter(track(range(UNITS), unit="units"))
                running = on
            shifted[:] = _shift()
            os.write(answers, msgspec.json.encode(train(unit, units, seconds)))
