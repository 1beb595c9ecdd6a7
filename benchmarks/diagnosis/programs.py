"""The programs: `python -m benchmarks.diagnosis.programs NAME` runs one as a real run.

Each is a pipeline as people write them, and nothing in it knows what is to be found.
`LABORATORY_SCALE` makes all of its times longer.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Final

from robot_sf_otel import configure, current_step, pipeline, step

MIB: Final = 2**20
SCALE: Final = float(os.environ.get("LABORATORY_SCALE", "1"))
CPUS: Final = len(os.sched_getaffinity(0))
PROGRAMS: Final[dict[str, Callable[[], None]]] = {}


def program(function: Callable[[], None]) -> Callable[[], None]:
    """Make a function one of the programs."""
    PROGRAMS[function.__name__] = function
    return function


def burn(seconds: float) -> None:
    """Compute for some seconds."""
    until = time.monotonic() + seconds
    value = 1.0
    while time.monotonic() < until:
        for _ in range(1000):
            value = value * 1.0000001 + 0.1


def several(count: int, seconds: float) -> None:
    """Compute in so many processes."""
    workers = [multiprocessing.Process(target=burn, args=(seconds,)) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def units(count: int, seconds: float, work: Callable[[float], None] = time.sleep) -> None:
    """Do so many units of progress, each of which takes some seconds."""
    for _ in range(count):
        work(seconds)
        current_step().advance()


# -- conditions ----------------------------------------------------------------------------------


@program
def all_cores() -> None:
    with step("train"):
        several(CPUS, 14 * SCALE)


@program
def oversubscribed() -> None:
    with step("train"):
        several(4 * CPUS, 14 * SCALE)


@program
def one_core() -> None:
    with step("collect", total=150 * SCALE, unit="episodes"):
        units(round(150 * SCALE), 0.1, burn)


@program
def leak() -> None:
    kept: list[bytes] = []
    # A tenth of what is declared: the limit would come before the end.
    with step("finetune", total=1500, unit="batches"):
        for _ in range(round(80 * SCALE)):
            kept.append(os.urandom(round(2 * MIB / SCALE)))
            time.sleep(0.2)
            current_step().advance()


@program
def near_the_limit() -> None:
    with step("replay"):
        kept = os.urandom(215 * MIB)
        time.sleep(13 * SCALE)
        del kept


@program
def throttled() -> None:
    with step("train"):
        burn(14 * SCALE)


@program
def disk_bound() -> None:
    block = mmap.mmap(-1, MIB)  # aligned, as direct I/O wants it
    until = time.monotonic() + 24 * SCALE
    path = Path(os.environ["ROBOT_SF_ARTIFACT_ROOT"]) / "data"
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
    with step("convert"):
        while time.monotonic() < until:
            os.pwrite(file, block, 0)
    os.close(file)


@program
def beside_a_hog() -> None:
    with step("train"):
        burn(16 * SCALE)


@program
def stall() -> None:
    with step("collect", total=2000, unit="episodes"):
        units(round(30 * SCALE), 0.1)
        time.sleep(16 * SCALE)
        units(round(30 * SCALE), 0.1)


@program
def halves() -> None:
    with step("train", total=400, unit="batches", baseline_rate=20):
        units(round(300 * SCALE), 0.05)
        units(round(150 * SCALE), 0.11)


@program
def below_its_baseline() -> None:
    with step("train", total=200, unit="batches", baseline_rate=40):
        units(round(150 * SCALE), 0.1)


@program
def slower_than_before() -> None:
    times = 3 if os.environ.get("LABORATORY_SLOW") else 1
    with step("evaluate", total=20, unit="episodes"):
        units(20, 0.3 * times)


@program
def longer_than_before() -> None:
    with step("package"):
        time.sleep(9 if os.environ.get("LABORATORY_SLOW") else 2)


@program
def no_baseline() -> None:
    with step("train", total=100, unit="batches"):
        units(100, 0.1)


# -- healthy ones --------------------------------------------------------------------------------


@program
def io_light() -> None:
    folder = Path(os.environ["ROBOT_SF_ARTIFACT_ROOT"])
    with step("log", total=60, unit="lines", baseline_rate=5):
        for index in range(60):
            (folder / "log.txt").write_text(f"line {index}\n" * 100)
            time.sleep(0.2)
            current_step().advance()


@program
def bursty() -> None:
    with step("train", total=8, unit="rounds"):
        for _ in range(8):
            burn(0.8)
            time.sleep(0.9)
            current_step().advance()


@program
def short_steps() -> None:
    for index in range(120):
        with step(f"part-{index % 4}", total=2):
            units(2, 0.04)


@program
def idle_wait() -> None:
    with step("wait-for-data"):
        time.sleep(13 * SCALE)


@program
def waits_for_a_queue() -> None:
    queue: Queue[int] = Queue()

    def feed() -> None:
        for pause in (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 7.0 * SCALE, 0.1, 0.1, 3.0):
            time.sleep(pause)
            queue.put(1)

    threading.Thread(target=feed, daemon=True).start()
    with step("consume", unit="messages") as this:
        for _ in range(10):
            queue.get()
            this.advance()


@program
def parallel_steps() -> None:
    def work(name: str, seconds: float) -> None:
        with step(name, total=40, baseline_rate=1 / seconds):
            units(40, seconds)

    threads = [
        threading.Thread(target=work, args=(f"worker-{index}", 0.25 + index * 0.05))
        for index in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@program
def warm_up() -> None:
    with step("train", total=120, unit="batches", baseline_rate=10):
        time.sleep(3)  # the first batch compiles
        current_step().advance()
        units(119, 0.1)


@program
def evaluation_phases() -> None:
    with step("train", total=150, unit="batches", baseline_rate=9):
        for _ in range(3):
            units(50, 0.1)
            burn(1.5)


@program
def loads_then_computes() -> None:
    kept: list[bytes] = []
    with step("load", total=20, unit="files"):
        for _ in range(20):
            kept.append(os.urandom(8 * MIB))
            time.sleep(0.2)
            current_step().advance()
    with step("train", total=80, unit="batches"):
        units(80, 0.1)


@program
def checkpoints() -> None:
    folder = Path(os.environ["ROBOT_SF_ARTIFACT_ROOT"])
    block = os.urandom(8 * MIB)
    with step("train", total=60, unit="batches", baseline_rate=5):
        for index in range(60):
            time.sleep(0.2)
            if (index + 1) % 15 == 0:
                (folder / "checkpoint.bin").write_bytes(block)
            current_step().advance()


@program
def near_its_baseline() -> None:
    with step("train", total=120, unit="batches", baseline_rate=11):
        units(120, 0.1)


@program
def random_durations() -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    with step("episodes", total=60, unit="episodes"):
        for _ in range(60):
            time.sleep(chance.lognormvariate(-1.9, 0.7))
            current_step().advance()


@program
def commands() -> None:
    for name in ("fetch", "convert", "report"):
        with step(name) as this:
            this.run([sys.executable, "-c", "import time; time.sleep(3.5)"])


@program
def light_pool() -> None:
    with step("simulate", total=40, unit="episodes"), multiprocessing.Pool(2) as pool:
        for _ in range(40):
            pool.map(time.sleep, [0.25, 0.2])
            current_step().advance()


@program
def nested_steps() -> None:
    with step("train", total=20, unit="epochs"):
        for _ in range(20):
            with step("epoch", total=5, unit="batches"):
                units(5, 0.1)
            current_step().advance()


@program
def no_steps() -> None:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(12)"], check=True)


def main() -> None:
    """Run one program."""
    configure()
    work = PROGRAMS[sys.argv[1]]
    with pipeline(sys.argv[1]):
        work()


if __name__ == "__main__":
    main()
