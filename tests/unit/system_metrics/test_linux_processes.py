"""Finding and reading processes, in a directory that looks like /proc."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.system_metrics.files import KeptFile, read_file
from robot_sf_otel.system_metrics.linux_process import LinuxProcess, ProcessGoneError, parse_stat
from robot_sf_otel.system_metrics.linux_processes import LinuxProcesses
from robot_sf_otel.system_metrics.process_accounting import ProcessReading

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = 4_000_000  # above the highest pid of Linux is 2**22: never this test's own
TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def open_descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def no_descriptor_left(*_: object) -> int:
    raise OSError(errno.EMFILE, "too many open files")


def few_descriptors(_: int) -> tuple[int, int]:
    return 24, 24


def usage_of(kib: int) -> Callable[[int], SimpleNamespace]:
    """Return a getrusage(2) that tells that much memory."""
    usage = SimpleNamespace(ru_utime=0.0, ru_stime=0.0, ru_maxrss=kib)

    def getrusage(_: int) -> SimpleNamespace:
        return usage

    return getrusage


class FakeProc:
    """A procfs of files; `lists` says whether it has CONFIG_PROC_CHILDREN."""

    def __init__(self, path: Path, *, lists: bool = True) -> None:
        self.path = path
        self.lists = lists
        self.start(1, parent=0, start_time=1)
        self.start(50, parent=1, start_time=2)  # the shell
        self.start(ROOT, parent=50, group=ROOT, start_time=100)

    def start(
        self,
        pid: int,
        *,
        parent: int,
        thread: int | None = None,
        group: int = 50,
        threads: int = 1,
        start_time: int | None = None,
        environ: bytes = b"HOME=/\0",
    ) -> None:
        """Start a process; `thread` of the parent is the one that forks."""
        folder = self.path / str(pid)
        for number in range(threads):
            (folder / "task" / str(pid + number)).mkdir(parents=True)
            if self.lists:
                (folder / "task" / str(pid + number) / "children").write_text("")
        self.set(pid, parent=parent, group=group, threads=threads, start_time=start_time)
        (folder / "environ").write_bytes(environ)
        children = self.path / str(parent) / "task" / str(thread or parent) / "children"
        if children.exists():
            children.write_text(children.read_text() + f"{pid} ")

    def set(
        self,
        pid: int,
        *,
        parent: int,
        group: int = 50,
        threads: int = 1,
        start_time: int | None = None,
        cpu: int = 0,
        reaped: int = 0,
        state: str = "S",
        rss: int = 2,
        wrote: int = 600,
    ) -> None:
        """Write what the process tells; times in ticks, `rss` in pages and of `stat`."""
        folder = self.path / str(pid)
        started = pid if start_time is None else start_time
        fields = [
            state,
            parent,
            group,
            *[0] * 8,
            cpu,
            0,
            reaped,
            0,
            20,
            0,
            threads,
            0,
            started,
            0,
            rss,
        ]
        text = f"{pid} (a) b (c) " + " ".join(str(f) for f in fields)
        (folder / "stat").write_text(text)
        (folder / "statm").write_text("9 3 1 1 0 1 0\n")
        (folder / "io").write_text(
            "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 500\n"
            f"write_bytes: {wrote}\ncancelled_write_bytes: 0\n"
        )

    def end(self, pid: int) -> None:
        """Let the process vanish: what was open reads as nothing, as ESRCH would tell."""
        (self.path / str(pid) / "stat").write_text("")
        shutil.rmtree(self.path / str(pid))


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


@pytest.fixture
def listless(tmp_path: Path) -> FakeProc:
    """A kernel without CONFIG_PROC_CHILDREN."""
    return FakeProc(tmp_path / "proc", lists=False)


def tree_of(proc: FakeProc, marker: Callable[[], bytes | None] = lambda: None) -> LinuxProcesses:
    return LinuxProcesses(ROOT, proc=str(proc.path), marker=marker)


def test_a_process_is_read(proc: FakeProc) -> None:
    proc.set(ROOT, parent=50, start_time=100, threads=3, cpu=250, reaped=30)

    assert tree_of(proc).read() == {
        ROOT: ProcessReading(50, 250 * TICK, 30 * TICK, 500, 600, 3 * PAGE, 3, running=True)
    }


def test_descendants_are_found_parents_first(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT)
    proc.start(305, parent=310)
    tree = tree_of(proc)

    assert list(tree.read()) == [ROOT, 310, 305]


def test_children_that_start_later_are_found(proc: FakeProc) -> None:
    tree = tree_of(proc)
    tree.read()
    proc.start(310, parent=ROOT)

    assert 310 in tree.read()


def test_children_of_other_threads_are_found_at_once_the_first_time(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT, threads=200)
    proc.start(700, parent=310, thread=400)

    assert 700 in tree_of(proc).read()


def test_children_of_other_threads_are_found_later_by_their_parent(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT, threads=200)
    tree = tree_of(proc)
    tree.read()
    proc.start(700, parent=310, thread=400)

    assert 700 in tree.read()


def test_children_of_other_threads_are_found_on_a_host_that_is_full_of_new_processes(
    proc: FakeProc,
) -> None:
    """More are new than one scan looks at; the lists of all threads are read instead."""
    proc.start(310, parent=ROOT, threads=100)
    tree = tree_of(proc)
    tree.read()
    proc.start(700, parent=310, thread=400)
    for pid in range(1000, 1100):
        proc.start(pid, parent=50)

    assert any(700 in tree.read() for _ in range(3))


def test_on_a_large_host_the_scan_is_rare_and_children_are_found_all_the_same(
    proc: FakeProc,
) -> None:
    for pid in range(1000, 1700):
        (proc.path / str(pid)).mkdir()
    tree = tree_of(proc)
    tree.read()
    proc.start(310, parent=ROOT, threads=2)
    tree.read()
    proc.start(320, parent=310, thread=311)

    assert 320 in tree.read()


def test_without_lists_of_children_processes_are_found_by_their_parents(
    listless: FakeProc,
) -> None:
    listless.start(310, parent=ROOT)
    listless.start(305, parent=310)
    listless.start(306, parent=50)
    tree = tree_of(listless)

    assert list(tree.read()) == [ROOT, 310, 305]

    listless.start(320, parent=305)
    listless.start(330, parent=50)
    assert list(tree.read()) == [ROOT, 310, 305, 320]


def test_a_process_that_ended_is_gone(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT)
    tree = tree_of(proc)
    tree.read()
    proc.end(310)

    assert list(tree.read()) == [ROOT]


def test_ancestors_are_read_again_after_a_process_was_found_to_have_gone(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent waits for it after the parent was read and before it is read itself."""
    proc.start(310, parent=ROOT)
    tree = tree_of(proc)
    tree.read()
    stat = LinuxProcess.stat

    def stat_with_exit(self: LinuxProcess) -> object:
        found = stat(self)
        if self.pid == ROOT and (proc.path / "310").exists():
            proc.end(310)
            proc.set(ROOT, parent=50, start_time=100, reaped=70)
        return found

    monkeypatch.setattr(LinuxProcess, "stat", stat_with_exit)

    assert tree.read()[ROOT].reaped_cpu_seconds == pytest.approx(70 * TICK)


