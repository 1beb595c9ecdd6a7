"""The journal on a real disk, with processes that are killed and forked in the middle of it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.store.journal import JournalTail, JournalWriter, iter_events
from robot_sf_otel.store.lock import RunLock, is_locked, owner_state
from robot_sf_otel.store.reader import load_run, worker_journals

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

PRELUDE = """
    import os, signal, sys, threading, time
    from pathlib import Path
    from robot_sf_otel.manifest import events as e
    from robot_sf_otel.store.journal import JournalWriter
    from robot_sf_otel.store.lock import RunLock

    run_dir = Path(sys.argv[1])

    def fault(where, error):
        print("fault", error, flush=True)

    def event(name):
        return e.StepStarted(time_unix_nano=time.time_ns(), step_id=name)

    writer = JournalWriter(run_dir / "manifest.jsonl", on_fault=fault)
"""


def start(run_dir: Path, body: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(PRELUDE) + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(run_dir)], stdout=subprocess.PIPE, text=True
    )


def names(path: Path) -> list[str]:
    return [item.step_id for item in iter_events(path) if isinstance(item, e.StepStarted)]


def test_every_event_that_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        for number in range(100_000):
            writer.append(event(str(number)))
            print(number, flush=True)
        """,
    )
    assert process.stdout is not None
    for line in process.stdout:
        last = int(line)
        if last == 50:
            break
    process.kill()
    acknowledged = [int(line) for line in process.stdout.read().split()]
    process.stdout.close()
    process.wait()
    found = names(tmp_path / "manifest.jsonl")
    assert found == [str(number) for number in range(len(found))]
    assert len(found) > max(acknowledged, default=50)


def test_threads_that_are_killed_leave_whole_lines(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        def work(worker):
            for number in range(100_000):
                writer.append(event(f"{worker}-{number}"))
        for worker in range(4):
            threading.Thread(target=work, args=(worker,), daemon=True).start()
        time.sleep(0.3)
        print("now", flush=True)
        time.sleep(60)
        """,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.kill()
    process.wait()
    process.stdout.close()
    tail = JournalTail(tmp_path / "manifest.jsonl")
    found = [item.step_id for item in tail.read() if isinstance(item, e.StepStarted)]
    assert tail.bad_lines == 0
    for worker in range(4):
        own = [name for name in found if name.startswith(f"{worker}-")]
        assert own == [f"{worker}-{number}" for number in range(len(own))]


def test_forked_child_abandons_the_writer_and_leaves_the_parents_lock_alone(
    tmp_path: Path,
) -> None:
    process = start(
        tmp_path,
        """
        lock = RunLock.acquire(run_dir / "run.lock")
        stop = threading.Event()
        def busy():
            while not stop.is_set():
                writer.append(event("parent"))
        thread = threading.Thread(target=busy)
        thread.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                writer.abandon()
                lock.abandon()
                writer.append(event("child"))
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        thread.join()
        writer.append(event("last"))
        print("held", flush=True)
        sys.stdin.read()
        """,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert is_locked(tmp_path / "run.lock") is True
    process.kill()
    process.wait()
    process.stdout.close()
    found = names(tmp_path / "manifest.jsonl")
    assert set(found) == {"parent", "last"}
    assert found[-1] == "last"


def test_owner_that_was_killed_is_dead_although_its_child_holds_the_lock(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        lock = RunLock.acquire(run_dir / "run.lock")
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        print(child, flush=True)
        time.sleep(60)
        """,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert owner_state(tmp_path, 0.0) == "alive"
        process.kill()
        process.wait()
        assert is_locked(tmp_path / "run.lock") is True
        assert owner_state(tmp_path, 0.0) == "dead"
        RunLock.acquire(tmp_path / "run.lock").close()
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_signal_handler_that_appends_never_hangs_and_loses_nothing(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        count = [0]
        def handler(signum, frame):
            count[0] += 1
            writer.append(event(f"signal-{count[0]}"))
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0007)
        for number in range(1500):
            writer.append(event(str(number)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        writer.close()
        print(count[0], flush=True)
        """,
    )
    output, _ = process.communicate(timeout=60)
    signals = int(output)
    found = names(tmp_path / "manifest.jsonl")
    assert [name for name in found if "-" not in name] == [str(n) for n in range(1500)]
    handled = [name for name in found if "-" in name]
    assert signals > 0
    assert sorted(handled) == sorted(f"signal-{n}" for n in range(1, signals + 1))


def test_ctrl_c_at_any_moment_neither_loses_nor_repeats_a_line(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        interruptions = [0]
        def interrupt(signum, frame):
            # Only within the code that is tested: not in the loop below.
            if frame.f_code.co_filename.endswith(("journal.py", "appending.py")):
                interruptions[0] += 1
                raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0013)
        for number in range(1000):
            try:
                writer.append(event(str(number)))
            except KeyboardInterrupt:
                pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        other = threading.Thread(target=writer.append, args=(event("1000"),))
        other.start()
        other.join(10)
        writer.close()
        print(interruptions[0], flush=True)
        """,
    )
    output, _ = process.communicate(timeout=60)
    assert int(output) > 10
    found = [int(name) for name in names(tmp_path / "manifest.jsonl")]
    assert len(found) == len(set(found)), "a line was written twice"
    # Ctrl-C may come before the event was taken in; what was taken in is never out of order.
    assert found == sorted(found)
    assert found[-1] == 1000, "another thread does not find the lock taken for ever"
    assert len(found) > 900


def test_full_disk_keeps_events_until_there_is_room(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes the kernel refuse to extend the file, in the middle of a line too."""
    path = tmp_path / "manifest.jsonl"
    faults: list[Exception] = []
    writer = JournalWriter(path, on_fault=lambda _, error: faults.append(error))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        for number in range(50):
            writer.append(e.StepStarted(time_unix_nano=number, step_id=str(number)))
        assert path.stat().st_size == 1000
        assert len(faults) == 1
        assert writer.stats.pending > 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    writer.flush()
    writer.close()
    assert names(path) == [str(number) for number in range(50)]
    assert path.read_bytes().count(b"\n") == 50


def test_forked_child_of_a_producer_writes_a_journal_of_its_own(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        """
        from robot_sf_otel import runs
        run = runs.start_run(
            initiator="x", enabled_steps=["a"], run_id="r", artifact_root=run_dir
        )
        child = os.fork()
        if child == 0:
            runs.update_step(run, "a", status="completed")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        runs.update_run(run, status="completed")
        """,
    )
    assert process.wait(30) == 0
    assert process.stdout is not None
    process.stdout.close()
    run = load_run(tmp_path / "run-tracker" / "r")
    assert [(step.step_id, step.status) for step in run.record.steps] == [("a", "completed")]
    assert len(worker_journals(run.run_dir)) == 1
    assert is_locked(run.run_dir / "run.lock") is False
