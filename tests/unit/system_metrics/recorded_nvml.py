"""A stand-in for pynvml that replays what a real GPU answered, and fails as NVML fails.

The recording is not part of the repository: `recording()` finds it, or skips the test. `ROWS` are a
few lines in the same shape.
"""

# ruff: noqa: N802, N815 - the names are those of NVML

from __future__ import annotations

import importlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final, TypeAlias

import pytest

from robot_sf_otel.system_metrics.gpu import GpuSensor

PYNVML: Final = importlib.import_module("pynvml")
"""As a plain module: it has no types."""
CODES: Final[Mapping[str, int]] = {
    name.removeprefix("NVML_ERROR_"): getattr(PYNVML, name)
    for name in dir(PYNVML)
    if name.startswith("NVML_ERROR_")
}
RECORDING: Final = "ROBOT_SF_OTEL_NVML_RECORDING"
_PLACE: Final = os.environ.get(RECORDING)  # tests see a clean environment
_ROOT: Final = Path(__file__).parents[3]

Row: TypeAlias = Mapping[str, Any]


def row(t: float, **changes: object) -> Row:
    """Return a line of a recording: an idle GPU but for the changes."""
    return {
        "t": t,
        "phase": "idle",
        "utilization": {"gpu": 0, "memory": 0},
        "memory_v2": {"total": 80_000, "used": 0, "free": 79_500, "reserved": 500},
        "power_mw": 70_000,
        "power_limit_mw": 700_000,
        "energy_mj": int(1_000_000 + 70_000 * t),
        "temperature_c": 37,
        "sm_clock_mhz": 345,
        "throttle_reasons": 1,
        "compute_processes": [],
        **changes,
    }


def busy(t: float, **changes: object) -> Row:
    """Return a line of a GPU at work."""
    return row(
        t,
        **{
            "phase": "busy",
            "utilization": {"gpu": 80, "memory": 20},
            "memory_v2": {"total": 80_000, "used": 3_000, "free": 76_500, "reserved": 500},
            "power_mw": 400_000,
            "temperature_c": 61,
            "sm_clock_mhz": 1980,
            "throttle_reasons": 4,
            "compute_processes": [{"pid": 402, "used": 2_900}],
            **changes,
        },
    )


ROWS: Final = (row(0.0), row(1.0), busy(2.0), busy(3.0), row(4.0))


def recording() -> list[Row]:
    """Return the lines of the real recording; skips the test where there is none."""
    path = Path(_PLACE) if _PLACE else _ROOT.parent / "shared" / "data" / "nvml_h100.jsonl"
    if not path.is_file():
        pytest.skip(f"no recording of a GPU: {RECORDING} names none")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass(eq=False)
class FakeDevice:
    """A GPU, or with `gpu_instance` a MIG instance; its handle is itself."""

    rows: Sequence[Row] = ROWS
    uuid: str = "GPU-00000000-aaaa"
    name: str = "NVIDIA H100 80GB HBM3"
    instances: dict[int, FakeDevice] = field(default_factory=dict[int, "FakeDevice"])
    """MIG devices by place; the other places are free."""
    gpu_instance: int | None = None
    compute_instance: int = 0
    mig: bool = False

    def row(self, now: float) -> Row:
        """Return what was recorded last at that time."""
        return next((row for row in reversed(self.rows) if row["t"] <= now), self.rows[0])


