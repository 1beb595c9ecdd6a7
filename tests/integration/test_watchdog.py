"""The watchdog: whatever ends the process, its run is closed; and nobody notices the watchdog."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from robot_sf_otel.report.terminal import RESTORE
from robot_sf_otel.store.identity import host_name
from robot_sf_otel.store.lock import is_locked, owner_state
from robot_sf_otel.watchdog.evidence import status_of_pidfd
from tests.integration.scripts import Running, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

ON: Final = {"ROBOT_SF_OTEL_WATCHDOG": "true"}
LINUX: Final = sys.platform == "linux"

TRAINING: Final = """
    import ctypes, os, signal, sys, threading
    from robot_sf_otel import configure, current_step, pipeline, step
    configure()

    with pipeline("p", steps=["prepare", "train", "evaluate"]):
        with step("prepare"):
            pass
        with step("train", total=10):
            print("training", flush=True)
            exec(sys.argv[1])
"""
"""A pipeline whose second step is the first argument."""

WATCHDOGS: Final = """
    import os

    def watchdogs():
        found = []
        for name in os.listdir("/proc"):
            try:
                words = open(f"/proc/{name}/cmdline").read().split("\\0")
            except OSError:
                continue
            if any(word.endswith("/waiting.py") for word in words) and str(os.getpid()) in words:
                found.append(int(name))
        return found
"""
"""A module for scripts: the processes that watch the one that asks."""


@pytest.fixture
def watching(scripts: Scripts) -> None:
    """Scripts can import `watchdogs` from `watching`."""
    if not LINUX:
        pytest.skip("finds processes in /proc")
    scripts.write(WATCHDOGS, "watching.py")


def is_closed(scripts: Scripts) -> bool:
    """Whether the only run has its closing event, and the derived files that tell of it."""
    (run_dir,) = scripts.run_dirs
    if not scripts.events("run_recovered"):
        return False
    return written(run_dir)["status"] == "failed" and (run_dir / "manifest.md").exists()


def written(run_dir: Path) -> dict[str, Any]:
    """What manifest.json says; a run may end before it was written for the first time."""
    try:
        record: dict[str, Any] = json.loads((run_dir / "manifest.json").read_bytes())
    except FileNotFoundError:
        return {"status": None}
    return record


def exists(pid: int) -> bool:
    """Whether there is a process that is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] != b"Z"


def kernel_tells_of_processes_that_were_waited_for() -> bool:
    """Whether a pidfd has the exit status of a process that is gone: Linux 6.15 and later."""
    if not hasattr(os, "pidfd_open"):
        return False
    with subprocess.Popen(["true"]) as process:
        fd = os.pidfd_open(process.pid)
    try:
        return status_of_pidfd(fd) is not None
    finally:
        os.close(fd)


def numbers(script: Running) -> list[int]:
    """The numbers on the next line that a script writes."""
    assert script.process.stdout is not None
    return [int(word) for word in script.process.stdout.readline().split()]


# -------------------------------------------------------------------------------- how it ended


@pytest.mark.parametrize(
    ("last_words", "code", "cause"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "was killed by SIGKILL"),
        ("os._exit(3)", 3, "ended with exit code 3 and did not close it"),
        ("os.abort()", -signal.SIGABRT, "crashed (SIGABRT, aborted)"),
        ("ctypes.string_at(0)", -signal.SIGSEGV, "crashed (SIGSEGV, segmentation fault)"),
    ],
)
def test_run_of_a_process_that_ended_is_closed_with_the_cause(
    scripts: Scripts, last_words: str, code: int, cause: str
) -> None:
    script = scripts.start(TRAINING, last_words, env=ON)
    script.says("training")
    wait_until(lambda: is_closed(scripts), "closed")
    (end,) = scripts.events("run_recovered")
    assert (end["status"], end["result"]) == ("failed", "error")
    if LINUX:  # nobody has waited for it yet, so the kernel still tells
        assert f"the process that ran it (pid {script.pid} on " in end["reason"]
        assert cause in end["reason"]
    assert script.ends().code == code
    (run_dir,) = scripts.run_dirs
    record = written(run_dir)
    assert record["summary"]["last_completed_step"] == "prepare"
    assert record["summary"]["running_steps"] == []
    assert [(step["step_id"], step["status"]) for step in record["steps"]] == [
        ("prepare", "completed"),
        ("train", "failed"),
        ("evaluate", "pending"),
    ]
    assert record["status_reason"] == end["reason"]
    assert record["status_reason"].isprintable()


