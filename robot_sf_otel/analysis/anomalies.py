"""Anomalies: what is unusual for this step or this run, with its time, whatever the cause is.

They are found as recommendations are, from frames and step ends, and have no actions.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median, quantiles
from typing import TYPE_CHECKING, ClassVar, Final

from robot_sf_otel.analysis.rules.base import MAX_STEPS, Finding
from robot_sf_otel.analysis.scene import rates
from robot_sf_otel.analysis.trend import Trend
from robot_sf_otel.manifest.formats import coarse_duration, number

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene, Step
    from robot_sf_otel.manifest.schema import Severity

STALL_SECONDS: Final = 60.0
STALL_TIMES: Final = 10.0
"""A stall is so many times the longest other pause of the step."""
_CHANGES: Final = 5
"""Times that progress grew without which nothing is usual yet."""
_IDLE_CORES: Final = 0.1
_IDLE_PART: Final = 0.8
_SIDE: Final = 8
"""Rates on each side of a change point: 40 s at the least."""
_BREAK: Final = 0.6
"""Rate after a break by the rate before it, at most."""
_OUTLIER_SPREADS: Final = 6.0
_OUTLIER_SHARE: Final = 0.5
_OUTLIER_SECONDS: Final = 10.0
_OUTLIER_RUNS: Final = 5
CLIMB_SECONDS: Final = 600.0
_CLIMB_SHARE: Final = 0.2
_CLIMB_MB: Final = 256.0


class Detector:
    """Looks for one kind of anomaly in one run.

    Args:
        scale: What all times are multiplied with; 1 for frames of 5 s.
    """

    id: ClassVar[str]

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self._said: set[str] = set()

    def _may_say(self, name: str) -> bool:
        """Return whether this was not said of `name` yet, and take it as said."""
        if name in self._said or len(self._said) >= MAX_STEPS:
            return False
        self._said.add(name)
        return True

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        """Look at some seconds of samples."""
        del frame, scene
        return ()

    def on_step_end(self, step: Step, scene: Scene) -> Iterable[Finding]:
        """Look at a step that has just ended."""
        del step, scene
        return ()


class Stall(Detector):
    """Progress of a step with a total stood still while nothing was computed, then went on."""

    id = "stall"

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self._idle = (0.0, 0.0)

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        cores = frame.cpu_cores_process
        found: list[Finding] = []
        for step in scene.running.values():
            pause, step.pause = step.pause, None
            if pause is not None and pause.changes >= _CHANGES and step.total is not None:
                found += self._judge(step, pause.start, pause.end, pause.longest_before, pause.done)
        busy = cores is None or cores >= _IDLE_CORES or (frame.gpu_util_percent or 0.0) >= 5  # noqa: PLR2004 - a flicker
        if not busy:
            begun, ended = self._idle
            self._idle = (begun if ended == frame.start else frame.start, frame.end)
        return found

    def on_step_end(self, step: Step, scene: Scene) -> Iterable[Finding]:
        if step.status == "completed" or step.total is None or step.changes < _CHANGES:
            return ()
        now = step.ended or scene.now
        return self._judge(step, step.last_change, now, step.longest_gap, step.done)

    def _judge(
        self, step: Step, start: float, end: float, longest: float, done: float
    ) -> Iterable[Finding]:
        needed = max(STALL_SECONDS * self.scale, STALL_TIMES * longest)
        idle = min(end, self._idle[1]) - max(start, self._idle[0])
        if end - start < needed or idle < (end - start) * _IDLE_PART:
            return ()
        if not self._may_say(f"{step.step_id} {start}"):
            return ()
        return (
            _finding(
                "warning",
                step,
                f"Step {step.step_id} stood still at {number(done)} {step.unit} for "
                f"{coarse_duration(end - start)}; its longest other pause was "
                f"{coarse_duration(longest)}",
                ("seconds_without_progress", end - start, needed, "s"),
                (start, end, step.changes),
            ),
        )


class ThroughputBreak(Detector):
    """A step's rate fell to 60 % or less within a moment, and stayed there.

    The medians of eight rates on each side of the change are compared, and the middle halves of
    both must not overlap: neither an evaluation between units is one nor work that gets slower
    little by little.
    """

    id = "throughput_break"

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self._due = 0.0

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        if frame.end < self._due or not scene.running:
            return ()
        self._due = frame.end + 15.0 * self.scale
        return [found for step in scene.running.values() for found in self._judge(step)]

    def on_step_end(self, step: Step, scene: Scene) -> Iterable[Finding]:
        return self._judge(step)

    def _judge(self, step: Step) -> Iterable[Finding]:
        if step.warm is None or step.step_id in self._said or len(step.marks) <= 2 * _SIDE:
            return ()
        marks = [mark for mark in step.marks if mark[0] >= step.warm[0]][-2 * _SIDE - 1 :]
        if len(marks) <= 2 * _SIDE:
            return ()
        found = rates(marks)
        before, after = found[:_SIDE], found[_SIDE:]
        usual, now = median(before), median(after)
        if now > usual * _BREAK or quantiles(after)[2] >= quantiles(before)[0]:
            return ()
        # A ramp has the middle between its ends in its middle; a break has one of its sides.
        near = [found[_SIDE - 2], found[_SIDE + 1]]
        if not (near[0] > (usual + now) / 2 > near[1]) or not self._may_say(step.step_id):
            return ()
        unit = f"{step.unit}/s"
        return (
            _finding(
                "warning",
                step,
                f"Step {step.step_id} fell from {number(usual)} to {number(now)} {unit}",
                ("steps_per_sec", now, usual * _BREAK, unit),
                (marks[_SIDE][0], marks[-1][0], _SIDE),
                rate_before=round(usual, 3),
                done=marks[_SIDE][1],
            ),
        )


class StepOutlier(Detector):
    """A completed step took far longer, or far shorter, than in comparable runs."""

    id = "step_outlier"

    def on_step_end(self, step: Step, scene: Scene) -> Iterable[Finding]:
        taken = step.duration
        if not step.top_level or step.status != "completed" or taken is None:
            return ()
        usual = scene.past.usual_duration(step.step_id, step.total)
        if usual is None or usual.runs < _OUTLIER_RUNS:
            return ()
        width = max(
            _OUTLIER_SPREADS * usual.spread, _OUTLIER_SHARE * usual.median, _OUTLIER_SECONDS
        )
        off = taken - usual.median
        if abs(off) <= width or not self._may_say(step.step_id):
            return ()
        longer = off > 0
        return (
            _finding(
                "warning" if longer else "info",
                step,
                f"Step {step.step_id} took {coarse_duration(taken)}, the median of {usual.runs} "
                f"earlier runs is {coarse_duration(usual.median)}"
                + ("" if longer else ": was there nothing to do?"),
                (
                    "duration_seconds",
                    taken,
                    usual.median + width if longer else max(0.0, usual.median - width),
                    "s",
                ),
                (step.started, step.ended or scene.now, usual.runs),
                median_seconds=round(usual.median, 1),
            ),
        )


class MemoryClimb(Detector):
    """The tree's memory rose all the time for ten minutes, by a fifth and 256 MiB at the least."""

    id = "memory_climb"

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        self._trend = Trend(CLIMB_SECONDS * scale)
        self._of: Step | None = None
        self._due = 0.0

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        rss, step = frame.memory_rss_mb, scene.sole
        if step is not self._of:
            self._trend.clear()
            self._of = step
        if rss is None:
            return ()
        self._trend.add(frame.end, rss)
        if frame.end < self._due:
            return ()
        self._due = frame.end + CLIMB_SECONDS * self.scale / 10
        rise = self._trend.rise()
        if rise is None:
            return ()
        growth, slope, start, end = rise
        needed = max(_CLIMB_MB, (rss - growth) * _CLIMB_SHARE)
        if growth < needed or not self._may_say(step.step_id if step is not None else ""):
            return ()
        where = f"In step {step.step_id}" if step is not None else "In this run"
        return (
            _finding(
                "info",
                step,
                f"{where} memory climbed by {growth:.0f} MiB in {coarse_duration(end - start)}, "
                f"{slope * 60:.0f} MiB a minute at last",
                ("memory_rss_mb", rss, rss - growth + needed, "MiB"),
                (start, end, max(3, round((end - start) / frame.seconds))),
                mb_per_minute=round(slope * 60, 1),
            ),
        )


def _finding(
    severity: Severity,
    step: Step | None,
    message: str,
    measured: tuple[str, float, float, str],
    window: tuple[float, float, int],
    **more: object,
) -> Finding:
    """Return a finding; `measured` is metric, value, threshold and unit."""
    metric, value, threshold, unit = measured
    return Finding(
        severity=severity,
        step=step,
        message=message,
        evidence={
            "metric": metric,
            "value": round(value, 3),
            "threshold": round(threshold, 3),
            "unit": unit,
            "window_start": window[0],
            "window_end": window[1],
            "samples": window[2],
            **more,
        },
    )


DETECTORS: Final[tuple[type[Detector], ...]] = (Stall, ThroughputBreak, StepOutlier, MemoryClimb)
