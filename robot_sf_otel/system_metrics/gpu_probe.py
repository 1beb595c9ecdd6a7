"""One GPU or MIG instance: its due questions, its last answers, its running totals."""

from __future__ import annotations

import os
from collections.abc import Collection
from types import ModuleType
from typing import TYPE_CHECKING, Final

from robot_sf_otel.system_metrics.gpu_reading import DeviceReading
from robot_sf_otel.system_metrics.nvml import (
    QUERIES,
    Answers,
    Asked,
    Cadence,
    Failure,
    Query,
    errors,
    meaning,
    word,
)

if TYPE_CHECKING:
    from robot_sf_otel.system_metrics.gpu_devices import Visible

RARELY_SECONDS: Final = 10.0
"""Between two readings of what is dear: the counter of energy takes 4 ms."""


class Totals:
    """Busy seconds and joules of one device so far, None as long as nothing is known of them.

    Utilization and power are averages over the time before they are read, so each reading stands
    for the time since the reading before. The energy counter, which is dear, is read rarely and
    then replaces what power gave since it was read last: the total may fall by the correction.

    On a recording of an H100 over 63 s with five phases of load, power alone differs from the
    energy counter by -0.1 % when read every 0.25 s and by +0.1 % when read every second; in single
    phases (8 to 16 s) by up to 8 % and 5 %, as power lags behind a change of load by half a second.
    With the counter every 10 s, phases are right to 2.2 % (every 0.25 s); every 30 s, to 12 %.
    """

    __slots__ = ("_counted", "_counter", "_since", "_time", "busy_seconds")

    def __init__(self) -> None:
        self.busy_seconds: float | None = None
        self._time: float | None = None
        self._counter: float | None = None
        self._counted: float | None = None
        self._since: float | None = None

    @property
    def joules(self) -> float | None:
        """What the energy counter gave, and power since it was read."""
        if self._counted is None and self._since is None:
            return None
        return (self._counted or 0.0) + (self._since or 0.0)

    def gap(self, now: float) -> float:
        """Return the seconds since the readings before; 0 at the first."""
        return 0.0 if self._time is None else max(0.0, now - self._time)

    def add(
        self, now: float, *, utilization: float | None, power: float | None, longest: float
    ) -> None:
        """Take readings in percent and watts.

        Args:
            now: When they were read, in seconds.
            utilization: None where it is not known: the time counts as not busy.
            power: None where it is not known.
            longest: Seconds for which a reading may stand; a longer gap is left out.
        """
        gap = self.gap(now)
        self._time = now
        if gap > longest:
            gap = 0.0
        if utilization is not None:
            self.busy_seconds = (self.busy_seconds or 0.0) + utilization / 100 * gap
        if power is not None:
            self._since = (self._since or 0.0) + power * gap

    def pause(self) -> None:
        """Leave out the time until the next readings."""
        self._time = self._counter = None

    def correct(self, counter: float) -> None:
        """Take a reading of the device's own energy counter, in joules since some moment."""
        before = self._counter
        if counter == before:  # it stands still: power knows better
            return
        used = self._since or 0.0
        if before is not None and counter > before:  # else it began anew, with the driver or here
            used = counter - before
        self._counter = counter
        self._counted = (self._counted or 0.0) + used
        self._since = 0.0