def test_progress_that_only_the_samples_know_is_in_the_closed_record(scripts: Scripts) -> None:
    script = scripts.start(
        TRAINING,
        "current_step().advance(4); print('advanced', flush=True); signal.pause()",
        env={**ON, "ROBOT_SF_OTEL_INTERVAL": "0.1"},
    )
    script.says("advanced")
    (run_dir,) = scripts.run_dirs
    telemetry = run_dir / "telemetry.jsonl"
    wait_until(lambda: '"progress_done":4' in telemetry.read_text(), "sampled")
    script.kill(signal.SIGKILL)
    wait_until(lambda: is_closed(scripts), "closed")
    train = next(step for step in written(run_dir)["steps"] if step["step_id"] == "train")
    assert (train["progress"]["done"], train["status"]) == (4, "failed")


def test_steps_of_threads_and_of_forked_workers_are_closed_while_the_workers_live_on(
    scripts: Scripts,
) -> None:
    script = scripts.start(
        """
        import multiprocessing, signal, sys, threading, time
        from robot_sf_otel import configure, pipeline, step
        configure()

        def work(index):
            with step(f"worker_{index}"):
                begun.release()
                signal.pause()

        def think():
            with step("thread"):
                begun.release()
                threading.Event().wait()

        if __name__ == "__main__":
            context = multiprocessing.get_context("fork")
            begun = context.Semaphore(0)
            with pipeline("p"):
                threading.Thread(target=think, daemon=True).start()
                children = [context.Process(target=work, args=(i,)) for i in range(2)]
                for child in children:
                    child.start()
                for _ in range(3):
                    begun.acquire()
                print(*(child.pid for child in children), flush=True)
                signal.pause()
        """,
        env=ON,
    )
    workers = numbers(script)
    assert len(workers) == 2, script.ends().errors
    script.kill(signal.SIGKILL)
    wait_until(lambda: is_closed(scripts), "closed")
    for worker in workers:
        os.kill(worker, 0)
    assert scripts.statuses == {"thread": "failed", "worker_0": "failed", "worker_1": "failed"}


def test_every_run_of_the_process_is_closed(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import threading
        from robot_sf_otel import configure, pipeline
        configure()
        both = threading.Barrier(3)

        def work(name):
            with pipeline(name):
                both.wait()
                threading.Event().wait()

        for name in ("a", "b"):
            threading.Thread(target=work, args=(name,), daemon=True).start()
        both.wait()
        print("open", flush=True)
        threading.Event().wait()
        """,
        env=ON,
    )
    script.says("open")
    script.kill(signal.SIGKILL)
    wait_until(
        lambda: all(written(run_dir)["status"] == "failed" for run_dir in scripts.run_dirs),
        "both closed",
    )
    assert len(scripts.run_dirs) == 2


def test_process_that_is_killed_as_soon_as_its_run_is_open_leaves_it_closed(
    scripts: Scripts,
) -> None:
    scripts.run(
        """
        import os, signal
        from robot_sf_otel import configure, pipeline
        configure()
        pipeline("p").start()
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        env=ON,
        code=-signal.SIGKILL,
    )
    wait_until(lambda: is_closed(scripts), "closed")
    assert scripts.record.host["hostname"] == host_name()
    if kernel_tells_of_processes_that_were_waited_for():
        assert "was killed by SIGKILL" in scripts.events("run_recovered")[0]["reason"]


def test_lock_that_a_child_of_the_dead_process_holds_changes_nothing(scripts: Scripts) -> None:
    # A fork below Python runs no hooks: such a child keeps the descriptor, and so the lock.
    script = scripts.start(
        TRAINING,
        "libc = ctypes.CDLL(None)\n"
        "child = libc.fork()\n"
        "if child == 0:\n    while True: libc.pause()\n"
        "print('forked', flush=True); signal.pause()",
        env=ON,
    )
    script.says("forked")
    script.kill(signal.SIGKILL)
    wait_until(lambda: is_closed(scripts), "closed")
    (run_dir,) = scripts.run_dirs
    assert is_locked(run_dir / "run.lock") is True
    assert owner_state(run_dir, time.time()) == "dead"


def test_interrupt_that_reaches_the_whole_process_group_leaves_the_watchdog(
    scripts: Scripts,
) -> None:
    script = scripts.start(
        TRAINING,
        "signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))\n"
        "print('ready', flush=True)\nwhile True: signal.pause()",
        env=ON,
    )
    script.says("ready")
    os.killpg(script.pid, signal.SIGINT)
    script.says("interrupted")
    script.kill(signal.SIGKILL)
    wait_until(lambda: is_closed(scripts), "closed")


