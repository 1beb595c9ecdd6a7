"""The rules that come with the package, in the order in which people read about them."""

from __future__ import annotations

from typing import Any, Final

from robot_sf_otel.analysis.rules import cpu, disk, gpu, memory, overhead, progress
from robot_sf_otel.analysis.rules.base import Rule

BUILT_IN: Final[tuple[type[Rule[Any]], ...]] = (
    *progress.RULES,
    *cpu.RULES,
    *memory.RULES,
    *disk.RULES,
    *gpu.RULES,
    *overhead.RULES,
)
