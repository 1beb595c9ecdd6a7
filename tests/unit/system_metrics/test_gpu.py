"""What the sensor publishes of GPUs that answer, and what it asks them."""

from __future__ import annotations

import os
from dataclasses import replace
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel import guard
from robot_sf_otel.system_metrics import gpu_probe
from robot_sf_otel.system_metrics.gpu import DeviceReading, GpuCounters, GpuReading, GpuSensor
from robot_sf_otel.system_metrics.nvml import throttle_words
from tests.unit.system_metrics.recorded_nvml import (
    CODES,
    Bench,
    Clock,
    FakeDevice,
    Hang,
    Row,
    bench,
    busy,
    row,
)

BUSY = DeviceReading(
    index=0,
    nvml_index=0,
    uuid="GPU-00000000-aaaa",
    name="NVIDIA H100 80GB HBM3",
    util_percent=80.0,
    mem_used_bytes=3_000,
    mem_total_bytes=80_000,
    run_mem_used_bytes=2_900,
    temperature_c=61.0,
    power_w=400.0,
    power_limit_w=700.0,
    sm_clock_mhz=1980.0,
    energy_joules=0.0,
    throttle_reasons=("sw_power_cap",),
)


def second(rows: tuple[Row, ...] = (busy(0.0),)) -> FakeDevice:
    return FakeDevice(rows, uuid="GPU-11111111-bbbb")


def sliced() -> FakeDevice:
    """Return a GPU in MIG mode with two instances."""

    def instance(uuid: str, place: int, used: int) -> FakeDevice:
        memory = {"total": 10_000, "used": used, "free": 0, "reserved": 0}
        processes = [{"pid": 402, "used": used}]
        rows = (busy(0.0, memory_v2=memory, compute_processes=processes),)
        return FakeDevice(rows, uuid=uuid, name="H100 MIG 1g.10gb", gpu_instance=place)

    made = {0: instance("MIG-11aa", 7, 1_000), 3: instance("MIG-22bb", 9, 2_000)}
    return FakeDevice((busy(0.0),), instances=made)


# ------------------------------------------------------------------------------------- one device


def test_before_the_first_pass_nothing_is_known_and_nothing_is_wrong() -> None:
    b = bench()

    assert b.sensor.read() == GpuReading(notes=("gpu: the driver is being loaded",))
    assert b.sensor.counters() == GpuCounters(None, None, None)
    assert not b.nvml.calls


def test_a_pass_publishes_every_field() -> None:
    b = bench(FakeDevice((busy(0.0),)))
    b.at(0.0)

    assert b.sensor.read() == GpuReading(
        devices=(BUSY,), util_percent=80.0, mem_used_bytes=3_000, mem_total_bytes=80_000
    )


def test_an_idle_gpu_has_zeros_and_no_throttle_reason() -> None:
    b = bench(FakeDevice((row(0.0),)))
    b.at(0.0)

    (device,) = b.sensor.read().devices
    assert device.util_percent == 0.0
    assert device.mem_used_bytes == 0
    assert device.throttle_reasons == ()


def test_counters_are_readings_by_the_time_before_them() -> None:
    b = bench(FakeDevice((row(0.0), busy(1.0), row(3.0))))
    for now in (0.0, 1.0, 2.0, 3.0):
        b.at(now)

    counters = b.sensor.counters()
    assert counters.busy_seconds == pytest.approx(0.8 + 0.8)
    assert counters.energy_joules == pytest.approx(400 + 400 + 70)
    assert counters.mem_used_bytes == 0
    assert b.sensor.read().devices[0].energy_joules == pytest.approx(870)


def test_between_passes_counters_go_on_with_the_last_rates_for_a_few_passes() -> None:
    b = bench(FakeDevice((busy(0.0),)))
    b.at(0.0)
    b.at(0.25)

    b.clock.now = 0.35
    assert b.sensor.counters().busy_seconds == pytest.approx(0.8 * 0.35)
    assert b.sensor.counters().energy_joules == pytest.approx(400 * 0.35)
    b.clock.now = 60.0
    assert b.sensor.counters().busy_seconds == pytest.approx(0.8 * 1.0)


