"""What producers hand over is held to the ranges of the schema; what is read is not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.manifest.codec import decode_snapshot, encode_snapshot
from robot_sf_otel.manifest.schema import Progress, TelemetrySnapshot
from robot_sf_otel.store.validation import valid

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"cpu_percent_process": 150.0}, r"s\.cpu_percent_process: 150\.0 must lie in \[0, 100\]"),
        ({"gpu_util_percent": -5.0}, r"s\.gpu_util_percent: -5\.0 must lie in \[0, 100\]"),
        ({"cpu_percent_system": 1e9}, r"s\.cpu_percent_system: .* must lie in \[0, 100\]"),
        ({"io_pressure": math.inf}, r"s\.io_pressure: inf must lie in \[0, 100\]"),
        ({"memory_rss_mb": -3.0}, r"s\.memory_rss_mb: -3\.0 must not be negative"),
        ({"timestamp_ms": -1}, r"s\.timestamp_ms: -1 must not be negative"),
        ({"steps": [{"step_id": "a", "done": -1}]}, r"s\.steps\[0\]\.done: -1\.0 must not"),
        (
            {"gpus": [{"index": 0}, {"index": 1, "util_percent": 101}]},
            r"s\.gpus\[1\]\.util_percent: 101\.0 must lie in \[0, 100\]",
        ),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_its_field(
    reading: Mapping[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        valid("s", {"timestamp_ms": 1, **reading}, TelemetrySnapshot)


def test_a_record_that_was_made_without_a_check_is_checked_too() -> None:
    with pytest.raises(ValueError, match=r"progress\.total"):
        valid("progress", Progress(total=-1.0), Progress)


@pytest.mark.parametrize(
    "reading",
    [
        {"cpu_percent_process": 0, "cpu_percent_system": 100},
        {"cpu_cores_process": 7.5, "steps_per_sec": -2.0, "fps": None},
        {"memory_rss_mb": math.nan},
        {"gpus": [{"index": 0, "temperature_c": -4.0}]},
    ],
)
def test_what_can_be_is_taken(reading: Mapping[str, object]) -> None:
    valid("s", {"timestamp_ms": 0, **reading}, TelemetrySnapshot)


def test_a_stored_value_out_of_its_range_can_be_read() -> None:
    stored = TelemetrySnapshot(timestamp_ms=-1, cpu_percent_process=150.0)
    assert decode_snapshot(encode_snapshot(stored)) == stored
