"""What is said of the end of a process: what the kernel told, and no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from robot_sf_otel.watchdog.evidence import Evidence, cause, status_in_stat, status_of_pidfd

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells")
STAT = b"12 (a b) c) %s 1" + b" 0" * 47 + b" %d"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (None, "was killed or lost"),
        (signal.SIGKILL, "was killed by SIGKILL"),
        (signal.SIGXCPU, "was killed by SIGXCPU"),
        (signal.SIGSEGV | 0x80, "crashed (SIGSEGV, segmentation fault)"),
        (3 << 8, "ended with exit code 3 and did not close it"),
        (0, "ended with exit code 0 and did not close it"),
    ],
)
def test_cause_is_what_the_wait_status_says(status: int | None, said: str) -> None:
    assert cause(Evidence(wait_status=status)).lower() == said.lower()


def test_signal_without_a_name_has_its_number() -> None:
    assert cause(Evidence(wait_status=99)) == "was killed by signal 99"


@pytest.mark.parametrize("status", [None, int(signal.SIGKILL)])
def test_kill_while_the_group_had_a_kill_for_memory_was_probably_that(status: int | None) -> None:
    said = cause(Evidence(wait_status=status, oom_kills_before=1, oom_kills_after=2))
    assert said.endswith(
        "probably for lack of memory: the kernel killed in its cgroup (oom_kill 1 → 2)"
    )


@pytest.mark.parametrize(
    ("status", "before", "after"),
    [
        (int(signal.SIGSEGV), 0, 1),  # a worker was killed for memory, and the parent crashed
        (1 << 8, 0, 1),
        (int(signal.SIGKILL), 1, 1),
        (int(signal.SIGKILL), None, 1),
        (int(signal.SIGKILL), 1, None),
    ],
)
def test_memory_is_not_blamed_without_evidence(
    status: int, before: int | None, after: int | None
) -> None:
    evidence = Evidence(wait_status=status, oom_kills_before=before, oom_kills_after=after)
    assert "memory" not in cause(evidence)


@pytest.mark.parametrize(
    ("stat", "status"),
    [
        (STAT % (b"Z", 9), 9),
        (STAT % (b"Z", 768), 768),
        (STAT % (b"Z", 0), None),  # also what somebody else's process shows
        (STAT % (b"S", 9), None),
        (b"12 (python) Z 1", None),
        (b"", None),
    ],
)
def test_only_a_zombie_tells_its_status(stat: bytes, status: int | None) -> None:
    assert status_in_stat(stat) == status


@linux
def test_zombie_of_this_machine_tells_its_status() -> None:
    with subprocess.Popen([sys.executable, "-c", "import os; os._exit(3)"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert status_in_stat(Path(f"/proc/{child.pid}/stat").read_bytes()) == 3 << 8


@linux
def test_pidfd_tells_the_status_of_a_process_that_was_waited_for_or_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", "import os; os._exit(3)"]) as child:
        fd = os.pidfd_open(child.pid)
    try:
        assert status_of_pidfd(fd) in {3 << 8, None}
    finally:
        os.close(fd)


@linux
def test_descriptor_that_is_none_of_a_process_tells_nothing() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    try:
        assert status_of_pidfd(fd) is None
    finally:
        os.close(fd)
