"""What is asked of NVML, how often, and what its errors mean for the next question.

Costs were measured on an H100 (median of a call): utilization 50 µs, memory 24 µs, power 10 µs,
temperature 12 µs, clock and throttle reasons 7 µs each, processes 0.2 ms, MIG mode 0.2 ms, total
energy 4 ms. PCIe throughput takes 20 ms and utilization by process 2 ms: they are not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from types import ModuleType
from typing import Any, Final, NamedTuple, TypeVar

from robot_sf_otel.system_metrics.gpu_devices import Gpu, Instance

NOT_INSTALLED: Final = "gpu: NVML is not installed (pip install 'robot-sf-otel[gpu]')"
NO_DRIVER: Final = "gpu: no NVIDIA driver"

_Value = TypeVar("_Value")


def load() -> ModuleType:
    """Return the module `pynvml` of the distribution nvidia-ml-py.

    Raises:
        OSError: There is no NVIDIA driver, so pynvml is not needed: its import takes 40 ms.
        ImportError: It is not installed.
    """
    import ctypes

    ctypes.CDLL("libnvidia-ml.so.1")  # where pynvml looks as well
    import pynvml

    module: ModuleType = pynvml
    return module


# ------------------------------------------------------------------------------------------ errors


class Failure(Enum):
    """What follows from an error of NVML."""

    ABSENT = auto()
    """There is no driver; once there was one, NVML as a whole has to be started again."""
    SESSION = auto()
    """NVML as a whole has to be started again."""
    DEVICE = auto()
    """The device is gone, the others answer."""
    UNSUPPORTED = auto()
    """This device will never answer this question."""
    PASSING = auto()
    """The next time the answer may be another one."""


_MEANING: Final = {
    1: Failure.SESSION,  # UNINITIALIZED
    3: Failure.UNSUPPORTED,  # NOT_SUPPORTED
    9: Failure.ABSENT,  # DRIVER_NOT_LOADED
    12: Failure.ABSENT,  # LIBRARY_NOT_FOUND
    13: Failure.UNSUPPORTED,  # FUNCTION_NOT_FOUND: the library is older than pynvml
    15: Failure.DEVICE,  # GPU_IS_LOST
    16: Failure.DEVICE,  # RESET_REQUIRED
    18: Failure.SESSION,  # LIB_RM_VERSION_MISMATCH: the driver was replaced below the library
    28: Failure.DEVICE,  # GPU_NOT_FOUND
}
"""Values of `nvmlReturn_t`, see nvml.h; all others are passing."""
_NO_PERMISSION: Final = 4


def errors(nvml: ModuleType) -> tuple[type[Exception], ...]:
    """Return what a call may raise: NVML's errors, and those of a pynvml of another version."""
    return (nvml.NVMLError, AttributeError, LookupError, OSError, TypeError, ValueError)


def meaning(error: BaseException) -> Failure:
    """Return what follows from an error; what is not NVML's is passing."""
    return _MEANING.get(_code(error), Failure.PASSING)


def word(error: BaseException) -> str:
    """Return a short name of an error for notes, e.g. `NotSupported`; asks the library nothing."""
    name = type(error).__name__
    if name == "NVMLError":  # a code that this pynvml does not know
        return f"error {_code(error)}"
    return name.removeprefix("NVMLError_")


def _code(error: BaseException) -> int:
    value = getattr(error, "value", None)
    return value if isinstance(value, int) else 0


# -------------------------------------------------------------------------------- which GPUs exist


class Machine(NamedTuple):
    """What NVML lists, asked once: the GPUs that may be opened, and the driver's major version."""

    gpus: tuple[Gpu, ...]
    driver: int | None


def scan(nvml: ModuleType) -> Machine:
    """List the GPUs with their MIG instances; a GPU that cannot be opened is listed without handle.

    A GPU that a container may not open is left out: CUDA does not count it either.

    Raises:
        NVMLError: NVML does not tell how many there are, or has to be started again.
    """
    gpus: list[Gpu] = []
    for index in range(int(nvml.nvmlDeviceGetCount())):
        try:
            gpus.append(_gpu(nvml, index, nvml.nvmlDeviceGetHandleByIndex(index)))
        except errors(nvml) as error:
            if meaning(error) in {Failure.SESSION, Failure.ABSENT}:
                raise
            if _code(error) != _NO_PERMISSION:
                gpus.append(Gpu(nvml_index=index, fault=word(error)))
    version = str(_unless_error(nvml, nvml.nvmlSystemGetDriverVersion) or "").partition(".")[0]
    return Machine(tuple(gpus), int(version) if version.isdecimal() else None)


def _gpu(nvml: ModuleType, index: int, handle: object) -> Gpu:
    mode = _unless_error(nvml, nvml.nvmlDeviceGetMigMode, handle)  # not supported: no such mode
    mig = bool(mode and mode[0])
    return Gpu(
        nvml_index=index,
        uuid=_unless_error(nvml, nvml.nvmlDeviceGetUUID, handle),
        name=_unless_error(nvml, nvml.nvmlDeviceGetName, handle),
        mig=mig,
        instances=_instances(nvml, handle) if mig else (),
        handle=handle,
    )


