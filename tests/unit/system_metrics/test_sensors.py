"""The readings of all sensors together, from sensors that tell what they are told to."""

from __future__ import annotations

import resource
from dataclasses import replace
from typing import Any

import pytest

from robot_sf_otel.system_metrics import sensors as module
from robot_sf_otel.system_metrics.cgroup import CgroupReading
from robot_sf_otel.system_metrics.host import HostReading
from robot_sf_otel.system_metrics.process_tree import TreeReading
from robot_sf_otel.system_metrics.sensors import MIB, SystemSensors


class Tree:
    """A process tree that is made up."""

    def __init__(self) -> None:
        self.reading = TreeReading(
            cpu_seconds=10.0,
            rss_bytes=200 * MIB,
            own_rss_bytes=100 * MIB,
            read_bytes=0,
            write_bytes=0,
            process_count=3,
            thread_count=7,
        )
        self.cpu: float | None = 10.0
        self.closed = False

    def read(self) -> TreeReading:
        return self.reading

    def cpu_seconds_now(self) -> float | None:
        return self.cpu

    def close(self) -> None:
        self.closed = True


class Fixed:
    """A sensor with one reading."""

    def __init__(self, reading: Any) -> None:  # noqa: ANN401 - of either sensor
        self.reading = reading
        self.closed = False

    def read(self) -> Any:  # noqa: ANN401 - of either sensor
        return self.reading

    def close(self) -> None:
        self.closed = True


class Machine:
    """Everything that is read, and the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.tree = Tree()
        self.host = Fixed(HostReading(cpu_percent=50.0, memory_available_bytes=8 * MIB))
        self.cgroup = Fixed(CgroupReading(memory_limit_bytes=16 * MIB))
        self.cpus: float | None = 4.0
        monkeypatch.setattr(module, "ProcessTree", lambda: self.tree)
        monkeypatch.setattr(module, "HostSensor", lambda: self.host)
        monkeypatch.setattr(module, "CgroupSensor", lambda: self.cgroup)
        monkeypatch.setattr(module, "usable_cpus", lambda: self.cpus)
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.sensors = SystemSensors(now_ms=lambda: int(self.now * 1000))

    def use(self, seconds: float, **tree: Any) -> None:  # noqa: ANN401 - fields of a reading
        """Let time pass and the tree's reading change."""
        self.now += seconds
        self.tree.reading = replace(self.tree.reading, **tree)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_first_reading_has_levels_but_no_rates(machine: Machine) -> None:
    first = machine.sensors.read()
    assert first.timestamp_ms == 1_000_000
    assert (first.memory_rss_mb, first.memory_limit_mb, first.memory_available_mb) == (200, 16, 8)
    assert (first.process_count, first.thread_count, first.cpu_percent_system) == (3, 7, 50.0)
    assert first.cpu_percent_process is None
    assert first.cpu_cores_process is None
    assert first.disk_read_mb_s is None
    assert first.cpu_throttled_percent is None


def test_rates_are_over_the_time_between_two_readings(machine: Machine) -> None:
    machine.sensors.read()
    machine.use(2.0, cpu_seconds=12.0, read_bytes=4 * MIB, write_bytes=MIB)
    second = machine.sensors.read()
    assert second.cpu_cores_process == 1.0
    assert second.cpu_percent_process == 25.0
    assert (second.disk_read_mb_s, second.disk_write_mb_s) == (2.0, 0.5)


def test_share_of_the_cpus_is_at_most_all_of_them(machine: Machine) -> None:
    machine.sensors.read()
    machine.use(1.0, cpu_seconds=15.0)
    sample = machine.sensors.read()
    assert (sample.cpu_percent_process, sample.cpu_cores_process) == (100.0, 5.0)


def test_unknown_number_of_cpus_leaves_the_share_out(machine: Machine) -> None:
    machine.cpus = None
    machine.sensors.read()
    machine.use(1.0, cpu_seconds=11.0)
    sample = machine.sensors.read()
    assert sample.cpu_percent_process is None
    assert sample.cpu_cores_process == 1.0


def test_throttling_is_the_share_of_the_periods_since_the_last_reading(machine: Machine) -> None:
    def periods(number: int, throttled: int) -> None:
        machine.cgroup.reading = CgroupReading(cpu_periods=number, cpu_throttled_periods=throttled)

    periods(100, 90)
    machine.sensors.read()
    periods(200, 115)
    machine.use(1.0)
    assert machine.sensors.read().cpu_throttled_percent == 25.0
    machine.use(1.0)
    assert machine.sensors.read().cpu_throttled_percent is None, "no period has passed"


