"""A run's samples say once what stays as it is."""

from __future__ import annotations

from robot_sf_otel.manifest.samples import OnlyChanges
from robot_sf_otel.manifest.schema import GpuSample, TelemetrySnapshot


def notes(*said: str | None) -> list[str | None]:
    """Return the notes of samples that have these, as a run's file has them."""
    changes = OnlyChanges()
    samples = [TelemetrySnapshot(timestamp_ms=1, notes=one) for one in said]
    for sample in samples:
        changes.apply(sample)
    return [sample.notes for sample in samples]


def gpu(mem_total_mb: float = 80.0) -> GpuSample:
    return GpuSample(
        index=0, util_percent=5.0, uuid="GPU-a", name="H100", mem_total_mb=mem_total_mb
    )


def test_notes_are_on_the_first_sample_and_whenever_they_change() -> None:
    assert notes("no PSI", "no PSI", "no GPU", "no GPU") == ["no PSI", None, "no GPU", None]


def test_end_of_what_was_missing_is_said() -> None:
    assert notes("no PSI", None, None) == ["no PSI", "all sensors read again", None]


def test_machine_on_which_everything_reads_says_nothing() -> None:
    assert notes(None, None) == [None, None]


def test_constants_of_a_device_are_on_its_first_sample_and_when_they_change() -> None:
    changes = OnlyChanges()
    series = [[gpu()], [gpu()], [gpu(mem_total_mb=40.0)], [gpu(mem_total_mb=40.0)]]
    found: list[GpuSample] = []
    for gpus in series:
        sample = TelemetrySnapshot(timestamp_ms=1, gpus=gpus)
        changes.apply(sample)
        found += sample.gpus
    assert [(one.name, one.mem_total_mb) for one in found] == [
        ("H100", 80.0),
        (None, None),
        ("H100", 40.0),
        (None, None),
    ]
    assert {(one.index, one.util_percent) for one in found} == {(0, 5.0)}


def test_reading_that_several_runs_share_is_not_changed_by_one_of_them() -> None:
    shared = gpu()
    changes = OnlyChanges()
    for _ in range(2):
        changes.apply(TelemetrySnapshot(timestamp_ms=1, gpus=[shared]))
    assert shared.name == "H100"
