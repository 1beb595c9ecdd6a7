"""The rule that watches telemetry itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from robot_sf_otel.analysis.rules.base import Finding, Rule, Thresholds

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene
    from robot_sf_otel.manifest.schema import SelfCost, Severity


class OverheadThresholds(Thresholds, frozen=True, kw_only=True):
    """Thresholds of `telemetry_overhead`."""

    info_percent: Annotated[
        float, Meta(ge=0.01, le=100, description="CPU time of telemetry, in % of one CPU: info.")
    ] = 3.0
    warning_percent: Annotated[float, Meta(ge=0.01, le=100, description="The same: warning.")] = (
        10.0
    )
    seconds: Annotated[
        float, Meta(ge=1, le=86_400, description="Length of the run from which it is judged.")
    ] = 60.0


class TelemetryOverhead(Rule[OverheadThresholds]):
    """Telemetry itself costs too much."""

    id = "telemetry_overhead"
    needs = ("self",)
    fires = (
        "Telemetry has taken {info_percent} % of one CPU or more since the run began, "
        "{seconds} s ago or longer: info; {warning_percent} % or more: warning."
    )
    reason = "It promises less than 1 %, and has to say when it does not keep that."
    source = "`self` of the manifest: the clocks of its own threads"
    blind = "Time that the program waits for a slow disk at a step's start and end."
    thresholds = OverheadThresholds

    def __init__(self, limits: OverheadThresholds) -> None:
        super().__init__(limits)
        self._said: Severity | None = None
        self._held = 0

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        cost = scene.cost
        if cost is None or frame.end - scene.started < self.limits.seconds:
            return ()
        return self._judge(cost, frame.end, scene, lasting=3)

    def on_end(self, scene: Scene) -> Iterable[Finding]:
        if scene.cost is None or scene.now - scene.started < self.limits.seconds:
            return ()
        return self._judge(scene.cost, scene.now, scene, lasting=1)

    def _judge(self, cost: SelfCost, now: float, scene: Scene, lasting: int) -> Iterable[Finding]:
        share = (cost.share_of_run or 0.0) * 100
        limits = self.limits
        if share < limits.info_percent or cost.samples_taken < 3:  # noqa: PLR2004 - not of one
            self._held = 0
            return ()
        self._held += 1
        severity: Severity = "warning" if share >= limits.warning_percent else "info"
        if self._held < lasting or self._said in {severity, "warning"}:
            return ()
        self._said = severity
        interval = cost.interval_seconds or 1.0
        threshold = limits.warning_percent if severity == "warning" else limits.info_percent
        return (
            Finding(
                severity=severity,
                step=None,
                message=(
                    f"Telemetry takes {share:.1f} % of one CPU, at a sample every {interval:g} s"
                ),
                actions=(
                    (
                        f"Raise the interval: ROBOT_SF_OTEL_INTERVAL={interval * 5:g}; GPU "
                        "readings are switched off by ROBOT_SF_OTEL_GPU=off"
                    ),
                    "Make very short steps (milliseconds) one step with `track` instead",
                ),
                evidence={
                    "metric": "self.share_of_run",
                    "value": round(share, 2),
                    "threshold": threshold,
                    "unit": "%",
                    "window_start": scene.started,
                    "window_end": now,
                    "samples": cost.samples_taken,
                    "cpu_seconds": cost.cpu_seconds,
                },
            ),
        )


RULES = (TelemetryOverhead,)
