"""The script that waits: when it takes a process for ended, and a run for closed."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.store.identity import process_identity
from robot_sf_otel.watchdog import waiting
from tests.data import sample_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
STAT = b"12 (a b) c) %s 1" + b" 0" * 15 + b" %d 0 %d 0 0"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def started(pid: int) -> str:
    return str(process_identity(pid).start_time)


@pytest.mark.parametrize(
    ("stat", "running"),
    [
        (STAT % (b"S", 1, 77), True),
        (STAT % (b"R", 8, 77), True),
        (STAT % (b"Z", 2, 77), True),  # its first thread has ended, another has not
        (STAT % (b"Z", 1, 77), False),
        (STAT % (b"X", 1, 77), False),
        (STAT % (b"S", 1, 78), False),  # another process of the same number
        (b"12 (a) S", False),
        (b"", False),
    ],
)
def test_process_runs_if_its_state_and_its_start_say_so(stat: bytes, *, running: bool) -> None:
    assert waiting.is_running(stat, "77") is running


def test_start_that_is_not_known_is_not_compared() -> None:
    assert waiting.is_running(STAT % (b"S", 1, 78), "-")


@linux
def test_stat_of_this_process_is_that_of_a_running_one() -> None:
    assert waiting.is_running(waiting.stat_of(os.getpid()), started(os.getpid()))
    assert waiting.stat_of(2**22 + 7) == b""


def test_wait_ends_when_the_process_does(child: subprocess.Popen[bytes]) -> None:
    begun = started(child.pid)
    child.kill()
    fd = waiting.wait_for_end(child.pid, begun)
    if fd is not None:
        os.close(fd)
    assert os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


@linux
def test_wait_for_another_process_of_that_number_ends_at_once(
    child: subprocess.Popen[bytes],
) -> None:
    fd = waiting.wait_for_end(child.pid, "1")
    assert fd is not None
    os.close(fd)
    assert child.poll() is None


@pytest.fixture
def another_descriptor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The number under which a pidfd is handed over is free here, whatever this process has open.

    It is the caller's to open it.
    """
    monkeypatch.setattr(waiting, "HANDED", fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 100))
    yield
    os.close(waiting.HANDED)


def hand_over(fd: int) -> None:
    os.dup2(fd, waiting.HANDED, inheritable=False)
    os.close(fd)


@linux
def test_process_that_is_gone_is_known_by_the_pidfd_that_it_handed_over(
    child: subprocess.Popen[bytes], another_descriptor: None
) -> None:
    hand_over(os.pidfd_open(child.pid))
    assert waiting.handed(child.pid) == waiting.HANDED
    child.kill()
    child.wait()
    assert waiting.handed(child.pid) == waiting.HANDED
    assert waiting.wait_for_end(child.pid, "1", waiting.HANDED) == waiting.HANDED


@linux
def test_descriptor_that_is_no_pidfd_of_the_process_was_not_handed_over(
    child: subprocess.Popen[bytes], another_descriptor: None
) -> None:
    assert waiting.handed(child.pid) is None
    hand_over(os.open(os.devnull, os.O_RDONLY))
    assert waiting.handed(child.pid) is None
    hand_over(os.pidfd_open(os.getpid()))
    assert waiting.handed(child.pid) is None


def test_descriptor_that_is_not_there_was_not_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "HANDED", 2**20 - 1)
    assert waiting.handed(os.getpid()) is None


@linux
def test_kernel_that_does_not_tell_of_the_end_is_asked_now_and_then(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def pause(seconds: float) -> None:
        slept.append(seconds)
        child.kill()
        child.wait()

    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr(time, "sleep", pause)
    assert waiting.wait_for_end(child.pid, started(child.pid)) is None
    assert slept == [waiting.POLL_SECONDS]


@pytest.mark.skipif(not hasattr(select, "kqueue"), reason="Linux has no kqueue")
def test_process_that_is_gone_is_not_waited_for(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    waiting._wait_for_event(child.pid)


def derive(run_dir: Path, after_ns: int = 4_000_000) -> Path:
    """Write derived files, so many nanoseconds after the journal."""
    written = (run_dir / "manifest.jsonl").stat().st_mtime_ns + after_ns
    for name in ("manifest.json", "manifest.md"):
        (run_dir / name).touch()
        os.utime(run_dir / name, ns=(written, written))
    return run_dir


@pytest.mark.parametrize(
    ("story", "closed"),
    [(sample_runs.healthy, True), (sample_runs.cancelled, True), (sample_runs.running, False)],
)
def test_run_is_closed_if_its_journal_ends_with_its_end(
    tmp_path: Path, story: Callable[[], sample_runs.Story], *, closed: bool
) -> None:
    assert waiting.is_closed(str(derive(story().write(tmp_path)))) is closed


@pytest.mark.parametrize("after_ns", [-1_000_000, 0])
def test_end_that_the_derived_files_may_not_tell_of_has_to_be_looked_at(
    tmp_path: Path, after_ns: int
) -> None:
    run_dir = derive(sample_runs.healthy().write(tmp_path), after_ns)
    assert not waiting.is_closed(str(run_dir))


def test_derived_file_that_is_missing_has_to_be_looked_at(tmp_path: Path) -> None:
    run_dir = derive(sample_runs.healthy().write(tmp_path))
    (run_dir / "manifest.md").unlink()
    assert not waiting.is_closed(str(run_dir))


def test_recovered_run_is_closed(tmp_path: Path) -> None:
    run_dir = sample_runs.running().write(tmp_path)
    end = e.RunRecovered(time_unix_nano=1, status="failed", result="error")
    with (run_dir / "manifest.jsonl").open("ab") as journal:
        journal.write(encode_event(end))
    assert waiting.is_closed(str(derive(run_dir)))


@pytest.mark.parametrize("tail", [b'{"event":"run_resumed"}\n', b'{"event":"run_finis'])
def test_what_follows_the_end_has_to_be_looked_at(tmp_path: Path, tail: bytes) -> None:
    run_dir = sample_runs.healthy().write(tmp_path)
    with (run_dir / "manifest.jsonl").open("ab") as journal:
        journal.write(tail)
    assert not waiting.is_closed(str(derive(run_dir)))


def test_name_that_looks_like_the_end_is_none(tmp_path: Path) -> None:
    story = sample_runs.running()
    story.begin('"event":"run_finished"')
    assert not waiting.is_closed(str(derive(story.write(tmp_path))))


def test_run_that_could_never_be_written_needs_no_closing(tmp_path: Path) -> None:
    assert waiting.is_closed(str(tmp_path / "nothing"))


def test_nothing_is_imported_that_takes_memory() -> None:
    source = Path(waiting.__file__).read_text(encoding="utf-8")
    imported = [line for line in source.splitlines() if line.startswith(("import", "from"))]
    assert imported == [
        "from __future__ import annotations",
        "import os",
        "import select",
        "import sys",
        "import time",
    ]
