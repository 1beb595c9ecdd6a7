"""Child processes of performance tests: each in a process group that ends with its repetition."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from robot_sf_otel.perf.stopwatch import Elapsed, cpu_seconds, elapsed, waited_seconds
from robot_sf_otel.store.lines import bare

if TYPE_CHECKING:
    from pathlib import Path

GRACE_SECONDS: Final = 2.0
"""Time between SIGTERM and SIGKILL, for the child to close its records."""
_TAIL: Final = 4_096


class ChildFailed(RuntimeError):  # noqa: N818 - said to people as it is
    """A repetition could not be measured; the message says what its process did last."""


def run_child(argv: Sequence[str], *, env: Mapping[str, str], timeout: float, log: Path) -> Elapsed:
    """Run a command to its end; whatever ends this call ends its whole process group.

    Ctrl-C at a terminal does not reach it: it has a session of its own and is ended from here.

    Args:
        argv: The command.
        env: Its environment.
        timeout: Seconds that it may take.
        log: What it writes to stdout and stderr is appended there.

    Returns:
        What it took; `waited` is of its main thread, the CPU time that of all its processes.

    Raises:
        ChildFailed: It could not be started, failed, or took too long.
    """
    with log.open("ab") as output:
        cpu, began = cpu_seconds(resource.RUSAGE_CHILDREN), time.perf_counter()
        try:
            child = subprocess.Popen(
                list(argv),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ChildFailed(f"{argv[0]}: {error.strerror}") from error
        try:
            waited = _wait(child, timeout)
            code = child.wait()
        except subprocess.TimeoutExpired:
            _end(child)
            raise ChildFailed(f"{argv[0]} took longer than {timeout:g} s{_last(log)}") from None
        except BaseException:  # Ctrl-C, or SIGTERM as our handler raises it
            _end(child)
            raise
    took = elapsed(time.perf_counter() - began, waited, cpu_seconds(resource.RUSAGE_CHILDREN) - cpu)
    if code < 0:
        raise ChildFailed(f"{argv[0]} was ended by signal {-code}{_last(log)}")
    if code > 0:
        raise ChildFailed(f"{argv[0]} exited with code {code}{_last(log)}")
    return took


def _wait(child: subprocess.Popen[bytes], timeout: float) -> float:
    """Wait for the end of a child; return how long its main thread waited for a CPU.

    Raises:
        subprocess.TimeoutExpired: It takes longer.
    """
    if sys.platform != "linux":
        child.wait(timeout)
        return 0.0
    # Until it is waited for, the kernel still tells of it; a pidfd says when it has ended.
    descriptor = os.pidfd_open(child.pid)
    try:
        ready, _, _ = select.select([descriptor], [], [], timeout)
    finally:
        os.close(descriptor)
    if not ready:
        raise subprocess.TimeoutExpired(child.args, timeout)
    return waited_seconds(child.pid)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and what it started, the second Ctrl-C notwithstanding."""
    _signal(child, signal.SIGTERM)
    try:
        child.wait(GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    finally:
        _signal(child, signal.SIGKILL)  # grandchildren that did not hear the first one, too
        child.wait()


def _signal(child: subprocess.Popen[bytes], signum: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signum)


def _last(log: Path) -> str:
    """Return the last line that was written, as a clause."""
    data = log.read_bytes()[-_TAIL:]
    lines = [line for line in map(bare, data.splitlines()) if line]
    return f": {lines[-1].decode(errors='replace')}" if lines else ""
