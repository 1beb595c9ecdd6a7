"""Every call of NVML fails in every way, or never returns: what is published then, and after."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import fields
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel import guard
from robot_sf_otel.system_metrics import nvml
from robot_sf_otel.system_metrics.gpu import DeviceReading, GpuCounters, GpuReading, GpuSensor
from tests.unit.system_metrics.recorded_nvml import (
    CODES,
    PYNVML,
    Bench,
    FakeDevice,
    FakeNvml,
    Hang,
    bench,
    busy,
)

if TYPE_CHECKING:
    import threading

QUERIES = {
    "nvmlDeviceGetUtilizationRates": "util_percent",
    "nvmlDeviceGetPowerUsage": "power_w",
    "nvmlDeviceGetMemoryInfo": "mem_used_bytes",
    "nvmlDeviceGetTemperature": "temperature_c",
    "nvmlDeviceGetClockInfo": "sm_clock_mhz",
    "nvmlDeviceGetCurrentClocksEventReasons": "throttle_reasons",
    "nvmlDeviceGetComputeRunningProcesses": "run_mem_used_bytes",
    "nvmlDeviceGetEnforcedPowerLimit": "power_limit_w",
    "nvmlDeviceGetTotalEnergyConsumption": "energy_joules",
}
SCAN = (
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetName",
    "nvmlDeviceGetMigMode",
    "nvmlSystemGetDriverVersion",
)
SESSION = {"UNINITIALIZED", "DRIVER_NOT_LOADED", "LIBRARY_NOT_FOUND", "LIB_RM_VERSION_MISMATCH"}
ABSENT = {"DRIVER_NOT_LOADED", "LIBRARY_NOT_FOUND"}
DEVICE = {"GPU_IS_LOST", "RESET_REQUIRED", "GPU_NOT_FOUND"}
UNSUPPORTED = {"NOT_SUPPORTED", "FUNCTION_NOT_FOUND"}

IDENTITY = DeviceReading(
    index=0, nvml_index=0, uuid="GPU-00000000-aaaa", name="NVIDIA H100 80GB HBM3"
)


def busy_bench(*more: FakeDevice) -> Bench:
    rows = [busy(float(t), energy_mj=400_000 * t) for t in range(300)]
    return bench(FakeDevice(rows), *more)


def values(device: DeviceReading) -> dict[str, object]:
    """Return what was read, without what counts up."""
    identity = {"index", "nvml_index", "uuid", "name", "energy_joules"}
    return {f.name: getattr(device, f.name) for f in fields(device) if f.name not in identity}


@pytest.fixture(autouse=True)
def no_fault() -> None:
    guard.drain()


@pytest.mark.parametrize("error", CODES)
@pytest.mark.parametrize("call", QUERIES)
def test_a_query_fails_alone_and_recovers(call: str, error: str) -> None:
    b = busy_bench()
    b.at(0.0)
    b.at(1.0)
    healthy = values(b.sensor.read().devices[0])
    assert None not in healthy.values()
    b.nvml.faults[call] = CODES[error]
    b.at(31.0)

    reading = b.sensor.read()
    word = nvml.word(PYNVML.NVMLError(CODES[error]))
    if error in SESSION:
        assert values(reading.devices[0]) == values(IDENTITY)
        assert reading.notes == (f"gpu: NVML: {word}",)
        assert b.nvml.references == 0
    elif error in DEVICE:
        assert values(reading.devices[0]) == values(IDENTITY)
        assert reading.notes == (f"gpu 0: {word}",)
    elif error in UNSUPPORTED and QUERIES[call] == "throttle_reasons":
        assert values(reading.devices[0]) == healthy, "asked by its former name"
    else:
        hit = {QUERIES[call], "mem_total_bytes"} if "Memory" in call else {QUERIES[call]}
        kept = {name: value for name, value in healthy.items() if name not in hit}
        seen = values(reading.devices[0])
        assert {name: seen[name] for name in kept} == kept
        assert all(seen.get(name) in {None, ()} for name in hit)
        assert [note.rsplit(": ", 1)[1] for note in reading.notes] == [word]
    assert reading.devices[0].energy_joules, "what was counted is not forgotten"

    del b.nvml.faults[call]
    asked = b.nvml.calls[call]
    b.at(62.0)
    reading = b.sensor.read()
    if error in UNSUPPORTED and QUERIES[call] != "throttle_reasons":
        assert b.nvml.calls[call] == asked, "never asked again"
        assert len(reading.notes) == 1
    else:
        assert values(reading.devices[0]) == healthy
        assert reading.notes == ()
    assert guard.drain() == []


@pytest.mark.parametrize("error", CODES)
@pytest.mark.parametrize("call", ["nvmlInit", *SCAN])
def test_a_start_that_fails_is_tried_again(call: str, error: str) -> None:
    b = busy_bench()
    b.nvml.faults[call] = CODES[error]
    b.at(0.0)
    b.at(1.0)

    reading = b.sensor.read()
    if error in ABSENT:
        assert reading == GpuReading(notes=("gpu: no NVIDIA driver",))
    elif error in SESSION or call in {"nvmlInit", "nvmlDeviceGetCount"}:
        assert reading.devices == ()
        assert reading.notes == (f"gpu: NVML: {nvml.word(PYNVML.NVMLError(CODES[error]))}",)
    assert b.nvml.calls[call] == 1, "not at every pass"

    del b.nvml.faults[call]
    b.at(31.0)
    reading = b.sensor.read()
    if error in ABSENT:
        assert reading == GpuReading(notes=("gpu: no NVIDIA driver",)), "none will appear"
        assert b.nvml.references == 0
    else:
        assert reading.devices[0].util_percent == 80.0
        assert not any("NVML" in note for note in reading.notes) or error == "NO_PERMISSION"
    assert guard.drain() == []


@pytest.mark.parametrize("error", CODES)
def test_a_shutdown_that_fails_is_nothing(error: str) -> None:
    b = busy_bench()
    b.at(0.0)
    b.nvml.faults["nvmlShutdown"] = CODES[error]
    b.sensor.close()

    assert b.nvml.calls["nvmlShutdown"] == 1
    assert guard.drain() == []


def test_an_error_that_this_pynvml_does_not_know_is_named_by_its_number() -> None:
    b = busy_bench()
    b.at(0.0)
    b.nvml.faults["nvmlDeviceGetTemperature"] = 4711
    b.at(1.0)

    assert b.sensor.read().notes == ("gpu 0: temperature: error 4711",)


@pytest.mark.parametrize("raised", [OSError, TypeError, ValueError, AttributeError, KeyError])
def test_what_is_not_nvmls_error_fails_alone_too(
    raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    b = busy_bench()

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(b.nvml, "nvmlDeviceGetPowerUsage", fail, raising=False)
    b.at(0.0)

    (device,) = b.sensor.read().devices
    assert (device.power_w, device.util_percent) == (None, 80.0)
    assert b.sensor.read().notes == (f"gpu 0: power: {raised.__name__}",)


def test_an_error_that_nobody_thought_of_is_caught_at_the_edge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    b = busy_bench()
    b.at(0.0)

    def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(b.nvml, "nvmlDeviceGetPowerUsage", fail, raising=False)
        b.at(1.0)
    assert b.sensor.read() == GpuReading(notes=("gpu: the sensor failed",))
    assert [where for where, _, _ in guard.drain()] == ["gpu"]

    b.at(2.0)
    assert b.sensor.read().devices[0].power_w == 400.0


# ------------------------------------------------------------------------------------ no NVML


@pytest.mark.parametrize(
    ("raised", "note"),
    [
        (ImportError, "gpu: NVML is not installed (pip install 'robot-sf-otel[gpu]')"),
        (OSError, "gpu: no NVIDIA driver"),
        (None, "gpu: no NVIDIA driver"),
    ],
    ids=["no pynvml", "no library", "no driver"],
)
def test_without_nvml_the_thread_ends_with_a_note(
    raised: type[Exception] | None, note: str
) -> None:
    b = bench()
    b.nvml.faults["nvmlInit"] = CODES["DRIVER_NOT_LOADED"]

    def load() -> ModuleType:
        if raised is not None:
            raise raised
        return b.nvml

    sensor = GpuSensor(interval=1.0, load=load, environ={}, clock=b.clock)
    sensor.start()
    thread = sensor._thread
    assert thread is not None
    thread.join(60)
    b.clock.now = 10_000.0

    assert not thread.is_alive()
    assert sensor.read() == GpuReading(notes=(note,))
    assert sensor.counters() == GpuCounters(None, None, None)
    sensor.close()


def test_a_pynvml_that_cannot_be_loaded_is_tried_rarely() -> None:
    b = bench()
    tried: list[float] = []

    def load() -> ModuleType:
        tried.append(b.clock.now)
        raise RuntimeError

    b.sensor._session._load = load
    for now in (0.0, 1.0, 29.0, 30.0, 31.0):
        b.at(now)

    assert tried == [0.0, 30.0]
    assert b.sensor.read() == GpuReading(notes=("gpu: NVML cannot be started",))
    assert [where for where, _, _ in guard.drain()] == ["gpu"]


def test_pynvml_is_not_imported_where_there_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", fail)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(OSError, match=r"libnvidia-ml\.so\.1"):
        nvml.load()

    monkeypatch.setattr(ctypes, "CDLL", str)
    with pytest.raises(ImportError):
        nvml.load()
    monkeypatch.undo()
    monkeypatch.setattr(ctypes, "CDLL", str)
    assert nvml.load() is PYNVML


def test_every_call_that_is_made_exists_in_pynvml() -> None:
    calls = [name[1:] for name in vars(FakeNvml) if name.startswith("_nvml")]

    assert len(calls) > 15
    assert all(callable(getattr(PYNVML, name)) for name in calls)


def test_a_new_start_asks_again_what_was_not_supported() -> None:
    b = busy_bench()
    b.nvml.faults["nvmlDeviceGetTemperature"] = CODES["FUNCTION_NOT_FOUND"]
    b.at(0.0)
    assert b.sensor.read().notes == ("gpu 0: temperature: FunctionNotFound",)

    b.nvml.faults = {"nvmlDeviceGetPowerUsage": CODES["LIB_RM_VERSION_MISMATCH"]}
    b.at(1.0)
    b.nvml.faults.clear()
    b.at(31.0)
    assert b.sensor.read().devices[0].temperature_c == 61.0
    assert b.sensor.read().notes == ()


def test_a_driver_that_goes_while_the_run_lasts_is_awaited() -> None:
    b = busy_bench()
    b.at(0.0)
    b.nvml.faults["nvmlDeviceGetPowerUsage"] = CODES["UNINITIALIZED"]
    b.nvml.faults["nvmlInit"] = CODES["DRIVER_NOT_LOADED"]
    for now in (1.0, 31.0, 61.0):
        b.at(now)
        assert values(b.sensor.read().devices[0]) == values(IDENTITY)
    assert b.sensor.read().notes == ("gpu: NVML: DriverNotLoaded",)

    b.nvml.faults.clear()
    b.at(91.0)
    b.at(92.0)
    (device,) = b.sensor.read().devices
    assert device.util_percent == 80.0
    assert device.energy_joules == pytest.approx(400 * 92), "the device counted on"
    assert b.sensor.counters().busy_seconds == pytest.approx(0.8), "unknown time is not busy"


# ---------------------------------------------------------------------------- devices come and go


def two() -> Bench:
    return busy_bench(FakeDevice((busy(0.0),), uuid="GPU-11111111-bbbb"))


def test_a_lost_device_leaves_the_others_and_is_used_again_when_it_is_back() -> None:
    b = two()
    b.at(0.0)
    lost = ("nvmlDeviceGetUtilizationRates", "GPU-00000000-aaaa")
    b.nvml.faults[lost] = CODES["GPU_IS_LOST"]
    b.at(101.0)
    b.at(102.0)

    reading = b.sensor.read()
    assert [device.util_percent for device in reading.devices] == [None, 80.0]
    assert reading.notes == ("gpu 0: GpuIsLost",)
    assert b.nvml.calls["nvmlInit"] == 1

    del b.nvml.faults[lost]
    b.at(131.0)
    reading = b.sensor.read()
    assert [device.util_percent for device in reading.devices] == [80.0, 80.0]
    assert reading.notes == ()


def test_a_device_that_left_the_machine_keeps_its_place_among_the_others() -> None:
    b = two()
    b.at(0.0)
    gone = b.nvml.devices.pop(0)
    b.nvml.faults["nvmlDeviceGetUtilizationRates", gone.uuid] = CODES["GPU_IS_LOST"]
    b.at(1.0)
    b.at(31.0)

    reading = b.sensor.read()
    assert [(d.index, d.nvml_index, d.util_percent) for d in reading.devices] == [
        (0, 0, None),
        (1, 0, 80.0),
    ]
    assert reading.notes == ("gpu 0: NotFound",)

    b.nvml.faults.clear()
    b.nvml.devices.append(gone)  # in another place
    b.at(61.0)
    reading = b.sensor.read()
    assert [(d.nvml_index, d.util_percent) for d in reading.devices] == [(1, 80.0), (0, 80.0)]


def test_a_device_that_cannot_be_opened_any_more_is_named_by_its_place() -> None:
    b = two()
    b.at(0.0)
    b.nvml.faults["nvmlDeviceGetHandleByIndex", "GPU-11111111-bbbb"] = CODES["IRQ_ISSUE"]
    b.nvml.faults["nvmlDeviceGetUtilizationRates", "GPU-11111111-bbbb"] = CODES["GPU_IS_LOST"]
    b.at(1.0)
    b.at(31.0)

    reading = b.sensor.read()
    assert reading.devices[1].name == "NVIDIA H100 80GB HBM3"
    assert reading.notes == ("gpu 1: IrqIssue",)
    b.nvml.faults.clear()
    b.at(62.0)
    assert b.sensor.read().notes == ()


def test_a_device_that_cannot_be_opened_at_first_is_taken_when_it_can() -> None:
    b = two()
    b.nvml.faults["nvmlDeviceGetHandleByIndex", "GPU-00000000-aaaa"] = CODES["UNKNOWN"]
    b.at(0.0)
    reading = b.sensor.read()
    assert [device.uuid for device in reading.devices] == [None, "GPU-11111111-bbbb"]
    assert reading.notes == ("gpu 0: Unknown",)

    b.nvml.faults.clear()
    b.at(31.0)
    assert [device.util_percent for device in b.sensor.read().devices] == [80.0, 80.0]
    assert b.sensor.read().devices[0].uuid == "GPU-00000000-aaaa"


def test_an_instance_that_was_destroyed_is_missing_until_it_is_made_again() -> None:
    instance = FakeDevice((busy(0.0),), uuid="MIG-11aa", gpu_instance=1)
    gpu = FakeDevice((busy(0.0),), instances={0: instance})
    b = bench(gpu)
    b.at(0.0)
    gpu.instances = {}
    b.nvml.faults["nvmlDeviceGetMemoryInfo", "MIG-11aa"] = CODES["GPU_IS_LOST"]
    b.at(1.0)
    b.at(31.0)
    assert b.sensor.read().notes[0] == "gpu 0: NotFound"
    assert b.sensor.read().mem_used_bytes is None

    gpu.instances = {2: instance}
    b.nvml.faults.clear()
    b.at(61.0)
    assert b.sensor.read().mem_used_bytes == 3_000


def test_devices_that_appear_later_are_found() -> None:
    b = bench()
    devices, b.nvml.devices = b.nvml.devices, []
    b.at(0.0)
    assert b.sensor.read() == GpuReading(notes=("gpu: NVML lists no device",))

    b.nvml.devices = devices
    b.at(31.0)
    assert len(b.sensor.read().devices) == 1


def test_devices_chosen_anew_while_nvml_fails_are_chosen_when_it_is_back() -> None:
    b = two()
    b.at(0.0)
    b.nvml.faults["nvmlInit"] = CODES["UNKNOWN"]
    b.environ["CUDA_VISIBLE_DEVICES"] = "1"
    b.at(1.0)
    b.nvml.faults.clear()
    b.at(31.0)

    assert [device.nvml_index for device in b.sensor.read().devices] == [1]


# ---------------------------------------------------------------------------- calls that hang


@pytest.fixture
def hung() -> Callable[[Bench, str, int], Hang]:
    """Start the sensor and wait until that call hangs."""

    def start(b: Bench, call: str, after: int) -> Hang:
        hang = b.nvml.hanging[call] = Hang(after)
        b.sensor.start()
        assert hang.entered.wait(60)
        return hang

    return start


def end(b: Bench, hang: Hang, thread: threading.Thread | None) -> None:
    hang.set()
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()
    assert b.nvml.references == 0


SILENT = ("gpu: NVML has not answered for more than 3 s",)


def test_a_query_that_hangs_holds_up_nobody(hung: Callable[[Bench, str, int], Hang]) -> None:
    b = bench(FakeDevice((busy(0.0),)), interval=0.01)
    hang = hung(b, "nvmlDeviceGetMemoryInfo", 1)
    thread = b.sensor._thread

    assert b.sensor.read().devices[0].util_percent == 80.0
    b.clock.now = 3.5
    assert b.sensor.read() == GpuReading(devices=(IDENTITY,), notes=SILENT)
    assert b.sensor.counters().mem_used_bytes is None
    known = b.sensor.counters().busy_seconds
    b.clock.now = 500.0
    assert b.sensor.counters().busy_seconds == known
    b.sensor.close()
    assert b.sensor.read().notes == SILENT
    assert thread is not None
    assert thread.is_alive(), "it was left behind"
    end(b, hang, thread)

    assert b.sensor.read().devices[0].util_percent == 80.0, "it answered after all"
    assert b.sensor.read().notes == ()


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetUUID"])
def test_a_start_that_hangs_holds_up_nobody(
    hung: Callable[[Bench, str, int], Hang], call: str
) -> None:
    b = bench(interval=5.0)
    hang = hung(b, call, 0)
    thread = b.sensor._thread

    assert b.sensor.read() == GpuReading(notes=("gpu: the driver is being loaded",))
    b.clock.now = 16.0
    assert b.sensor.read().notes == ("gpu: NVML has not answered for more than 15 s",)
    assert b.sensor.counters() == GpuCounters(None, None, None)
    b.sensor.close()
    end(b, hang, thread)
