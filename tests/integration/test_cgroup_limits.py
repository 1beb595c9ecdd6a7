"""Real control groups: limits, throttling and OOM kills of a run that lives in one."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from robot_sf_otel.store.reader import load_run
from tests.integration.scripts import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.scripts import Scripts

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="needs control groups"),
]

MIB: Final = 2**20
LIMIT: Final = 256 * MIB
V1_FILES: Final = {
    "cpu": {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"},
    "memory": {"memory.limit_in_bytes": str(LIMIT), "memory.memsw.limit_in_bytes": str(LIMIT)},
}
V2_FILES: Final = {
    "cpu.max": "50000 100000",
    "memory.max": str(LIMIT),
    "memory.swap.max": "0",
}
OPTIONAL: Final = {"memory.memsw.limit_in_bytes", "memory.swap.max"}
"""Not there on a kernel that accounts for no swap."""

RUN: Final = """
    import json, resource, subprocess, sys, threading, time
    from robot_sf_otel import configure, pipeline, step
    from robot_sf_otel.system_metrics.cgroup import CgroupSensor

    CHILD = (
        "from pathlib import Path\\n"
        "Path('/proc/self/oom_score_adj').write_text('1000')\\n"  # the run itself is not to die
        "block = b'x' * (400 * 2**20)\\n"
    )
    sensor = CgroupSensor()
    kernel = dict(oom_kills_before=sensor.read().oom_kills)
    configure()

    def burn():
        until = time.monotonic() + 3
        while time.monotonic() < until: pass

    @step
    def work():
        began, cpu = time.monotonic(), time.process_time()
        thread = threading.Thread(target=burn)
        thread.start()
        thread.join()
        kernel["cores"] = (time.process_time() - cpu) / (time.monotonic() - began)

    @step
    def dies():
        kernel["child"] = subprocess.run([sys.executable, "-S", "-c", CHILD]).returncode

    @pipeline("p", steps=[work, dies])
    def main():
        work()
        dies()

    main()
    kernel["oom_kills_after"] = sensor.read().oom_kills
    print("kernel", json.dumps(kernel), flush=True)
"""


@dataclass
class Group:
    """A control group of the test's own, in one hierarchy or in several."""

    directories: list[Path]
    """Where the limits are set; a process joins the groups `inner` below."""
    cpu_stat: Path

    def joining(self) -> tuple[str, ...]:
        """Return what a command is prefixed with to live in the group."""
        joins = " && ".join(f"echo $$ > '{path}/inner/cgroup.procs'" for path in self.directories)
        return ("sh", "-c", f'{joins} && exec "$@"', "sh")

    def remove(self) -> None:
        """Kill who is left in it, and remove it."""
        for directory in self.directories:
            for group in (directory / "inner", directory):
                wait_until(partial(_removed, group), f"{group} is removed")


def _removed(group: Path) -> bool:
    with suppress(FileNotFoundError):
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        with suppress(OSError):
            group.rmdir()
    return not group.exists()


def mounts(kind: str) -> list[tuple[Path, set[str]]]:
    """Return where hierarchies are mounted, and the options of each."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [(Path(line[1]), set(line[3].split(","))) for line in lines if line[2] == kind]


def own_paths() -> dict[str, str]:
    """Return the own group in the hierarchy of each controller; that of v2 has no name."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    return {name: line[2] for line in lines for name in line[1].split(",")}


def limit(directory: Path, files: dict[str, str]) -> None:
    """Set limits, and make the group within in which nothing more is set."""
    for name, value in files.items():
        if name not in OPTIONAL or (directory / name).exists():
            (directory / name).write_text(value)
    (directory / "inner").mkdir()


def make_v1(name: str) -> Group:
    """Make a group below the own one in the hierarchies of CPU and memory.

    Raises:
        OSError: This machine or this user cannot.
        LookupError: It has no such hierarchies.
    """
    group = Group([], Path())
    try:
        for controller, files in V1_FILES.items():
            (mount,) = [path for path, options in mounts("cgroup") if controller in options]
            directory = mount / own_paths()[controller].lstrip("/") / name
            directory.mkdir()
            group.directories.append(directory)
            limit(directory, files)
    except (OSError, LookupError, ValueError):
        group.remove()
        raise
    group.cpu_stat = group.directories[0] / "cpu.stat"
    return group


def make_v2(name: str) -> Group:
    """Make a group with both controllers, at the top or below the own one.

    Raises:
        OSError: This machine or this user cannot.
        LookupError: Neither place hands both controllers on.
    """
    wanted = {"cpu", "memory"}
    for mount, _ in mounts("cgroup2"):
        for above in (mount, mount / own_paths().get("", "/").lstrip("/")):
            if not wanted <= set((above / "cgroup.controllers").read_text().split()):
                continue
            with suppress(OSError):  # done already, or not ours to do
                (above / "cgroup.subtree_control").write_text("+cpu +memory")
            if not wanted <= set((above / "cgroup.subtree_control").read_text().split()):
                continue
            directory = above / name
            directory.mkdir()
            group = Group([directory], directory / "cpu.stat")
            try:
                limit(directory, V2_FILES)
            except OSError:
                group.remove()
                raise
            return group
    raise LookupError("no group of v2 hands on CPU and memory")


@pytest.fixture(params=[make_v1, make_v2], ids=["v1", "v2"])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """Half a CPU and 256 MiB, set by the parent of the group that processes join."""
    try:
        made: Group = request.param(f"robot-sf-otel-test-{secrets.token_hex(4)}")
    except (OSError, LookupError, ValueError) as error:
        pytest.skip(f"cannot make such a group here: {error!r}")
    yield made
    made.remove()


@pytest.mark.slow
def test_run_in_a_group_is_measured_by_its_limits(scripts: Scripts, group: Group) -> None:
    """The limits are those of the parent group, as they are in most containers."""
    finished = scripts.run(RUN, env={"ROBOT_SF_OTEL_INTERVAL": "0.25"}, prefix=group.joining())
    (line,) = [line for line in finished.out.splitlines() if line.startswith("kernel ")]
    kernel: dict[str, Any] = json.loads(line.removeprefix("kernel "))
    (run_dir,) = scripts.run_dirs
    samples = list(load_run(run_dir).telemetry())
    work = [sample for sample in samples if sample.step_id == "work"]

    assert {sample.memory_limit_mb for sample in samples} == {256}
    available = [sample.memory_available_mb for sample in samples]
    assert all(value is not None and 0 <= value < 256 for value in available)

    shares = [s.cpu_percent_process for s in samples if s.cpu_percent_process is not None]
    assert max(shares) <= 100
    during = [s.cpu_percent_process for s in work[1:] if s.cpu_percent_process is not None]
    # Of the half CPU; what the neighbours left of it on a busy machine is what the kernel says.
    expected = min(100.0, 100 * kernel["cores"] / 0.5)
    assert sum(during) / len(during) == pytest.approx(expected, abs=15)

    stat = dict(line.split() for line in group.cpu_stat.read_text().splitlines())
    assert int(stat["nr_throttled"]) > 0
    assert max(sample.cpu_throttled_percent or 0 for sample in samples) > 0

    assert kernel["child"] == -signal.SIGKILL
    assert kernel["oom_kills_after"] == kernel["oom_kills_before"] + 1 == 1
    assert scripts.statuses == {"work": "completed", "dies": "completed"}
