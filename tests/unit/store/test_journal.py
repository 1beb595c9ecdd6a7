"""The journal's writer and tail: nothing is lost, glued, written twice or raised."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.manifest import events as e
from robot_sf_otel.store import appending, journal, lines
from robot_sf_otel.store.appending import AppendingFile
from robot_sf_otel.store.journal import JournalTail, JournalWriter, iter_events, iter_raw
from tests.unit.warned import warnings_said

if TYPE_CHECKING:
    from pathlib import Path

GOOD = b'{"event":"step_started","time_unix_nano":1,"step_id":"a"}\n'
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
Write = Callable[[int, bytes], int]


class Faults(list[Exception]):
    def __call__(self, where: str, error: Exception) -> None:
        assert where == "journal"
        self.append(error)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Disk:
    """os.write that counts, may be given only so much room, and may be slow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
        self._write: Write = os.write
        self.fds: list[int] = []
        self.room: int | None = None
        self.seconds = 0.0
        self._clock = clock
        monkeypatch.setattr(os, "write", self)

    def __call__(self, fd: int, data: bytes) -> int:
        self.fds.append(fd)
        self._clock.now += self.seconds
        if self.room is None:
            return self._write(fd, data)
        if self.room == 0:
            raise FULL
        taken = min(self.room, len(data))
        self.room -= taken
        return self._write(fd, data[:taken])


def event(name: str = "a") -> e.StepStarted:
    return e.StepStarted(time_unix_nano=1, step_id=name)


