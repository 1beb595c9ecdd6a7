"""The sample that follows from two readings of a machine."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.system_metrics.cgroup import CgroupReading
from robot_sf_otel.system_metrics.reading import MIB, MachineReading, snapshot
from tests.unit.system_metrics.machine import EVERYTHING, NOTHING, later


def test_first_reading_has_levels_but_no_rates() -> None:
    first = snapshot(EVERYTHING, EVERYTHING, 1_000_000)
    assert first.timestamp_ms == 1_000_000
    assert (first.memory_rss_mb, first.memory_limit_mb) == (200, 16)
    assert (first.process_count, first.thread_count, first.cpu_percent_system) == (3, 7, 50.0)
    assert (first.swap_used_mb, first.disk_free_mb) == (4, 1000)
    assert (first.cpu_pressure, first.io_pressure, first.memory_pressure) == (3.0, 2.0, 1.0)
    assert first.cpu_percent_process is None
    assert first.cpu_cores_process is None
    assert first.disk_read_mb_s is None
    assert first.cpu_throttled_percent is None


def test_rates_are_over_the_time_between_two_readings() -> None:
    tree = {"cpu_seconds": 12.0, "read_bytes": 4 * MIB, "write_bytes": MIB}
    second = snapshot(EVERYTHING, later(EVERYTHING, 2.0, tree=tree), 0)
    assert second.cpu_cores_process == 1.0
    assert second.cpu_percent_process == 25.0
    assert (second.disk_read_mb_s, second.disk_write_mb_s) == (2.0, 0.5)


def test_share_of_the_cpus_is_at_most_all_of_them() -> None:
    sample = snapshot(EVERYTHING, later(EVERYTHING, 1.0, tree={"cpu_seconds": 15.0}), 0)
    assert (sample.cpu_percent_process, sample.cpu_cores_process) == (100.0, 5.0)


def test_unknown_number_of_cpus_leaves_the_share_out() -> None:
    after = replace(later(EVERYTHING, 1.0, tree={"cpu_seconds": 11.0}), usable_cpus=None)
    sample = snapshot(EVERYTHING, after, 0)
    assert sample.cpu_percent_process is None
    assert sample.cpu_cores_process == 1.0


def test_throttling_is_the_share_of_the_periods_since_the_last_reading() -> None:
    after = later(EVERYTHING, 1.0, cgroup={"cpu_periods": 200, "cpu_throttled_periods": 115})
    assert snapshot(EVERYTHING, after, 0).cpu_throttled_percent == 25.0
    assert snapshot(after, later(after, 1.0), 0).cpu_throttled_percent is None, "no period passed"


def test_what_is_available_is_what_the_tighter_of_host_and_container_leaves() -> None:
    def available(limit: int | None = None, used: int | None = None) -> float | None:
        cgroup = CgroupReading(memory_limit_bytes=limit, memory_working_set_bytes=used)
        reading = replace(EVERYTHING, cgroup=cgroup)
        return snapshot(reading, reading, 0).memory_available_mb

    assert available() == 8
    assert available(16 * MIB, 12 * MIB) == 4
    assert available(90 * MIB, 12 * MIB) == 8
    assert available(16 * MIB, 17 * MIB) == 0
    assert available(16 * MIB) == 8, "what is used is not known"


def test_each_gpu_is_told_and_all_of_them_together() -> None:
    sample = snapshot(EVERYTHING, EVERYTHING, 0)
    assert (sample.gpu_util_percent, sample.gpu_mem_used_mb) == (75.0, 20)
    (gpu,) = sample.gpus
    assert (gpu.index, gpu.uuid, gpu.name) == (0, "GPU-a", "NVIDIA H100")
    assert (gpu.util_percent, gpu.mem_used_mb, gpu.mem_total_mb) == (75.0, 20, 80)
    assert (gpu.run_mem_used_mb, gpu.temperature_c, gpu.power_w) == (15, 61.0, 350.5)
    assert (gpu.power_limit_w, gpu.sm_clock_mhz, gpu.energy_joules) == (700.0, 1980.0, 1234.5)
    assert gpu.throttle_reasons == ["sw_power_cap"]


def test_reading_that_cannot_be_had_is_none_and_never_0() -> None:
    sample = snapshot(NOTHING, later(NOTHING, 1.0), 1)
    known = {
        name for name in sample.__struct_fields__ if getattr(sample, name) not in (None, [], {})
    }
    assert known == {"timestamp_ms"}


def test_counter_that_goes_down_gives_no_negative_rate() -> None:
    after = later(EVERYTHING, 1.0, tree={"cpu_seconds": 5.0, "read_bytes": 0})
    sample = snapshot(EVERYTHING, after, 0)
    assert (sample.cpu_cores_process, sample.disk_read_mb_s) == (0.0, 0.0)


def test_two_readings_at_the_same_moment_divide_by_nothing() -> None:
    after = later(EVERYTHING, 0.0, tree={"cpu_seconds": 11.0})
    assert snapshot(EVERYTHING, after, 0).cpu_cores_process is None


def test_notes_of_all_sensors_are_told_once_each() -> None:
    reading = later(
        EVERYTHING,
        0.0,
        host={"notes": ("host: no PSI",)},
        cgroup={"notes": ("cgroup: none", "host: no PSI")},
        gpu={"notes": ("gpu: no driver",)},
    )
    assert reading.notes() == "host: no PSI; cgroup: none; gpu: no driver"
    assert EVERYTHING.notes() is None


counts = st.none() | st.integers(0, 1 << 40)


@given(
    st.floats(0, 1e6),
    st.fixed_dictionaries({"cpu_seconds": counts, "read_bytes": counts}),
    st.fixed_dictionaries({"cpu_periods": counts, "cpu_throttled_periods": counts}),
    st.none() | st.floats(0.01, 512),
)
def test_percentages_lie_between_0_and_100(
    seconds: float,
    tree: dict[str, int | None],
    cgroup: dict[str, int | None],
    cpus: float | None,
) -> None:
    def reading(at: float, factor: int) -> MachineReading:
        def grown(values: dict[str, int | None]) -> dict[str, int | None]:
            return {name: None if v is None else v * factor for name, v in values.items()}

        changed = later(EVERYTHING, at, tree=grown(tree), cgroup=grown(cgroup))
        return replace(changed, usable_cpus=cpus)

    sample = snapshot(reading(0, 1), reading(seconds, 2), 0)
    for value in (sample.cpu_percent_process, sample.cpu_throttled_percent):
        assert value is None or 0 <= value <= 100
    assert sample.disk_read_mb_s is None or sample.disk_read_mb_s >= 0
