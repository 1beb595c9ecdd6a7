"""Waits until a process has ended, then closes its run; run as a script in a bare interpreter.

Nothing but the interpreter's own modules is imported until then: it waits for days in 9 MB and
without a single tick. What it is to do stands in its environment, which other users cannot read;
the arguments name the process alone, so that no `pkill -f` for the run finds this one.

Usage: waiting.py PID START_TIME, where START_TIME (see proc(5)) may be `-`.
"""

from __future__ import annotations

import os
import select
import sys
import time

# Plain constants and no `typing`: that alone would take 10 ms and 2 MB.
POLL_SECONDS = 0.5
"""Time between two looks at the process where the kernel does not tell of its end."""
HANDED = 3
"""Descriptor under which the process handed over its pidfd, where there is such a thing."""
RUN_DIR = "_ROBOT_SF_OTEL_WATCHED_RUN"
"""Variable that names the run directory."""
TASK = "_ROBOT_SF_OTEL_WATCHDOG_TASK"
"""Variable that holds the rest as JSON: `path`, and the fields of `closing.Task`."""

_TAIL = 16 * 1024
_CLOSING = (b'"event":"run_finished"', b'"event":"run_recovered"')
_STDERR = 2
_STATE, _THREADS, _START_TIME = 0, 17, 19
"""Fields of /proc/<pid>/stat, counted from the one after the name."""


def main(arguments: list[str]) -> None:
    """Wait for the process that the arguments name, and close its run if it did not."""
    noticed = _wait(int(arguments[0]), arguments[1])
    if noticed is None or is_closed(os.environ.get(RUN_DIR, "")):
        return
    import json

    task = json.loads(os.environ.pop(TASK))
    sys.path[:] = task["path"]
    from robot_sf_otel.watchdog.closing import close_lost_run

    close_lost_run(os.environ.pop(RUN_DIR), task, *noticed)


def _wait(pid: int, started: str) -> tuple[int, bytes, int | None] | None:
    """Wait until a process has ended.

    Returns:
        When that was noticed (Unix nanoseconds), the last that /proc/<pid>/stat said, and a pidfd.
        None if this process is a child of the other, which may wait for it and so for itself.
    """
    _leave()
    # Orphans go to the nearest subreaper, which may be the very process that is watched.
    if os.getppid() == pid:
        return None
    fd = wait_for_end(pid, started, handed(pid))
    return time.time_ns(), stat_of(pid), fd


def _leave() -> None:
    """Hold nothing of the pipeline: no session, no folder, no descriptor of its libraries."""
    try:  # noqa: SIM105 - contextlib is not imported either
        os.setsid()
    except OSError:
        pass  # it was started as the leader of a session
    os.chdir("/")
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - nor is pathlib
        if int(name) > _STDERR and int(name) != HANDED:
            try:  # noqa: SIM105
                os.close(int(name))
            except OSError:
                pass  # the one that the list was read with


def handed(pid: int) -> int | None:
    """Return the pidfd of a process that it handed over itself, None where it could not.

    One that is opened here may come too late: of a process that is gone nothing can be opened. What
    else a shell leaves under that number would be taken for the end of a process that lives.
    """
    try:
        fd = os.open(f"/proc/self/fdinfo/{HANDED}", os.O_RDONLY)
    except OSError:
        return None
    try:
        told = os.read(fd, 4096)
    finally:
        os.close(fd)
    own = (b"Pid:\t%d" % pid, b"Pid:\t-1")  # -1: it has ended, and somebody waited for it
    return HANDED if any(line in own for line in told.splitlines()) else None


def wait_for_end(pid: int, started: str, pidfd: int | None = None) -> int | None:
    """Wait until a process has ended; return its pidfd where there is such a thing.

    Args:
        pid: The process.
        started: When it was started, so that another one of the same number is told apart; `-`
            where that is not known.
        pidfd: Its pidfd, if there is one already.
    """
    if sys.platform == "darwin":
        _wait_for_event(pid)
        return None
    if pidfd is None:
        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # an old kernel, Python or sandbox; or it is gone
            while is_running(stat_of(pid), started):
                time.sleep(POLL_SECONDS)
            return None
        if not is_running(stat_of(pid), started):
            return pidfd
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.poll()
    return pidfd


def _wait_for_event(pid: int) -> None:
    """Wait as macOS and the BSDs do; a process that is gone cannot be registered."""
    if sys.platform != "linux":
        queue = select.kqueue()
        change = select.kevent(
            pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, fflags=select.KQ_NOTE_EXIT
        )
        try:
            queue.control([change], 1, None)
        except OSError:
            return


def is_running(stat: bytes, started: str) -> bool:
    """Return whether /proc/<pid>/stat is that of the process that was started then."""
    fields = stat[stat.rfind(b")") + 1 :].split()
    if len(fields) <= _START_TIME or started not in {"-", fields[_START_TIME].decode()}:
        return False
    # The first thread of a process may end before the others: such a "zombie" still runs.
    return fields[_STATE] not in {b"Z", b"X"} or int(fields[_THREADS]) > 1


def stat_of(pid: int) -> bytes:
    """Return /proc/<pid>/stat; empty where there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(fd, 4096)
    except OSError:
        return b""
    finally:
        os.close(fd)


def is_closed(run_dir: str) -> bool:
    """Return whether the run was ended and derived, or there is no journal at all.

    A cheap look, for the many runs that end as they should: the journal's last line, and the times
    of the files. False only means "look closer".
    """
    try:
        fd = os.open(f"{run_dir}/manifest.jsonl", os.O_RDONLY)
    except OSError:
        return True
    try:
        tail = os.pread(fd, _TAIL, max(0, os.fstat(fd).st_size - _TAIL))
    except OSError:
        return False
    finally:
        os.close(fd)
    last = tail[tail.rfind(b"\n", 0, -1) + 1 :]
    ended = last.endswith(b"\n") and any(event in last for event in _CLOSING)
    return ended and _is_derived(run_dir)


def _is_derived(run_dir: str) -> bool:
    """Return whether the derived files were surely written after the journal."""
    try:
        ended, *written = (
            os.stat(f"{run_dir}/{name}").st_mtime_ns  # noqa: PTH116 - nor is pathlib
            for name in ("manifest.jsonl", "manifest.json", "manifest.md")
        )
    except OSError:
        return False
    return min(written) > ended


if __name__ == "__main__":
    main(sys.argv[1:])
