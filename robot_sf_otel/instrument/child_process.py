"""Child processes: the environment that lets them join the run, and `s.run`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from robot_sf_otel import environment_variables as env_names
from robot_sf_otel import guard
from robot_sf_otel.instrument import context

if TYPE_CHECKING:
    import subprocess
    from os import PathLike
    from types import FrameType

    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.instrument.live_step import LiveStep

INTERRUPT_GRACE_SECONDS: Final = 0.5
"""After Ctrl-C a terminal has told the child already; only one that stays is told again."""
TERMINATE_GRACE_SECONDS: Final = 5.0
"""Time that a child has between SIGTERM and SIGKILL when its `timeout` is over."""

children: Final[set[subprocess.Popen[bytes]]] = set()
"""Commands of `s.run` that are running now: those to which SIGTERM is forwarded."""


def child_env(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which a child process joins the run of the calling code.

    Args:
        env: The environment meant for the child; this process's own by default. Not changed.

    Returns:
        A copy with `TRACEPARENT` and `ROBOT_SF_OTEL_RUN_DIR` set; outside a run a plain copy.
    """
    merged = dict(os.environ if env is None else env)
    with guard.shielded("child_env"):
        context.runtime()
        run = context.live_run()
        if run is not None:
            merged.update(variables(run))
    return merged


def variables(run: LiveRun) -> dict[str, str]:
    """Return the variables that name a run and the span of the calling code to a child."""
    step = context.live_step(run)
    named = {env_names.TRACEPARENT: run.traceparent(step), env_names.RUN_DIR: str(run.run_dir)}
    if run.runtime.outgoing.private:  # perhaps by an argument, which a child does not see
        named[env_names.OTLP_PRIVATE] = "true"
    return named


def at_exit_of_worker(work: Callable[[], object]) -> None:
    """Call `work` when this process ends, if multiprocessing made it: it ends by `os._exit`."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing import util

        util.Finalize(None, work, exitpriority=1)


class Published:
    """What this process shows its children: `os.environ` and multiprocessing's process state.

    Only one run at a time is shown. With several live ones a child could not tell which is meant,
    so none is, until one is left; `s.run` and `child_env` name theirs anyway.
    """

    def __init__(self) -> None:
        """Show nothing."""
        self._live: list[LiveRun] = []
        self._shown: LiveRun | None = None
        self._before: dict[str, str | None] = {}
        self._state: dict[str, object] | None = None

    def inherited_traceparent(self) -> str | None:
        """Return the `TRACEPARENT` that this process was started with, not what it shows itself."""
        source = self._before if self._live else os.environ
        return source.get(env_names.TRACEPARENT)

    def open(self, run: LiveRun) -> None:
        """Take a run in, and show it if it is the only one."""
        if not self._live:
            names = (env_names.TRACEPARENT, env_names.RUN_DIR, env_names.OTLP_PRIVATE)
            self._before = {name: os.environ.get(name) for name in names}
            self._state = _multiprocessing_config()
        self._live.append(run)
        self._settle()

    def update(self, run: LiveRun, step: LiveStep | None) -> None:
        """Show the span of a step, or of the run, if `run` is the one that is shown."""
        if self._shown is not run:
            return
        parent = run.traceparent(step)
        os.environ[env_names.TRACEPARENT] = parent
        state = None if self._state is None else self._state.get(context.MULTIPROCESSING_KEY)
        if isinstance(state, dict):
            state[env_names.TRACEPARENT] = parent

    def close(self, run: LiveRun) -> None:
        """Let a run go; one that is left alone is shown from now on."""
        if run in self._live:
            self._live.remove(run)
            self._settle()

    def _settle(self) -> None:
        only = self._live[0] if len(self._live) == 1 else None
        if only is self._shown:
            return
        self._shown = only
        if only is not None:
            shown = variables(only)
            os.environ.update(shown)
            if self._state is not None:
                self._state[context.MULTIPROCESSING_KEY] = shown
            return
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if self._state is not None:
            self._state.pop(context.MULTIPROCESSING_KEY, None)


published: Final = Published()


def _multiprocessing_config() -> dict[str, object] | None:
    """Return the state that multiprocessing hands to children under every start method."""
    from multiprocessing import process

    return getattr(process.current_process(), "_config", None)


def run_child(
    argv: Sequence[str | PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command, wait for it, and let it join the run of the calling code.

    It inherits stdin, stdout and stderr. SIGTERM and SIGINT that reach this process are forwarded
    to it; nothing else ends it but its own `timeout`.

    Args:
        argv: The command and its arguments; no shell.
        env: Its environment; this process's own by default.
        check: Whether a non-zero exit code is an error.
        timeout: Seconds after which it is terminated, and killed 5 s later.

    Raises:
        subprocess.CalledProcessError: It failed and `check` is true.
        subprocess.TimeoutExpired: `timeout` was over.
        OSError: It could not be started.
    """
    import subprocess

    command = [os.fspath(part) for part in argv]
    child = subprocess.Popen(command, env=child_env(env))
    children.add(child)
    try:
        with _Forwarding():
            code = _wait(child, timeout)
    finally:
        children.discard(child)
    if check and code != 0:
        raise subprocess.CalledProcessError(code, command)
    return subprocess.CompletedProcess(command, code)


class _Forwarding:
    """Hands SIGTERM on while a command runs, where nobody else does.

    The process that owns a run does so anyway; one that joined the run of another has no hand on
    the signal, and its default action would leave the command behind.
    """

    __slots__ = ("_installed",)

    def __enter__(self) -> None:
        import signal

        self._installed = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        )
        if self._installed:
            signal.signal(signal.SIGTERM, _hand_on)

    def __exit__(self, *_: object) -> None:
        import signal

        if self._installed and signal.getsignal(signal.SIGTERM) is _hand_on:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _hand_on(signum: int, _: FrameType | None) -> None:
    import signal

    forward(signum)
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _wait(child: subprocess.Popen[bytes], timeout: float | None) -> int:
    import signal
    import subprocess

    from robot_sf_otel.instrument.outcome import TIMED_OUT

    try:
        return child.wait(timeout)
    except subprocess.TimeoutExpired as expired:
        setattr(expired, TIMED_OUT, True)
        child.terminate()
        try:
            child.wait(TERMINATE_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise
    except BaseException:  # KeyboardInterrupt, or what a handler of the application raised
        try:
            child.wait(INTERRUPT_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
            child.wait()
        raise


def forward(signum: int) -> None:
    """Send a signal to the commands that `s.run` waits for. Safe in a signal handler's thread."""
    for child in list(children):
        try:
            child.send_signal(signum)
        except OSError as error:
            sys.stderr.write(f"robot_sf_otel: could not signal {child.pid}: {error}\n")