def test_operators_command_is_told_of_the_failure(scripts: Scripts, tmp_path: Path) -> None:
    told = tmp_path / "told.txt"
    command = tmp_path / "tell.sh"
    command.write_text(f'#!/bin/sh\necho "$2 $GREETING" > {told}.new && mv {told}.new {told}\n')
    command.chmod(0o755)
    env = {**ON, "ROBOT_SF_OTEL_ON_FINISH": str(command), "GREETING": "hello"}
    script = scripts.start(TRAINING, "os.kill(os.getpid(), signal.SIGKILL)", env=env)
    script.says("training")
    wait_until(told.exists, "told")
    assert told.read_text() == "failed hello\n"


@pytest.mark.parametrize("command", ["./tell.sh", "sh tell.sh"])
@pytest.mark.parametrize("last_words", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(5)"])
def test_operators_command_runs_in_the_folder_of_the_pipeline(
    scripts: Scripts, command: str, last_words: str
) -> None:
    tell = scripts.write("#!/bin/sh\necho $2 > told.new && mv told.new told.txt\n", "tell.sh")
    tell.chmod(0o755)
    told = scripts.folder / "told.txt"
    scripts.start(TRAINING, last_words, env={**ON, "ROBOT_SF_OTEL_ON_FINISH": command}).ends()
    wait_until(told.exists, "told")
    assert told.read_text() == "failed\n"


# --------------------------------------------------------------------- the kernel ran out of memory


@pytest.fixture
def small_group(scripts: Scripts) -> Iterator[Path]:
    """A memory cgroup (v1) of 160 MiB without swap, removed after the test."""
    top = Path("/sys/fs/cgroup/memory")
    if os.geteuid() != 0 or not (top / "memory.limit_in_bytes").exists():
        pytest.skip("needs root and the memory controller of cgroup v1")
    group = top / f"robot-sf-otel-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    (group / "memory.limit_in_bytes").write_text(str(160 * 2**20))
    (group / "memory.swappiness").write_text("0")
    yield group
    scripts.close()
    for line in (group / "cgroup.procs").read_text().split():
        os.kill(int(line), signal.SIGKILL)
    wait_until(lambda: not (group / "cgroup.procs").read_text(), "empty")
    group.rmdir()


def test_process_that_the_kernel_killed_for_memory_is_said_to_be_that(
    scripts: Scripts, small_group: Path
) -> None:
    join = f'echo $$ > {small_group}/cgroup.procs && exec "$@"'
    script = scripts.start(
        TRAINING,
        "hoard = []\nwhile True: hoard.append(bytearray(b'x' * 2**20))",
        env=ON,
        prefix=("sh", "-c", join, "sh"),
    )
    script.says("training")
    wait_until(lambda: is_closed(scripts), "closed")
    reason = scripts.events("run_recovered")[0]["reason"]
    assert "was killed by SIGKILL, probably for lack of memory" in reason
    assert "(oom_kill 0 → 1)" in reason
    assert "limit 160 MiB" in reason


# ------------------------------------------------------------------------- nobody notices it


@pytest.mark.usefixtures("watching")
def test_user_who_waits_for_all_children_does_not_wait_for_it(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import os, subprocess, sys
        from watching import watchdogs
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p"):
            assert len(watchdogs()) == 1
            subprocess.Popen([sys.executable, "-c", ""])
            waited = 0
            try:
                while os.wait():
                    waited += 1
            except ChildProcessError:
                print(waited)
        """,
        env=ON,
    )
    assert done.out == "1\n"


@pytest.mark.usefixtures("watching")
def test_it_ends_with_the_run_while_the_process_goes_on(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import os, signal
        from watching import watchdogs
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p"):
            print(*watchdogs(), flush=True)
        print("closed", flush=True)
        signal.pause()
        """,
        env=ON,
    )
    (watchdog,) = numbers(script)
    script.says("closed")
    wait_until(lambda: not exists(watchdog), "gone")
    script.kill(signal.SIGKILL)
    script.ends()
    assert not scripts.events("run_recovered")
    assert scripts.record.status == "completed"


@pytest.mark.usefixtures("watching")
def test_each_of_twenty_runs_in_a_row_has_its_own_and_leaves_none(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import os, signal
        from watching import watchdogs
        from robot_sf_otel import configure, pipeline
        from robot_sf_otel import guard
        configure()
        seen = set()
        for _ in range(20):
            with pipeline("p"):
                seen |= set(watchdogs())
        print(*seen, flush=True)
        signal.pause()
        """,
        env=ON,
    )
    seen = numbers(script)
    assert len(seen) == 20
    wait_until(lambda: not any(exists(watchdog) for watchdog in seen), "all gone")


@pytest.mark.usefixtures("watching")
def test_it_ends_by_itself_after_a_run_that_was_closed_without_telling_it(
    scripts: Scripts,
) -> None:
    script = scripts.start(
        """
        import os
        from watching import watchdogs
        from robot_sf_otel import configure, pipeline
        from robot_sf_otel.watchdog.starting import Watchdog
        Watchdog.run_closed = lambda self, run_dir: None
        configure()
        with pipeline("p"):
            print(*watchdogs(), flush=True)
        """,
        env=ON,
    )
    (watchdog,) = numbers(script)
    assert script.ends().code == 0
    wait_until(lambda: not exists(watchdog), "gone")
    assert not scripts.events("run_recovered")


@pytest.mark.usefixtures("watching")
def test_it_holds_nothing_of_the_pipeline_and_little_memory(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import os, signal
        from watching import watchdogs
        from robot_sf_otel import configure, pipeline
        configure()
        inherited, _ = os.pipe()
        os.set_inheritable(inherited, True)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        with pipeline("p"):
            print(*watchdogs(), flush=True)
            signal.pause()
        """,
        env=ON,
    )
    (watchdog,) = numbers(script)
    proc = Path("/proc") / str(watchdog)
    wait_until(lambda: open_files(proc) == {"/dev/null", "pidfd"}, "holds nothing else")
    assert (proc / "cwd").readlink() == Path("/")
    assert os.getsid(watchdog) != os.getsid(script.pid)
    rollup = dict(line.split()[:2] for line in lines_of(proc / "smaps_rollup"))
    assert int(rollup["Rss:"]) < 12 * 1024
    assert b"ROBOT_SF_OTEL_RUN_DIR=" not in (proc / "environ").read_bytes()
    status = dict(line.split()[:2] for line in lines_of(proc / "status"))
    assert int(status["SigBlk:"], 16) == 0


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if len(line.split()) > 1]


