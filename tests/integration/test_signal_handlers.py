"""Signals beside handlers, pools and C code of the application; and at any moment of a run."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.layout import RunPaths
from tests.integration.scripts import UNMEASURED, Scripts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

PROMPT = 3.0
"""Seconds within which a signal has to be obeyed, even on a busy machine."""
OTHERS = ("SIGINT", "SIGHUP", "SIGUSR1", "SIGCHLD")


@pytest.mark.parametrize("when", ["before", "after"])
def test_handlers_of_the_application_for_other_signals_are_left_alone(
    scripts: Scripts, when: str
) -> None:
    scripts.run(
        f"""
        import os, signal, sys
        from robot_sf_otel import configure, pipeline, step
        came = []
        own = lambda signum, frame: came.append(signal.Signals(signum).name)
        def install():
            for name in {OTHERS}:
                signal.signal(getattr(signal, name), own)
        if {when!r} == "before":
            install()
        configure()
        with pipeline("p"):
            if {when!r} == "after":
                install()
            with step("train"):
                for name in {OTHERS}:
                    signal.raise_signal(getattr(signal, name))
                    assert signal.getsignal(getattr(signal, name)) is own
                assert [name for name in came] == list({OTHERS}), came
                if os.fork() == 0:
                    os._exit(0)
                os.wait()
                assert came[-1] == "SIGCHLD" and len(came) == {len(OTHERS)} + 1
        for name in {OTHERS}:
            assert signal.getsignal(getattr(signal, name)) is own
        """
    )
    assert scripts.record.status == "completed"
    assert scripts.statuses == {"train": "completed"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_sigterm_handler_of_the_application_is_called_once_and_decides(
    scripts: Scripts, when: str
) -> None:
    script = scripts.start(
        f"""
        import signal, sys
        from robot_sf_otel import configure, pipeline, step
        def own(signum, frame):
            print("handled", flush=True)
            sys.exit(7)
        if {when!r} == "before":
            signal.signal(signal.SIGTERM, own)
        configure()
        with pipeline("p"):
            if {when!r} == "after":
                signal.signal(signal.SIGTERM, own)
            with step("train"):
                print("ready", flush=True)
                while True:
                    signal.sigtimedwait([], 0.05)  # a pause() may begin just after the signal
        """
    )
    script.says("ready")
    script.kill(signal.SIGTERM)
    done = script.ends()
    assert (done.code, done.out) == (7, "handled\n")
    assert scripts.record.status == ("cancelled" if when == "before" else "failed")
    assert scripts.statuses["train"] != "running"


def test_worker_that_ends_under_a_sigchld_handler_that_raises_is_not_our_doing(
    scripts: Scripts,
) -> None:
    # What a DataLoader of PyTorch does: a handler of SIGCHLD that looks whether a worker failed,
    # raises in the main thread if so, and calls the handler that was there before.
    script = scripts.start(
        """
        import multiprocessing, os, signal, sys, time
        from robot_sf_otel import configure, pipeline, step
        configure()
        workers = []
        previous = signal.getsignal(signal.SIGCHLD)
        def on_child(signum, frame):
            for worker in workers:
                if worker.exitcode not in (None, 0):
                    raise RuntimeError(f"worker exited with {worker.exitcode}")
            if callable(previous):
                previous(signum, frame)
        signal.signal(signal.SIGCHLD, on_child)
        def work():
            with step("load"):
                print(os.getpid(), flush=True)
                time.sleep(60)
        with pipeline("p"), step("train"):
            workers.append(multiprocessing.get_context("fork").Process(target=work))
            workers[0].start()
            time.sleep(60)
        """
    )
    assert script.process.stdout is not None
    os.kill(int(script.process.stdout.readline()), signal.SIGKILL)
    done = script.ends()
    assert done.code == 1
    assert "RuntimeError: worker exited with -9" in done.errors
    assert scripts.record.status == "failed"
    error = scripts.steps["train"].error
    assert error is not None
    assert error.type == "RuntimeError"
    assert scripts.statuses == {"train": "failed", "load": "failed"}


def test_second_ctrl_c_ends_a_cleanup_that_takes_too_long(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import time
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train"):
            try:
                print("ready", flush=True)
                while True:  # one long sleep may begin just after the signal
                    time.sleep(0.05)
            finally:
                print("cleaning", flush=True)
                while True:  # one long sleep may begin just after the signal
                    time.sleep(0.05)
        """,
        env=UNMEASURED,
    )
    script.says("ready")
    script.kill(signal.SIGINT)
    script.says("cleaning")
    script.kill(signal.SIGINT)
    assert script.ends().code == -signal.SIGINT
    assert scripts.record.status == "cancelled"
    assert scripts.statuses == {"train": "cancelled"}


