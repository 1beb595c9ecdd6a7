"""Which GPUs CUDA shows to the run: `CUDA_VISIBLE_DEVICES` against what NVML lists. Pure.

Rules, from "CUDA Environment Variables" (CUDA C++ Programming Guide) and "CUDA Device Enumeration"
(NVIDIA MIG User Guide):

- An entry is an index, a `GPU-…` UUID or `MIG-…`, of which a beginning that only one device has is
  enough. The first entry decides which of the three kinds is understood; the first entry that
  names no device ends the list; a device named twice empties it.
- A GPU in MIG mode, visible without its instances being named, is seen as its instances, one
  compute instance for each GPU instance. Drivers before R570 show a process one instance in all,
  and then no whole GPU.
- An index counts among the GPUs that the process can open. CUDA counts from the fastest, NVML along
  the PCI bus; `CUDA_DEVICE_ORDER=PCI_BUS_ID` makes the two agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
ORDER_VARIABLE: Final = "CUDA_DEVICE_ORDER"
BUS_ORDER: Final = "PCI_BUS_ID"
SEVERAL_INSTANCES_SINCE: Final = 570
"""The driver branch from which a process sees more than one MIG instance."""

_INDEX: Final = re.compile(r"\s*\+?([0-9]{1,9})")
"""CUDA reads with strtoul: what follows the digits is ignored."""
_PREFIXES: Final = ("GPU-", "MIG-")

Entry: TypeAlias = int | str


class Instance(NamedTuple):
    """A MIG device: a compute instance within a GPU instance."""

    uuid: str | None = None
    name: str | None = None
    gpu_instance: int | None = None
    compute_instance: int | None = None
    handle: object = None


class Gpu(NamedTuple):
    """A physical GPU as NVML lists it; `handle` is NVML's, None where it could not be opened."""

    nvml_index: int
    uuid: str | None = None
    name: str | None = None
    mig: bool = False
    instances: tuple[Instance, ...] = ()
    handle: object = None
    fault: str | None = None
    """Why there is no handle."""


class Visible(NamedTuple):
    """A device that CUDA shows: a GPU, or one instance of it."""

    gpu: Gpu
    instance: Instance | None = None

    @property
    def uuid(self) -> str | None:
        """What identifies the device across restarts of NVML."""
        return self.gpu.uuid if self.instance is None else self.instance.uuid

    @property
    def name(self) -> str | None:
        """The product; that of the GPU where an instance has none."""
        own = None if self.instance is None else self.instance.name
        return own or self.gpu.name


def entries(value: str | None) -> tuple[Entry, ...] | None:
    """Return the entries that could name a device; None for all devices, () for no device.

    Args:
        value: `CUDA_VISIBLE_DEVICES`, None where it is not set.
    """
    if value is None:
        return None
    found: list[Entry] = []
    kind: str | None = None
    for text in value.split(","):
        entry = _entry(text)
        if entry is None or (kind is not None and _kind(entry) != kind):
            break
        if entry in found:
            return ()
        kind = _kind(entry)
        found.append(entry)
    return tuple(found)


def select(
    wanted: Sequence[Entry] | None, gpus: Sequence[Gpu], driver: int | None = None
) -> tuple[Visible, ...]:
    """Return the devices that CUDA shows, in its order.

    Args:
        wanted: What `entries` returned.
        gpus: The GPUs that can be opened, in NVML's order.
        driver: Major version of the driver; None is taken for a present one.
    """
    if wanted is None:
        chosen = [device for gpu in gpus for device in _devices(gpu)]
    else:
        named = _named(wanted, gpus)
        if any(device in named[:place] for place, device in enumerate(named)):
            return ()
        chosen = [shown for device in named for shown in _shown(device)]
    chosen = list(_one_for_each_gpu_instance(chosen))
    instances = [device for device in chosen if device.instance is not None]
    if instances and driver is not None and driver < SEVERAL_INSTANCES_SINCE:
        return (instances[0],)
    return tuple(chosen)


def order_matters(wanted: Sequence[Entry] | None, gpus: Sequence[Gpu], order: str | None) -> bool:
    """Return whether CUDA may number the devices in another way than NVML does.

    Args:
        wanted: What `entries` returned; UUIDs mean the same everywhere.
        gpus: The GPUs that can be opened.
        order: `CUDA_DEVICE_ORDER`.
    """
    by_index = wanted is None or any(isinstance(entry, int) for entry in wanted)
    models = {gpu.name for gpu in gpus if gpu.name is not None}
    return by_index and order != BUS_ORDER and len(models) > 1


def _entry(text: str) -> Entry | None:
    number = _INDEX.match(text)
    if number is not None:
        return int(number[1])
    text = text.strip()
    return text if text.startswith(_PREFIXES) else None


def _kind(entry: Entry) -> str:
    return "index" if isinstance(entry, int) else entry[:4]


def _named(wanted: Iterable[Entry], gpus: Sequence[Gpu]) -> list[Visible]:
    """Return what the entries name, up to the first that names nothing."""
    found: list[Visible] = []
    for entry in wanted:
        device = _find(entry, gpus)
        if device is None:
            break
        found.append(device)
    return found


def _find(entry: Entry, gpus: Sequence[Gpu]) -> Visible | None:
    if isinstance(entry, int):
        return Visible(gpus[entry]) if entry < len(gpus) else None
    if entry.startswith("MIG-GPU-"):
        return _find_by_numbers(entry, gpus)
    if entry.startswith("MIG-"):
        candidates = [Visible(gpu, instance) for gpu in gpus for instance in gpu.instances]
    else:
        candidates = [Visible(gpu) for gpu in gpus]
    found = [device for device in candidates if (device.uuid or "").startswith(entry)]
    return found[0] if len(found) == 1 else None


def _find_by_numbers(entry: str, gpus: Sequence[Gpu]) -> Visible | None:
    """Find `MIG-<UUID of the GPU>/<GPU instance>/<compute instance>`, the form before R470."""
    uuid, _, numbers = entry.removeprefix("MIG-").partition("/")
    found = [gpu for gpu in gpus if (gpu.uuid or "").startswith(uuid)]
    if len(found) != 1:
        return None
    for instance in found[0].instances:
        if numbers == f"{instance.gpu_instance}/{instance.compute_instance}":
            return Visible(found[0], instance)
    return None


def _shown(device: Visible) -> tuple[Visible, ...]:
    return _devices(device.gpu) if device.instance is None else (device,)


def _devices(gpu: Gpu) -> tuple[Visible, ...]:
    """Return the GPU, or in MIG mode its instances: as long as it has none, there is no device."""
    if not gpu.mig:
        return (Visible(gpu),)
    return tuple(Visible(gpu, instance) for instance in gpu.instances)


def _one_for_each_gpu_instance(devices: Iterable[Visible]) -> Iterable[Visible]:
    seen: set[tuple[int, int]] = set()
    for device in devices:
        if device.instance is not None and device.instance.gpu_instance is not None:
            place = (device.gpu.nvml_index, device.instance.gpu_instance)
            if place in seen:
                continue
            seen.add(place)
        yield device