def open_files(proc: Path) -> set[str]:
    found: set[str] = set()
    for link in (proc / "fd").iterdir():
        try:
            found.add(str(link.readlink()))
        except OSError:
            continue
    return {"pidfd" if "pidfd" in name else name for name in found}


def test_forked_child_that_ends_is_no_end_of_the_run(scripts: Scripts) -> None:
    scripts.run(
        TRAINING,
        "child = os.fork()\n"
        "if child == 0:\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.waitpid(child, 0)",
        env=ON,
    )
    assert not scripts.events("run_recovered")
    assert scripts.record.status == "completed"


# ------------------------------------------------------------------------------- without it


@pytest.mark.usefixtures("watching")
def test_run_whose_watchdog_was_killed_first_is_recognised_as_dead(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import os, signal
        from watching import watchdogs
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p"):
            print(*watchdogs(), flush=True)
            signal.pause()
        """,
        env=ON,
    )
    (watchdog,) = numbers(script)
    os.kill(watchdog, signal.SIGKILL)
    wait_until(lambda: not exists(watchdog), "gone")
    script.kill(signal.SIGKILL)
    script.ends()
    assert not scripts.events("run_recovered")
    assert scripts.record.status == "failed"


@pytest.mark.usefixtures("watching")
def test_switched_off_there_is_none(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import os
        from watching import watchdogs
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p"):
            print(watchdogs())
        """
    )
    assert done.out == "[]\n"


def test_pipeline_goes_on_with_one_warning_where_none_can_be_started(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import sys
        sys.executable = ""
        from robot_sf_otel import configure, pipeline
        configure()
        for _ in range(2):
            with pipeline("p"):
                pass
        """,
        env=ON,
    )
    (warning,) = done.warnings
    assert "no watchdog could be started" in warning
    assert [record.status for record in scripts.records] == ["completed"] * 2


# ------------------------------------------------------------------------------ the terminal


def test_terminal_of_a_killed_pipeline_is_given_back(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pty = pytest.importorskip("pty")
    termios = pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    env = {
        **scripts.environment(ON),
        "ROBOT_SF_OTEL_CONSOLE": "auto",
        "TERM": "xterm",
    }
    process = subprocess.Popen(
        [sys.executable, str(scripts.write(TRAINING)), "signal.pause()"],
        cwd=scripts.folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        start_new_session=True,
    )
    Running(process, measured=True).says("training")
    os.set_blocking(ours, False)
    process.kill()
    shown = reader(ours)
    wait_until(lambda: shown().endswith(RESTORE), "restored")
    process.communicate()
    os.close(ours)
    os.close(theirs)


def reader(fd: int) -> Callable[[], str]:
    """Return what tells all that was written to a terminal so far."""
    seen = bytearray()

    def shown() -> str:
        try:
            while more := os.read(fd, 65536):
                seen.extend(more)
        except BlockingIOError:
            pass
        return seen.decode("utf-8", "replace")

    return shown