def test_counters_wait_where_a_pass_finds_less_than_was_said() -> None:
    b = bench(FakeDevice((busy(0.0), row(0.9))))
    b.at(0.0)
    b.clock.now = 0.5
    said = b.sensor.counters()
    b.at(0.9)
    later = b.sensor.counters()

    assert said.busy_seconds == pytest.approx(0.4)
    assert later.busy_seconds == said.busy_seconds
    assert later.energy_joules == said.energy_joules


def test_the_energy_counter_corrects_what_power_gave() -> None:
    """Power says 100 W, the device counted 50 W: the total waits until it is right."""
    rows = tuple(row(float(t), power_mw=100_000, energy_mj=50_000 * t) for t in range(62))
    b = bench(FakeDevice(rows))
    shown: list[float] = []
    for t in range(61):
        b.at(float(t))
        shown.append(b.sensor.read().devices[0].energy_joules or 0.0)

    assert shown == sorted(shown)
    assert shown[8] == pytest.approx(800), "power alone"
    assert shown[9] == shown[12] == shown[8], "450 is right at 9 s"
    assert shown[13] == pytest.approx(450 + 400)
    totals = b.sensor._session.probes[0].totals
    assert totals.joules == pytest.approx(54 * 50 + 600), "corrected at 54, power since"


def test_an_energy_counter_that_stands_still_takes_nothing_away() -> None:
    b = bench(FakeDevice((busy(0.0),)), interval=10.0)
    for now in (0.0, 10.0, 20.0, 30.0):
        b.at(now)

    assert b.sensor.counters().energy_joules == pytest.approx(400 * 30)


def test_an_energy_counter_that_begins_anew_takes_nothing_away() -> None:
    rows = (row(0.0, energy_mj=5_000_000), row(30.0, energy_mj=10), row(60.0, energy_mj=2_100_010))
    b = bench(FakeDevice(rows), interval=10.0)
    for now in (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0):
        b.at(now)

    assert b.sensor.counters().energy_joules == pytest.approx(70 * 60)


def test_a_long_gap_counts_as_idle_but_the_energy_counter_knows_it() -> None:
    rows = (busy(0.0, energy_mj=0), busy(6.0, energy_mj=500_000), busy(99.0, energy_mj=7_000_000))
    b = bench(FakeDevice(rows))
    b.at(0.0)
    b.at(1.0)
    b.at(6.0)
    assert b.sensor.counters().energy_joules == pytest.approx(500), "asked at once"
    b.at(99.0)

    counters = b.sensor.counters()
    assert counters.busy_seconds == pytest.approx(0.8)
    assert counters.energy_joules == pytest.approx(7_000)


READINGS = st.tuples(
    st.floats(0.01, 40.0),
    st.integers(0, 100),
    st.integers(0, 700_000),
    st.floats(0.5, 1.5),
    st.lists(st.floats(0.0, 40.0), max_size=3),
)


@given(st.lists(READINGS, min_size=1, max_size=20))
def test_counters_never_fall_whatever_is_read(
    readings: list[tuple[float, int, int, float, list[float]]],
) -> None:
    now, energy = 0.0, 0.0
    rows: list[Row] = []
    for gap, utilization, power, bias, _ in readings:
        now += gap
        energy += power * gap * bias
        usage = {"gpu": utilization, "memory": 0}
        rows.append(row(now, utilization=usage, power_mw=power, energy_mj=int(energy)))
    b = bench(FakeDevice(rows), interval=0.5)
    busy_seconds, joules, device_joules = [0.0], [0.0], [0.0]
    ends = [line["t"] for line in rows[1:]] + [now + 60.0]
    for line, end, (_, _, _, _, later) in zip(rows, ends, readings, strict=True):
        b.at(line["t"])
        device_joules.append(b.sensor.read().devices[0].energy_joules or 0.0)
        for ahead in [0.0, *sorted(later)]:
            b.clock.now = min(line["t"] + ahead, end)
            counters = b.sensor.counters()
            busy_seconds.append(counters.busy_seconds or 0.0)
            joules.append(counters.energy_joules or 0.0)

    assert busy_seconds == sorted(busy_seconds)
    assert joules == sorted(joules)
    assert device_joules == sorted(device_joules)
    assert busy_seconds[-1] <= now + 0.75


