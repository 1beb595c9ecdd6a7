"""The readings of a whole tree, from processes that are made up."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from robot_sf_otel.system_metrics import process_tree
from robot_sf_otel.system_metrics.linux_processes import LinuxProcesses
from robot_sf_otel.system_metrics.process_accounting import ProcessReading
from robot_sf_otel.system_metrics.process_tree import ProcessTree, TreeReading
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

    def read_cpu(self) -> dict[int, ProcessReading]:
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

    assert tree.cpu_seconds_now() is None
    assert tree.read() == TreeReading(notes=("processes: none of the tree can be read",))


def test_a_tree_that_has_ended_keeps_its_bill(tree: ProcessTree, processes: MadeUp) -> None:
    tree.read()
    processes.now = {}

    reading = tree.read()

    assert (reading.cpu_seconds, reading.process_count, reading.rss_bytes) == (3.5, 0, None)
    assert tree.cpu_seconds_now() == 3.5


def test_the_cheap_reading_needs_no_walk_after_the_first(
    tree: ProcessTree, processes: MadeUp
) -> None:
    assert tree.cpu_seconds_now() == 3.5
    processes.now[ROOT] = processes.now[ROOT]._replace(cpu_seconds=2.25)

    assert tree.cpu_seconds_now() == 3.75
    assert processes.reads == 1


def test_the_cheap_reading_knows_of_a_child_that_was_waited_for(
    tree: ProcessTree, processes: MadeUp
) -> None:
    tree.read()
    processes.now = {ROOT: processes.now[ROOT]._replace(reaped_cpu_seconds=1.75)}

    assert tree.cpu_seconds_now() == 3.75
    assert tree.read().cpu_seconds == 3.75


def test_who_asks_during_a_reading_gets_what_was_last_known(
    tree: ProcessTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a signal handler does, in the thread that is reading."""
    monkeypatch.setattr(process_tree, "_PATIENCE", 0.0)
    monkeypatch.setattr(process_tree, "_READER_PATIENCE", 0.0)
    with tree._lock:
        assert tree.cpu_seconds_now() is None
    tree.read()
    with tree._lock:
        assert tree.cpu_seconds_now() == 3.5
        assert tree.read() == TreeReading(notes=("processes: another reading takes too long",))


def test_it_can_be_read_from_many_threads(tree: ProcessTree) -> None:
    found: list[float | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(tree.cpu_seconds_now())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [3.5] * 8


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
