"""The sensor on what a real H100 answered through five phases of a training.

idle; training bound by the GPU; training that waits for data; memory that grows while the GPU
does nothing; memory held while the GPU does nothing.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import pytest

from tests.unit.system_metrics.recorded_nvml import CODES, FakeDevice, Row, bench, recording

PERIODS = (0.25, 1.0)


class Phase(NamedTuple):
    seconds: float
    busy_seconds: float
    joules: float
    counted: float


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return recording()


def thinned(rows: list[Row], period: float) -> list[Row]:
    """Return the first row of every period."""
    kept: list[Row] = []
    for line in rows:
        if not kept or line["t"] >= kept[-1]["t"] + period:
            kept.append(line)
    return kept


def replay(rows: list[Row], *, with_energy: bool) -> tuple[dict[str, Phase], Phase]:
    """Return each phase and the whole as the counters and as the device's own counter have it."""
    b = bench(FakeDevice(rows))
    if not with_energy:
        b.nvml.faults["nvmlDeviceGetTotalEnergyConsumption"] = CODES["NOT_SUPPORTED"]
    total: dict[str, list[float]] = defaultdict(lambda: [0.0] * 4)
    before = [0.0] * 4
    for line in rows:
        b.at(line["t"])
        counters = b.sensor.counters()
        counted = (line["energy_mj"] - rows[0]["energy_mj"]) / 1e3
        assert counters.busy_seconds is not None
        assert counters.energy_joules is not None
        now = [line["t"], counters.busy_seconds, counters.energy_joules, counted]
        for phase in (line["phase"], "all"):
            total[phase] = [
                sum_ + after - first
                for sum_, after, first in zip(total[phase], now, before, strict=True)
            ]
        before = now
    phases = {name: Phase(*values) for name, values in total.items()}
    return phases, phases.pop("all")


@pytest.mark.parametrize("period", PERIODS)
def test_power_alone_gives_the_energy_to_a_percent(rows: list[Row], period: float) -> None:
    _, whole = replay(thinned(rows, period), with_energy=False)

    assert whole.joules == pytest.approx(whole.counted, rel=0.01)


def test_with_the_energy_counter_each_phase_is_right_to_a_few_percent(rows: list[Row]) -> None:
    phases, _ = replay(thinned(rows, 0.25), with_energy=True)

    assert len(phases) == 5
    for phase in phases.values():
        assert phase.joules == pytest.approx(phase.counted, rel=0.03)


@pytest.mark.parametrize("period", PERIODS)
def test_busy_seconds_tell_the_phases_apart(rows: list[Row], period: float) -> None:
    phases, _ = replay(thinned(rows, period), with_energy=True)
    share = {name: phase.busy_seconds / phase.seconds for name, phase in phases.items()}

    assert share["gpu_bound"] > 0.9
    assert 0.05 < share["data_starved"] < 0.2
    assert share["idle"] < 0.02
    assert share["memory_growth"] < 0.02
    assert share["cpu_only_gpu_held"] < 0.02


def test_every_reading_is_what_was_recorded(rows: list[Row]) -> None:
    b = bench(FakeDevice(rows), interval=0.1)
    seen: set[str] = set()
    for line in rows:
        b.at(line["t"])
        reading = b.sensor.read()
        (device,) = reading.devices
        processes = line["compute_processes"]
        assert reading.notes == ()
        assert device.util_percent == line["utilization"]["gpu"]
        assert device.mem_used_bytes == line["memory_v2"]["used"]
        assert device.mem_total_bytes == line["memory_v2"]["total"]
        assert device.power_w == line["power_mw"] / 1e3
        assert device.power_limit_w == line["power_limit_mw"] / 1e3
        assert device.temperature_c == line["temperature_c"]
        assert device.sm_clock_mhz == line["sm_clock_mhz"]
        assert device.run_mem_used_bytes == (processes[0]["used"] if processes else None)
        assert device.throttle_reasons == (
            ("sw_power_cap",) if line["throttle_reasons"] & 4 else ()
        )
        seen.update(device.throttle_reasons)

    assert seen == {"sw_power_cap"}
