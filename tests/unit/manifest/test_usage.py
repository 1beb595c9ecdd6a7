"""The bill of the steps as a table: what nobody used has no column; what is unknown is `--`."""

from __future__ import annotations

import pytest

from robot_sf_otel.manifest.fields import USAGE
from robot_sf_otel.manifest.formats import joules
from robot_sf_otel.manifest.schema import StepExecutionEntry, Usage
from robot_sf_otel.manifest.usage import columns


def step(**bill: float) -> StepExecutionEntry:
    return StepExecutionEntry(
        step_id="a", display_name="a", order=1, status="completed", usage=Usage(**bill)
    )


def titles(*steps: StepExecutionEntry) -> list[str]:
    return [column.title for column in columns(steps)]


def test_cpu_and_memory_have_a_column_always_and_the_rest_where_it_was_used() -> None:
    assert titles() == ["CPU", "Peak memory"]
    assert titles(step(disk_read_mb=0.0)) == ["CPU", "Peak memory"]
    assert titles(step(), step(disk_write_mb=2.0, energy_joules=5.0)) == [
        "CPU",
        "Peak memory",
        "Disk written",
        "GPU energy",
    ]


def test_what_is_not_known_is_not_0() -> None:
    one = step(gpu_seconds=90.0)
    shown = [column.of(one.usage) for column in columns([one])]
    assert shown == ["--", "--", "1m 30s"]


def test_every_column_is_a_documented_field() -> None:
    full = step(**dict.fromkeys(Usage.__struct_fields__, 1.0))
    fields = {column.field for column in columns([full])}
    assert fields | {"cpu_cores_mean"} == set(USAGE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "--"),
        (float("nan"), "--"),
        (0.0, "0 J"),
        (42.0, "42 J"),
        (1250.0, "1.25 kJ"),
        (3.4e6, "3.40 MJ"),
        (7e12, "7,000 GJ"),
    ],
)
def test_energy_is_shown_with_a_prefix(value: float | None, text: str) -> None:
    assert joules(value) == text