# ------------------------------------------------------------------------------------ how often


def test_what_is_dear_is_asked_rarely() -> None:
    b = bench(FakeDevice((busy(0.0),)))
    for quarter in range(241):
        b.at(quarter / 4)

    calls = b.nvml.calls
    assert calls["nvmlDeviceGetUtilizationRates"] == 241
    assert calls["nvmlDeviceGetPowerUsage"] == 241
    assert calls["nvmlDeviceGetMemoryInfo"] == 241
    assert calls["nvmlDeviceGetTemperature"] == 61
    assert calls["nvmlDeviceGetComputeRunningProcesses"] == 61
    assert calls["nvmlDeviceGetTotalEnergyConsumption"] == 7
    assert calls["nvmlDeviceGetEnforcedPowerLimit"] == 7
    once = ["Init", "DeviceGetCount", "DeviceGetUUID", "DeviceGetName", "DeviceGetMigMode"]
    assert [calls[f"nvml{name}"] for name in once] == [1, 1, 1, 1, 1]
    assert not any("Pcie" in name or "ProcessUtilization" in name for name in calls)


def costing(b: Bench, *seconds: float) -> list[float]:
    """Make passes of that much CPU time; return the delays after them."""
    before_and_after = (
        sum(seconds[:n]) for place in range(len(seconds)) for n in (place, place + 1)
    )
    b.sensor._cpu_clock = lambda: next(before_and_after)
    delays: list[float] = []
    for _ in seconds:
        delays.append(b.sensor.pass_once())
        b.clock.now += delays[-1]
    return delays


@pytest.mark.parametrize(
    ("interval", "seconds", "delay"),
    [(1.0, 0.001, 0.25), (0.1, 0.0001, 0.1), (10.0, 0.0, 0.25), (1.0, 0.004, 0.8), (1.0, 9, 10.0)],
)
def test_passes_that_are_dear_come_later(interval: float, seconds: float, delay: float) -> None:
    b = bench(interval=interval)
    delays = costing(b, *[seconds] * 60)

    assert delays[0] == min(interval, 0.25), "to start NVML is not what a pass costs"
    assert delays[-1] == pytest.approx(delay)
    assert b.sensor.cpu_seconds == pytest.approx(60 * seconds)


def test_a_dear_question_now_and_then_delays_nothing() -> None:
    assert set(costing(bench(), 0.0, *[0.02, *[0.0005] * 39] * 5)) == {0.25}


def test_one_pass_beyond_all_measure_delays_one() -> None:
    assert costing(bench(), 0.0, 60.0, 0.0, 0.0) == [0.25, pytest.approx(10.0), 0.25, 0.25]


def test_a_late_pass_that_was_announced_is_no_silence() -> None:
    b = bench(FakeDevice((busy(0.0),)))
    assert costing(b, 0.0, 5.0)[-1] > 9.0
    b.sensor._cpu_clock = Clock()
    due = b.clock.now
    b.clock.now = due + 2.9
    assert b.sensor.read().util_percent == 80.0

    b.sensor.pass_once()
    assert b.sensor.counters().busy_seconds == pytest.approx(0.8 * (due + 2.9))


# -------------------------------------------------------------------------------- several devices


def test_the_sensor_says_the_mean_utilization_and_the_sum_of_memory() -> None:
    b = bench(FakeDevice((row(0.0),)), second())
    b.at(0.0)
    b.at(1.0)

    reading = b.sensor.read()
    assert [device.index for device in reading.devices] == [0, 1]
    assert reading.util_percent == 40.0
    assert reading.mem_used_bytes == 3_000
    assert reading.mem_total_bytes == 160_000
    assert b.sensor.counters().busy_seconds == pytest.approx(0.8)


