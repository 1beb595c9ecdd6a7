"""All sensors together: what is read when, and what a step is billed for."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel.system_metrics import sensors as module
from robot_sf_otel.system_metrics.gpu import GpuCounters, GpuReading
from robot_sf_otel.system_metrics.process_tree import TreeCounters, TreeReading
from robot_sf_otel.system_metrics.reading import MIB, MachineReading
from robot_sf_otel.system_metrics.sensors import JUST_NOW, SystemSensors
from tests.unit.system_metrics.machine import EVERYTHING

if TYPE_CHECKING:
    from pathlib import Path


class Fixed:
    """A sensor with one reading."""

    def __init__(self, reading: Any) -> None:  # noqa: ANN401 - of any sensor
        self.reading = reading
        self.counted: Any = None
        self.cpu_seconds = 0.25
        self.started = 0
        self.closed = False

    def read(self) -> Any:  # noqa: ANN401 - of any sensor
        return self.reading

    def counters_now(self) -> Any:  # noqa: ANN401 - of the tree
        return self.counted

    counters = counters_now

    def pids(self) -> frozenset[int]:
        return frozenset()

    def start(self) -> None:
        self.started += 1

    def close(self) -> None:
        self.closed = True


class Machine:
    """Everything that is read, and the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, gpu: bool = True) -> None:
        self.now = 1000.0
        self.tree, self.host = Fixed(EVERYTHING.tree), Fixed(EVERYTHING.host)
        self.cgroup, self.gpu = Fixed(EVERYTHING.cgroup), Fixed(EVERYTHING.gpu)
        monkeypatch.setattr(module, "ProcessTree", lambda: self.tree)
        monkeypatch.setattr(module, "HostSensor", lambda: self.host)
        monkeypatch.setattr(module, "CgroupSensor", lambda: self.cgroup)

        def gpu_sensor(**_: object) -> Fixed:
            return self.gpu

        monkeypatch.setattr(module, "GpuSensor", gpu_sensor)
        monkeypatch.setattr(module, "usable_cpus", lambda: 4.0)
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.sensors = SystemSensors(gpu=gpu, now_ms=lambda: int(self.now * 1000))


def last_two(sensors: SystemSensors) -> tuple[MachineReading, MachineReading] | None:
    return sensors.last


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_reading_is_that_of_all_sensors(machine: Machine) -> None:
    sample = machine.sensors.read()
    assert sample.timestamp_ms == 1_000_000
    assert (sample.memory_rss_mb, sample.memory_limit_mb, sample.swap_used_mb) == (200, 16, 4)
    assert sample.gpu_util_percent == 75.0
    assert sample.disk_free_mb is None


def test_rates_are_those_since_the_last_reading(machine: Machine) -> None:
    cores: list[float | None] = []
    for seconds, cpu in ((0.0, 10.0), (1.0, 12.0), (2.0, 13.0)):
        machine.now += seconds
        machine.tree.reading = TreeReading(cpu_seconds=cpu)
        cores.append(machine.sensors.read().cpu_cores_process)
    assert cores == [None, 2.0, 0.5]


def test_last_two_readings_are_kept_for_the_instruments(machine: Machine) -> None:
    assert last_two(machine.sensors) is None
    machine.sensors.read()
    before, first = last_two(machine.sensors) or (None, None)
    assert before is first
    machine.now += 1
    machine.sensors.read()
    before, second = last_two(machine.sensors) or (None, None)
    assert before is first
    assert second is not None
    assert (second.monotonic, second.usable_cpus) == (1001.0, 4.0)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    assert second.own_user_seconds == pytest.approx(usage.ru_utime, abs=5)


def test_bill_is_of_the_tree_and_of_the_gpus(machine: Machine) -> None:
    machine.tree.counted = TreeCounters(10.0, 0, 0, 100 * MIB, 100 * MIB)
    machine.gpu.counted = GpuCounters(1.0, 50.0, 10 * MIB)
    bill = machine.sensors.open_bill()
    machine.now += 2
    machine.tree.counted = TreeCounters(13.0, MIB, 0, 110 * MIB, 100 * MIB)
    machine.gpu.counted = GpuCounters(2.5, 80.0, 10 * MIB)
    usage = bill.settle()
    assert (usage.cpu_seconds, usage.cpu_cores_mean, usage.disk_read_mb) == (3.0, 1.5, 1.0)
    assert (usage.gpu_seconds, usage.energy_joules) == (1.5, 30.0)
    assert (usage.memory_rss_peak_mb, usage.gpu_mem_peak_mb) == (110, 10)