def test_reading_the_counters_alone_forgets_nobody(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT)
    tree = tree_of(proc)
    tree.read()
    proc.set(310, parent=ROOT, cpu=9, rss=5, wrote=700)
    proc.start(320, parent=ROOT)

    counters = tree.read_counters()

    assert counters == {
        ROOT: ProcessReading(50, 0.0, 0.0, 500, 600, 2 * PAGE),
        310: ProcessReading(ROOT, 9 * TICK, 0.0, 500, 700, 5 * PAGE),
    }
    proc.end(310)
    assert list(tree.read_counters()) == [ROOT]
    assert list(tree.read()) == [ROOT, 320]


def test_children_of_this_process_that_are_new_are_in_the_counters(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that a short step started is billed to that step."""
    monkeypatch.setattr(os, "getpid", lambda: ROOT)
    tree = tree_of(proc)
    tree.read()
    tree.ignore(330)
    proc.start(310, parent=ROOT)
    proc.start(330, parent=ROOT)
    proc.set(310, parent=ROOT, cpu=9)
    assert tree.read_counters()[310].cpu_seconds == 9 * TICK
    assert list(tree.read_counters()) == [ROOT, 310]

    proc.end(310)
    assert list(tree.read_counters()) == [ROOT]
    shutil.rmtree(proc.path / str(ROOT) / "task")
    tree._known[ROOT].close()
    assert list(tree.read_counters()) == [ROOT]


def test_of_many_processes_the_counters_of_the_first_read_disks_afresh(proc: FakeProc) -> None:
    """And the others keep what they told at the last sample; CPU is always fresh."""
    for pid in range(310, 340):
        proc.start(pid, parent=ROOT)
    tree = tree_of(proc)
    tree.read()
    for pid in range(310, 340):
        proc.set(pid, parent=ROOT, cpu=2, wrote=700)

    counters = tree.read_counters()

    assert {reading.cpu_seconds for pid, reading in counters.items() if pid != ROOT} == {2 * TICK}
    fresh = [pid for pid, reading in counters.items() if reading.write_bytes == 700]
    assert fresh == list(range(310, 310 + len(fresh)))
    assert 0 < len(fresh) < 30
    assert counters[339].write_bytes == 600
    assert tree.read()[339].write_bytes == 700


def test_a_zombie_has_no_memory_in_the_counters(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT)
    tree = tree_of(proc)
    tree.read()
    proc.set(310, parent=ROOT, cpu=5, state="Z")

    found = tree.read_counters()[310]

    assert (found.cpu_seconds, found.rss_bytes, found.running) == (5 * TICK, None, False)


def test_a_number_that_is_used_again_is_another_process(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT)
    tree = tree_of(proc)
    tree.read()
    proc.set(310, parent=50, start_time=999, cpu=1000)

    assert list(tree.read_counters()) == [ROOT]
    assert list(tree.read()) == [ROOT]


def test_a_zombie_has_a_bill_but_no_threads(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT)
    proc.set(310, parent=ROOT, cpu=5, state="Z")

    found = tree_of(proc).read()[310]

    assert (found.cpu_seconds, found.threads, found.running) == (5 * TICK, 0, False)


def test_an_orphan_that_was_known_stays(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT)
    proc.start(320, parent=310)
    tree = tree_of(proc)
    tree.read()
    proc.end(310)
    proc.set(320, parent=1)

    assert list(tree.read()) == [ROOT, 320]


def test_an_orphan_with_our_run_directory_is_adopted_with_its_children(proc: FakeProc) -> None:
    tree = tree_of(proc, lambda: b"ROBOT_SF_OTEL_RUN_DIR=/runs/a")
    tree.read()
    proc.start(310, parent=1, environ=b"X=1\0ROBOT_SF_OTEL_RUN_DIR=/runs/a\0")
    proc.start(320, parent=1, environ=b"ROBOT_SF_OTEL_RUN_DIR=/runs/ab\0")
    proc.start(330, parent=310)

    assert list(tree.read()) == [ROOT, 310, 330]


def test_an_orphan_in_a_group_that_the_tree_leads_is_adopted(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT, group=310)
    tree = tree_of(proc)
    tree.read()
    proc.start(320, parent=1, group=310)
    proc.start(330, parent=1, group=50)

    assert list(tree.read()) == [ROOT, 310, 320]


def test_a_group_is_remembered_while_it_has_members(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT, group=310)
    proc.start(320, parent=310, group=310)
    tree = tree_of(proc)
    for _ in range(2):
        tree.read()
    proc.end(310)
    proc.set(320, parent=1, group=310)
    for _ in range(4):
        tree.read()
    proc.start(330, parent=1, group=310)
    assert list(tree.read()) == [ROOT, 320, 330]

    proc.end(320)
    proc.end(330)
    for _ in range(4):
        tree.read()
    proc.start(340, parent=1, group=310)
    assert list(tree.read()) == [ROOT], "the number belongs to somebody else by now"


def test_neighbours_in_a_pipe_are_not_adopted(proc: FakeProc) -> None:
    """`python train.py | (while read l; do date; done)`: one group, of which we are the leader."""
    tree = tree_of(proc)
    tree.read()
    proc.start(310, parent=50, group=ROOT, start_time=200)
    proc.start(320, parent=310, group=ROOT, start_time=201)

    assert list(tree.read()) == [ROOT]


def test_orphans_are_looked_at_twice_as_their_environment_comes_with_exec(proc: FakeProc) -> None:
    tree = tree_of(proc, lambda: b"ROBOT_SF_OTEL_RUN_DIR=/runs/a")
    tree.read()
    proc.start(310, parent=1, start_time=200)
    tree.read()
    (proc.path / "310" / "environ").write_bytes(b"ROBOT_SF_OTEL_RUN_DIR=/runs/a\0")
    assert 310 in tree.read()

    proc.start(320, parent=1, start_time=200)
    for _ in range(3):
        tree.read()
    (proc.path / "320" / "environ").write_bytes(b"ROBOT_SF_OTEL_RUN_DIR=/runs/a\0")
    assert 320 not in tree.read()


def test_what_is_older_than_the_root_is_no_orphan_of_it(proc: FakeProc) -> None:
    tree = tree_of(proc, lambda: b"ROBOT_SF_OTEL_RUN_DIR=/runs/a")
    tree.read()
    proc.start(310, parent=1, start_time=3, environ=b"ROBOT_SF_OTEL_RUN_DIR=/runs/a\0")

    assert list(tree.read()) == [ROOT]


def test_an_ignored_process_is_never_counted(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT)
    tree = tree_of(proc)
    tree.read()

    tree.ignore(310)
    tree.ignore(777)

    assert list(tree.read()) == [ROOT]
    assert list(tree.read()) == [ROOT]


def test_a_process_that_hides_its_disk_use_is_counted_without(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT)
    (proc.path / "310" / "io").unlink()
    tree = tree_of(proc)

    found = tree.read()[310]

    assert (found.read_bytes, found.write_bytes) == (None, None)
    assert found.rss_bytes == 3 * PAGE
    assert tree.io_denied()


def test_a_process_that_stops_telling_its_disk_use_keeps_what_it_told(proc: FakeProc) -> None:
    """And is not asked at step boundaries, but at every sample: it may tell again."""
    proc.start(310, parent=ROOT)
    tree = tree_of(proc)
    tree.read()
    io = proc.path / "310" / "io"
    tree._known[310].close()
    io.rename(proc.path / "310" / "hidden")
    assert tree.read()[310].write_bytes == 600
    assert tree.io_denied()

    proc.set(310, parent=ROOT, wrote=900)
    assert tree.read_counters()[310].write_bytes == 600
    assert tree.read()[310].write_bytes == 900
    assert not tree.io_denied()


@pytest.mark.parametrize("name", ["io", "statm"])
def test_what_cannot_be_understood_is_none(proc: FakeProc, name: str) -> None:
    (proc.path / str(ROOT) / name).write_text("?\n")
    found = tree_of(proc).read()[ROOT]

    assert (found.read_bytes if name == "io" else found.rss_bytes) is None
    assert found.cpu_seconds == 0.0


def test_a_process_that_cannot_be_read_for_the_moment_keeps_its_last_reading(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.set(ROOT, parent=50, start_time=100, cpu=7)
    tree = tree_of(proc)
    before = tree.read()

    def fail(self: LinuxProcess) -> object:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(LinuxProcess, "stat", fail)

    assert tree.read() == before


def test_a_root_that_cannot_be_opened_for_the_moment_is_found_later(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.start(310, parent=ROOT)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_descriptor_left)
        tree = tree_of(proc)
        assert tree.read() == {}

    assert list(tree.read()) == [ROOT, 310]
    proc.end(ROOT)
    proc.start(ROOT, parent=50, start_time=900)
    assert ROOT not in tree.read(), "the number belongs to somebody else by now"


def test_nobody_is_forgotten_while_processes_cannot_be_listed(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all not who is to be ignored: it has our environment."""
    tree = tree_of(proc, lambda: b"ROBOT_SF_OTEL_RUN_DIR=/runs/a")
    tree.read()
    tree.ignore(310)
    proc.start(310, parent=1, start_time=200, environ=b"ROBOT_SF_OTEL_RUN_DIR=/runs/a\0")

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", no_descriptor_left)
        assert list(tree.read()) == [ROOT]

    for _ in range(3):
        assert list(tree.read()) == [ROOT]


def test_with_few_descriptors_files_are_opened_each_time(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", few_descriptors)
    proc.start(310, parent=ROOT)
    tree = tree_of(proc)

    assert list(tree.read()) == [ROOT, 310]
    assert [tree._known[pid].kept for pid in (ROOT, 310)] == [True, False]
    proc.set(310, parent=ROOT, cpu=3)
    assert tree.read()[310].cpu_seconds == 3 * TICK
    proc.end(310)
    assert list(tree.read()) == [ROOT]


def test_a_tree_without_a_root_is_empty(proc: FakeProc) -> None:
    tree = LinuxProcesses(999, proc=str(proc.path))

    assert tree.read() == {}
    assert tree.read_counters() == {}


def test_without_proc_the_tree_is_empty(tmp_path: Path) -> None:
    assert LinuxProcesses(ROOT, proc=str(tmp_path / "none")).read() == {}


def test_closing_gives_every_descriptor_back(proc: FakeProc) -> None:
    before = open_descriptors()
    tree = tree_of(proc)
    tree.read()
    assert open_descriptors() == before + 3

    tree.close()

    assert open_descriptors() == before


def test_a_process_that_is_gone_leaves_no_descriptor(proc: FakeProc) -> None:
    proc.start(310, parent=ROOT)
    before = open_descriptors()
    (proc.path / "310" / "stat").write_text("nonsense")
    tree = tree_of(proc)
    tree.read()

    assert open_descriptors() == before + 3
    tree.close()


def test_a_stat_line_that_is_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        parse_stat(b"1 (a) S 1 1")


def test_a_process_that_is_not_there_is_said_to_be_gone(tmp_path: Path) -> None:
    with pytest.raises(ProcessGoneError):
        LinuxProcess(str(tmp_path), 7, keep=True)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_own_process_is_read_with_microseconds() -> None:
    tree = LinuxProcesses(os.getpid())
    before = resource.getrusage(resource.RUSAGE_SELF)
    reading = tree.read()[os.getpid()]
    after = resource.getrusage(resource.RUSAGE_SELF)
    tree.close()

    cpu = (before.ru_utime + before.ru_stime, after.ru_utime + after.ru_stime)
    assert cpu[0] <= reading.cpu_seconds <= cpu[1]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_own_process_tells_its_greatest_memory() -> None:
    tree = LinuxProcesses(os.getpid())
    before = tree.read_counters()[os.getpid()]
    block = b"x" * (before.peak_rss_bytes or 0)
    after = tree.read_counters()[os.getpid()]
    tree.close()

    assert before.rss_bytes
    assert before.peak_rss_bytes
    assert before.peak_rss_bytes >= before.rss_bytes - 4 * 2**20
    assert after.peak_rss_bytes is not None
    assert after.peak_rss_bytes >= before.rss_bytes + len(block) - 4 * 2**20


@pytest.mark.parametrize(
    ("told", "expected"),
    [([2_000], [2_000]), ([20_000, 20_000, 20_001], [1_000, 1_000, 20_001])],
    ids=["own", "inherited"],
)
def test_the_greatest_memory_is_not_that_of_who_started_the_process(
    proc: FakeProc,
    monkeypatch: pytest.MonkeyPatch,
    told: list[int],
    expected: list[int],
) -> None:
    """getrusage(2) begins with the size that the process had before its exec."""
    (proc.path / str(ROOT) / "status").write_text("Name:\ta\nVmHWM:\t    1000 kB\nVmRSS:\t 1 kB\n")
    process = LinuxProcess(str(proc.path), ROOT, keep=True)
    found: list[int | None] = []
    for kib in told:
        monkeypatch.setattr(resource, "getrusage", usage_of(kib))
        found.append(process.own_counters().peak_rss_bytes)

    assert found == [kib * 1024 for kib in expected]
    process.close()


def test_the_greatest_memory_is_unknown_where_it_may_be_inherited(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrusage", usage_of(5))

    assert LinuxProcess(str(proc.path), ROOT, keep=False).own_counters().peak_rss_bytes is None


def test_a_file_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    assert read_file(str(tmp_path)) == b""
    assert read_file(str(tmp_path / "none")) == b""


def test_a_kept_file_gives_its_present_content_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    file = KeptFile(str(path))
    path.write_text("two")
    assert file.read() == b"two"

    file.close()
    file.close()
    with pytest.raises(OSError, match="Bad file"):
        file.read()
