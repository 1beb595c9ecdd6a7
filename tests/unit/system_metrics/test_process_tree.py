"""The readings of a whole tree, from processes that are made up."""

from __future__ import annotations

import importlib
import os
import sys
import threading

import pytest

from robot_sf_otel.system_metrics import process_tree
from robot_sf_otel.system_metrics.linux_processes import LinuxProcesses
from robot_sf_otel.system_metrics.process_accounting import ProcessReading
from robot_sf_otel.system_metrics.process_tree import ProcessTree, TreeCounters, TreeReading
from robot_sf_otel.system_metrics.psutil_processes import OwnProcess, PsutilProcesses

ROOT, CHILD = 100, 101


class MadeUp:
    """Processes that tell what they are told to."""

    def __init__(self) -> None:
        self.now: dict[int, ProcessReading] = {
            ROOT: ProcessReading(1, 2.0, 1.0, 10, 20, 1000, 4),
            CHILD: ProcessReading(ROOT, 0.5, 0.0, 1, 2, 500, 1),
        }
        self.denied = False
        self.ignored: list[int] = []
        self.closed = False
        self.reads = 0

    def read(self) -> dict[int, ProcessReading]:
        self.reads += 1
        return dict(self.now)

    def read_counters(self) -> dict[int, ProcessReading]:
        return dict(self.now)

    def io_denied(self) -> bool:
        return self.denied

    def ignore(self, pid: int) -> None:
        self.ignored.append(pid)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def processes() -> MadeUp:
    return MadeUp()


@pytest.fixture
def tree(processes: MadeUp) -> ProcessTree:
    return ProcessTree(ROOT, processes=processes)


def test_a_reading_is_the_sum_over_the_tree(tree: ProcessTree) -> None:
    assert tree.read() == TreeReading(
        cpu_seconds=3.5,
        rss_bytes=1500,
        own_rss_bytes=1000,
        read_bytes=11,
        write_bytes=22,
        process_count=2,
        thread_count=5,
    )


def test_a_zombie_counts_as_cpu_only(tree: ProcessTree, processes: MadeUp) -> None:
    zombie = processes.now[CHILD]._replace(running=False, threads=0, rss_bytes=None)
    processes.now[CHILD] = zombie

    reading = tree.read()

    assert (reading.cpu_seconds, reading.process_count, reading.rss_bytes) == (3.5, 1, 1000)


def test_counters_never_go_down(tree: ProcessTree, processes: MadeUp) -> None:
    """The child becomes somebody else's and tells nothing more of its disk use."""
    tree.read()
    processes.now[CHILD] = processes.now[CHILD]._replace(
        read_bytes=None, write_bytes=None, cpu_seconds=0.1
    )
    processes.denied = True

    reading = tree.read()

    assert (reading.cpu_seconds, reading.read_bytes, reading.write_bytes) == (3.5, 11, 22)
    assert reading.notes == ("processes: disk reads and writes of some cannot be read",)


def test_what_no_process_tells_is_none_and_the_reason_is_said(
    tree: ProcessTree, processes: MadeUp
) -> None:
    processes.now = {ROOT: ProcessReading(1, 2.0, 1.0)}

    assert tree.read() == TreeReading(
        cpu_seconds=3.0,
        notes=(
            "processes: memory cannot be read",
            "processes: disk reads and writes cannot be read",
        ),
    )


def test_a_tree_that_was_never_seen_is_unknown_not_zero(
    tree: ProcessTree, processes: MadeUp
) -> None:
    processes.now = {}

    assert tree.counters_now() is None
    assert tree.pids() == frozenset()
    assert tree.read() == TreeReading(notes=("processes: none of the tree can be read",))


def test_a_tree_that_has_ended_keeps_its_bill(tree: ProcessTree, processes: MadeUp) -> None:
    tree.read()
    processes.now = {}

    reading = tree.read()

    assert (reading.cpu_seconds, reading.process_count, reading.rss_bytes) == (3.5, 0, None)
    assert (reading.read_bytes, reading.write_bytes) == (11, 22)
    assert tree.counters_now() == TreeCounters(3.5, 11, 22, None, None)
    assert tree.pids() == frozenset()


def test_the_cheap_reading_needs_no_walk_after_the_first(
    tree: ProcessTree, processes: MadeUp
) -> None:
    assert tree.counters_now() == TreeCounters(3.5, 11, 22, 1500, None)
    processes.now[ROOT] = processes.now[ROOT]._replace(
        cpu_seconds=2.25, write_bytes=30, rss_bytes=900, peak_rss_bytes=1100
    )

    assert tree.counters_now() == TreeCounters(3.75, 11, 32, 1400, 1100)
    assert processes.reads == 1


def test_the_cheap_reading_knows_of_a_child_that_was_waited_for(
    tree: ProcessTree, processes: MadeUp
) -> None:
    """The kernel has added what it used, read and wrote to its parent."""
    tree.read()
    processes.now = {
        ROOT: processes.now[ROOT]._replace(reaped_cpu_seconds=1.75, read_bytes=12, write_bytes=25)
    }

    assert tree.counters_now() == TreeCounters(3.75, 12, 25, 1000, None)
    assert tree.read().cpu_seconds == 3.75