def test_only_visible_devices_are_asked_and_they_have_cudas_numbers() -> None:
    b = bench(FakeDevice(), second(), environ={"CUDA_VISIBLE_DEVICES": "1"})
    b.at(0.0)

    (device,) = b.sensor.read().devices
    assert (device.index, device.nvml_index, device.uuid) == (0, 1, "GPU-11111111-bbbb")
    assert b.nvml.calls["nvmlDeviceGetUtilizationRates"] == 1


def test_a_change_of_the_visible_devices_is_followed_and_totals_go_on() -> None:
    rows = tuple(busy(float(t), energy_mj=400_000 * t) for t in range(5))
    b = bench(FakeDevice(rows), second(rows), environ={"CUDA_VISIBLE_DEVICES": "0"})
    b.at(0.0)
    b.at(1.0)
    b.environ["CUDA_VISIBLE_DEVICES"] = "1"
    b.at(2.0)
    b.at(3.0)
    assert [device.nvml_index for device in b.sensor.read().devices] == [1]
    assert b.sensor.counters().busy_seconds == pytest.approx(0.8 + 0.8)

    del b.environ["CUDA_VISIBLE_DEVICES"]
    b.at(4.0)
    shown = b.sensor.read().devices
    assert [device.energy_joules for device in shown] == pytest.approx([400, 800])
    assert b.sensor.counters().busy_seconds == pytest.approx(3 * 0.8), "not while it was hidden"
    b.at(5.0)
    assert b.sensor.counters().busy_seconds == pytest.approx(5 * 0.8)
    assert b.sensor.counters().energy_joules == pytest.approx(5 * 400)


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_hidden_devices_are_not_woken_up(value: str) -> None:
    b = bench(environ={"CUDA_VISIBLE_DEVICES": value})
    b.at(0.0)
    b.at(100.0)

    assert b.sensor.read() == GpuReading(notes=("gpu: CUDA_VISIBLE_DEVICES hides all devices",))
    assert b.sensor.counters() == GpuCounters(None, None, None)
    assert not b.nvml.calls

    del b.environ["CUDA_VISIBLE_DEVICES"]
    b.at(101.0)
    assert len(b.sensor.read().devices) == 1


def test_a_list_that_names_no_device_of_the_machine_is_told() -> None:
    b = bench(environ={"CUDA_VISIBLE_DEVICES": "3"})
    b.at(0.0)

    assert b.sensor.read() == GpuReading(
        notes=("gpu: CUDA_VISIBLE_DEVICES names no device of this machine",)
    )


def test_models_of_different_speed_may_be_numbered_otherwise_by_cuda() -> None:
    b = bench(FakeDevice(name="NVIDIA T4"), second(), environ={"CUDA_VISIBLE_DEVICES": "0"})
    b.at(0.0)
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in b.sensor.read().notes[0]

    b.environ.update(CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES="1")
    b.at(1.0)
    assert b.sensor.read().notes == ()


def test_a_gpu_that_the_container_may_not_open_is_no_device_of_the_run() -> None:
    b = bench(FakeDevice(), second())
    b.nvml.faults["nvmlDeviceGetHandleByIndex", "GPU-00000000-aaaa"] = CODES["NO_PERMISSION"]
    b.at(0.0)

    (device,) = b.sensor.read().devices
    assert (device.index, device.nvml_index) == (0, 1)


# ------------------------------------------------------------------------------------------- MIG


def test_instances_tell_memory_and_processes_and_their_gpu_the_rest() -> None:
    b = bench(sliced())
    b.at(0.0)
    b.at(1.0)

    reading = b.sensor.read()
    expected = replace(
        BUSY,
        uuid="MIG-11aa",
        name="H100 MIG 1g.10gb",
        util_percent=None,
        power_w=None,
        power_limit_w=None,
        energy_joules=None,
        mem_used_bytes=1_000,
        mem_total_bytes=10_000,
        run_mem_used_bytes=1_000,
    )
    assert reading.devices[0] == expected
    assert [device.uuid for device in reading.devices] == ["MIG-11aa", "MIG-22bb"]
    assert reading.util_percent is None
    assert reading.mem_used_bytes == 3_000
    assert "gpu 1: utilization, power and energy: no MIG instance tells them" in reading.notes
    assert b.sensor.counters() == GpuCounters(None, None, 3_000)
    assert "nvmlDeviceGetUtilizationRates" not in b.nvml.calls


