"""How a process ended, as far as the kernel tells somebody who is not its parent."""

from __future__ import annotations

import os
import signal
import struct
from dataclasses import dataclass
from typing import Final

_EXIT_CODE: Final = 49
"""Field `exit_code` of /proc/<pid>/stat, counted from the one after the name; see proc(5)."""
_STATE: Final = 0

_INFO_BYTES: Final = 64
_INFO_EXIT: Final = 1 << 3
_GET_INFO: Final = (3 << 30) | (_INFO_BYTES << 16) | (0xFF << 8) | 11
"""PIDFD_GET_INFO, PIDFD_INFO_EXIT and `struct pidfd_info` of <linux/pidfd.h>, Linux 6.15."""
_INFO: Final = struct.Struct("=QQ11Ii")

_CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of the end of a process. None is not known."""

    wait_status: int | None = None
    """As waitpid(2) has it."""
    oom_kills_before: int | None = None
    """Processes of the cgroup that the kernel had killed for memory when the run began."""
    oom_kills_after: int | None = None


def status_in_stat(stat: bytes) -> int | None:
    """Return the wait status of a zombie from its /proc/<pid>/stat.

    None where it runs or is gone; and for 0, which also stands for "not yours to know".
    """
    fields = stat[stat.rfind(b")") + 1 :].split()
    if len(fields) <= _EXIT_CODE or fields[_STATE] not in {b"Z", b"X"}:
        return None
    return int(fields[_EXIT_CODE]) or None


def status_of_pidfd(fd: int) -> int | None:
    """Return the wait status of a process that was waited for; None before Linux 6.15."""
    import fcntl

    buffer = bytearray(_INFO.pack(_INFO_EXIT, *[0] * 13).ljust(_INFO_BYTES, b"\0"))
    try:
        fcntl.ioctl(fd, _GET_INFO, buffer)
    except OSError:
        return None
    mask, *_, status = _INFO.unpack_from(buffer)
    return status if mask & _INFO_EXIT else None


def cause(evidence: Evidence) -> str:
    """Return in a few words how the process ended; nothing is claimed that nobody told."""
    before, after = evidence.oom_kills_before, evidence.oom_kills_after
    killed_for_memory = before is not None and after is not None and after > before
    status = evidence.wait_status
    signum = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
    said = _ended(status, signum)
    if killed_for_memory and (status is None or signum == signal.SIGKILL):
        return (
            f"{said}, probably for lack of memory: the kernel killed in its cgroup "
            f"(oom_kill {before} → {after})"
        )
    return said


def _ended(status: int | None, signum: int | None) -> str:
    if status is None:
        return "was killed or lost"
    if signum is None:
        return f"ended with exit code {os.waitstatus_to_exitcode(status)} and did not close it"
    try:
        name = signal.Signals(signum).name
    except ValueError:
        name = f"signal {signum}"
    if signum in _CRASHES:
        return f"crashed ({name}, {(signal.strsignal(signum) or name).lower()})"
    return f"was killed by {name}"
