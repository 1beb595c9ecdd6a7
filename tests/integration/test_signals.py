"""SIGTERM and Ctrl-C on real processes: the record is closed, then the signal does its work."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.layout import RunPaths
from tests.integration.scripts import UNMEASURED

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

PROMPT = 3.0
"""Seconds within which a signal has to be obeyed, even on a busy machine."""


def assert_closed_as_cancelled(scripts: Scripts, reason: str) -> None:
    """The journal holds the end of the steps and of the run, and so does manifest.json."""
    assert [event["status"] for event in scripts.events("run_finished")] == ["cancelled"]
    record = scripts.record
    assert (record.status, record.status_reason) == ("cancelled", reason)
    assert scripts.events("run_finished")[0]["result"] == "cancellation"
    (run_dir,) = scripts.run_dirs
    assert '"status": "cancelled"' in RunPaths(run_dir).record.read_text()
    assert (run_dir / "manifest.md").exists()


def test_sigterm_closes_the_record_and_ends_the_process_as_it_would_have(
    scripts: Scripts,
) -> None:
    script = scripts.start(
        """
        import signal
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p", steps=["outer", "later"]), step("outer") as this, step("inner"):
            this.advance(7)
            print("ready", flush=True)
            while True:
                signal.sigtimedwait([], 0.05)  # a pause() may begin just after the signal
        """
    )
    script.says("ready")
    script.kill(signal.SIGTERM)
    assert script.ends().code == -signal.SIGTERM
    assert_closed_as_cancelled(scripts, "SIGTERM")
    assert scripts.statuses == {"outer": "cancelled", "inner": "cancelled", "later": "pending"}
    assert {event["result"] for event in scripts.events("step_finished")} == {"cancellation"}
    assert scripts.steps["outer"].progress.done == 7


def test_sigterm_is_obeyed_while_the_main_thread_is_inside_c_code(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import hashlib
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train"):
            print("ready", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)
        """
    )
    script.says("ready")
    started = time.monotonic()
    script.kill(signal.SIGTERM)
    assert script.ends().code == -signal.SIGTERM
    assert time.monotonic() - started < PROMPT
    assert_closed_as_cancelled(scripts, "SIGTERM")


def test_sigterm_while_steps_are_written_leaves_a_whole_journal(scripts: Scripts) -> None:
    script = scripts.start(
        """
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"):
            for number in range(1_000_000):
                with step(f"s{number % 5}"):
                    pass
                if number == 50:
                    print("ready", flush=True)
        """
    )
    script.says("ready")
    script.kill(signal.SIGTERM)
    assert script.ends().code == -signal.SIGTERM
    assert_closed_as_cancelled(scripts, "SIGTERM")
    (run_dir,) = scripts.run_dirs
    lines = RunPaths(run_dir).journal.read_bytes().splitlines()
    assert len(lines) == len(scripts.journal())
    assert {entry.status for entry in scripts.record.steps} <= {"completed", "cancelled"}


def test_sigterm_while_threads_run_steps_cancels_all_of_them(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import signal, threading
        from robot_sf_otel import configure, pipeline, step
        configure()
        both = threading.Barrier(3)
        def work(name):
            with step(name):
                both.wait()
                threading.Event().wait()
        with pipeline("p"):
            for name in ("a", "b"):
                threading.Thread(target=work, args=(name,), daemon=True).start()
            both.wait()
            print("ready", flush=True)
            while True:
                signal.sigtimedwait([], 0.05)  # a pause() may begin just after the signal
        """
    )
    script.says("ready")
    script.kill(signal.SIGTERM)
    assert script.ends().code == -signal.SIGTERM
    assert_closed_as_cancelled(scripts, "SIGTERM")
    assert scripts.statuses == {"a": "cancelled", "b": "cancelled"}


def test_sigterm_reaches_the_handler_that_the_application_had_before(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import signal, sys
        from robot_sf_otel import configure, pipeline, step
        def handler(signum, frame):
            print("handled", signum, frame is not None, flush=True)
            sys.exit(7)
        signal.signal(signal.SIGTERM, handler)
        configure()
        with pipeline("p"), step("train"):
            print("ready", flush=True)
            while True:
                signal.sigtimedwait([], 0.05)  # a pause() may begin just after the signal
        """
    )
    script.says("ready")
    script.kill(signal.SIGTERM)
    script.says("handled 15 True")
    assert script.ends().code == 7
    assert_closed_as_cancelled(scripts, "SIGTERM")
    assert scripts.statuses == {"train": "cancelled"}


def test_application_whose_handler_goes_on_is_recorded_as_completed(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import signal
        from robot_sf_otel import configure, pipeline, step
        noted = []
        signal.signal(signal.SIGTERM, lambda *_: noted.append(1))
        configure()
        with pipeline("p"), step("train"):
            print("ready", flush=True)
            while not noted:
                signal.sigtimedwait([], 0.05)  # a pause() may begin just after the signal
        """
    )
    script.says("ready")
    script.kill(signal.SIGTERM)
    assert script.ends().code == 0
    assert scripts.record.status == "completed"


def test_ignored_sigterm_stays_ignored(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import signal, sys
        from robot_sf_otel import configure, pipeline, step
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        configure()
        with pipeline("p"), step("train"):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            signal.raise_signal(signal.SIGTERM)
        """
    )
    assert script.ends().code == 0
    assert scripts.record.status == "completed"