def test_step_that_begins_where_another_ended_begins_with_the_same_counters(
    machine: Machine,
) -> None:
    def cpu(seconds: float) -> None:
        machine.tree.counted = TreeCounters(seconds, 0, 0, None, None)

    cpu(10.0)
    first = machine.sensors.open_bill()
    machine.now += 1
    cpu(11.0)
    assert first.settle().cpu_seconds == 1.0
    machine.now += JUST_NOW / 2
    cpu(11.25)
    second = machine.sensors.open_bill()
    cpu(12.0)
    assert second.settle().cpu_seconds == 1.0, "what lay between them is in the second"
    machine.now += 2 * JUST_NOW
    cpu(20.0)
    third = machine.sensors.open_bill()
    cpu(20.5)
    assert third.settle().cpu_seconds == 0.5


def test_gpus_are_not_read_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, gpu=False)
    machine.tree.counted = TreeCounters(10.0, None, None, None, None)
    machine.sensors.start()
    sample = machine.sensors.read()
    usage = machine.sensors.open_bill().settle()
    machine.sensors.close()
    assert (machine.gpu.started, machine.gpu.closed, machine.sensors.cpu_seconds) == (0, False, 0)
    assert (sample.gpu_util_percent, sample.gpus, sample.notes) == (None, [], None)
    assert (usage.cpu_seconds, usage.gpu_seconds) == (0.0, None)


def test_gpu_thread_is_started_and_its_cost_is_known(machine: Machine) -> None:
    machine.sensors.start()
    assert (machine.gpu.started, machine.sensors.cpu_seconds) == (1, 0.25)


def test_rates_of_a_run_do_not_reach_back_to_the_one_before(machine: Machine) -> None:
    machine.sensors.read()
    machine.sensors.rest()
    machine.now += 3600
    machine.tree.reading = TreeReading(cpu_seconds=500.0)
    assert machine.sensors.read().cpu_cores_process is None


def test_sample_right_after_another_has_the_rates_of_a_longer_time(machine: Machine) -> None:
    cores: list[float | None] = []
    for seconds, cpu in ((0.0, 10.0), (1.0, 12.0), (0.008, 12.03), (0.008, 12.06)):
        machine.now += seconds
        machine.tree.reading = TreeReading(cpu_seconds=cpu)
        cores.append(machine.sensors.read().cpu_cores_process)
    assert cores == [None, 2.0, pytest.approx(2.014, abs=0.001), pytest.approx(2.028, abs=0.001)]


def test_run_that_is_shorter_than_a_rate_has_none(machine: Machine) -> None:
    machine.sensors.read()
    machine.now += 0.01
    machine.tree.reading = TreeReading(cpu_seconds=10.03)
    assert machine.sensors.read().cpu_cores_process is None


def test_notes_are_on_every_reading(machine: Machine) -> None:
    machine.gpu.reading = GpuReading(notes=("gpu: no driver",))
    assert [machine.sensors.read().notes for _ in range(2)] == ["gpu: no driver"] * 2


def test_descriptors_are_given_back(machine: Machine) -> None:
    machine.sensors.close()
    assert machine.tree.closed
    assert machine.host.closed
    assert machine.gpu.closed


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    sensors = SystemSensors(disk=tmp_path)
    sensors.read()
    sample = sensors.read()
    sensors.close()
    assert sample.timestamp_ms > 1_700_000_000_000
    assert (sample.process_count or 0) >= 1
    assert (sample.memory_rss_mb or 0) > 1
    assert (sample.disk_free_mb or 0) > 1
    for name in ("cpu_percent_process", "cpu_percent_system", "cpu_throttled_percent"):
        value = getattr(sample, name)
        assert value is None or 0 <= value <= 100


def test_free_space_of_a_folder_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    sensors = SystemSensors(disk=tmp_path / "gone")
    assert sensors.read().disk_free_mb is None
    sensors.close()