def test_an_instance_is_chosen_by_its_uuid() -> None:
    b = bench(sliced(), environ={"CUDA_VISIBLE_DEVICES": "MIG-22bb"})
    b.at(0.0)

    assert [device.mem_used_bytes for device in b.sensor.read().devices] == [2_000]


def test_an_old_driver_shows_one_instance() -> None:
    b = bench(sliced(), second())
    b.nvml.driver = "535.183.01"
    b.at(0.0)

    assert [device.uuid for device in b.sensor.read().devices] == ["MIG-11aa"]


def test_mig_mode_without_instances_is_told_and_instances_made_later_are_found() -> None:
    gpu = FakeDevice(mig=True)
    b = bench(gpu)
    b.at(0.0)
    assert b.sensor.read() == GpuReading(notes=("gpu: in MIG mode without instances",))

    gpu.instances = sliced().instances
    b.at(31.0)
    assert len(b.sensor.read().devices) == 2


# -------------------------------------------------------------------------------------- processes


def run_memory(
    processes: list[dict[str, int | None]], pids: set[int]
) -> tuple[int | None, tuple[str, ...]]:
    b = bench(FakeDevice((busy(0.0, compute_processes=processes),)))
    b.pids.clear()
    b.pids.update(pids)
    b.at(0.0)
    reading = b.sensor.read()
    return reading.devices[0].run_mem_used_bytes, reading.notes


