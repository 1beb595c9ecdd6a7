"""Processes through psutil, and what is left without it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest

from robot_sf_otel.system_metrics.psutil_processes import OwnProcess, PsutilProcesses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robot_sf_otel.system_metrics.process_accounting import ProcessReading


def usage_of(kib: int) -> Callable[[int], SimpleNamespace]:
    """Return a getrusage(2) that tells that much memory."""
    usage = SimpleNamespace(ru_utime=0.0, ru_stime=0.0, ru_maxrss=kib)

    def getrusage(_: int) -> SimpleNamespace:
        return usage

    return getrusage


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_the_tree_is_read_parents_first(child: subprocess.Popen[bytes]) -> None:
    readings = PsutilProcesses(os.getpid()).read()

    assert next(iter(readings)) == os.getpid()
    assert readings[child.pid].parent == os.getpid()
    assert readings[child.pid].rss_bytes
    assert readings[child.pid].threads
    assert readings[os.getpid()].reaped_cpu_seconds is not None
    assert readings[child.pid].reaped_cpu_seconds is None


def test_the_counters_have_memory_and_disk_too(child: subprocess.Popen[bytes]) -> None:
    processes = PsutilProcesses(os.getpid())
    processes.read()

    readings = processes.read_counters()

    assert readings[child.pid].rss_bytes
    assert readings[child.pid].peak_rss_bytes is None
    assert readings[os.getpid()].peak_rss_bytes
    if sys.platform == "linux":
        assert readings[child.pid].write_bytes is not None


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_greatest_memory_is_told_in_the_unit_of_the_platform(
    monkeypatch: pytest.MonkeyPatch, platform: str, unit: int
) -> None:
    monkeypatch.setattr(resource, "getrusage", usage_of(7))
    monkeypatch.setattr(sys, "platform", platform)

    assert OwnProcess(os.getpid()).read()[os.getpid()].peak_rss_bytes == 7 * unit


def test_process_objects_are_kept(child: subprocess.Popen[bytes]) -> None:
    processes = PsutilProcesses(os.getpid())
    processes.read()
    kept = processes._known[child.pid]

    processes.read()

    assert processes._known[child.pid] is kept


def test_a_process_that_ended_is_gone(child: subprocess.Popen[bytes]) -> None:
    processes = PsutilProcesses(os.getpid())
    processes.read()
    child.kill()
    child.wait()

    assert child.pid not in processes.read_counters()
    assert child.pid in processes._known, "reading the counters forgets nobody"
    assert child.pid not in processes.read()
    assert child.pid not in processes._known


def test_an_ignored_process_is_never_counted(child: subprocess.Popen[bytes]) -> None:
    processes = PsutilProcesses(os.getpid())
    processes.read()

    processes.ignore(child.pid)

    assert child.pid not in processes.read()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psutil.AccessDenied(1), "kept"),
        (OSError(), "kept"),
        (psutil.ZombieProcess(1), "zombie"),
        (psutil.NoSuchProcess(1), "gone"),
    ],
    ids=["denied", "failed", "zombie", "gone"],
)
def test_a_process_that_cannot_be_read(
    child: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    expected: str,
) -> None:
    processes = PsutilProcesses(os.getpid())
    before = processes.read()[child.pid]

    read = processes._reading

    def fail_for_the_child(process: psutil.Process, *, full: bool) -> ProcessReading:
        if process.pid == child.pid:
            raise error
        return read(process, full=full)

    monkeypatch.setattr(processes, "_reading", fail_for_the_child)
    after = processes.read_counters().get(child.pid)

    if expected == "kept":
        assert after == before
    elif expected == "zombie":
        assert after is not None
        assert (after.running, after.rss_bytes) == (False, None)
    else:
        assert after is None


@pytest.mark.parametrize("error", [AttributeError, psutil.AccessDenied])
def test_without_disk_counters_the_rest_is_read(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Macs have no such counters."""
    processes = PsutilProcesses(os.getpid())
    processes.read()

    def fail() -> None:
        raise error

    monkeypatch.setattr(processes._known[child.pid], "io_counters", fail, raising=False)
    reading = processes.read()[child.pid]

    assert (reading.read_bytes, reading.write_bytes) == (None, None)
    assert reading.rss_bytes
    assert processes.io_denied()


def test_when_children_cannot_be_listed_the_known_ones_are_read(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = PsutilProcesses(os.getpid())
    processes.read()

    def fail(*, recursive: bool) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(processes._known[os.getpid()], "children", fail)

    assert child.pid in processes.read()


def test_a_tree_without_a_root_is_empty() -> None:
    processes = PsutilProcesses(2**22 + 7)

    assert processes.read() == {}
    processes.close()


def test_the_standard_library_tells_the_cpu_time_of_the_own_process_alone() -> None:
    processes = OwnProcess(os.getpid())
    processes.ignore(1)
    readings = processes.read()
    processes.close()

    assert list(readings) == [os.getpid()]
    assert readings[os.getpid()].cpu_seconds > 0
    assert readings[os.getpid()].rss_bytes is None
    assert readings[os.getpid()].peak_rss_bytes
    assert processes.io_denied()
    assert OwnProcess(1).read() == {}
