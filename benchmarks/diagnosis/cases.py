"""The cases: a program, where it runs, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.diagnosis.groups import NONE, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A program and its true label."""

    program: str
    expects: frozenset[str] = frozenset()
    """Rules and anomalies that must be found; none: the program is healthy."""
    may: frozenset[str] = frozenset()
    """What follows from the condition as well, and is no false alarm."""
    limits: Limits = NONE
    """Those of a control group."""
    others: float = 1.0
    """Part of the CPUs that other processes may take; with more the label is not true."""
    hogs: bool = False
    """Whether other processes take all CPUs meanwhile."""
    before: int = 0
    """Runs that are made before it, as they usually are."""
    scale: float = 1.0
    """How much longer it takes with the default times of the rules; 0: not run with them."""


CONDITIONS: Final = (
    Case(program="all_cores", expects=frozenset({"cpu_saturation"}), others=0.4, scale=4),
    Case(program="oversubscribed", expects=frozenset({"cpu_saturation"}), others=0.4, scale=0),
    Case(program="one_core", expects=frozenset({"single_core_bound"}), others=0.3, scale=11),
    Case(
        program="leak",
        expects=frozenset({"memory_growth"}),
        may=frozenset({"memory_pressure"}),
        limits=Limits(memory_mb=420),
        scale=0,
    ),
    Case(
        program="near_the_limit",
        expects=frozenset({"memory_pressure"}),
        limits=Limits(memory_mb=256),
        scale=4,
    ),
    Case(
        program="throttled", expects=frozenset({"cpu_throttled"}), limits=Limits(cpus=0.2), scale=6
    ),
    Case(
        program="disk_bound",
        expects=frozenset({"io_bound"}),
        limits=Limits(disk_mb_s=8),
        scale=5,
    ),
    Case(
        program="beside_a_hog",
        expects=frozenset({"noisy_neighbour"}),
        hogs=True,
        scale=5,
    ),
    Case(program="stall", expects=frozenset({"stalled", "stall"}), scale=7),
    Case(
        program="halves",
        expects=frozenset({"throughput_drop", "throughput_break"}),
        scale=0,
    ),
    Case(program="below_its_baseline", expects=frozenset({"throughput_drop"}), scale=2),
    Case(
        program="slower_than_before",
        expects=frozenset({"throughput_drop"}),
        may=frozenset({"step_slower_than_history", "step_outlier"}),
        before=3,
        scale=0,
    ),
    Case(
        program="longer_than_before",
        expects=frozenset({"step_slower_than_history"}),
        before=3,
        scale=0,
    ),
    Case(program="no_baseline", expects=frozenset({"baseline_missing"}), scale=0),
)
HEALTHY: Final = tuple(
    Case(program=name, scale=scale)
    for name, scale in (
        ("io_light", 1),
        ("bursty", 0),
        ("short_steps", 1),
        ("idle_wait", 8),
        ("waits_for_a_queue", 12),
        ("parallel_steps", 0),
        ("warm_up", 1),
        ("evaluation_phases", 1),
        ("loads_then_computes", 0),
        ("checkpoints", 0),
        ("near_its_baseline", 1),
        ("random_durations", 0),
        ("commands", 0),
        ("light_pool", 0),
        ("nested_steps", 0),
        ("no_steps", 0),
    )
)
