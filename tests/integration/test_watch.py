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

from tests.integration.scripts import DEADLINE, UNMEASURED, wait_until

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
    watching = scripts.start_command(COMMAND, env=UNMEASURED)
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

    def looks(self) -> bool:
        """Read what was written; return True."""
        return self._read()

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


class Tmux:
    """`watch` in a terminal of tmux."""

    def __init__(self, scripts: Scripts, folder: Path, columns: int, lines: int) -> None:
        self._command = ["tmux", "-S", str(folder / "tmux"), "-f", os.devnull]
        self._scripts = scripts
        self._size = ("-x", str(columns), "-y", str(lines))

    def start(self, **environ: str) -> None:
        set_here = " ".join(f"{name}={value}" for name, value in environ.items())
        command = f"echo before; env {set_here} {' '.join(COMMAND)}; echo code $?; cat"
        subprocess.run(
            [*self._command, "new-session", "-d", *self._size, command],
            cwd=self._scripts.folder,
            env=self._scripts.environment({"LC_ALL": "C.UTF-8"}),
            check=True,
        )

    def do(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout

    def screen(self) -> str:
        return self.do("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        self.do("send-keys", *keys)

    def shows(self, *texts: str) -> None:
        what = f"{texts} on the screen"
        try:
            wait_until(lambda: all(text in self.screen() for text in texts), what)
        except AssertionError as error:
            raise AssertionError(f"{error}, but\n{self.screen()}") from None


@pytest.fixture
def tmux(scripts: Scripts, tmp_path: Path) -> Iterator[Callable[..., Tmux]]:
    """Terminals of a size; none survives the test."""
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux")
    made: list[Tmux] = []

    def start(columns: int, lines: int, **environ: str) -> Tmux:
        made.append(Tmux(scripts, tmp_path, columns, lines))
        made[-1].start(**{"LC_ALL": "C.UTF-8", **environ})
        return made[-1]

    yield start
    for one in made:
        one.do("kill-server")


def test_in_tmux_what_stood_there_before_comes_back(
    told: Callable[..., Told], tmux: Callable[..., Tmux]
) -> None:
    told()
    terminal = tmux(90, 30)
    terminal.shows("p running", "first", "second", "CPU", "q quit")
    terminal.do("resize-window", "-x", "40", "-y", "8")
    terminal.shows("p running", "q quit", "first")
    assert "before" not in terminal.screen()
    assert len(terminal.screen().splitlines()) <= 8
    terminal.do("resize-window", "-x", "120", "-y", "40")
    terminal.shows("n/p next, previous run", "GPU")
    terminal.press("C-c")
    # Nothing about the rest: tmux itself rewraps old lines of the other screen into this one.
    terminal.shows("before", "code 130")
    assert "q quit" not in terminal.screen()


def test_in_tmux_nothing_of_the_picture_stays(
    told: Callable[..., Told], tmux: Callable[..., Tmux]
) -> None:
    told()
    terminal = tmux(90, 30)
    terminal.shows("p running", "first", "q quit")
    terminal.press("C-c")
    terminal.shows("before", "code 130")
    assert "p running" not in terminal.screen()


def test_in_tmux_keys_switch_runs_and_quit(
    scripts: Scripts, told: Callable[..., Told], tmux: Callable[..., Tmux]
) -> None:
    done = told()
    done.go_on()
    told()
    terminal = tmux(80, 24)
    terminal.shows("p running", "run 1 of 2")
    terminal.press("n")
    terminal.shows("p completed", "run 2 of 2")
    terminal.press("n")
    terminal.shows("there is no older run")
    terminal.press("Left")
    terminal.shows("p running", "run 1 of 2")
    terminal.press("l")
    terminal.shows("Runs, newest first", "completed", "running")
    terminal.press("Down", "Enter")
    terminal.shows("p completed", "run 2 of 2")
    terminal.press("q")
    terminal.shows("code 0")


@pytest.mark.parametrize(
    ("environ", "has", "has_not"),
    [
        ({"LC_ALL": "C"}, "> first", "\u25b6"),
        ({"TERM": "vt100", "LC_ALL": "C"}, "> first", "\u25b6"),
        ({"TERM": "linux"}, "> first", "\u25b6"),
        ({"NO_COLOR": "1"}, "\u25b6 first", "> first"),
    ],
    ids=["C locale", "vt100", "linux", "no colour"],
)
def test_in_tmux_poor_terminals_get_what_they_can_show(
    told: Callable[..., Told],
    tmux: Callable[..., Tmux],
    environ: dict[str, str],
    has: str,
    has_not: str,
) -> None:
    run = told()
    terminal = tmux(80, 24, **environ)
    terminal.shows("p running", has)
    assert has_not not in terminal.screen()
    coloured = re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.do("capture-pane", "-p", "-e"))
    assert (coloured is None) == (
        not {"TERM", "NO_COLOR"}.isdisjoint(environ) and environ.get("TERM") != "linux"
    )
    run.go_on()
    terminal.shows("completed", "code 0")


def test_a_dumb_terminal_gets_lines(told: Callable[..., Told], tmux: Callable[..., Tmux]) -> None:
    run = told()
    terminal = tmux(100, 24, TERM="dumb")
    terminal.shows("before", "p running for", "0 of 2 steps")
    run.go_on()
    terminal.shows("p completed after", "code 0")


def test_stopped_and_in_front_again_the_screen_is_taken_anew(
    scripts: Scripts, told: Callable[..., Told]
) -> None:
    told()
    terminal = Terminal(scripts, [sys.executable, "-c", JOB, *COMMAND])
    terminal.shows("running")
    terminal.press("\x1a")
    terminal.shows("stopped")
    taken = terminal.said.count(ENTERED)
    assert terminal.said.count(LEFT) == taken
    terminal.press("\n")
    wait_until(
        lambda: terminal.looks() and terminal.said.count(ENTERED) > taken, "the screen again"
    )
    terminal.press("q")
    terminal.shows("ended 0, echo True")
    assert terminal.ends() == 0


JOB: Final = """
import os, signal, sys, termios
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
os.waitpid(pid, os.WUNTRACED)
os.tcsetpgrp(0, os.getpgrp())
print("stopped", flush=True)
sys.stdin.readline()
os.tcsetpgrp(0, pid)
os.killpg(pid, signal.SIGCONT)
_, status = os.waitpid(pid, 0)
os.tcsetpgrp(0, os.getpgrp())
echo = bool(termios.tcgetattr(0)[3] & termios.ECHO)
print(f"ended {os.waitstatus_to_exitcode(status)}, echo {echo}", flush=True)
"""
