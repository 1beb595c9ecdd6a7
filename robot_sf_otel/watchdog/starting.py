"""Starting the watchdog of a run, and ending it with the run.

One for each run, with what it needs to know given at the start: there is nothing to say to it
later but that it may go. It is nobody's child (a user's `while os.wait()` would wait for it), in a
session of its own (Ctrl-C ends the pipeline, not the watchdog) and holds no descriptor of ours.
Liveness is that of the process, not of a pipe or a lock: forked children keep those open.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from robot_sf_otel import environment_variables as env
from robot_sf_otel import guard
from robot_sf_otel.store.identity import ProcessIdentity, is_alive, process_identity
from robot_sf_otel.watchdog import waiting

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from robot_sf_otel.config import Config

START_SECONDS: Final = 2.0
"""Longest wait for the shell that starts it, usually a millisecond."""

_SHELL: Final = "/bin/sh"
# The shell ends at once, so that what it started is an orphan. What it got as its stdin is handed
# on under the number `waiting.HANDED`: stdin of what runs in the background may be another.
_ORPHAN: Final = f'exec {waiting.HANDED}<&0; "$@" </dev/null >/dev/null 2>&1 & echo $!'
_NOT_INHERITED: Final = (env.RUN_DIR, env.TRACEPARENT, env.ON_FINISH)
_DEFAULT_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class _Started:
    """A watchdog that was started, and by which process."""

    identity: ProcessIdentity
    owner: int


class Watchdog:
    """The watchdogs of the runs that this process owns. Its methods never raise.

    Args:
        config: The settled configuration; with `watchdog` false nothing is ever started.
        interpreter: What runs the script that waits.
    """

    def __init__(self, config: Config, interpreter: str | None = None) -> None:
        """Start nothing yet."""
        self._config = config
        self._interpreter = interpreter or sys.executable
        self._started: dict[Path, _Started] = {}

    @property
    def pids(self) -> frozenset[int]:
        """The processes that wait now: no part of the pipeline, so not to be counted with it."""
        mine = os.getpid()
        return frozenset(
            started.identity.pid for started in self._started.values() if started.owner == mine
        )

    def run_opened(self, run_dir: Path) -> int | None:
        """Start the watchdog of a run; its start is in the journal by now.

        Returns:
            The watchdog's pid, None where there is none: readers and `recover` do without.
        """
        # All processes of a container end with its first one: nobody would be left to close it.
        if not self._config.watchdog or os.getpid() == 1:
            return None
        try:
            pid = self._start(run_dir)
        except Exception as error:  # noqa: BLE001 - the run goes on without
            guard.warn_once(
                "watchdog",
                f"no watchdog could be started: {error}. If this process is killed, the record of "
                "its run stays open until `robot-sf-otel recover`",
            )
            return None
        self._started[run_dir] = _Started(process_identity(pid), os.getpid())
        return pid

    def run_closed(self, run_dir: Path) -> None:
        """End the watchdog of a run whose record is closed."""
        started = self._started.pop(run_dir, None)
        # A forked child knows of its parent's watchdogs: they are not its own to end.
        if started is None or started.owner != os.getpid():
            return
        with guard.shielded("watchdog"):
            if is_alive(started.identity):
                os.kill(started.identity.pid, signal.SIGTERM)

    def _start(self, run_dir: Path) -> int:
        """Start a shell that starts it, and wait for the shell alone.

        Raises:
            OSError: It cannot be started.
            ValueError: The shell did not say which process it started.
        """
        me = process_identity()
        command = [
            _SHELL,
            "-c",
            _ORPHAN,
            "watchdog",
            self._interpreter,
            "-I",  # no variables, no user's folder, no folder of the script
            "-S",  # no site-packages: nothing there runs at the start
            waiting.__file__,
            str(me.pid),
            "-" if me.start_time is None else str(me.start_time),
        ]
        if not self._interpreter:
            raise OSError("the interpreter's path is not known")
        answer, given = os.pipe()
        try:
            with _handle() as handle:
                shell = _spawn(command, self._environment(run_dir, me), handle, given)
            os.close(given)
            given = -1
            said = _line(answer)
            with suppress(ChildProcessError):  # a handler of the application waited for it
                os.waitpid(shell, 0)
        finally:
            os.close(answer)
            if given != -1:
                os.close(given)
        return int(said)

    def _environment(self, run_dir: Path, me: ProcessIdentity) -> dict[str, str]:
        task = {
            "path": [os.path.abspath(entry) for entry in sys.path if entry],  # noqa: PTH100 - links stay as they are
            "owner": asdict(me),
            "oom_kills": _oom_kills(),
            "terminal": self._terminal(),
            "on_finish": self._config.on_finish,
            "folder": _folder(),
        }
        kept = {name: text for name, text in os.environ.items() if name not in _NOT_INHERITED}
        return {**kept, waiting.RUN_DIR: str(run_dir), waiting.TASK: json.dumps(task)}

    def _terminal(self) -> str | None:
        """Return the terminal that a bar is drawn on: SIGKILL leaves it without its last rows."""
        if self._config.console != "auto" or self._config.run_dir is not None:
            return None
        from robot_sf_otel.report.terminal import Terminal

        try:
            if Terminal.of(sys.stderr, os.environ) is None:
                return None
            return os.ttyname(sys.stderr.fileno())
        except (OSError, ValueError, AttributeError):
            return None


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a string is wanted
    except OSError:  # it was deleted under the process
        return None


def _oom_kills() -> int | None:
    from robot_sf_otel.system_metrics.cgroup import CgroupSensor

    try:
        return CgroupSensor().read().oom_kills
    except OSError:
        return None


@contextmanager
def _handle() -> Generator[int]:
    """Open what tells of the end of this process, even of one that is over before anybody looks.

    A pidfd that was open by then is also what the kernel says the cause of. /dev/null stands for it
    where there is none.

    Raises:
        OSError: No file can be opened.
    """
    try:
        fd = os.pidfd_open(os.getpid())
    except (AttributeError, OSError):  # not Linux, an old kernel, Python or sandbox
        fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _spawn(command: list[str], environment: dict[str, str], stdin: int, stdout: int) -> int:
    """Start a process without running Python code in a copy of this one, which may have threads.

    Raises:
        OSError: It cannot be started.
    """
    files = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_DUP2, stdout, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]

    def spawn(*, setsid: bool) -> int:
        return os.posix_spawn(
            command[0],
            command,
            environment,
            file_actions=files,
            setsid=setsid,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )

    try:
        return spawn(setsid=True)
    except RuntimeError:  # "not implemented", on an old macOS: the script does it a moment later
        return spawn(setsid=False)


def _line(fd: int) -> bytes:
    """Return what the shell says; it says it at once."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return os.read(fd, 64) if poller.poll(START_SECONDS * 1000) else b""
