"""`watch` beside a real run: on a terminal, in a pipe, and when the run is killed."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.scripts import DEADLINE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.scripts import Running, Scripts

pytestmark = pytest.mark.integration

COMMAND: Final = [sys.executable, "-m", "robot_sf_otel.cli.main", "watch", "--interval", "0.1"]
RUN: Final = """
    import sys
    from robot_sf_otel import configure, pipeline, step
    configure(interval=0.1)
    with pipeline("p", steps=["first", "second"]):
        with step("first"):
            print("ready", flush=True)
            sys.stdin.readline()
        with step("second"):
            if "fail" in sys.argv:
                raise ValueError("no luck")
"""


class Told:
    """A run that goes on when it is told to."""

    def __init__(self, scripts: Scripts, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(scripts.write(RUN)), *arguments],
            cwd=scripts.folder,
            env=scripts.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go_on(self) -> None:
        self.process.communicate("\n", timeout=DEADLINE)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def told(scripts: Scripts) -> Iterator[Callable[..., Told]]:
    """Start runs; none survives the test."""
    made: list[Told] = []

    def start(*arguments: str) -> Told:
        made.append(Told(scripts, *arguments))
        return made[-1]

    yield start
    for one in made:
        one.close()


def first_line(watching: Running) -> str:
    assert watching.process.stdout is not None
    return watching.process.stdout.readline()


@pytest.mark.parametrize(
    ("arguments", "code", "ending"),
    [((), 0, " p completed after "), (("fail",), 1, " p failed after ")],
    ids=["completed", "failed"],
)
def test_in_a_pipe_a_line_tells_each_change_and_the_exit_code_the_end(
    scripts: Scripts,
    told: Callable[..., Told],
    arguments: tuple[str, ...],
    code: int,
    ending: str,
) -> None:
    run = told(*arguments)
    watching = scripts.start_command(COMMAND)
    assert " p running for " in first_line(watching)
    run.go_on()
    done = watching.ends()
    assert done.code == code, done.errors
    assert ending in done.out.splitlines()[-1]
    assert "\x1b" not in done.out
    assert len(done.out.splitlines()) <= 4


def test_a_run_that_is_killed_ends_the_watch(scripts: Scripts, told: Callable[..., Told]) -> None:
    run = told()
    watching = scripts.start_command(COMMAND)
    first_line(watching)
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    done = watching.ends()
    assert done.code == 1
    assert "the process that ran it" in " ".join(done.out.split())


def test_ctrl_c_ends_the_watch_and_not_the_run(scripts: Scripts, told: Callable[..., Told]) -> None:
    run = told()
    watching = scripts.start_command(COMMAND)
    first_line(watching)
    watching.kill(signal.SIGINT)
    done = watching.ends()
    assert (done.code, done.errors) == (130, "")
    assert run.process.poll() is None


ON_TERMINAL: Final = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A command on a pseudo-terminal of its own."""

    def __init__(self, scripts: Scripts, command: list[str]) -> None:
        self._fd, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, *command],
            cwd=scripts.folder,
            env=scripts.environment({"TERM": "xterm"}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.said = ""

    def shows(self, text: str) -> None:
        """Wait until something was written."""
        wait_until(lambda: self._read() and text in self.said, text)

    def _read(self) -> bool:
        while select.select([self._fd], [], [], 0.01)[0]:
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # Linux's way to say that nobody has the other end
                data = b""
            if not data:
                return True
            self.said += data.decode()
        return True

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def ends(self) -> int:
        """Wait for the end and return the exit code."""
        wait_until(lambda: self._read() and self._process.poll() is not None, "the end")
        self._read()
        os.close(self._fd)
        return self._process.wait()


ENTERED, LEFT = "\x1b[?1049h", "\x1b[?1049l"


def test_on_a_terminal_the_status_is_redrawn_and_stays_when_the_run_has_ended(
    scripts: Scripts, told: Callable[..., Told]
) -> None:
    run = told()
    terminal = Terminal(scripts, COMMAND)
    terminal.shows("running")
    run.go_on()
    assert terminal.ends() == 0
    screen, _, after = terminal.said.partition(LEFT)
    assert ENTERED in screen
    assert "completed" in re.sub(r"\x1b\[[0-9;]*m", "", after)
    assert "\x1b[?25h" in terminal.said.partition(ENTERED)[2]


def test_ctrl_c_on_a_terminal_leaves_it_as_it_was(
    scripts: Scripts, told: Callable[..., Told]
) -> None:
    told()
    terminal = Terminal(scripts, COMMAND)
    terminal.shows("running")
    terminal.press("\x03")
    assert terminal.ends() == 130
    assert terminal.said.rstrip().endswith(LEFT)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_in_tmux_what_stood_there_before_comes_back(
    scripts: Scripts, told: Callable[..., Told], tmp_path: Path
) -> None:
    told()
    tmux = ["tmux", "-S", str(tmp_path / "tmux"), "-f", os.devnull]

    def screen() -> str:
        done = subprocess.run(
            [*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=False
        )
        return done.stdout

    def shows(*texts: str) -> None:
        wait_until(lambda: all(text in screen() for text in texts), f"{texts} on the screen")

    command = f"echo before; {' '.join(COMMAND)}; echo code $?; cat"
    start = [*tmux, "new-session", "-d", "-x", "90", "-y", "30", command]
    subprocess.run(start, cwd=scripts.folder, env=scripts.environment(), check=True)
    try:
        shows("p running", "first", "second")
        subprocess.run([*tmux, "resize-window", "-x", "60", "-y", "10"], check=True)
        shows("p running", "more lines do not fit")
        assert "before" not in screen()
        subprocess.run([*tmux, "send-keys", "C-c"], check=True)
        shows("before", "code 130")
        assert "p running" not in screen()
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