def _instances(nvml: ModuleType, gpu: object) -> tuple[Instance, ...]:
    found: list[Instance] = []
    places = _unless_error(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, gpu) or 0
    for place in range(places):
        handle = _unless_error(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, place)
        if handle is None:  # nothing was made in this place
            continue
        found.append(
            Instance(
                uuid=_unless_error(nvml, nvml.nvmlDeviceGetUUID, handle),
                name=_unless_error(nvml, nvml.nvmlDeviceGetName, handle),
                gpu_instance=_unless_error(nvml, nvml.nvmlDeviceGetGpuInstanceId, handle),
                compute_instance=_unless_error(nvml, nvml.nvmlDeviceGetComputeInstanceId, handle),
                handle=handle,
            )
        )
    return tuple(found)


def _unless_error(
    nvml: ModuleType, ask: Callable[..., _Value], *arguments: object
) -> _Value | None:
    """Return the answer, None where there is none; raises only what ends the session."""
    try:
        return ask(*arguments)
    except errors(nvml) as error:
        if meaning(error) in {Failure.SESSION, Failure.ABSENT, Failure.DEVICE}:
            raise
        return None


# --------------------------------------------------------------------------- what a device is asked


class Cadence(Enum):
    """How often a question is asked."""

    PASS = auto()
    INTERVAL = auto()
    RARELY = auto()


class Asked(Enum):
    """Whom a question goes to where the device is a MIG instance; a whole GPU answers all."""

    DEVICE = auto()
    GPU = auto()
    """The GPU around the instance: the answer holds for every instance of it."""
    NOBODY = auto()
    """Only whole GPUs tell, and their answer would count the other instances' share."""


@dataclass(slots=True, kw_only=True)
class Answers:
    """The last answer to each question, None where there is none."""

    utilization: float | None = None
    """Percent of the last sample period (1/6 to 1 s) in which a kernel ran."""
    power: float | None = None
    """Watts; from Hopper on the mean of the last second."""
    memory: tuple[int, int] | None = None
    """(used without the driver's reserve, total) in bytes."""
    temperature: float | None = None
    sm_clock: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    processes: tuple[tuple[int, int | None], ...] | None = None
    """(pid, bytes) of each compute process; None for bytes that the driver does not tell."""
    power_limit: float | None = None
    energy: float | None = None
    """Joules since the driver was loaded."""


class Query(NamedTuple):
    """A question: the field of `Answers` it fills, the call, how often, and whom under MIG."""

    field: str
    ask: Callable[[ModuleType, Any], object]
    cadence: Cadence
    under_mig: Asked = Asked.DEVICE

    @property
    def label(self) -> str:
        """Its name in notes."""
        return self.field.replace("_", " ")


def _utilization(nvml: ModuleType, handle: object) -> float:
    return min(100.0, float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu))


def _power(nvml: ModuleType, handle: object) -> float:
    return int(nvml.nvmlDeviceGetPowerUsage(handle)) / 1e3


def _memory(nvml: ModuleType, handle: object) -> tuple[int, int]:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    return int(memory.used), int(memory.total)


def _temperature(nvml: ModuleType, handle: object) -> float:
    return float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))


def _sm_clock(nvml: ModuleType, handle: object) -> float:
    return float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))


def _throttle_reasons(nvml: ModuleType, handle: object) -> tuple[str, ...]:
    try:
        bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
    except nvml.NVMLError as error:
        if meaning(error) is not Failure.UNSUPPORTED:
            raise
        bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)  # its name before R535
    return throttle_words(int(bits))


def _processes(nvml: ModuleType, handle: object) -> tuple[tuple[int, int | None], ...]:
    return tuple(
        (int(process.pid), None if process.usedGpuMemory is None else int(process.usedGpuMemory))
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    )


def _power_limit(nvml: ModuleType, handle: object) -> float:
    return int(nvml.nvmlDeviceGetEnforcedPowerLimit(handle)) / 1e3


def _energy(nvml: ModuleType, handle: object) -> float:
    return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3


QUERIES: Final = (
    Query("utilization", _utilization, Cadence.PASS, Asked.NOBODY),
    Query("power", _power, Cadence.PASS, Asked.NOBODY),
    Query("memory", _memory, Cadence.PASS),
    Query("temperature", _temperature, Cadence.INTERVAL, Asked.GPU),
    Query("sm_clock", _sm_clock, Cadence.INTERVAL, Asked.GPU),
    Query("throttle_reasons", _throttle_reasons, Cadence.INTERVAL, Asked.GPU),
    Query("processes", _processes, Cadence.INTERVAL),
    Query("power_limit", _power_limit, Cadence.RARELY, Asked.NOBODY),
    Query("energy", _energy, Cadence.RARELY, Asked.NOBODY),
)
"""Every question but those of `scan`, which are asked once."""

_THROTTLE_BITS: Final = (
    (0x002, "applications_clocks_setting"),
    (0x004, "sw_power_cap"),
    (0x008, "hw_slowdown"),
    (0x010, "sync_boost"),
    (0x020, "sw_thermal_slowdown"),
    (0x040, "hw_thermal_slowdown"),
    (0x080, "hw_power_brake_slowdown"),
    (0x100, "display_clock_setting"),
    (0x200, "board_limit"),
    (0x400, "reliability"),
)
_GPU_IDLE: Final = 0x001


def throttle_words(bits: int) -> tuple[str, ...]:
    """Return the words of `nvmlClocksEventReason…` bits; an idle GPU has no reason to run fast."""
    known = _GPU_IDLE
    words: list[str] = []
    for bit, name in _THROTTLE_BITS:
        known |= bit
        if bits & bit:
            words.append(name)
    if bits & ~known:
        words.append("other")
    return tuple(words)