def test_the_cheap_reading_keeps_the_bill_of_a_child_that_nobody_waited_for(
    tree: ProcessTree, processes: MadeUp
) -> None:
    tree.read()
    processes.now = {ROOT: processes.now[ROOT]._replace(write_bytes=21)}

    assert tree.counters_now() == TreeCounters(3.5, 11, 23, 1000, None)
    assert tree.counters_now() == TreeCounters(3.5, 11, 23, 1000, None)
    assert tree.read().write_bytes == 23


def test_disk_counters_that_no_process_tells_are_unknown_to_the_cheap_reading(
    tree: ProcessTree, processes: MadeUp
) -> None:
    processes.now = {ROOT: ProcessReading(1, 2.0, 1.0)}

    assert tree.counters_now() == TreeCounters(3.0, None, None, None, None)


def test_a_zombie_has_no_memory_at_a_boundary(tree: ProcessTree, processes: MadeUp) -> None:
    processes.now[CHILD] = processes.now[CHILD]._replace(running=False)

    counters = tree.counters_now()

    assert counters is not None
    assert counters.rss_bytes == 1000


def test_the_pids_are_those_of_the_last_reading_and_can_be_had_during_one(
    tree: ProcessTree, processes: MadeUp
) -> None:
    assert tree.pids() == frozenset()
    tree.read()
    del processes.now[CHILD]
    with tree._lock:
        assert tree.pids() == {ROOT, CHILD}
    tree.read()

    assert tree.pids() == {ROOT}


def test_who_asks_during_a_reading_gets_what_was_last_known(
    tree: ProcessTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a signal handler does, in the thread that is reading."""
    monkeypatch.setattr(process_tree, "_PATIENCE", 0.0)
    monkeypatch.setattr(process_tree, "_READER_PATIENCE", 0.0)
    with tree._lock:
        assert tree.counters_now() is None
    tree.read()
    with tree._lock:
        assert tree.counters_now() == TreeCounters(3.5, 11, 22, 1500, None)
        assert tree.read() == TreeReading(notes=("processes: another reading takes too long",))


def test_it_can_be_read_from_many_threads(tree: ProcessTree) -> None:
    found: list[TreeCounters | None] = []
    threads = [threading.Thread(target=lambda: found.append(tree.counters_now())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [TreeCounters(3.5, 11, 22, 1500, None)] * 8


def test_ignoring_and_closing_reach_the_processes(tree: ProcessTree, processes: MadeUp) -> None:
    tree.ignore(7)
    tree.close()

    assert processes.ignored == [7]
    assert processes.closed


@pytest.mark.parametrize(
    ("platform", "modules", "kind"),
    [
        ("linux", {}, LinuxProcesses),
        ("darwin", {}, PsutilProcesses),
        ("darwin", {"psutil": None}, OwnProcess),
    ],
    ids=["proc", "psutil", "standard-library"],
)
def test_each_platform_reads_what_it_has(
    monkeypatch: pytest.MonkeyPatch, platform: str, modules: dict[str, None], kind: type
) -> None:
    importlib.import_module("psutil")  # it looks at the platform when it is loaded
    monkeypatch.setattr(sys, "platform", platform)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    tree = ProcessTree()

    assert isinstance(tree._processes, kind)
    assert tree.read().cpu_seconds
    tree.close()


def test_orphans_are_marked_by_the_run_directory_of_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = ProcessTree(ROOT, processes=MadeUp())
    assert tree._marker() is None

    monkeypatch.setenv("ROBOT_SF_OTEL_RUN_DIR", "/runs/ä")

    assert tree._marker() == b"ROBOT_SF_OTEL_RUN_DIR=" + os.fsencode("/runs/ä")


def test_counters_of_a_huge_tree_are_read_for_a_hundredth_of_the_time(processes: MadeUp) -> None:
    now, spent, cost = 1000.0, 0.0, 0.006

    def read_counters() -> dict[int, ProcessReading]:
        nonlocal spent
        spent += cost
        processes.reads += 1
        return dict(processes.now)

    processes.read_counters = read_counters  # type: ignore[method-assign]
    tree = ProcessTree(ROOT, processes=processes, clock=lambda: now, cpu_clock=lambda: spent)
    tree.read()
    before = processes.reads
    for _ in range(100):
        assert tree.counters_now() is not None
        now += 0.01
    assert processes.reads - before == 2, "600 ms after the first one"

    grown = processes.now[ROOT]._replace(cpu_seconds=9.0)
    processes.now[ROOT] = grown
    tree.read()
    counters = tree.counters_now()
    assert counters is not None
    assert counters.cpu_seconds == 10.5, "a sample brings them up to date"

    now, cost = now + 1, 0.0005
    before = processes.reads
    for _ in range(10):
        tree.counters_now()
    assert processes.reads - before == 10


def test_counters_that_are_not_read_again_are_carried_on_by_what_this_process_used(
    processes: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = 2.0
    monkeypatch.setattr(process_tree, "_own_cpu_seconds", lambda: own)
    processes.now = {os.getpid(): ProcessReading(1, 2.0, 1.0, 10, 20, 1000, 4)}
    tree = ProcessTree(os.getpid(), processes=processes)
    tree.read()
    with tree._lock:  # a sample takes long
        own = 2.5
        counters = tree.counters_now()
    assert counters is not None
    assert counters.cpu_seconds == 3.5
