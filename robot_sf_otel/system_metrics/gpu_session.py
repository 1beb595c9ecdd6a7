"""NVML as a whole: started, asked, lost and started again, with the devices the run may use."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Final

from robot_sf_otel import guard
from robot_sf_otel.system_metrics import gpu_devices, nvml
from robot_sf_otel.system_metrics.gpu_devices import Entry, Gpu, Visible
from robot_sf_otel.system_metrics.gpu_probe import Probe

RETRY_SECONDS: Final = 30.0
"""Until NVML, or a device, that failed is tried again."""

_OTHER_ORDER: Final = (
    "gpu: numbered along the PCI bus; CUDA may number them otherwise "
    "unless CUDA_DEVICE_ORDER=PCI_BUS_ID"
)
_UNATTRIBUTED: Final = "gpu: processes cannot be attributed: NVML reports pids of another namespace"


class GpuSession:
    """Reads the visible devices; for one thread alone, which may be held up for ever by a call.

    Args:
        interval: Seconds between telemetry samples.
        pids: Returns the processes of the run.
        load: Returns the module pynvml.
        environ: Where `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER` are looked up.
    """

    def __init__(
        self,
        *,
        interval: float,
        pids: Callable[[], Collection[int]],
        load: Callable[[], ModuleType],
        environ: Mapping[str, str],
    ) -> None:
        self.absent = False
        """There is no NVML on this machine, and there will be none."""
        self.probes: list[Probe] = []
        """The visible devices, in CUDA's order."""
        self.retired: list[Probe] = []
        """Devices that were visible before, for their totals."""
        self.starts = 0
        """How often NVML was started, or tried to be."""
        self._interval = interval
        self._pids, self._load, self._environ = pids, load, environ
        self._nvml: ModuleType | None = None
        self._ever_open = False
        self._visible: str | None = None
        self._chosen = False
        self._retry_at = -math.inf
        self._notes: tuple[str, ...] = ()

    def read(self, now: float, longest: float) -> None:
        """Ask every device what is due; starts NVML, again if need be.

        Args:
            now: Seconds.
            longest: Seconds for which a reading may stand in the totals.
        """
        visible = self._environ.get(gpu_devices.VARIABLE)
        if visible != self._visible:
            self._visible, self._chosen = visible, False
            self._retry_at = now
        failed = self._nvml is None or not self.probes or any(p.lost for p in self.probes)
        if not self.absent and (failed or not self._chosen) and now >= self._retry_at:
            self._retry_at = now + RETRY_SECONDS
            self._open(gpu_devices.entries(visible))
        module = self._nvml
        if module is None:
            return
        try:
            for probe in self.probes:
                was_lost, processes = probe.lost, probe.answers.processes
                probe.read(module, now, interval=self._interval, longest=longest)
                if probe.answers.processes is not processes:
                    with guard.shielded("gpu processes"):
                        probe.attribute(self._pids())
                if probe.lost and not was_lost:
                    self._retry_at = now + RETRY_SECONDS
        except nvml.errors(module) as error:
            self._retry_at = now + RETRY_SECONDS
            self._lose(error)

    def notes(self) -> tuple[str, ...]:
        """Say what is missing, and why."""
        found = [*self._notes, *(note for probe in self.probes for note in probe.notes())]
        if any(probe.unattributed for probe in self.probes):
            found.append(_UNATTRIBUTED)
        return tuple(found)

    def close(self) -> None:
        """Shut NVML down; may be called again."""
        module, self._nvml = self._nvml, None
        if module is not None:
            with suppress(*nvml.errors(module)):  # it may have failed itself
                module.nvmlShutdown()

    def _open(self, wanted: tuple[Entry, ...] | None) -> None:
        """Start NVML and look the devices up."""
        self.close()
        if wanted == ():  # no GPU needs to be woken up to see that
            self._notes = (f"gpu: {gpu_devices.VARIABLE} hides all devices",)
            self._choose(())
            return
        machine = self._start()
        if machine is None:
            return
        self._notes = ()
        if self.probes and self._chosen:
            for probe in self.probes:
                probe.attach(probe.index, _again(probe.device, machine.gpus))
            return
        self._choose(gpu_devices.select(wanted, machine.gpus, machine.driver))
        if not machine.gpus:
            self._notes = ("gpu: NVML lists no device",)
        elif not self.probes:
            self._notes = (
                "gpu: in MIG mode without instances"
                if wanted is None
                else f"gpu: {gpu_devices.VARIABLE} names no device of this machine",
            )
        elif gpu_devices.order_matters(
            wanted, machine.gpus, self._environ.get(gpu_devices.ORDER_VARIABLE)
        ):
            self._notes = (_OTHER_ORDER,)

    def _start(self) -> nvml.Machine | None:
        """Start NVML and return what it lists; None, and a note, where it fails."""
        self.starts += 1
        self._notes = ("gpu: NVML cannot be started",)  # whatever happens now
        try:
            module = self._load()
        except (ImportError, OSError) as error:
            self.absent = True
            missing = nvml.NOT_INSTALLED if isinstance(error, ImportError) else nvml.NO_DRIVER
            self._notes = (missing,)
            return None
        try:
            module.nvmlInit()
            self._nvml = module
            machine = nvml.scan(module)
        except nvml.errors(module) as error:
            self.absent = nvml.meaning(error) is nvml.Failure.ABSENT and not self._ever_open
            self._lose(error)
            if self.absent:
                self._notes = (nvml.NO_DRIVER,)
            return None
        self._ever_open = True
        return machine

    def _choose(self, devices: Sequence[Visible]) -> None:
        """Take these devices from now on; what was visible before keeps its totals."""
        known = [*self.probes, *self.retired]
        chosen: list[Probe] = []
        for index, device in enumerate(devices):
            probe = next((p for p in known if _again(p.device, [device.gpu]) == device), None)
            if probe is None:
                probe = Probe(index, device)
            else:
                known.remove(probe)
                probe.attach(index, device)
            chosen.append(probe)
        for probe in known:
            probe.detach()
            probe.totals.pause()  # what others do with it is no cost of the run
        self.probes, self.retired = chosen, known
        self._chosen = True

    def _lose(self, error: BaseException) -> None:
        """Shut NVML down until the next attempt; nothing is known meanwhile."""
        self._notes = (f"gpu: NVML: {nvml.word(error)}",)
        for probe in self.probes:
            probe.detach()
        self.close()


def _again(device: Visible, gpus: Sequence[Gpu]) -> Visible | None:
    """Find a device in another listing: by UUID, or by position where one is not known."""
    for gpu in gpus:
        for found in (Visible(gpu), *(Visible(gpu, instance) for instance in gpu.instances)):
            if device.uuid is not None and found.uuid == device.uuid:
                return found
    if device.instance is not None:
        return None
    return next(
        (
            Visible(gpu)
            for gpu in gpus
            if gpu.nvml_index == device.gpu.nvml_index and None in (gpu.uuid, device.uuid)
        ),
        None,
    )
