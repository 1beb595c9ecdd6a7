"""Limits and counters of cgroup v1, v2 and both at once, from trees of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.system_metrics.cgroup import CgroupReading, CgroupSensor

if TYPE_CHECKING:
    from pathlib import Path

NO_LIMIT_V1 = "9223372036854771712\n"
V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    """A service two levels below the root of a v2 hierarchy."""
    top = "sys/fs/cgroup"
    write(
        tmp_path,
        {
            "proc/self/mountinfo": V2_MOUNT,
            "proc/self/cgroup": "0::/slice/job\n",
            f"{top}/cgroup.controllers": "cpu memory io\n",
            f"{top}/slice/cgroup.controllers": "cpu memory io\n",
            f"{top}/slice/memory.max": "max\n",
            f"{top}/slice/memory.current": "900\n",
            f"{top}/slice/memory.stat": "anon 1\ninactive_file 300\n",
            f"{top}/slice/cpu.max": "max 100000\n",
            f"{top}/slice/cpu.stat": "nr_periods 50\nnr_throttled 40\nthrottled_usec 9000000\n",
            f"{top}/slice/job/cgroup.controllers": "cpu memory\n",
            f"{top}/slice/job/memory.max": "1000\n",
            f"{top}/slice/job/memory.current": "600\n",
            f"{top}/slice/job/memory.stat": "anon 1\ninactive_file 200\n",
            f"{top}/slice/job/memory.events": "low 0\noom 3\noom_kill 2\n",
            f"{top}/slice/job/cpu.max": "150000 100000\n",
            f"{top}/slice/job/cpu.stat": (
                "usage_usec 5\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n"
            ),
        },
    )
    return tmp_path


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    memory, cpu = "sys/fs/cgroup/memory", "sys/fs/cgroup/cpu,cpuacct"
    write(
        tmp_path,
        {
            "proc/self/mountinfo": V1_MOUNTS,
            "proc/self/cgroup": "4:memory:/a/b\n2:cpu,cpuacct:/a\n0::/ignored\n",
            f"{memory}/memory.limit_in_bytes": NO_LIMIT_V1,
            f"{memory}/a/memory.limit_in_bytes": NO_LIMIT_V1,
            f"{memory}/a/b/memory.limit_in_bytes": "2000\n",
            f"{memory}/a/b/memory.usage_in_bytes": "1500\n",
            f"{memory}/a/b/memory.stat": "inactive_file 1\ntotal_inactive_file 500\n",
            f"{memory}/a/b/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
            f"{cpu}/cpu.cfs_quota_us": "-1\n",
            f"{cpu}/a/cpu.cfs_quota_us": "50000\n",
            f"{cpu}/a/cpu.cfs_period_us": "100000\n",
            f"{cpu}/a/cpu.stat": "nr_periods 8\nnr_throttled 2\nthrottled_time 250000000\n",
        },
    )
    return tmp_path


def test_v2_is_read(v2: Path) -> None:
    assert CgroupSensor(v2).read() == CgroupReading(
        memory_limit_bytes=1000,
        memory_usage_bytes=600,
        memory_working_set_bytes=400,
        cpu_limit=1.5,
        cpu_periods=10,
        cpu_throttled_periods=4,
        cpu_throttled_seconds=1.5,
        oom_kills=2,
    )


def test_v1_is_read(v1: Path) -> None:
    assert CgroupSensor(v1).read() == CgroupReading(
        memory_limit_bytes=2000,
        memory_usage_bytes=1500,
        memory_working_set_bytes=1000,
        cpu_limit=0.5,
        cpu_periods=8,
        cpu_throttled_periods=2,
        cpu_throttled_seconds=0.25,
        oom_kills=1,
    )


def test_the_smallest_limit_of_the_ancestors_counts_with_what_that_group_uses(v2: Path) -> None:
    write(v2, {"sys/fs/cgroup/slice/memory.max": "950\n"})
    write(v2, {"sys/fs/cgroup/slice/cpu.max": "50000 100000\n"})

    reading = CgroupSensor(v2).read()

    assert reading.memory_limit_bytes == 950
    assert reading.memory_usage_bytes == 900
    assert reading.memory_working_set_bytes == 600
    assert reading.cpu_limit == 0.5
    assert reading.cpu_throttled_periods == 40
    assert reading.oom_kills == 2


def test_no_limit_is_none_and_the_usage_is_that_of_the_own_group(v2: Path) -> None:
    write(v2, {"sys/fs/cgroup/slice/job/memory.max": "max\n"})
    write(v2, {"sys/fs/cgroup/slice/job/cpu.max": "max 100000\n"})

    reading = CgroupSensor(v2).read()

    assert reading.memory_limit_bytes is None
    assert reading.cpu_limit is None
    assert reading.memory_usage_bytes == 600
    assert reading.cpu_throttled_periods == 4


def test_v1_without_a_limit_is_none(v1: Path) -> None:
    write(v1, {"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": NO_LIMIT_V1})
    write(v1, {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "-1\n"})

    reading = CgroupSensor(v1).read()

    assert reading.memory_limit_bytes is None
    assert reading.cpu_limit is None


def test_v1_tells_of_limits_above_what_is_mounted(v1: Path) -> None:
    stat = "total_inactive_file 500\nhierarchical_memory_limit 1800\n"
    write(v1, {"sys/fs/cgroup/memory/a/b/memory.stat": stat})

    assert CgroupSensor(v1).read().memory_limit_bytes == 1800


def test_v1_ancestors_that_leave_their_children_alone_do_not_limit_them(v1: Path) -> None:
    """`use_hierarchy` of the kernels before 5.11: the group says which limit applies to it."""
    write(
        v1,
        {
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000\n",
            "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "999\n",
            "sys/fs/cgroup/memory/a/b/memory.stat": (
                "total_inactive_file 500\nhierarchical_memory_limit 2000\n"
            ),
        },
    )

    reading = CgroupSensor(v1).read()

    assert reading.memory_limit_bytes == 2000
    assert reading.memory_usage_bytes == 1500
    assert reading.memory_working_set_bytes == 1000


def test_in_v1_too_the_usage_is_that_of_the_ancestor_that_limits(v1: Path) -> None:
    write(
        v1,
        {
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1800\n",
            "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "1700\n",
            "sys/fs/cgroup/memory/a/memory.stat": (
                "total_inactive_file 100\nhierarchical_memory_limit 1800\n"
            ),
            "sys/fs/cgroup/memory/a/b/memory.stat": (
                "total_inactive_file 500\nhierarchical_memory_limit 1800\n"
            ),
        },
    )

    reading = CgroupSensor(v1).read()

    assert reading.memory_limit_bytes == 1800
    assert reading.memory_usage_bytes == 1700
    assert reading.memory_working_set_bytes == 1600
    assert reading.oom_kills == 1, "of the own group"


def test_what_cannot_be_read_for_the_moment_is_none_with_a_note_and_comes_back(v2: Path) -> None:
    sensor = CgroupSensor(v2)
    before = sensor.read()
    stat = v2 / "sys/fs/cgroup/slice/job/memory.stat"
    content = stat.read_text(encoding="utf-8")
    stat.write_text("", encoding="utf-8")

    reading = sensor.read()

    assert (reading.memory_limit_bytes, reading.oom_kills, reading.cpu_limit) == (None, None, 1.5)
    assert reading.notes == ("cgroup: memory cannot be read now",)

    stat.write_text(content, encoding="utf-8")
    assert sensor.read() == before


def test_the_limit_of_cpus_stays_while_it_cannot_be_read(v2: Path) -> None:
    sensor = CgroupSensor(v2)
    quota = v2 / "sys/fs/cgroup/slice/job/cpu.max"
    assert sensor.cpu_limit() == 1.5
    quota.write_text("", encoding="utf-8")
    assert sensor.cpu_limit() == 1.5
    quota.write_text("max 100000\n", encoding="utf-8")

    assert sensor.cpu_limit() is None


def test_groups_that_cannot_be_looked_up_are_looked_up_later(v2: Path) -> None:
    mounts = v2 / "proc/self/mountinfo"
    mounts.write_text("", encoding="utf-8")
    sensor = CgroupSensor(v2)

    assert sensor.read() == CgroupReading(notes=("cgroup: cannot be read now",))
    assert sensor.cpu_limit() is None

    mounts.write_text(V2_MOUNT, encoding="utf-8")
    assert sensor.read().memory_limit_bytes == 1000
    assert sensor.cpu_limit() == 1.5


def test_a_hybrid_machine_has_its_controllers_in_v1(v1: Path) -> None:
    write(
        v1,
        {
            "proc/self/mountinfo": V1_MOUNTS
            + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            "proc/self/cgroup": "4:memory:/a/b\n0::/\n",
            "sys/fs/cgroup/unified/cgroup.controllers": "\n",
            "sys/fs/cgroup/unified/cpu.stat": "usage_usec 5\n",
        },
    )

    reading = CgroupSensor(v1).read()

    assert reading.memory_limit_bytes == 2000
    assert reading.cpu_periods is None
    assert reading.notes == ("cgroup: no cpu controller",)


def test_a_container_sees_its_own_group_at_the_mount_point(v1: Path) -> None:
    """Docker without a cgroup namespace: the path is the host's, the mount starts at the group."""
    mount = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    write(
        v1,
        {
            "proc/self/mountinfo": mount,
            "proc/self/cgroup": "4:memory:/docker/abc\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "700\n",
        },
    )

    assert CgroupSensor(v1).read().memory_limit_bytes == 700


