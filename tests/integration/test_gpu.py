"""The sensor on a real GPU."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator

import pytest

from robot_sf_otel import guard
from robot_sf_otel.system_metrics.gpu import GpuReading, GpuSensor

pytestmark = pytest.mark.integration


def _missing() -> str | None:
    """Return why there is no GPU to read, None if there is one."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return "pynvml is not installed"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return f"no GPU: {error}"
    try:
        return None if nvml.nvmlDeviceGetCount() else "no GPU: NVML lists none"
    finally:
        nvml.nvmlShutdown()


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    reason = _missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def sensor() -> Iterator[GpuSensor]:
    sensor = GpuSensor(interval=0.5)
    sensor.start()
    yield sensor
    sensor.close()


def wait(sensor: GpuSensor, until: Callable[[GpuReading], bool]) -> GpuReading:
    """Return the first reading of that kind."""
    limit = time.monotonic() + 60
    while not until(sensor.read()):
        assert time.monotonic() < limit, sensor.read()
        time.sleep(0.05)
    return sensor.read()


def test_a_real_gpu_tells_what_it_is_and_does(sensor: GpuSensor) -> None:
    reading = wait(sensor, lambda reading: bool(reading.devices))
    device = reading.devices[0]

    assert device.index == 0
    assert device.uuid
    assert device.name
    assert device.uuid.startswith(("GPU-", "MIG-"))
    if device.mem_total_bytes is not None:  # a GPU that shares the machine's memory has none
        assert device.mem_used_bytes is not None
        assert 0 <= device.mem_used_bytes <= device.mem_total_bytes
    if device.util_percent is not None:
        assert 0 <= device.util_percent <= 100
    if device.temperature_c is not None:
        assert 0 < device.temperature_c < 150
    assert guard.drain() == []


def test_energy_goes_up_and_the_thread_costs_little(sensor: GpuSensor) -> None:
    device = wait(sensor, lambda reading: bool(reading.devices)).devices[0]
    if device.power_w is None:
        pytest.skip("this GPU does not tell its power")
    first, started = sensor.counters().energy_joules, time.monotonic()
    later = wait(sensor, lambda _: time.monotonic() > started + 3)
    assert later.devices
    second, seconds = sensor.counters().energy_joules, time.monotonic() - started

    assert first is not None
    assert second is not None
    assert second - first > 1.0 * seconds, "no GPU runs on a watt"
    assert guard.drain() == []


def test_the_device_that_cuda_would_show_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = GpuSensor(interval=0.5, environ={})
    everything.pass_once()
    everything.close()
    last = everything.read().devices[-1]
    assert last.uuid is not None

    chosen = GpuSensor(interval=0.5, environ={"CUDA_VISIBLE_DEVICES": last.uuid})
    chosen.pass_once()
    chosen.close()
    (device,) = chosen.read().devices

    assert (device.index, device.uuid, device.nvml_index) == (0, last.uuid, last.nvml_index)
