"""Checks of the machine: CPUs, memory limit, what reads the sensors, GPUs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from robot_sf_otel.cli.check import Check
from robot_sf_otel.manifest.formats import mebibytes, number
from robot_sf_otel.system_metrics import nvml

_NVIDIA_KERNEL_DRIVER: Final = Path("/proc/driver/nvidia/version")


def limits() -> Iterator[Check]:
    """Say how much CPU and memory a run may use."""
    from robot_sf_otel.system_metrics.cgroup import CgroupSensor
    from robot_sf_otel.system_metrics.host import usable_cpus

    of_container = CgroupSensor().read()
    cpus = usable_cpus()
    detail = f"{number(cpus)} of {os.cpu_count() or '--'} usable"
    if of_container.cpu_limit is not None:
        detail += f", container limit {number(of_container.cpu_limit)}"
    yield Check("CPUs", "ok", detail)
    if of_container.memory_limit_bytes is not None:
        limit = mebibytes(of_container.memory_limit_bytes / 2**20)
        yield Check("memory limit", "ok", f"{limit} by cgroup")
    else:
        reason = f" ({'; '.join(of_container.notes)})" if of_container.notes else ""
        yield Check("memory limit", "info", f"none by cgroup{reason}: the host's memory counts")


def sensors() -> Iterator[Check]:
    """Say what the readings of the machine come from."""
    try:
        import psutil
    except ImportError as error:
        yield _without_psutil(error)
    else:
        yield Check("psutil", "ok", psutil.__version__)
    if sys.platform == "linux" and not Path("/proc/pressure/cpu").exists():
        detail = "the kernel does not offer it: pressure of CPU, disk and memory is unavailable"
        remedy = "on a machine of your own: boot it with psi=1"
        yield Check("pressure (PSI)", "info", detail, remedy)


def _without_psutil(error: ImportError) -> Check:
    absent = isinstance(error, ModuleNotFoundError)
    what = "not installed" if absent else f"cannot be imported ({error})"
    if sys.platform == "linux":
        detail = f"{what}: nothing is lost here, all readings come from /proc"
        return Check("psutil", "info", detail, "pip install psutil")
    detail = f"{what}: only CPU time and peak memory of the own process are read"
    return Check("psutil", "warning", detail, "pip install psutil")


def gpu(environ: Mapping[str, str]) -> Iterator[Check]:
    """Say whether GPUs can be read, and what is missing: the driver first.

    Args:
        environ: The environment.
    """
    try:
        pynvml: Any = nvml.load()
    except OSError:
        yield _without_driver(kernel_part=_NVIDIA_KERNEL_DRIVER.exists())
        return
    except ImportError:
        remedy = "for NVIDIA GPUs: pip install 'robot-sf-otel[gpu]'"
        detail = "there is a driver, but nvidia-ml-py is not installed"
        yield Check("GPU (NVML)", "warning", detail, remedy)
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        detail = f"unavailable: {error}; everything else is recorded"
        remedy = "if this machine has an NVIDIA GPU: see what `nvidia-smi` says"
        yield Check("GPU (NVML)", "info", detail, remedy)
        return
    try:
        count = int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    limited = f", CUDA_VISIBLE_DEVICES={visible}" if visible is not None else ""
    yield Check("GPU (NVML)", "ok", f"{count} devices{limited}")


def _without_driver(*, kernel_part: bool) -> Check:
    if kernel_part:
        detail = "the driver is loaded, but its library libnvidia-ml.so.1 is not found"
        remedy = "in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        return Check("GPU (NVML)", "warning", detail, remedy)
    detail = "no NVIDIA driver: readings of GPUs are unavailable, everything else is recorded"
    remedy = "if this machine has an NVIDIA GPU: install its driver; in a container: --gpus all"
    return Check("GPU (NVML)", "info", detail, remedy)
