"""What the container allows and what it took: limits, throttling and OOM kills of cgroup v1 and v2.

Sources: cgroups(7), Documentation/admin-guide/cgroup-v1/memory.rst, …/cgroup-v2.rst of Linux. On a
hybrid machine each controller is looked up where it is mounted.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from robot_sf_otel.system_metrics.files import exists, read_file

_UNLIMITED_V1: Final = 1 << 60
"""v1 says "no limit" with the greatest multiple of the page size, which differs by architecture."""

_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupReading:
    """One reading; a limit that is None is none at all or cannot be had, `notes` says which.

    Nested groups: limits are the smallest among the own group and its ancestors, and memory usage
    and throttling are those of the group that sets that limit, as it is the one that hurts. OOM
    kills are those of the own group; with those below it in v2, without them in v1.
    """

    memory_limit_bytes: int | None = None
    memory_usage_bytes: int | None = None
    """With the page cache, most of which the kernel gives back on demand."""
    memory_working_set_bytes: int | None = None
    """Without the inactive page cache: what counts against the limit."""
    cpu_limit: float | None = None
    """CPUs, as quota by period."""
    cpu_periods: int | None = None
    """Periods so far in which the group ran; None without the controller."""
    cpu_throttled_periods: int | None = None
    """Those of them in which the quota was used up."""
    cpu_throttled_seconds: float | None = None
    oom_kills: int | None = None
    """Processes of the own group that the kernel killed for memory, so far."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Controller:
    """Where a controller accounts for this process: its own group first, then the ancestors."""

    unified: bool
    """v2."""
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Mount:
    unified: bool
    controllers: frozenset[str]
    top: str
    point: str


