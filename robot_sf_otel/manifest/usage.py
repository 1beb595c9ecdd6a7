"""The bill of the steps as columns of a table: what is known of any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from robot_sf_otel.manifest.formats import duration, joules, mebibytes

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import StepExecutionEntry, Usage


class Column(NamedTuple):
    """One entry of the bill."""

    field: str
    title: str
    text: Callable[[float | None], str]

    def of(self, usage: Usage) -> str:
        """Return the entry of a step, as people read it."""
        return self.text(getattr(usage, self.field))


CPU_AND_MEMORY: Final = (
    Column("cpu_seconds", "CPU", duration),
    Column("memory_rss_peak_mb", "Peak memory", mebibytes),
)
"""What every table of steps has."""
_MORE: Final = (
    Column("disk_read_mb", "Disk read", mebibytes),
    Column("disk_write_mb", "Disk written", mebibytes),
    Column("gpu_seconds", "GPU", duration),
    Column("gpu_mem_peak_mb", "GPU memory", mebibytes),
    Column("energy_joules", "GPU energy", joules),
)
ALL: Final = (*CPU_AND_MEMORY, *_MORE)
"""Every entry that people are shown."""


def columns(steps: Iterable[StepExecutionEntry]) -> list[Column]:
    """Return the columns of a table of steps: CPU, memory, and what some step used of the rest."""
    bills = [step.usage for step in steps]
    used = [column for column in _MORE if any(getattr(bill, column.field) for bill in bills)]
    return [*CPU_AND_MEMORY, *used]