@pytest.mark.parametrize("path", ["/../../elsewhere", "/kubepods/pod1/not-mounted-here"])
def test_a_path_of_another_namespace_means_the_mount_point(v2: Path, path: str) -> None:
    write(
        v2,
        {
            "proc/self/cgroup": f"0::{path}\n",
            "sys/fs/cgroup/memory.max": "800\n",
        },
    )

    assert CgroupSensor(v2).read().memory_limit_bytes == 800


def test_a_mount_point_may_have_spaces(v2: Path) -> None:
    mount = V2_MOUNT.replace("/sys/fs/cgroup", "/my\\040groups")
    write(v2, {"proc/self/mountinfo": mount})
    (v2 / "sys/fs/cgroup").rename(v2 / "my groups")

    assert CgroupSensor(v2).read().memory_limit_bytes == 1000


def test_a_process_that_was_moved_is_followed(v2: Path) -> None:
    sensor = CgroupSensor(v2)
    sensor.read()
    (v2 / "sys/fs/cgroup/slice/job").rename(v2 / "sys/fs/cgroup/slice/other")
    write(v2, {"proc/self/cgroup": "0::/slice/other\n"})

    assert sensor.read().memory_limit_bytes == 1000


def test_limits_that_change_are_seen(v2: Path) -> None:
    sensor = CgroupSensor(v2)
    sensor.read()
    write(v2, {"sys/fs/cgroup/slice/job/memory.max": "500\n"})

    assert sensor.read().memory_limit_bytes == 500


