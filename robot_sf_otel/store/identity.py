"""Which process this is, so surely that a number used again or another machine cannot deceive."""

from __future__ import annotations

import functools
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_INITIAL_PID_NAMESPACE: Final = "pid:[4026531836]"
"""PROC_PID_INIT_INO of Linux: the namespace of the host itself, the same number on every host."""

_SHARED_HOST_NAMES: Final = frozenset({"", "localhost", "localhost.localdomain", "(none)"})
"""Names that many machines have, so that an equal one does not mean the same machine."""

_DARWIN_BSD_INFO: Final = 3
"""PROC_PIDTBSDINFO of <sys/proc_info.h>."""
_DARWIN_BSD_INFO_BYTES: Final = 136
_DARWIN_ZOMBIE: Final = 5
"""SZOMB of <sys/proc.h>."""

_START_TIME_FIELD: Final = 22
_THREADS_FIELD: Final = 20
_FIRST_FIELD_AFTER_NAME: Final = 3


INSTANCE_NAMESPACE: Final = "4d63009a-8d0f-11ee-aad7-4c796ed8e320"
"""Of `service.instance.id`, from OpenTelemetry's conventions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One incarnation of a process.

    `start_time` is opaque: clock ticks since boot on Linux, microseconds since 1970 on macOS. What
    the platform does not tell is None.
    """

    host: str
    boot_id: str | None
    pid_namespace: str | None
    pid: int
    start_time: int | None


def instance_id(identity: ProcessIdentity) -> str:
    """Return `service.instance.id` of a process: the same whoever asks, another in its children."""
    who = (identity.host, identity.boot_id, identity.pid_namespace, identity.pid)
    return instance_of("/".join(map(str, (*who, identity.start_time))))


def instance_of(name: str) -> str:
    """Return `service.instance.id` of what has a name that nothing else has."""
    import uuid  # not needed by what only writes records

    return str(uuid.uuid5(uuid.UUID(INSTANCE_NAMESPACE), name))


def process_identity(pid: int | None = None) -> ProcessIdentity:
    """Return who a process of this machine is (the calling one by default). Never raises.

    Args:
        pid: A process id as this process sees it. `start_time` is None where there is no such
            process, or where the platform does not tell.
    """
    number = os.getpid() if pid is None else pid
    return ProcessIdentity(
        host=host_name(),
        boot_id=boot_id(),
        pid_namespace=pid_namespace(),
        pid=number,
        start_time=_incarnation(number)[1],
    )


def is_alive(identity: ProcessIdentity) -> bool | None:
    """Return whether that process still runs; None where it cannot be told from here.

    A zombie is dead: it runs no code and gives up its locks. None means another host, another pid
    namespace or a process that this user may not look at; then only locks and heartbeats are left.
    """
    here = process_identity(identity.pid)
    known_boots = identity.boot_id is not None and here.boot_id is not None
    if known_boots and identity.boot_id != here.boot_id:
        return _alive_after_another_boot(identity, here)
    # An equal boot id is the same kernel, whatever the host calls itself by now.
    if not known_boots and identity.host != here.host:
        return None
    if identity.pid_namespace != here.pid_namespace:
        return None
    running, start_time = _incarnation(identity.pid)
    if not running:
        return False
    if identity.start_time is None or start_time is None:
        return None
    return identity.start_time == start_time


def _alive_after_another_boot(then: ProcessIdentity, here: ProcessIdentity) -> bool | None:
    """The same machine was started again, or a machine of the same name asks: tell them apart."""
    same_machine = (
        then.host == here.host
        and then.host.lower() not in _SHARED_HOST_NAMES
        # Containers are given equal names on several machines.
        and then.pid_namespace in {None, _INITIAL_PID_NAMESPACE}
        and here.pid_namespace == then.pid_namespace
    )
    return False if same_machine else None


def host_name() -> str:
    """Return the name of this machine, or an empty string."""
    return os.uname().nodename


def boot_id() -> str | None:
    """Return what is different after every start of this machine, or None."""
    return _darwin_boot_id() if sys.platform == "darwin" else _linux_boot_id()


def pid_namespace() -> str | None:
    """Return the namespace that this process's pids belong to, or None where there are none."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


@functools.cache
def _linux_boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def _incarnation(pid: int) -> tuple[bool, int | None]:
    """Return whether a process of that number runs, and when it was started."""
    if pid <= 0:
        return False, None
    if sys.platform == "darwin":
        return _darwin_incarnation(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        # Not there, hidden (hidepid) or no /proc at all: the kernel still answers to signal 0.
        return _accepts_signals(pid), None
    return parse_linux_stat(stat)


def parse_linux_stat(stat: bytes) -> tuple[bool, int | None]:
    """Return (runs, start time in clock ticks since boot) of a /proc/<pid>/stat line; see proc(5).

    The name stands in parentheses and may hold spaces and parentheses itself.
    """
    fields = stat[stat.rfind(b")") + 1 :].split()
    try:
        state = fields[0]
        threads = int(fields[_THREADS_FIELD - _FIRST_FIELD_AFTER_NAME])
        start_time = int(fields[_START_TIME_FIELD - _FIRST_FIELD_AFTER_NAME])
    except (IndexError, ValueError):
        return True, None
    # The first thread of a process may end before the others: such a "zombie" still runs.
    return state not in {b"Z", b"X"} or threads > 1, start_time


def _accepts_signals(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def _darwin_incarnation(pid: int) -> tuple[bool, int | None]:
    """PROC_PIDTBSDINFO finds zombies only if its argument is 1, and fails for others' processes."""
    import ctypes

    buffer = ctypes.create_string_buffer(_DARWIN_BSD_INFO_BYTES)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        filled = libc.proc_pidinfo(pid, _DARWIN_BSD_INFO, ctypes.c_uint64(1), buffer, len(buffer))
    except (OSError, AttributeError):
        filled = 0
    if filled != _DARWIN_BSD_INFO_BYTES:
        return _accepts_signals(pid), None
    return parse_darwin_bsd_info(buffer.raw)


def parse_darwin_bsd_info(raw: bytes) -> tuple[bool, int | None]:
    """Return (runs, start time in µs since 1970) of a `struct proc_bsdinfo` (<sys/proc_info.h>)."""
    (status,) = struct.unpack_from("=I", raw, 4)
    seconds, microseconds = struct.unpack_from("=QQ", raw, 120)
    return status != _DARWIN_ZOMBIE, seconds * 1_000_000 + microseconds


@functools.cache
def _darwin_boot_id() -> str | None:
    import ctypes

    buffer = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(buffer))
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.sysctlbyname(
            b"kern.bootsessionuuid", buffer, ctypes.byref(size), None, ctypes.c_size_t(0)
        )
    except (OSError, AttributeError):
        return None
    return None if failed else buffer.value.decode("ascii", "replace") or None