class Probe:
    """Asks one device what is due and keeps the answers.

    Args:
        index: Position among the visible devices.
        device: What to ask.
    """

    def __init__(self, index: int, device: Visible) -> None:
        self.answers = Answers()
        self.totals = Totals()
        self.run_mem_used_bytes: int | None = None
        self.unattributed = False
        """Whether the driver names processes that do not exist in this pid namespace."""
        self._attributable = False
        self._joules_shown: float | None = None
        self._asked: dict[str, float] = {}
        self._unsupported: dict[str, str] = {}
        self._failing: dict[str, str] = {}
        self.index = index
        self.device = device
        self._lost = device.gpu.fault

    @property
    def lost(self) -> str | None:
        """Why the device does not answer; None while it does."""
        return self._lost

    def attach(self, index: int, device: Visible | None) -> None:
        """Go on with the device as NVML lists it now; None if it does not list it any more."""
        self.index = index
        self.detach()
        self._unsupported.clear()
        self._lost = "NotFound" if device is None else device.gpu.fault
        if device is not None and (self._lost is None or self.device.uuid is None):
            self.device = device  # what cannot be opened does not tell its name

    def detach(self) -> None:
        """Forget all answers: there is nobody to ask."""
        self.answers = Answers()
        self.run_mem_used_bytes = None
        self.unattributed = False
        self._asked.clear()
        self._failing.clear()

    def read(self, nvml: ModuleType, now: float, *, interval: float, longest: float) -> None:
        """Ask what is due; each question fails alone to None.

        Args:
            nvml: The module pynvml, or what stands for it.
            now: The time in seconds.
            interval: Seconds between telemetry samples.
            longest: Seconds for which a reading may stand.

        Raises:
            NVMLError: NVML as a whole has to be started again.
        """
        if self._lost is not None:
            return
        if self.totals.gap(now) > longest:  # only the energy counter knows what happened
            self._asked.pop("energy", None)
        counter_read = False
        for query in QUERIES:
            if not self._due(query, now, interval):
                continue
            self._ask(nvml, query, now)
            if self._lost is not None:
                return
            counter_read = counter_read or query.field == "energy"
        answers = self.answers
        self.totals.add(now, utilization=answers.utilization, power=answers.power, longest=longest)
        if counter_read and answers.energy is not None:
            self.totals.correct(answers.energy)

    def attribute(self, pids: Collection[int]) -> None:
        """Say how much of the memory the processes of the run hold, where that can be told.

        In a container a driver may report pids of the host, or nothing: memory is None until a
        process of the run has been seen, or all that are reported exist here.
        """
        processes = self.answers.processes
        self.run_mem_used_bytes = None
        if processes is None:
            return
        own = [used for pid, used in processes if pid in pids]
        if own or (processes and all(_exists(pid) for pid, _ in processes)):
            self._attributable = True
        self.unattributed = bool(processes) and not self._attributable
        if self._attributable and None not in own:
            self.run_mem_used_bytes = sum(used for used in own if used is not None)

    def reading(self) -> DeviceReading:
        """Return the last answers."""
        answers = self.answers
        used, total = answers.memory or (None, None)
        joules = self.totals.joules
        if joules is not None:  # a correction may lower the total
            joules = self._joules_shown = max(joules, self._joules_shown or 0.0)
        return DeviceReading(
            index=self.index,
            nvml_index=self.device.gpu.nvml_index,
            uuid=self.device.uuid,
            name=self.device.name,
            util_percent=answers.utilization,
            mem_used_bytes=used,
            mem_total_bytes=total,
            run_mem_used_bytes=self.run_mem_used_bytes,
            temperature_c=answers.temperature,
            power_w=answers.power,
            power_limit_w=answers.power_limit,
            sm_clock_mhz=answers.sm_clock,
            energy_joules=joules,
            throttle_reasons=answers.throttle_reasons or (),
        )

    def notes(self) -> list[str]:
        """Say what is missing, and why."""
        prefix = f"gpu {self.index}: "
        if self._lost is not None:
            return [prefix + self._lost]
        missing = {**self._unsupported, **self._failing}
        found = [f"{prefix}{label}: {reason}" for label, reason in missing.items()]
        if self.device.instance is not None:
            found.append(f"{prefix}utilization, power and energy: no MIG instance tells them")
        return found

    def _due(self, query: Query, now: float, interval: float) -> bool:
        if query.label in self._unsupported:
            return False
        if query.under_mig is Asked.NOBODY and self.device.instance is not None:
            return False
        asked = self._asked.get(query.field)
        if query.cadence is Cadence.PASS or asked is None:
            return True
        seconds = interval if query.cadence is Cadence.INTERVAL else RARELY_SECONDS
        # A pass comes a little early or late: without the slack every fifth would be the one.
        return now - asked >= 0.9 * seconds

    def _ask(self, nvml: ModuleType, query: Query, now: float) -> None:
        device, answer = self.device, None
        of_instance = device.instance is not None and query.under_mig is Asked.DEVICE
        handle = device.instance.handle if device.instance and of_instance else device.gpu.handle
        self._asked[query.field] = now
        self._failing.pop(query.label, None)
        try:
            answer = query.ask(nvml, handle)
        except errors(nvml) as error:
            kind = meaning(error)
            if kind in {Failure.SESSION, Failure.ABSENT}:
                raise
            if kind is Failure.DEVICE:
                self.detach()
                self._lost = word(error)
                return
            reasons = self._unsupported if kind is Failure.UNSUPPORTED else self._failing
            reasons[query.label] = word(error)
        setattr(self.answers, query.field, answer)


def _exists(pid: int) -> bool:
    """Return whether a process with that pid exists in this pid namespace."""
    if pid <= 0:  # a process of another namespace, in some drivers; kill(0) is the own group
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
