"""What the figures depend on: processor, interpreter, versions, and how fast a disk syncs."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

import msgspec

from benchmarks.others import NEEDS
from benchmarks.results import Stat, stat

LINE = b"x" * 199 + b"\n"
"""About the length of a short journal line."""
_MOUNTS = Path("/proc/mounts")
_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps a tmpfs; only looked at
_PACKAGES = (
    "robot-sf-otel",
    "opentelemetry-sdk",
    "msgspec",
    "loguru",
    "psutil",
    "numpy",
    "tqdm",
    *NEEDS.values(),
    "wandb",
)


class Place(msgspec.Struct, frozen=True):
    """A directory to write to, and what disk it is on."""

    label: str
    directory: str
    filesystem: str


class Machine(msgspec.Struct, frozen=True):
    """The header of the table; `syncs` by the label of a place, load averages as of the start."""

    cpu: str
    cores: int | None
    usable_cores: int | None
    load: float | None
    python: str
    system: str
    versions: dict[str, str]
    syncs: dict[str, Stat]


def facts(places: Iterable[Place], syncs: int) -> Machine:
    """Return what is known of this machine; `syncs` writes are timed in each place."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count(),
        usable_cores=_usable_cores(),
        load=os.getloadavg()[0],
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.release()}",
        versions={name: _version(name) for name in _PACKAGES},
        syncs={place.label: sync_time(Path(place.directory), syncs) for place in places},
    )


def places(artifact_root: Path) -> list[Place]:
    """Return the artifact root's disk and, if there is another one, a file system in memory."""
    root = artifact_root.absolute()
    # What does not exist yet will be made on the disk of the nearest folder that does.
    while not root.is_dir():
        root = root.parent
    found = [Place(f"artifact root ({_filesystem(root)})", str(root), _filesystem(root))]
    memory = _MEMORY if _filesystem(_MEMORY) == "tmpfs" else Path(tempfile.gettempdir())
    in_memory = _filesystem(memory) == "tmpfs" and os.access(memory, os.W_OK)
    if in_memory and memory.stat().st_dev != root.stat().st_dev:
        found.append(Place("tmpfs", str(memory), "tmpfs"))
    return found


def sync_time(directory: Path, count: int) -> Stat:
    """Return the seconds of a plain 200-byte append that is on the disk when it returns."""
    descriptor, name = tempfile.mkstemp(dir=directory, prefix=".benchmark-")
    os.close(descriptor)
    took: list[float] = []
    try:
        with SyncedFile(Path(name)) as file:
            for _ in range(count):
                began = time.perf_counter()
                file.append(LINE)
                took.append(time.perf_counter() - began)
    finally:
        Path(name).unlink()
    return stat(took)


class SyncedFile:
    """Appends to a file with `O_DSYNC`; with `fsync` where there is no such flag."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        # macOS has the flag, but documents `fsync` alone.
        self._dsync: int = 0 if sys.platform == "darwin" else getattr(os, "O_DSYNC", 0)
        self._fd = os.open(path, flags | self._dsync, 0o600)

    def append(self, data: bytes) -> None:
        """Write and sync."""
        os.write(self._fd, data)
        if not self._dsync:
            os.fsync(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def _usable_cores() -> int | None:
    if sys.platform != "linux":
        return None
    return len(os.sched_getaffinity(0))


def _filesystem(path: Path) -> str:
    """Return the type of the file system that holds `path`; `disk` where that is not told."""
    try:
        mounts = [line.split() for line in _MOUNTS.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "disk"
    resolved = path.resolve()
    holding = [
        (len(where), kind)
        for _, where, kind, *_ in mounts
        if resolved.is_relative_to(where.replace("\\040", " "))
    ]
    # Of several mounts at one place the last one is seen.
    longest = max((length for length, _ in holding), default=0)
    return next((kind for length, kind in reversed(holding) if length == longest), "disk")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "--"
