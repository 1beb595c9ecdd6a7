"""Throughput against a baseline: what a measurement says, with the noise of both in it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Struct

from robot_sf_otel.analysis.bootstrap import median_interval, ratio_interval

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import PerfStatus

DEFAULT_TOLERANCE: Final = 0.25
"""Part by which throughput may fall below its baseline."""
NOTICED: Final = 0.10
"""Difference of the machine's speed to that at the baseline from which on it is put in relation,
on the same class of machines. Below it the calibration loop would add more noise than it takes
away: by 2 % the medians of the same work scattered without it, by 3 % with it."""
_UNKNOWN: Final = "unknown"


class Sample(NamedTuple):
    """Throughput of one repetition, and how fast the machine was around it.

    Attributes:
        value: Units a second, more is better.
        speed: Turns of the calibration loop a second; None where it was not measured.
    """

    value: float
    speed: float | None = None


class Limits(NamedTuple):
    """Parts of the baseline at or below which a measurement is noticed.

    Attributes:
        failed: The whole interval lies there: failed.
        soft_breach: The whole interval lies there: a soft breach; only a part: too noisy to tell.
    """

    failed: float
    soft_breach: float


class Baseline(Struct, kw_only=True, omit_defaults=True):
    """What a test reached once, on one class of machines.

    Attributes:
        test_id: The test.
        host_class: As `host_class` has it.
        metric: What was measured.
        unit: Of the samples.
        median: Of the samples, for readers; the samples decide.
        samples: Throughput of each repetition.
        speeds: Speed of the machine around each repetition; empty where it is not known.
        date: Day on which it was taken, UTC; None where it is made up of earlier runs.
        reason: Why it replaced the one before.
    """

    test_id: str
    host_class: str
    metric: str
    unit: str
    median: float
    samples: list[float]
    speeds: list[float] = []
    date: str | None = None
    reason: str | None = None

    def taken(self) -> list[Sample]:
        """Return its samples with the speeds that belong to them."""
        known = len(self.speeds) == len(self.samples)
        return [
            Sample(value, self.speeds[index] if known else None)
            for index, value in enumerate(self.samples)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a measurement says.

    Attributes:
        status: What came out.
        measured: Median throughput.
        expected: What the baseline comes to at the speed that the machine had; None without one.
        ratio: Measured of expected.
        interval: Of the measured throughput, 95 %, with the baseline's own noise in it.
        machine_speed: Speed of the machine as a part of that at the baseline; None where it is not
            known of both.
        scaled: Whether throughput was put in relation to that speed.
        speed_spread: How far the machine's speed varied meanwhile: the interquartile range as a
            part of the median; None where it was not measured.
        decided: Whether more repetitions would change nothing: the whole interval lies between two
            limits, or there is none to wait for.
    """

    status: PerfStatus
    measured: float
    expected: float | None = None
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    machine_speed: float | None = None
    scaled: bool = False
    speed_spread: float | None = None
    decided: bool = False


def judge(
    samples: Sequence[Sample],
    baseline: Baseline | None,
    *,
    host_class: str,
    tolerance: float = DEFAULT_TOLERANCE,
) -> Judgement:
    """Judge a measurement; noise never fails it, as the whole interval must lie below a limit.

    Where the baseline is of another class of machines, or the machine's speed differs noticeably
    from what it was then, each sample is divided by the speed around it: what slows the whole
    machine down slows its calibration loop down too. Where speeds are not known a baseline of
    another class is none.

    Args:
        samples: One repetition each, at least one.
        baseline: What it is compared with.
        host_class: Class of this machine.
        tolerance: Part by which throughput may fall; `limits` has what follows from it.
    """
    values = [sample.value for sample in samples]
    measured = statistics.median(values)
    spread = _spread([sample.speed for sample in samples])
    other = baseline is not None and baseline.host_class != host_class
    speed = None if baseline is None else _speed_ratio(samples, baseline.taken())
    if baseline is None or (other and speed is None):
        interval = median_interval(values)
        return Judgement(
            status="no-baseline", measured=measured, interval=interval, speed_spread=spread
        )
    scaled = speed is not None and (other or abs(speed - 1) > NOTICED)
    above = _relative(samples) if scaled else values
    below = _relative(baseline.taken()) if scaled else baseline.samples
    ratio = statistics.median(above) / statistics.median(below)
    expected = measured / ratio
    between = ratio_interval(above, below)
    status, decided = _classify(ratio, between, tolerance)
    return Judgement(
        status=status,
        measured=measured,
        expected=expected,
        ratio=ratio,
        interval=None if between is None else (between[0] * expected, between[1] * expected),
        machine_speed=speed,
        scaled=scaled,
        speed_spread=spread,
        decided=decided,
    )


def _speed_ratio(now: Sequence[Sample], then: Sequence[Sample]) -> float | None:
    """Return the machine's speed as a part of what it was; None where a sample lacks it."""
    ours = [sample.speed for sample in now if sample.speed]
    theirs = [sample.speed for sample in then if sample.speed]
    if len(ours) < len(now) or len(theirs) < len(then):
        return None
    return statistics.median(ours) / statistics.median(theirs)


def _relative(samples: Sequence[Sample]) -> list[float]:
    """Return throughput for each turn of the calibration loop."""
    return [sample.value / sample.speed for sample in samples if sample.speed]


def _classify(
    ratio: float, interval: tuple[float, float] | None, tolerance: float
) -> tuple[PerfStatus, bool]:
    if interval is None:
        return "inconclusive", False
    low, high = interval
    hard, soft = limits(tolerance)
    if high <= hard:
        return "failed", True
    if high <= soft:
        return "soft-breach", low > hard
    if ratio > soft and low > hard:
        return "passed", low > soft
    return "inconclusive", False


def limits(tolerance: float) -> Limits:
    """Return the limits that a tolerance sets."""
    return Limits(failed=1 - tolerance, soft_breach=1 - tolerance / 2)


def _spread(speeds: Sequence[float | None]) -> float | None:
    known = [speed for speed in speeds if speed is not None]
    if len(known) < 2:  # noqa: PLR2004 - a sample alone has no spread
        return None
    first, middle, third = statistics.quantiles(known, n=4, method="inclusive")
    return (third - first) / middle


def is_narrow(judgement: Judgement, precision: float) -> bool:
    """Return whether the interval reaches no further than a part of the median to either side."""
    if judgement.interval is None:
        return False
    low, high = judgement.interval
    return max(high - judgement.measured, judgement.measured - low) <= (
        precision * judgement.measured
    )


def host_class(host: Mapping[str, Any], runtime: Mapping[str, Any]) -> str:
    """Return the class of machines that one belongs to: processor, usable CPUs, interpreter.

    Args:
        host: `host` of a record.
        runtime: `runtime` of a record.
    """
    cpus = host.get("usable_cpus") or host.get("cpu_count")
    python = str(runtime.get("python", "")).split(".")
    parts = (
        str(host.get("architecture") or _UNKNOWN),
        str(host.get("cpu_model") or _UNKNOWN),
        f"{cpus:g}cpu" if isinstance(cpus, int | float) else _UNKNOWN,
        f"{runtime.get('implementation') or _UNKNOWN}{'.'.join(python[:2])}",
    )
    return "-".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in parts)