@pytest.fixture
def living(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the pids that exist; add to them."""
    pids: set[int] = set()

    def kill(pid: int, signum: int) -> None:
        assert (pid > 0, signum) == (True, 0)
        if pid == 1:
            raise PermissionError
        if pid not in pids:
            raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    return pids


UNATTRIBUTED = ("gpu: processes cannot be attributed: NVML reports pids of another namespace",)


def test_memory_of_the_run_is_that_of_its_processes(living: set[int]) -> None:
    processes: list[dict[str, int | None]] = [
        {"pid": 402, "used": 100},
        {"pid": 403, "used": 10},
        {"pid": 77, "used": 1},
    ]

    assert run_memory(processes, {402, 403}) == (110, ())


def test_pids_of_another_namespace_are_not_attributed(living: set[int]) -> None:
    assert run_memory([{"pid": 31_337, "used": 100}], {402}) == (None, UNATTRIBUTED)
    assert run_memory([{"pid": 0, "used": 100}], {402}) == (None, UNATTRIBUTED)
    assert run_memory([{"pid": 2**32 - 1, "used": 100}], {402}) == (None, UNATTRIBUTED)


def test_what_cannot_be_attributed_is_said_as_long_as_it_is_so(living: set[int]) -> None:
    b = bench(FakeDevice((busy(0.0),)))
    b.pids.clear()
    b.at(0.0)
    assert b.sensor.read().notes == UNATTRIBUTED

    b.pids.add(402)
    b.at(1.0)
    assert b.sensor.read().notes == ()
    b.pids.clear()
    b.at(2.0)
    b.nvml.faults["nvmlDeviceGetPowerUsage"] = CODES["GPU_IS_LOST"]
    b.at(3.0)
    assert b.sensor.read().notes == ("gpu 0: GpuIsLost",)


def test_processes_of_others_on_this_machine_are_not_the_runs(living: set[int]) -> None:
    living.add(500)

    processes: list[dict[str, int | None]] = [{"pid": 500, "used": 9}, {"pid": 1, "used": 9}]
    assert run_memory(processes, {402}) == (0, ())


def test_no_process_at_all_may_mean_that_they_are_hidden(living: set[int]) -> None:
    assert run_memory([], {402}) == (None, ())


def test_a_driver_that_does_not_tell_the_memory_of_a_process(living: set[int]) -> None:
    assert run_memory([{"pid": 402, "used": None}], {402}) == (None, ())


def test_once_attributed_no_process_of_the_run_means_no_memory(living: set[int]) -> None:
    rows = (busy(0.0), busy(1.0, compute_processes=[]))
    b = bench(FakeDevice(rows))
    b.at(0.0)
    b.at(1.0)

    assert b.sensor.read().devices[0].run_mem_used_bytes == 0


def test_a_pid_beyond_what_the_system_knows_does_not_exist() -> None:
    assert not gpu_probe._exists(2**32 - 1)
    assert not gpu_probe._exists(2**80)
    assert not gpu_probe._exists(0)
    assert gpu_probe._exists(os.getpid())


def test_pids_that_cannot_be_had_cost_the_attribution_alone() -> None:
    b = bench(FakeDevice((busy(0.0),)))

    def fail() -> set[int]:
        raise RuntimeError

    b.sensor._session._pids = fail
    guard.drain()
    b.at(0.0)

    assert b.sensor.read().devices == (replace(BUSY, run_mem_used_bytes=None),)
    assert [where for where, _, _ in guard.drain()] == ["gpu processes"]


# ------------------------------------------------------------------------------------- the thread


def test_nvml_is_called_in_the_sensors_thread_alone() -> None:
    b = bench(FakeDevice((busy(0.0),)), interval=0.01)
    hang = b.nvml.hanging["nvmlDeviceGetUtilizationRates"] = Hang(after=1)
    b.sensor.start()
    b.sensor.start()
    thread = b.sensor._thread
    assert thread is not None
    assert thread.daemon
    assert hang.entered.wait(60)
    b.sensor.read()
    b.sensor.counters()
    hang.set()
    b.sensor.close()
    thread.join(60)

    assert b.nvml.threads == {"robot-sf-otel-gpu"}
    assert b.nvml.references == 0, "shut down"
    assert b.nvml.calls["nvmlInit"] == b.nvml.calls["nvmlShutdown"] == 1


def test_closing_a_sensor_that_was_never_started_is_nothing() -> None:
    b = bench()
    b.sensor.close()
    b.sensor.close()

    assert not b.nvml.calls
    assert "_session" not in vars(b.sensor), "what talks to NVML is not even imported"


def test_closing_keeps_the_last_reading() -> None:
    b = bench(FakeDevice((busy(0.0),)))
    b.at(0.0)
    b.sensor.close()
    b.clock.now = 1_000.0

    assert b.sensor.read().devices == (BUSY,)
    assert b.nvml.references == 0


def test_without_a_thread_nothing_is_read_and_nothing_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    b = bench()
    monkeypatch.setattr("threading.Thread.start", fail)
    b.sensor.start()
    b.clock.now = 1_000.0

    assert b.sensor.read() == GpuReading(notes=("gpu: the driver is being loaded",))
    assert [where for where, _, _ in guard.drain()] == ["gpu"]


def test_by_default_the_own_process_is_the_run() -> None:
    b = bench(FakeDevice((busy(0.0, compute_processes=[{"pid": os.getpid(), "used": 5}]),)))

    def load() -> ModuleType:
        return b.nvml

    sensor = GpuSensor(interval=1.0, load=load, environ={}, clock=b.clock)
    sensor.pass_once()

    assert sensor.read().devices[0].run_mem_used_bytes == 5
    assert sensor.cpu_seconds > 0.0


# -------------------------------------------------------------------------------- throttle reasons


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x0, ()),
        (0x1, ()),
        (0x4, ("sw_power_cap",)),
        (0x48, ("hw_slowdown", "hw_thermal_slowdown")),
        (0xA0, ("sw_thermal_slowdown", "hw_power_brake_slowdown")),
        (0x8000, ("other",)),
    ],
)
def test_throttle_bits_have_words(bits: int, words: tuple[str, ...]) -> None:
    assert throttle_words(bits) == words