def names(path: Path) -> list[str]:
    return [item.step_id for item in iter_events(path) if isinstance(item, e.StepStarted)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.jsonl"


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Disk:
    return Disk(monkeypatch, clock)


def test_event_is_in_the_file_when_append_returns(path: Path, faults: Faults) -> None:
    writer = JournalWriter(path, on_fault=faults)
    writer.append(event("a"), event("b"))
    assert names(path) == ["a", "b"]
    assert writer.stats.bytes_written == path.stat().st_size
    assert writer.stats.last_sync_seconds is not None
    writer.close()
    assert faults == []


def test_group_of_events_is_one_write(path: Path, faults: Faults, clock: Clock, disk: Disk) -> None:
    writer = JournalWriter(path, on_fault=faults, clock=clock)
    writer.append(event(), event(), event())
    assert len(disk.fds) == 1
    writer.close()


def test_lines_of_threads_that_wait_are_one_write(
    path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(path, on_fault=faults)
    real: Write = os.write
    writes: list[int] = []
    first_is_writing, others_wait = threading.Event(), threading.Event()

    def slow(fd: int, data: bytes) -> int:
        writes.append(data.count(b"\n"))
        if len(writes) == 1:
            first_is_writing.set()
            assert others_wait.wait(10)
        return real(fd, data)

    monkeypatch.setattr(os, "write", slow)
    threads = [
        threading.Thread(target=writer.append, args=(event(str(number)),)) for number in range(6)
    ]
    threads[0].start()
    assert first_is_writing.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(writer._queue) < 6:
        threading.Event().wait(0.001)
    others_wait.set()
    for thread in threads:
        thread.join()
    assert writes == [1, 5]
    assert sorted(names(path)) == ["0", "1", "2", "3", "4", "5"]
    writer.close()


def test_lines_of_parallel_threads_are_whole_and_none_is_lost(path: Path, faults: Faults) -> None:
    writer = JournalWriter(path, on_fault=faults)

    def work(worker: int) -> None:
        for number in range(50):
            writer.append(event(f"{worker}-{number}"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    found = names(path)
    assert len(found) == 400
    for worker in range(8):
        own = [name for name in found if name.startswith(f"{worker}-")]
        assert own == [f"{worker}-{number}" for number in range(50)]


def test_torn_last_line_is_not_glued_to_the_next_event(path: Path, faults: Faults) -> None:
    path.write_bytes(b'{"event":"step_started","step_id":"to')
    writer = JournalWriter(path, on_fault=faults)
    writer.append(event("next"))
    writer.close()
    assert names(path) == ["next"]
    assert path.read_bytes().count(b"\n") == 2


def test_events_of_a_missing_folder_are_kept_and_written_in_order(
    tmp_path: Path, faults: Faults, clock: Clock
) -> None:
    target = tmp_path / "gone" / "manifest.jsonl"
    writer = JournalWriter(target, on_fault=faults, clock=clock)
    writer.append(event("a"))
    writer.append(event("b"))
    assert writer.stats.pending == 2
    assert len(faults) == 1, "the same fault is told once"
    target.parent.mkdir()
    writer.append(event("c"))
    assert not target.exists(), "a disk that is full is not asked at each event"
    clock.now += journal.RETRY_SECONDS
    writer.append(event("d"))
    assert names(target) == ["a", "b", "c", "d"]
    assert writer.stats.pending == 0
    writer.close()


def test_flush_retries_at_once_what_was_kept(tmp_path: Path, faults: Faults) -> None:
    target = tmp_path / "gone" / "manifest.jsonl"
    writer = JournalWriter(target, on_fault=faults)
    writer.append(event("a"))
    target.parent.mkdir()
    writer.flush()
    assert names(target) == ["a"]
    writer.close()


def test_another_fault_is_told_too(
    path: Path, faults: Faults, clock: Clock, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(path, on_fault=faults, clock=clock)
    disk.room = 0
    writer.append(event())

    def broken(fd: int, data: bytes) -> int:
        raise OSError(errno.EIO, "bad sector")

    monkeypatch.setattr(os, "write", broken)
    writer.flush()
    assert [getattr(error, "errno", 0) for error in faults] == [errno.ENOSPC, errno.EIO]
    writer.abandon()


def test_memory_is_bounded_and_what_is_dropped_is_counted(tmp_path: Path, faults: Faults) -> None:
    writer = JournalWriter(tmp_path / "gone" / "x", on_fault=faults, pending_limit=3)
    for number in range(5):
        writer.append(event(str(number)))
    assert (writer.stats.pending, writer.stats.events_dropped) == (3, 2)
    writer.append(e.RunFinished(time_unix_nano=9, status="completed", result="success"))
    assert (writer.stats.pending, writer.stats.events_dropped) == (4, 2), "the end is always kept"
    writer.abandon()


def test_what_close_cannot_write_is_counted_as_dropped(tmp_path: Path, faults: Faults) -> None:
    writer = JournalWriter(tmp_path / "gone" / "x", on_fault=faults)
    writer.append(event(), event())
    writer.close()
    writer.append(event())
    assert writer.stats.events_dropped == 3


def test_close_waits_for_a_full_disk_to_have_room_again(
    path: Path, faults: Faults, clock: Clock, disk: Disk
) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            disk.room = None

    writer = JournalWriter(path, on_fault=faults, clock=clock, wait=wait)
    writer.append(event("a"))
    disk.room = 0
    writer.append(event("b"))
    writer.close()
    assert names(path) == ["a", "b"]
    assert waited == [journal.SPACE_SECONDS] * 3
    assert writer.stats.events_dropped == 0


def test_close_gives_a_disk_that_stays_full_up_and_says_what_is_lost(
    path: Path, faults: Faults, clock: Clock, disk: Disk
) -> None:
    waited: list[float] = []
    writer = JournalWriter(path, on_fault=faults, clock=clock, wait=waited.append)
    writer.append(event("a"))
    disk.room = 0
    writer.append(event("b"), event("c"))
    with warnings_said() as said:
        writer.close()
    assert len(waited) == journal.SPACE_TRIES
    assert writer.stats.events_dropped == 2
    (line,) = said
    assert "the last 2 events could not be written" in line
    assert "ENOSPC" in line


def test_close_does_not_wait_for_what_does_not_come_back(
    path: Path, faults: Faults, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    writer = JournalWriter(path, on_fault=faults, clock=clock, wait=waited.append)
    writer.append(event("a"))

    def broken(fd: int, data: bytes) -> int:
        raise OSError(errno.EIO, "bad sector")

    monkeypatch.setattr(os, "write", broken)
    writer.append(event("b"))
    with warnings_said():
        writer.close()
    assert waited == []
    assert writer.stats.events_dropped == 1


@pytest.mark.parametrize("room", range(1, 2 * len(GOOD)))
def test_disk_that_fills_up_within_a_line_neither_tears_nor_repeats_it(
    path: Path, faults: Faults, clock: Clock, disk: Disk, room: int
) -> None:
    writer = JournalWriter(path, on_fault=faults, clock=clock)
    writer.append(event("a"))
    disk.room = room
    writer.append(event("b"), event("c"), event("d"))
    assert len(faults) == 1
    writer.append(event("e"))
    disk.room = None
    writer.flush()
    writer.close()
    assert names(path) == ["a", "b", "c", "d", "e"]
    for line in path.read_text().splitlines():
        json.loads(line)
    assert writer.stats.bytes_written == path.stat().st_size


def test_line_that_was_taken_by_a_write_that_failed_is_not_repeated(
    path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(path, on_fault=faults)
    writer.append(event("a"))
    real: Write = os.write

    def taken_but_not_synced(fd: int, data: bytes) -> int:
        real(fd, data)
        raise OSError(errno.EIO, "sync failed")

    monkeypatch.setattr(os, "write", taken_but_not_synced)
    writer.append(event("b"))
    monkeypatch.setattr(os, "write", real)
    writer.flush()
    writer.close()
    assert names(path) == ["a", "b"]


def test_ctrl_c_right_after_the_write_neither_loses_nor_repeats_the_event(
    path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(path, on_fault=faults)
    writer.append(event("a"))
    real: Write = os.write

    def interrupted(fd: int, data: bytes) -> int:
        real(fd, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.append(event("b"))
    monkeypatch.setattr(os, "write", real)
    writer.append(event("c"))
    writer.close()
    assert names(path) == ["a", "b", "c"]


def test_signal_handler_may_append_while_its_own_thread_writes(
    path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(path, on_fault=faults)
    real: Write = os.write
    calls: list[int] = []

    def interrupted(fd: int, data: bytes) -> int:
        calls.append(fd)
        if len(calls) == 1:
            writer.append(event("handler"))
        return real(fd, data)

    monkeypatch.setattr(os, "write", interrupted)
    writer.append(event("a"))
    assert names(path) == ["a", "handler"]
    writer.close()


def test_slow_sync_moves_syncing_to_the_background_until_it_is_fast_again(
    path: Path, faults: Faults, clock: Clock, disk: Disk
) -> None:
    writer = JournalWriter(path, on_fault=faults, clock=clock)
    disk.seconds = 0.05
    writer.append(event("a"))
    assert writer.in_background
    assert writer.stats.slowest_sync_seconds == pytest.approx(0.05)
    disk.seconds = 0.0
    writer.append(event("b"))
    assert disk.fds[0] != disk.fds[1], "the second write goes to the descriptor that does not sync"
    writer.flush()
    assert not writer.in_background
    writer.append(event("c"))
    assert disk.fds[2] == disk.fds[0]
    assert writer.stats.last_sync_seconds == 0.0
    writer.close()
    assert names(path) == ["a", "b", "c"]


def test_events_that_need_no_sync_are_synced_within_seconds(
    path: Path, faults: Faults, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(path, on_fault=faults, clock=clock)
    writer.append(event("a"), sync=False)
    syncs: list[bool] = []

    def remember(file: AppendingFile, *, full: bool) -> None:
        syncs.append(full)

    monkeypatch.setattr(AppendingFile, "sync", remember)
    writer.flush()
    assert syncs == []
    clock.now += journal.BACKGROUND_SYNC_SECONDS
    writer.flush()
    writer.flush()
    assert syncs == [False]
    writer.close()
    assert syncs == [False, True]


def test_where_writes_cannot_sync_a_sync_follows(
    path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "_DSYNC", 0)
    syncs: list[bool] = []

    def remember(file: AppendingFile, *, full: bool) -> None:
        syncs.append(full)

    monkeypatch.setattr(AppendingFile, "sync", remember)
    writer = JournalWriter(path, on_fault=faults)
    writer.append(event("a"))
    writer.append(event("b"), sync=False)
    assert syncs == [False]
    writer.close()


def test_deleted_journal_is_written_again(path: Path, faults: Faults) -> None:
    writer = JournalWriter(path, on_fault=faults)
    writer.append(event("a"))
    path.unlink()
    writer.flush()
    writer.append(event("b"))
    writer.close()
    assert names(path) == ["a", "b"]


def test_descriptors_that_somebody_closed_are_opened_again(path: Path, faults: Faults) -> None:
    writer = JournalWriter(path, on_fault=faults)
    writer.append(event("a"))
    file = writer._file
    assert file._plain is not None
    assert file._synced is not None
    os.close(file._plain)
    os.close(file._synced)
    writer.append(event("b"))
    writer.flush()
    writer.append(event("c"))
    writer.close()
    assert names(path) == ["a", "b", "c"]


def test_descriptor_that_became_another_file_is_left_alone(
    tmp_path: Path, path: Path, faults: Faults
) -> None:
    writer = JournalWriter(path, on_fault=faults)
    writer.append(event("a"))
    file = writer._file
    assert file._plain is not None
    other = os.open(tmp_path / "data.bin", os.O_RDWR | os.O_CREAT)
    os.dup2(other, file._plain)
    stolen = file._plain
    writer.flush()
    writer.append(event("b"))
    writer.close()
    os.fstat(stolen)  # still the other file's, and open
    os.close(stolen)
    os.close(other)
    assert (tmp_path / "data.bin").read_bytes() == b""
    assert names(path) == ["a", "b"]


def test_abandoned_writer_writes_nothing_even_while_the_lock_is_held(
    path: Path, faults: Faults
) -> None:
    writer = JournalWriter(path, on_fault=faults)
    writer.append(event("a"))
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with writer._lock:
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    writer.abandon()
    writer.append(event("b"))
    writer.flush()
    writer.close()
    release.set()
    thread.join()
    assert names(path) == ["a"]


def test_event_that_cannot_be_encoded_costs_only_itself(path: Path, faults: Faults) -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    writer = JournalWriter(path, on_fault=faults)
    writer.append(e.ParamsLogged(time_unix_nano=1, params={"x": Hostile()}), event("b"))
    assert len(faults) == 1
    assert writer.stats.events_dropped == 1
    assert names(path) == ["b"]
    writer.close()


def test_fault_handler_that_raises_harms_nobody(tmp_path: Path) -> None:
    def broken(where: str, error: Exception) -> None:
        raise RuntimeError(where) from error

    writer = JournalWriter(tmp_path / "gone" / "x", on_fault=broken)
    writer.append(event())
    assert writer.stats.pending == 1
    writer.abandon()


def test_link_in_place_of_the_journal_is_not_followed(tmp_path: Path, faults: Faults) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("")
    link = tmp_path / "manifest.jsonl"
    link.symlink_to(elsewhere)
    writer = JournalWriter(link, on_fault=faults)
    writer.append(event())
    assert elsewhere.read_text() == ""
    assert len(faults) == 1
    writer.abandon()


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=12), st.data())
def test_whatever_room_the_disk_gives_every_event_is_there_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[str]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "manifest.jsonl"
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, clock)
        writer = JournalWriter(path, on_fault=Faults(), clock=clock)
        for group in groups:
            disk.room = data.draw(st.none() | st.integers(0, 200))
            clock.now += data.draw(st.sampled_from([0.0, 2.0]))
            writer.append(*(event(name) for name in group), sync=data.draw(st.booleans()))
        disk.room = None
        writer.close()
    assert names(path) == [name for group in groups for name in group]


def test_tail_returns_each_complete_line_once(path: Path) -> None:
    tail = JournalTail(path)
    assert tail.read() == []
    path.write_bytes(GOOD + GOOD[:20])
    assert len(tail.read()) == 1
    assert tail.torn
    with path.open("ab") as file:
        file.write(GOOD[20:])
    assert len(tail.read()) == 1
    assert not tail.torn
    assert tail.read() == []


@given(st.lists(st.integers(0, 10 * len(GOOD)), max_size=8))
def test_tail_reads_the_same_wherever_the_writer_has_come_to(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int]
) -> None:
    path = tmp_path_factory.mktemp("tail") / "manifest.jsonl"
    whole = b"".join(GOOD.replace(b'"a"', b'"%d"' % number) for number in range(10))
    tail = JournalTail(path)
    found: list[str] = []
    for stop in [*sorted(stops), len(whole)]:
        path.write_bytes(whole[:stop])
        found += [item.step_id for item in tail.read() if isinstance(item, e.StepStarted)]
    assert found == [str(number) for number in range(10)]


def test_damage_hides_nothing_else(path: Path) -> None:
    path.write_bytes(GOOD + b"\xff\xfe{\n" + b"\0" * 512 + b"\n" + b"[1]\n" + b"\n" + GOOD)
    tail = JournalTail(path)
    assert len(tail.read()) == 2
    assert tail.bad_lines == 2


def test_line_with_invalid_utf8_in_a_text_is_damaged_and_not_an_error(path: Path) -> None:
    path.write_bytes(GOOD.replace(b'"a"', b'"\xff\xfe"') + GOOD)
    tail = JournalTail(path)
    assert len(tail.read()) == 1
    assert tail.damaged == 1
    assert len(list(iter_raw(path))) == 1


def test_event_after_the_zeros_of_a_power_cut_is_read(path: Path) -> None:
    path.write_bytes(b"\0" * 300 + GOOD)
    assert names(path) == ["a"]


def test_event_of_a_later_version_is_kept_apart_from_damage(path: Path) -> None:
    path.write_bytes(b'{"event":"from_the_future","time_unix_nano":1}\n' + GOOD)
    tail = JournalTail(path)
    assert len(tail.read()) == 1
    assert (tail.unknown, tail.bad_lines) == (1, 0)
    assert [raw["event"] for raw in iter_raw(path)] == ["from_the_future", "step_started"]


def test_endless_line_is_skipped_without_keeping_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1000)
    monkeypatch.setattr(lines, "_CHUNK", 100)
    path.write_bytes(GOOD + b"x" * 5000 + b"\n" + GOOD)
    tail = JournalTail(path)
    assert len(tail.read()) == 2
    assert tail.bad_lines == 1


def test_endless_line_that_is_still_being_written_stays_skipped(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1000)
    monkeypatch.setattr(lines, "_CHUNK", 100)
    path.write_bytes(b"x" * 5000)
    tail = JournalTail(path)
    assert tail.read() == []
    assert tail.torn
    with path.open("ab") as file:
        file.write(b"x" * 50 + b"\n" + GOOD)
    assert len(tail.read()) == 1
    assert (tail.bad_lines, tail.torn) == (1, False)


def test_pipe_in_place_of_a_journal_does_not_block_the_reader(path: Path) -> None:
    os.mkfifo(path)
    assert JournalTail(path).read() == []
