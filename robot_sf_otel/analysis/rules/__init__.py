"""The rules that come with the package, in the order in which people read about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.analysis.rules import (
    cpu,
    disk,
    gpu,
    gpu_limits,
    memory,
    overhead,
    pauses,
    throughput,
)

if TYPE_CHECKING:
    from robot_sf_otel.analysis.rules.base import Rule

BUILT_IN: Final[tuple[type[Rule[Any]], ...]] = (
    *throughput.RULES,
    *pauses.RULES,
    *cpu.RULES,
    *memory.RULES,
    *disk.RULES,
    *gpu.RULES,
    *gpu_limits.RULES,
    *overhead.RULES,
)
