"""The bill of a step: what grew between its ends, and the highest of what was seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.manifest.schema import TelemetrySnapshot, Usage
from robot_sf_otel.system_metrics.bill import MIB, Counters, StepBill
from robot_sf_otel.system_metrics.gpu import GpuCounters
from robot_sf_otel.system_metrics.process_tree import TreeCounters

TREE = TreeCounters(
    cpu_seconds=10.0,
    read_bytes=5 * MIB,
    write_bytes=0,
    rss_bytes=100 * MIB,
    own_peak_rss_bytes=300 * MIB,
)
GPU = GpuCounters(busy_seconds=3.0, energy_joules=900.0, mem_used_bytes=1000 * MIB)


def settled(start: Counters, end: Counters, *samples: TelemetrySnapshot) -> Usage:
    """Return the bill between two moments, with samples in between."""
    bill = StepBill(start, lambda: end)
    for sample in samples:
        bill.observe(sample)
    return bill.settle()


def test_bill_is_the_difference_between_end_and_start() -> None:
    usage = settled(
        Counters(50.0, TREE, GPU),
        Counters(
            52.0,
            TREE._replace(cpu_seconds=13.0, read_bytes=7 * MIB, write_bytes=MIB),
            GPU._replace(busy_seconds=4.5, energy_joules=1500.0),
        ),
    )
    assert (usage.cpu_seconds, usage.cpu_cores_mean) == (3.0, 1.5)
    assert (usage.disk_read_mb, usage.disk_write_mb) == (2.0, 1.0)
    assert (usage.gpu_seconds, usage.energy_joules) == (1.5, 600.0)


def test_what_is_not_known_at_both_ends_is_unknown() -> None:
    for start, end in ((None, TREE), (TREE, None), (None, None)):
        usage = settled(Counters(0, start, None), Counters(1, end, None))
        assert usage == Usage()
    blind = TREE._replace(read_bytes=None)
    usage = settled(Counters(0, blind, GPU), Counters(1, TREE, GPU._replace(busy_seconds=None)))
    assert (usage.disk_read_mb, usage.disk_write_mb) == (None, 0.0)
    assert (usage.gpu_seconds, usage.energy_joules) == (None, 0.0)


def test_step_that_began_before_the_gpus_were_first_read_is_billed_from_then_on() -> None:
    unread = GpuCounters(None, None, None)
    usage = settled(Counters(0, TREE, unread), Counters(1, TREE, GPU))
    assert (usage.gpu_seconds, usage.energy_joules) == (3.0, 900.0)
    usage = settled(Counters(0, TREE, unread), Counters(1, TREE, unread))
    assert (usage.gpu_seconds, usage.gpu_mem_peak_mb, usage.energy_joules) == (None, None, None)


def test_bill_of_no_time_has_no_mean() -> None:
    usage = settled(Counters(5, TREE, None), Counters(5, TREE, None))
    assert (usage.cpu_seconds, usage.cpu_cores_mean) == (0.0, None)


def test_peak_is_the_highest_of_the_samples_and_of_both_ends() -> None:
    def peak(start: float, end: float, *seen: float) -> float | None:
        return settled(
            Counters(0, TREE._replace(rss_bytes=int(start * MIB)), None),
            Counters(1, TREE._replace(rss_bytes=int(end * MIB)), None),
            *[TelemetrySnapshot(timestamp_ms=1, memory_rss_mb=value) for value in seen],
        ).memory_rss_peak_mb

    assert peak(100, 120) == 120
    assert peak(140, 120) == 140
    assert peak(100, 120, 90, 250, 130) == 250


def test_own_high_water_mark_counts_only_if_it_rose_during_the_step() -> None:
    start = Counters(0, TREE, None)
    assert settled(start, start).memory_rss_peak_mb == 100
    risen = Counters(1, TREE._replace(own_peak_rss_bytes=420 * MIB), None)
    assert settled(start, risen).memory_rss_peak_mb == 420
    unknown = Counters(0, TREE._replace(own_peak_rss_bytes=None), None)
    assert settled(unknown, risen).memory_rss_peak_mb == 100


def test_peak_of_the_samples_stays_where_the_counters_fail() -> None:
    sample = TelemetrySnapshot(timestamp_ms=1, memory_rss_mb=50.0, gpu_mem_used_mb=7.0)
    usage = settled(Counters(0, None, None), Counters(1, None, None), sample)
    assert usage == Usage(memory_rss_peak_mb=50.0)


def test_peak_of_the_gpus_is_that_of_samples_and_of_both_ends() -> None:
    sample = TelemetrySnapshot(timestamp_ms=1, gpu_mem_used_mb=2000.0)
    usage = settled(Counters(0, TREE, GPU), Counters(1, TREE, GPU), sample)
    assert usage.gpu_mem_peak_mb == 2000.0
    full = GPU._replace(mem_used_bytes=3000 * MIB)
    usage = settled(Counters(0, TREE, GPU), Counters(1, TREE, full), sample)
    assert usage.gpu_mem_peak_mb == 3000.0


@pytest.mark.parametrize("field", ["cpu_seconds", "disk_read_mb", "gpu_seconds", "energy_joules"])
@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_bill_is_never_negative(field: str, before: float, after: float) -> None:
    def at(value: float) -> Counters:
        tree = TREE._replace(cpu_seconds=value, read_bytes=int(value))
        return Counters(value, tree, GPU._replace(busy_seconds=value, energy_joules=value))

    assert getattr(settled(at(before), at(after)), field) >= 0
