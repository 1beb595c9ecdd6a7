"""The machine's readings, from files that look like /proc and from psutil."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.system_metrics import host
from robot_sf_otel.system_metrics.host import (
    HostSensor,
    LinuxHost,
    PsutilHost,
    disk_free_bytes,
    usable_cpus,
)

if TYPE_CHECKING:
    from pathlib import Path

MEMINFO = """MemTotal:       1000 kB
MemFree:         100 kB
MemAvailable:    600 kB
Buffers:          10 kB
Cached:          200 kB
SwapTotal:       500 kB
SwapFree:        350 kB
HugePages_Total:       0
"""


class FixedQuota:
    """A container with that quota."""

    def __init__(self, quota: float | None) -> None:
        self._quota = quota

    def cpu_limit(self) -> float | None:
        return self._quota


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "stat").write_text("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3 4\n")
    (tmp_path / "meminfo").write_text(MEMINFO)
    for name, share in (("cpu", "1.50"), ("io", "20.00"), ("memory", "0.00")):
        (tmp_path / "pressure" / name).write_text(
            f"some avg10={share} avg60=3.00 avg300=4.00 total=5\nfull avg10=9.00 avg60=0.00\n"
        )
    return tmp_path


def sensor_of(proc: Path) -> HostSensor:
    return HostSensor(LinuxHost(str(proc)))


def test_memory_swap_and_pressure_are_read(proc: Path) -> None:
    reading = sensor_of(proc).read()

    assert reading.memory_total_bytes == 1000 * 1024
    assert reading.memory_available_bytes == 600 * 1024
    assert reading.swap_total_bytes == 500 * 1024
    assert reading.swap_used_bytes == 150 * 1024
    assert reading.cpu_pressure_percent == 1.5
    assert reading.io_pressure_percent == 20.0
    assert reading.memory_pressure_percent == 0.0
    assert reading.notes == ()


def test_cpu_is_the_busy_share_since_the_reading_before(proc: Path) -> None:
    """Of 200 new ticks 50 were user and 100 system; waiting for a disk is idle time."""
    sensor = sensor_of(proc)
    (proc / "stat").write_text("cpu  150 0 200 740 110 0 0 0 99 0\n")

    assert sensor.read().cpu_percent == pytest.approx(75.0)
    assert sensor.read().cpu_percent is None, "no time has passed"


def test_cpu_stays_a_percentage_where_a_counter_runs_backwards(proc: Path) -> None:
    sensor = sensor_of(proc)
    (proc / "stat").write_text("cpu  200 0 200 690 50 0 0 0 0 0\n")

    assert sensor.read().cpu_percent == 100.0


def test_an_old_kernel_has_no_available_memory_but_caches(proc: Path) -> None:
    (proc / "meminfo").write_text(MEMINFO.replace("MemAvailable", "Other"))

    assert sensor_of(proc).read().memory_available_bytes == 310 * 1024


def test_without_swap_none_is_used(proc: Path) -> None:
    (proc / "meminfo").write_text("SwapTotal: 0 kB\nSwapFree: 0 kB\n")

    reading = sensor_of(proc).read()

    assert reading.swap_used_bytes == 0
    assert reading.memory_available_bytes is None


def test_without_psi_pressure_is_none_and_the_reason_is_said(proc: Path) -> None:
    for name in ("cpu", "io", "memory"):
        (proc / "pressure" / name).unlink()

    reading = sensor_of(proc).read()

    assert reading.cpu_pressure_percent is None
    assert reading.notes == ("host: no pressure stall information (PSI)",)
    assert reading.memory_total_bytes is not None


@pytest.mark.parametrize("name", ["stat", "meminfo", "pressure/io"])
def test_a_file_that_comes_back_is_read_again(proc: Path, name: str) -> None:
    content = (proc / name).read_text()
    (proc / name).unlink()
    sensor = sensor_of(proc)
    without = sensor.read()
    (proc / name).write_text(content)
    sensor.read()
    (proc / "stat").write_text("cpu  150 0 200 740 110 0 0 0 99 0\n")
    reading = sensor.read()

    assert None in {
        without.cpu_percent,
        without.memory_total_bytes,
        without.io_pressure_percent,
    }
    assert reading.cpu_percent == pytest.approx(75.0)
    assert reading.memory_total_bytes == 1000 * 1024
    assert reading.io_pressure_percent == 20.0
    assert reading.notes == ()


def test_cpu_after_a_failed_reading_is_the_share_since_the_last_good_one(proc: Path) -> None:
    sensor = sensor_of(proc)
    (proc / "stat").write_text("")
    assert sensor.read().cpu_percent is None
    (proc / "stat").write_text("cpu  150 0 200 740 110 0 0 0 99 0\n")

    assert sensor.read().cpu_percent == pytest.approx(75.0)


def test_free_disk_space_is_what_an_ordinary_user_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disk_free_bytes(tmp_path)
    assert disk_free_bytes(tmp_path / "none") is None

    def ask(_: Path) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=10, f_bfree=12, f_bsize=4096, f_frsize=512)

    monkeypatch.setattr(os, "statvfs", ask)
    assert disk_free_bytes(tmp_path) == 5120


@pytest.mark.parametrize("text", ["", "cpu 1 2\n", "cpu a b c d e f\n", "intr 5\n"])
def test_unreadable_cpu_times_leave_the_rest(proc: Path, text: str) -> None:
    (proc / "stat").write_text(text)
    (proc / "pressure" / "cpu").write_text("some avg10=much\n")
    sensor = sensor_of(proc)

    reading = sensor.read()

    assert reading.cpu_percent is None
    assert reading.cpu_pressure_percent is None
    assert reading.notes == ("host: CPU times cannot be read",)
    assert reading.io_pressure_percent == 20.0


def test_without_proc_all_is_none(tmp_path: Path) -> None:
    reading = sensor_of(tmp_path).read()

    assert reading.memory_available_bytes is None
    assert reading.cpu_percent is None
    assert len(reading.notes) == 3


def test_a_closed_sensor_opens_its_files_again(proc: Path) -> None:
    sensor = sensor_of(proc)
    sensor.close()
    sensor.close()

    assert sensor.read().memory_total_bytes == 1000 * 1024


def test_a_file_that_fails_later_is_none(proc: Path) -> None:
    source = LinuxHost(str(proc))
    sensor = HostSensor(source)
    file = source._files["stat"]
    assert file is not None
    file.close()

    assert sensor.read().cpu_percent is None


def test_psutil_gives_what_it_can() -> None:
    reading = HostSensor(PsutilHost()).read()

    assert reading.memory_total_bytes
    assert reading.memory_available_bytes
    assert reading.swap_used_bytes is not None
    assert reading.notes == ("host: no pressure stall information (PSI)",)
    HostSensor(PsutilHost()).close()


def test_without_psutil_all_is_none_and_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)

    reading = HostSensor(PsutilHost()).read()

    assert reading.memory_total_bytes is None
    assert "host: psutil is not installed" in reading.notes


def test_a_failing_call_of_psutil_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    def fail() -> None:
        raise OSError

    monkeypatch.setattr(psutil, "swap_memory", fail)
    reading = HostSensor(PsutilHost()).read()
    assert reading.swap_used_bytes is None
    assert reading.memory_total_bytes is not None
    assert "host: swap: OSError" in reading.notes

    monkeypatch.setattr(psutil, "virtual_memory", fail)
    assert "host: memory: OSError" in HostSensor(PsutilHost()).read().notes


def test_the_sensor_of_this_machine_agrees_with_the_operating_system() -> None:
    reading = HostSensor().read()

    assert reading.memory_total_bytes is not None
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert reading.memory_total_bytes == pytest.approx(pages, rel=0.05)


@pytest.mark.parametrize(
    ("affinity", "quota", "usable"), [(8, None, 8.0), (8, 1.5, 1.5), (2, 6.0, 2.0)]
)
def test_usable_cpus_are_the_smaller_of_affinity_and_quota(
    monkeypatch: pytest.MonkeyPatch, affinity: int, quota: float | None, usable: float
) -> None:
    def allowed(_: int) -> set[int]:
        return set(range(affinity))

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", allowed, raising=False)
    monkeypatch.setattr(host, "_CGROUP", FixedQuota(quota))

    assert usable_cpus() == usable


def test_usable_cpus_without_affinity_are_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)

    assert usable_cpus() == 12.0