class Hang(threading.Event):
    """A call that waits for it has hung; `entered` says that one does.

    Args:
        after: So many calls return at once.
    """

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self.entered = threading.Event()
        self._spared = after

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, except for the first calls."""
        self._spared -= 1
        if self._spared >= 0:
            return True
        self.entered.set()
        return super().wait(timeout)


@dataclass
class Clock:
    """Seconds that pass when told to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class FakeNvml(ModuleType):
    """As much of pynvml as the sensor calls, and any call may fail or hang.

    Attributes:
        devices: What NVML lists; may change.
        faults: Error code by name of the call, or by (name, UUID of the device).
        hanging: A call of that name waits for the event.
        calls: How often each was called.
    """

    NVMLError = PYNVML.NVMLError
    nvmlMemory_v2 = PYNVML.nvmlMemory_v2
    NVML_TEMPERATURE_GPU = PYNVML.NVML_TEMPERATURE_GPU
    NVML_CLOCK_SM = PYNVML.NVML_CLOCK_SM

    def __init__(self, clock: Callable[[], float], *devices: FakeDevice) -> None:
        super().__init__("fake_nvml")
        self.clock = clock
        self.devices = list(devices)
        self.driver = "580.159.04"
        self.faults: dict[str | tuple[str, str], int] = {}
        self.hanging: dict[str, threading.Event] = {}
        self.calls: Counter[str] = Counter()
        self.references = 0
        self.threads: set[str] = set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a call of NVML; an attribute that nobody defined is an error as in a module."""
        answer = getattr(type(self), f"_{name}", None)
        if answer is None or not name.startswith("nvml"):
            raise AttributeError(name)

        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            self._begin(name, arguments)
            return answer(self, *arguments, **options)

        return call

    def _begin(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.calls[name] += 1
        self.threads.add(threading.current_thread().name)
        if name in self.hanging:
            self.hanging[name].wait()
        device = arguments[0] if arguments and isinstance(arguments[0], FakeDevice) else None
        code = self.faults.get(name)
        if code is None and device is not None:
            code = self.faults.get((name, device.uuid))
        if code is not None:
            raise PYNVML.NVMLError(code)
        if name != "nvmlInit" and not self.references:
            raise PYNVML.NVMLError(PYNVML.NVML_ERROR_UNINITIALIZED)

    def _nvmlInit(self) -> None:
        self.references += 1

    def _nvmlShutdown(self) -> None:
        self.references -= 1

    def _nvmlSystemGetDriverVersion(self) -> str:
        return self.driver

    def _nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def _nvmlDeviceGetHandleByIndex(self, index: int) -> FakeDevice:
        device = self.devices[index]
        code = self.faults.get(("nvmlDeviceGetHandleByIndex", device.uuid))
        if code is not None:
            raise PYNVML.NVMLError(code)
        return device

    def _nvmlDeviceGetUUID(self, device: FakeDevice) -> str:
        return device.uuid

    def _nvmlDeviceGetName(self, device: FakeDevice) -> str:
        return device.name

    def _nvmlDeviceGetMigMode(self, device: FakeDevice) -> list[int]:
        mode = int(device.mig or bool(device.instances))
        return [mode, mode]

    def _nvmlDeviceGetMaxMigDeviceCount(self, device: FakeDevice) -> int:
        return 7

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, device: FakeDevice, place: int) -> FakeDevice:
        if place not in device.instances:
            raise PYNVML.NVMLError(PYNVML.NVML_ERROR_NOT_FOUND)
        return device.instances[place]

    def _nvmlDeviceGetGpuInstanceId(self, device: FakeDevice) -> int | None:
        return device.gpu_instance

    def _nvmlDeviceGetComputeInstanceId(self, device: FakeDevice) -> int:
        return device.compute_instance

    def _of_whole_gpu(self, device: FakeDevice) -> Row:
        if device.gpu_instance is not None:
            raise PYNVML.NVMLError(PYNVML.NVML_ERROR_NOT_SUPPORTED)
        return device.row(self.clock())

    def _nvmlDeviceGetUtilizationRates(self, device: FakeDevice) -> SimpleNamespace:
        return SimpleNamespace(**self._of_whole_gpu(device)["utilization"])

    def _nvmlDeviceGetPowerUsage(self, device: FakeDevice) -> int:
        return int(self._of_whole_gpu(device)["power_mw"])

    def _nvmlDeviceGetMemoryInfo(self, device: FakeDevice, *, version: int) -> SimpleNamespace:
        assert version == self.nvmlMemory_v2
        return SimpleNamespace(**device.row(self.clock())["memory_v2"])

    def _nvmlDeviceGetTemperature(self, device: FakeDevice, sensor: int) -> int:
        assert sensor == self.NVML_TEMPERATURE_GPU
        return int(self._of_whole_gpu(device)["temperature_c"])

    def _nvmlDeviceGetClockInfo(self, device: FakeDevice, kind: int) -> int:
        assert kind == self.NVML_CLOCK_SM
        return int(self._of_whole_gpu(device)["sm_clock_mhz"])

    def _nvmlDeviceGetCurrentClocksEventReasons(self, device: FakeDevice) -> int:
        return int(self._of_whole_gpu(device)["throttle_reasons"])

    _nvmlDeviceGetCurrentClocksThrottleReasons = _nvmlDeviceGetCurrentClocksEventReasons

    def _nvmlDeviceGetComputeRunningProcesses(self, device: FakeDevice) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(pid=process["pid"], usedGpuMemory=process["used"])
            for process in device.row(self.clock())["compute_processes"]
        ]

    def _nvmlDeviceGetEnforcedPowerLimit(self, device: FakeDevice) -> int:
        return int(self._of_whole_gpu(device)["power_limit_mw"])

    def _nvmlDeviceGetTotalEnergyConsumption(self, device: FakeDevice) -> int:
        return int(self._of_whole_gpu(device)["energy_mj"])


@dataclass
class Bench:
    """A sensor on a fake NVML, driven by hand."""

    nvml: FakeNvml
    sensor: GpuSensor
    clock: Clock
    environ: dict[str, str]
    pids: set[int]

    def at(self, now: float) -> float:
        """Let it become that late and make a pass; return the delay until the next."""
        self.clock.now = now
        return self.sensor.pass_once()


def bench(
    *devices: FakeDevice, interval: float = 1.0, environ: Mapping[str, str] | None = None
) -> Bench:
    """Return a sensor that reads the devices, one idle and then busy GPU by default."""
    clock = Clock()
    nvml = FakeNvml(clock, *(devices or (FakeDevice(),)))
    environment, pids = dict(environ or {}), {402}
    sensor = GpuSensor(
        interval=interval,
        pids=lambda: pids,
        load=lambda: nvml,
        environ=environment,
        clock=clock,
        cpu_clock=lambda: 0.0,
    )
    return Bench(nvml, sensor, clock, environment, pids)