def test_reading_that_cannot_be_had_is_none_and_never_0(machine: Machine) -> None:
    machine.tree.reading = TreeReading(notes=("processes: none of the tree can be read",))
    machine.host.reading = HostReading()
    machine.cgroup.reading = CgroupReading()
    machine.sensors.read()
    machine.use(1.0)
    sample = machine.sensors.read()
    known = {
        name for name in sample.__struct_fields__ if getattr(sample, name) not in (None, [], {})
    }
    assert known == {"timestamp_ms"}
    assert set(machine.sensors.last) == {"own_cpu_seconds"}


def test_counter_that_goes_down_gives_no_negative_rate(machine: Machine) -> None:
    machine.sensors.read()
    machine.use(1.0, cpu_seconds=5.0, read_bytes=0)
    sample = machine.sensors.read()
    assert sample.cpu_cores_process == 0.0
    assert sample.disk_read_mb_s == 0.0


def test_two_readings_at_the_same_moment_divide_by_nothing(machine: Machine) -> None:
    machine.sensors.read()
    machine.use(0.0, cpu_seconds=11.0)
    assert machine.sensors.read().cpu_cores_process is None


def test_notes_say_why_on_the_first_reading_and_whenever_that_changes(machine: Machine) -> None:
    machine.host.reading = HostReading(notes=("host: no PSI",))
    machine.cgroup.reading = CgroupReading(notes=("cgroup: none", "host: no PSI"))
    assert machine.sensors.read().notes == "host: no PSI; cgroup: none"
    assert machine.sensors.read().notes is None
    machine.cgroup.reading = CgroupReading()
    assert machine.sensors.read().notes == "host: no PSI"
    machine.host.reading = HostReading()
    assert machine.sensors.read().notes == "all sensors read again"
    assert machine.sensors.read().notes is None


def test_machine_on_which_everything_reads_says_nothing(machine: Machine) -> None:
    assert machine.sensors.read().notes is None


def test_last_reading_is_kept_in_si_units_for_the_instruments(machine: Machine) -> None:
    machine.sensors.read()
    machine.use(2.0, cpu_seconds=12.0)
    machine.sensors.read()
    last = dict(machine.sensors.last)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    assert last.pop("own_cpu_seconds") == pytest.approx(usage.ru_utime + usage.ru_stime, abs=5)
    assert last == {
        "own_rss_bytes": 100 * MIB,
        "cpu_seconds": 12.0,
        "cpu_utilization": 0.25,
        "rss_bytes": 200 * MIB,
        "process_count": 3,
        "memory_limit_bytes": 16 * MIB,
    }


def test_bill_is_the_difference_between_end_and_start(machine: Machine) -> None:
    bill = machine.sensors.open_bill()
    machine.now += 2.0
    machine.tree.cpu = 13.0
    usage = bill.settle()
    assert (usage.cpu_seconds, usage.cpu_cores_mean) == (3.0, 1.5)
    assert usage.gpu_seconds is None
    assert usage.energy_joules is None


@pytest.mark.parametrize(("before", "after"), [(None, 3.0), (3.0, None), (None, None)])
def test_bill_without_a_counter_is_unknown(
    machine: Machine, before: float | None, after: float | None
) -> None:
    machine.tree.cpu = before
    bill = machine.sensors.open_bill()
    machine.tree.cpu = after
    usage = bill.settle()
    assert (usage.cpu_seconds, usage.cpu_cores_mean) == (None, None)


def test_bill_of_no_time_has_no_mean(machine: Machine) -> None:
    usage = machine.sensors.open_bill().settle()
    assert (usage.cpu_seconds, usage.cpu_cores_mean) == (0.0, None)


def test_bill_is_never_negative(machine: Machine) -> None:
    bill = machine.sensors.open_bill()
    machine.now += 1
    machine.tree.cpu = 4.0
    assert bill.settle().cpu_seconds == 0.0


def test_descriptors_are_given_back(machine: Machine) -> None:
    machine.sensors.close()
    assert machine.tree.closed
    assert machine.host.closed


def test_this_machine_can_be_read() -> None:
    sensors = SystemSensors()
    sensors.read()
    sample = sensors.read()
    sensors.close()
    assert sample.timestamp_ms > 1_700_000_000_000
    assert (sample.process_count or 0) >= 1
    assert (sample.memory_rss_mb or 0) > 1
    for name in ("cpu_percent_process", "cpu_percent_system", "cpu_throttled_percent"):
        value = getattr(sample, name)
        assert value is None or 0 <= value <= 100