class CgroupSensor:
    """Reads the cgroups of this process; cheap, keeps nothing open, never raises.

    Args:
        root: Where `/` lies; another directory in tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._controllers: dict[str, _Controller] | None = None
        self._cpu_limit: float | None = None

    def read(self) -> CgroupReading:
        """Return the present limits and counters; each field fails alone to None."""
        try:
            controllers = self._resolve()
        except OSError:
            return CgroupReading(notes=("cgroup: cannot be read now",))
        if not controllers:
            return CgroupReading(notes=("cgroup: none is mounted",))
        reading = CgroupReading()
        notes: list[str] = []
        for name, read in (("cpu", _with_cpu), ("memory", _with_memory)):
            try:
                reading = read(reading, controllers[name])
            except KeyError:
                notes.append(f"cgroup: no {name} controller")
            except OSError:
                notes.append(f"cgroup: {name} cannot be read now")
        return replace(reading, notes=tuple(notes))

    def cpu_limit(self) -> float | None:
        """Return how many CPUs' worth of time the container may use; None without a limit.

        As last known while it cannot be read: shares of the CPUs must not jump meanwhile.
        """
        with contextlib.suppress(OSError):
            controller = self._resolve().get("cpu")
            self._cpu_limit = None if controller is None else _quota(controller)[0]
        return self._cpu_limit

    def _resolve(self) -> dict[str, _Controller]:
        """Look the groups up again when they are gone: a process can be moved to another one.

        Raises:
            OSError: What tells where they are cannot be read now.
        """
        known = self._controllers
        if known is None or not all(exists(c.groups[0]) for c in known.values()):
            known = self._controllers = _find_controllers(self._root)
        return known


# ----------------------------------------------------------------------------------- the readings


def _with_memory(reading: CgroupReading, controller: _Controller) -> CgroupReading:
    v2, own = controller.unified, controller.groups[0]
    stat = _table(f"{own}/memory.stat")
    limit_name = "memory.max" if v2 else "memory.limit_in_bytes"
    limit, limiting = None, own
    for group in controller.groups:
        value = _number(f"{group}/{limit_name}")
        if value is not None and value < _UNLIMITED_V1 and (limit is None or value < limit):
            limit, limiting = value, group
    # v1 knows the limits of ancestors that are not mounted in the container, and which ancestors
    # do not count because they were told to leave their children alone (`use_hierarchy`).
    effective = stat.get("hierarchical_memory_limit", limit)
    if effective != limit:
        limit, limiting = effective, own
    if limiting != own:
        stat = _table(f"{limiting}/memory.stat")
    usage = _number(f"{limiting}/{'memory.current' if v2 else 'memory.usage_in_bytes'}")
    inactive = stat.get("inactive_file" if v2 else "total_inactive_file")
    events = _table(f"{own}/{'memory.events' if v2 else 'memory.oom_control'}")
    return replace(
        reading,
        memory_limit_bytes=None if limit is None or limit >= _UNLIMITED_V1 else limit,
        memory_usage_bytes=usage,
        memory_working_set_bytes=None
        if usage is None or inactive is None
        else max(0, usage - inactive),
        oom_kills=events.get("oom_kill"),
    )


def _with_cpu(reading: CgroupReading, controller: _Controller) -> CgroupReading:
    limit, limiting = _quota(controller)
    stat = _table(f"{limiting}/cpu.stat")
    nanoseconds = stat.get("throttled_time")
    microseconds = stat.get("throttled_usec")
    seconds = None
    if nanoseconds is not None:
        seconds = nanoseconds / 1e9
    elif microseconds is not None:
        seconds = microseconds / 1e6
    return replace(
        reading,
        cpu_limit=limit,
        cpu_periods=stat.get("nr_periods"),
        cpu_throttled_periods=stat.get("nr_throttled"),
        cpu_throttled_seconds=seconds,
    )


def _quota(controller: _Controller) -> tuple[float | None, str]:
    """Return the smallest quota in CPUs, and the group that sets it or else the own group."""
    limit, limiting = None, controller.groups[0]
    for group in controller.groups:
        value = _quota_v2(group) if controller.unified else _quota_v1(group)
        if value is not None and (limit is None or value < limit):
            limit, limiting = value, group
    return limit, limiting


def _quota_v1(group: str) -> float | None:
    quota = _number(f"{group}/cpu.cfs_quota_us")
    period = _number(f"{group}/cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 and period > 0 else None


def _quota_v2(group: str) -> float | None:
    words = _known(f"{group}/cpu.max").split()
    try:
        quota, period = (int(word) for word in words)
    except ValueError:  # "max 100000", or nothing
        return None
    return quota / period if quota > 0 and period > 0 else None


# -------------------------------------------------------------------------- where the groups are


def _find_controllers(root: Path) -> dict[str, _Controller]:
    mounts = list(_mounts(root))
    found: dict[str, _Controller] = {}
    lines = [line.split(":", 2) for line in _known(f"{root}/proc/self/cgroup").splitlines()]
    places = {names: path for _, names, path in (line for line in lines if len(line) == 3)}  # noqa: PLR2004 - cgroups(7)
    for wanted in ("memory", "cpu"):
        joined = next((names for names in places if wanted in names.split(",")), None)
        if joined is not None:
            v1 = [m for m in mounts if wanted in m.controllers]
            groups = _groups(v1, places[joined])
        else:  # what v1 has not may be in v2, whose line is "0::/path"
            groups = _groups([m for m in mounts if m.unified], places.get("", "/"))
            # `cpu.stat` is always there in v2, so the list of controllers decides.
            if groups and wanted not in _text(f"{groups[0]}/cgroup.controllers").split():
                continue
        if groups:
            found[wanted] = _Controller(joined is None, groups)
    return found


def _mounts(root: Path) -> Iterator[_Mount]:
    """Yield the cgroup mounts of /proc/self/mountinfo; see proc(5)."""
    for line in _known(f"{root}/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or not kind or kind[0] not in {"cgroup", "cgroup2"}:  # noqa: PLR2004 - proc(5)
            continue
        yield _Mount(
            unified=kind[0] == "cgroup2",
            controllers=frozenset(kind[-1].split(",") if kind[0] == "cgroup" else ()),
            top=_unescape(fields[3]),
            point=f"{root}/{_unescape(fields[4]).lstrip('/')}",
        )


def _groups(mounts: list[_Mount], path: str) -> tuple[str, ...]:
    """Return the directories of the group and of its ancestors, as far up as they are mounted."""
    for mount in sorted(mounts, key=lambda m: len(m.top), reverse=True):
        below = _below(path, mount.top)
        if below is None:
            continue
        depths = range(len(below), -1, -1)
        levels = ["/".join((mount.point, *below[:depth])) for depth in depths]
        if exists(levels[0]):
            return tuple(levels)
    # A path of another namespace: what is mounted is then the container's own group.
    return next(((m.point,) for m in mounts if exists(m.point)), ())


def _below(path: str, top: str) -> list[str] | None:
    parts = [part for part in path.split("/") if part]
    above = [part for part in top.split("/") if part]
    if ".." in parts or parts[: len(above)] != above:
        return None
    return parts[len(above) :]


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


# ------------------------------------------------------------------------------------------ files


def _text(path: str) -> str:
    return read_file(path).decode("utf-8", "replace")


def _known(path: str) -> str:
    """Return the text of a file that is never empty; empty where there is none.

    Raises:
        OSError: It is there but cannot be read now: no descriptor is left, say.
    """
    text = _text(path)
    if not text and exists(path):
        raise OSError(errno.EIO, "cannot be read now", path)
    return text


def _number(path: str) -> int | None:
    try:
        return int(_known(path))
    except ValueError:  # "max", or nothing
        return None


def _table(path: str) -> Mapping[str, int]:
    """Read lines of `name number`."""
    table: dict[str, int] = {}
    for line in _known(path).splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdecimal():
            table[name] = int(value)
    return table