def test_a_file_that_cannot_be_read_leaves_the_others(v2: Path) -> None:
    job = v2 / "sys/fs/cgroup/slice/job"
    (job / "memory.stat").unlink()
    (job / "memory.events").write_bytes(b"\xff\xfe oom_kill many\n")
    (job / "cpu.max").write_text("1 2 3", encoding="utf-8")

    reading = CgroupSensor(v2).read()

    assert reading.memory_limit_bytes == 1000
    assert reading.memory_working_set_bytes is None
    assert reading.oom_kills is None
    assert reading.cpu_limit is None


def test_without_cgroups_all_is_none_and_the_reason_is_said(tmp_path: Path) -> None:
    assert CgroupSensor(tmp_path).read() == CgroupReading(notes=("cgroup: none is mounted",))
    assert CgroupSensor(tmp_path).cpu_limit() is None


def test_malformed_lines_are_skipped(v2: Path) -> None:
    write(v2, {"proc/self/mountinfo": "nonsense\n1 2 - cgroup2\n\n" + V2_MOUNT})
    write(v2, {"proc/self/cgroup": "nonsense\n\n0::/slice/job\n"})

    assert CgroupSensor(v2).read().memory_limit_bytes == 1000


def test_the_limit_of_cpus_is_available_alone(v2: Path) -> None:
    assert CgroupSensor(v2).cpu_limit() == 1.5
