"""The CPU bill of real process trees: whoever ends, whoever waits, whoever is orphaned."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context

import pytest

from robot_sf_otel.store.identity import is_alive, process_identity
from robot_sf_otel.system_metrics.process_tree import ProcessTree, TreeReading

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc"),
]

BURN = "import time\nwhile time.process_time() < {}: pass\n"
INTERVAL = 0.05


def burner(seconds: float) -> list[str]:
    """Return a command that uses that much CPU time and ends."""
    return [sys.executable, "-S", "-c", BURN.format(seconds)]


def shell(seconds: float) -> str:
    return f"{sys.executable} -S -c '{BURN.format(seconds)}'"


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


@dataclass
class Watched:
    """The last reading, and the longest time without one, in which CPU time can be missed."""

    reading: TreeReading
    longest_gap: float


def watch(tree: ProcessTree, done: Callable[[], bool], limit: float = 30.0) -> Watched:
    """Sample until it is done."""
    started = before = time.monotonic()
    longest = 0.0
    while True:
        finished = done()
        reading = tree.read()
        now = time.monotonic()
        longest, before = max(longest, now - before), now
        if finished:
            return Watched(reading, longest)
        assert now < started + limit, "the processes take too long"
        time.sleep(INTERVAL)


def cpu_of(reading: TreeReading) -> float:
    assert reading.cpu_seconds is not None
    return reading.cpu_seconds


def kernel_bill() -> float:
    """Return the CPU seconds of this process and of the children that it waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


@pytest.fixture
def tree() -> Iterator[ProcessTree]:
    tree = ProcessTree()
    tree.read()
    yield tree
    tree.close()


def test_children_that_are_waited_for_are_billed_exactly(tree: ProcessTree) -> None:
    before, truth = cpu_of(tree.read()), kernel_bill()
    for _ in range(3):
        subprocess.run(burner(0.2), check=True)
    after, truth = cpu_of(tree.read()), kernel_bill() - truth

    assert truth > 0.55
    assert after - before == pytest.approx(truth, abs=0.03)


def test_grandchildren_behind_shells_are_billed_once(tree: ProcessTree) -> None:
    before, truth = cpu_of(tree.read()), kernel_bill()
    script = f"({shell(0.2)}; :); {shell(0.2)}; :"
    with subprocess.Popen(["sh", "-c", script]) as child:
        after = cpu_of(watch(tree, lambda: child.poll() is not None).reading)
    truth = kernel_bill() - truth

    assert truth > 0.35
    assert after - before == pytest.approx(truth, abs=0.03)


def test_children_that_nobody_waits_for_are_billed_to_one_interval(tree: ProcessTree) -> None:
    """With SIGCHLD ignored the kernel credits nobody."""
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        before, own = cpu_of(tree.read()), time.process_time()
        child = subprocess.Popen(burner(0.5))
        theirs = process_identity(child.pid)
        after = watch(tree, lambda: is_alive(theirs) is False)
        child.returncode = 0
    finally:
        signal.signal(signal.SIGCHLD, previous)

    billed = cpu_of(after.reading) - before - (time.process_time() - own)
    assert 0.5 - after.longest_gap - 0.03 <= billed <= 0.8


def test_orphans_stay_billed_after_their_parent(tree: ProcessTree) -> None:
    before, own = cpu_of(tree.read()), time.process_time()
    script = f"{shell(0.6)} & echo $!; sleep 0.2"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        orphan = process_identity(int(parent.stdout.readline()))
        watch(tree, lambda: parent.poll() is not None)
        after = watch(tree, lambda: is_alive(orphan) is False)

    billed = cpu_of(after.reading) - before - (time.process_time() - own)
    assert 0.6 - after.longest_gap - 0.03 <= billed <= 0.9