@pytest.mark.parametrize("what", ["hashing", "sleep", "matmul"])
def test_sigterm_is_obeyed_inside_a_long_call_of_c_code(scripts: Scripts, what: str) -> None:
    if what == "matmul":
        pytest.importorskip("numpy")
    code = {
        # Lets go of the GIL.
        "hashing": "import hashlib; hashlib.pbkdf2_hmac('sha512', b'x', b'y', 2_000_000_000)",
        "matmul": "import numpy; a = numpy.ones((5000, 5000)); [a @ a for _ in range(10_000)]",
        # A call that takes up no signal: libc's, again and again.
        "sleep": "import ctypes; [ctypes.CDLL(None).usleep(900_000) for _ in range(100)]",
    }[what]
    script = scripts.start(
        f"""
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train"):
            print("ready", flush=True)
            {code}
        """
    )
    script.says("ready")
    began = time.monotonic()
    script.kill(signal.SIGTERM)
    assert script.ends().code == -signal.SIGTERM
    assert time.monotonic() - began < PROMPT
    assert (scripts.record.status, scripts.record.status_reason) == ("cancelled", "SIGTERM")
    assert scripts.statuses == {"train": "cancelled"}


ENDLESS = """
    import random, sys, threading
    from robot_sf_otel import configure, current_run, pipeline, step
    configure(interval=0.1)
    print("ready", flush=True)
    while True:
        with pipeline("p", steps=["a", "b"]) as run:
            for name in ("a", "b"):
                with step(name, total=3) as this:
                    for _ in range(3):
                        this.advance()
                        this.log_metric("loss", 1.0)
            current_run().log_params({"x": 1})
"""


def one_signal(folder: Path, seed: int, signum: int) -> list[str]:
    """Start a program that opens and closes runs all the time, and end it at a random moment."""
    folder.mkdir()
    scripts = Scripts(folder)
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    script = scripts.start(ENDLESS, env=UNMEASURED)
    try:
        script.says("ready")
        time.sleep(draw.uniform(0, 0.3))
        script.kill(signum)
        code = script.ends(20).code
        problems = [] if code == -signum else [f"seed {seed}: exit code {code}"]
        for run_dir, record in zip(scripts.run_dirs, scripts.records, strict=True):
            steps = {entry.status for entry in record.steps}
            if record.status not in {"completed", "cancelled"} or "running" in steps:
                problems.append(f"seed {seed}: {record.status}, {record.status_reason}, {steps}")
            lines = RunPaths(run_dir).journal.read_bytes().splitlines()
            ends = [line for line in lines if b'"event":"run_finished"' in line]
            if len(ends) != 1:
                problems.append(f"seed {seed}: {len(ends)} ends")
        return problems
    finally:
        scripts.close()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_at_any_moment_of_a_run_hangs_nothing_and_leaves_closed_records(
    tmp_path: Path, signum: signal.Signals
) -> None:
    count = 25

    def one(seed: int) -> list[str]:
        return one_signal(tmp_path / str(seed), seed, signum)

    with ThreadPoolExecutor(4) as pool:
        found = pool.map(one, range(count))
        assert [problem for problems in found for problem in problems] == []


POOL = """
    import os, sys, time
    from robot_sf_otel import configure, pipeline, step

    def rollout(number):
        with step("rollout", total=1) as this:
            this.advance()
            while sys.argv[1] == "endless":
                open(f"begun-{{os.getpid()}}", "w").close()
                time.sleep(0.05)  # one long sleep may begin just after the signal
        return number

    if __name__ == "__main__":
        configure()
        with pipeline("p"), step("collect"):
            count = 2 if sys.argv[1] == "endless" else 4
            {pool}
"""
JOBLIB = """
            from joblib import Parallel, delayed
            done = Parallel(n_jobs=2)(delayed(rollout)(number) for number in range(count))
            assert done == list(range(count))
"""
FUTURES = """
            from concurrent.futures import ProcessPoolExecutor
            with ProcessPoolExecutor(2) as pool:
                assert list(pool.map(rollout, range(count))) == list(range(count))
"""
POOLS = {"joblib": JOBLIB.strip(), "futures": FUTURES.strip()}


@pytest.mark.parametrize("kind", POOLS)
def test_pool_inside_a_step_reports_its_steps(scripts: Scripts, kind: str) -> None:
    pytest.importorskip("joblib")
    scripts.run(POOL.format(pool=POOLS[kind]), "short")
    record = scripts.record
    assert record.status == "completed"
    found = [(entry.step_id, entry.status, entry.parent_step_id) for entry in record.steps]
    assert found[0] == ("collect", "completed", None)
    assert found[1:] == [("rollout", "completed", "collect")] * 4


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", POOLS)
def test_signal_to_a_program_with_a_pool_ends_it_and_closes_its_record(
    scripts: Scripts, kind: str, signum: signal.Signals
) -> None:
    pytest.importorskip("joblib")
    script = scripts.start(POOL.format(pool=POOLS[kind]), "endless", env=UNMEASURED)
    deadline = time.monotonic() + 30
    while len(list(scripts.folder.glob("begun-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # As a terminal does it: Ctrl-C goes to all processes of the group.
    os.killpg(script.pid, signum) if signum == signal.SIGINT else script.kill(signum)
    assert script.process.wait(20) != 0
    record = scripts.record
    assert record.status == "cancelled"
    assert "running" not in {entry.status for entry in record.steps}
    assert scripts.statuses["collect"] == "cancelled"