def test_handlers_are_given_back_when_no_run_is_live(scripts: Scripts) -> None:
    scripts.run(
        """
        import os, signal
        from robot_sf_otel import configure, pipeline
        def state():
            descriptor = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(descriptor)
            return signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), descriptor
        own = lambda *_: None
        for before in (signal.SIG_DFL, own):
            signal.signal(signal.SIGTERM, before)
            configure()
            untouched = state()
            for _ in range(2):
                with pipeline("p"), pipeline("inner"):
                    assert state() != untouched
                    assert state()[1] is untouched[1]
                assert state() == untouched, state()
        """
    )


def test_handler_that_the_application_sets_during_the_run_is_kept(scripts: Scripts) -> None:
    scripts.run(
        """
        import signal
        from robot_sf_otel import configure, pipeline
        own = lambda *_: None
        configure()
        with pipeline("p"):
            signal.signal(signal.SIGTERM, own)
        assert signal.getsignal(signal.SIGTERM) is own
        """
    )


def test_sigterm_still_ends_a_process_whose_run_was_finished_by_another_thread(
    scripts: Scripts,
) -> None:
    script = scripts.start(
        """
        import signal, threading
        from robot_sf_otel import configure, pipeline
        configure()
        run = pipeline("p").start()
        thread = threading.Thread(target=run.finish)
        thread.start()
        thread.join()
        print("ready", flush=True)
        while True:
            signal.sigtimedwait([], 0.05)  # a pause() may begin just after the signal
        """
    )
    script.says("ready")
    script.kill(signal.SIGTERM)
    assert script.ends().code == -signal.SIGTERM
    assert scripts.record.status == "completed"


def test_event_loop_keeps_its_own_signal_handling(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import asyncio, signal
        from robot_sf_otel import configure, pipeline, step
        configure()
        async def main():
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            with pipeline("p"), step("serve"):
                print("ready", flush=True)
                await stop.wait()
            print("stopped", flush=True)
        asyncio.run(main())
        """
    )
    script.says("ready")
    script.kill(signal.SIGTERM)
    script.says("stopped")
    assert script.ends().code == 0
    assert scripts.record.status == "completed"


def test_ctrl_c_cancels_the_run_and_is_raised_in_the_pipeline(scripts: Scripts) -> None:
    script = scripts.start(
        """
        import signal
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train"):
            print("ready", flush=True)
            while True:
                signal.sigtimedwait([], 0.05)  # a pause() may begin just after the signal
        """,
        env=UNMEASURED,
    )
    script.says("ready")
    script.kill(signal.SIGINT)
    done = script.ends()
    assert done.code == -signal.SIGINT
    assert "KeyboardInterrupt" in done.errors
    assert_closed_as_cancelled(scripts, "KeyboardInterrupt")
    assert scripts.statuses == {"train": "cancelled"}


CHILD = """
    import signal, sys
    def stop(signum, _):
        open(signal.Signals(signum).name, "w").close()
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print("ready", flush=True)
    while True:
        signal.sigtimedwait([], 0.05)  # a pause() may begin just after the signal
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_forwarded_to_the_command_of_s_run(
    scripts: Scripts, signum: signal.Signals
) -> None:
    child = scripts.write(CHILD, "child.py")
    script = scripts.start(
        f"""
        import sys
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train") as this:
            this.run([sys.executable, {str(child)!r}])
        """,
        env=UNMEASURED,
    )
    script.says("ready")
    script.kill(signum)
    assert script.ends().code == -signum
    assert (scripts.folder / signum.name).exists()
    assert scripts.record.status == "cancelled"


def test_sigterm_with_a_handler_of_the_application_is_forwarded_too(scripts: Scripts) -> None:
    child = scripts.write(CHILD, "child.py")
    script = scripts.start(
        f"""
        import signal, sys
        from robot_sf_otel import configure, pipeline, step
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        configure()
        with pipeline("p"), step("train") as this:
            this.run([sys.executable, {str(child)!r}])
        """
    )
    script.says("ready")
    script.kill(signal.SIGTERM)
    assert script.ends().code == 3
    assert (scripts.folder / "SIGTERM").exists()
    assert not (scripts.folder / "SIGINT").exists()
    assert_closed_as_cancelled(scripts, "SIGTERM")


def test_ctrl_c_while_the_record_is_looked_at_leaves_it_to_the_other_threads(
    scripts: Scripts,
) -> None:
    finished = scripts.run(
        """
        import os, signal, threading, time
        from pathlib import Path
        from robot_sf_otel_manifest.recorder import OwnerRecorder

        recorder = OwnerRecorder.create(Path("output"), "p", time.time_ns(), None)
        interruptions = 0

        def interrupt(signum, frame):
            # Only within the code that is tested: not in the loop below.
            if frame.f_code.co_filename.endswith("recorder.py"):
                raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0003)
        while interruptions < 2000:
            try:
                recorder.look(lambda fold: None)
            except KeyboardInterrupt:
                interruptions += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        say = lambda: print(recorder.look(lambda fold: fold.status), flush=True)
        other = threading.Thread(target=say, daemon=True)
        other.start()
        other.join(10)
        os._exit(0)
        """
    )
    assert finished.out == "pending\n"