def test_an_orphan_that_was_never_seen_with_a_parent_is_adopted_by_its_environment(
    monkeypatch: pytest.MonkeyPatch, tree: ProcessTree
) -> None:
    monkeypatch.setenv("ROBOT_SF_OTEL_RUN_DIR", "/nowhere/run-1")
    before, own = cpu_of(tree.read()), time.process_time()
    script = f"setsid {shell(0.4)} >/dev/null 2>&1 & echo $!"
    found = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True)
    orphan = process_identity(int(found.stdout))
    after = watch(tree, lambda: is_alive(orphan) is False)

    billed = cpu_of(after.reading) - before - (time.process_time() - own)
    assert 0.4 - after.longest_gap - 0.03 <= billed <= 0.7


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # fork beside xdist
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_of_workers_is_billed(tree: ProcessTree, method: str) -> None:
    before, truth = cpu_of(tree.read()), kernel_bill()
    with get_context(method).Pool(2) as pool:
        pool.map(burn, [0.2, 0.2])
        during = tree.read()
        pool.close()
        pool.join()
    billed, truth = cpu_of(tree.read()) - before, kernel_bill() - truth

    assert during.process_count is not None
    assert during.process_count >= 3
    assert billed >= 0.35
    if method != "forkserver":  # whose workers are children of a server that lives on
        # The tracker of semaphores, an interpreter of its own, lives on: it is billed, rightly,
        # but the kernel adds it to nobody's children yet.
        assert truth - 0.05 <= billed <= truth + 0.5


def test_a_step_boundary_sees_a_child_that_has_ended_since_the_sample(tree: ProcessTree) -> None:
    before, truth = cpu_of(tree.read()), kernel_bill()
    subprocess.run(burner(0.2), check=True)
    now, truth = tree.counters_now(), kernel_bill() - truth

    assert now is not None
    assert truth > 0.15
    assert now.cpu_seconds - before == pytest.approx(truth, abs=0.03)


def test_a_step_boundary_sees_a_child_that_lives_on(tree: ProcessTree) -> None:
    """Though no sample has seen it yet."""
    before = tree.counters_now()
    code = BURN.format(0.2) + "print('up', flush=True)\ninput()"
    command = [sys.executable, "-S", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = tree.counters_now()
        child.communicate(b"\n")
    after = tree.counters_now()

    assert before is not None
    assert during is not None
    assert after is not None
    assert during.cpu_seconds - before.cpu_seconds >= 0.18
    assert during.rss_bytes is not None
    assert before.rss_bytes is not None
    assert during.rss_bytes > before.rss_bytes + 2 * 2**20
    assert after.cpu_seconds - during.cpu_seconds < 0.1


def test_memory_processes_and_threads_of_the_tree_are_counted(tree: ProcessTree) -> None:
    code = "import threading\nblock = bytearray(50_000_000)\nthreading.Thread(target=input).start()"
    before = tree.read()
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE) as child:
        assert before.rss_bytes is not None
        assert before.thread_count is not None
        memory, threads = before.rss_bytes + 50_000_000, before.thread_count + 2

        def is_up() -> bool:
            now = tree.read()
            return (now.rss_bytes or 0) > memory and now.thread_count == threads

        reading = watch(tree, is_up).reading
        child.communicate(b"\n")
    after = tree.read()

    assert before.process_count is not None
    assert reading.process_count == before.process_count + 1
    assert after.process_count == before.process_count


def test_a_child_in_a_thread_is_found(tree: ProcessTree) -> None:
    """The kernel keeps a list of children for each thread."""
    before = tree.read()
    started, go_on = threading.Event(), threading.Event()

    def start() -> None:
        with subprocess.Popen(["sleep", "60"]) as child:
            started.set()
            go_on.wait()
            child.kill()

    thread = threading.Thread(target=start)
    thread.start()
    started.wait()
    try:
        reading = tree.read()
    finally:
        go_on.set()
        thread.join()

    assert before.process_count is not None
    assert reading.process_count == before.process_count + 1


def test_bytes_written_by_a_child_are_counted(tree: ProcessTree, tmp_path: object) -> None:
    before = tree.read()
    command = ["dd", "if=/dev/zero", f"of={tmp_path}/file", "bs=1M", "count=8", "conv=fsync"]
    subprocess.run(command, check=True, capture_output=True)
    after = tree.read()

    assert before.write_bytes is not None
    assert after.write_bytes is not None
    written = after.write_bytes - before.write_bytes
    assert written == pytest.approx(8 * 2**20, rel=0.2) or written == 0  # tmpfs has no disk
