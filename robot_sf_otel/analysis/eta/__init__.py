"""When a run will be done: a pure engine over its plan, its progress and comparable past runs."""

from robot_sf_otel.analysis.eta.engine import EtaEngine
from robot_sf_otel.analysis.eta.overlap import added_seconds
from robot_sf_otel.analysis.eta.records import (
    Curve,
    Estimate,
    FinishedStep,
    PastRun,
    PastStep,
    PlannedStep,
    RunningStep,
    Situation,
)

__all__ = [
    "Curve",
    "Estimate",
    "EtaEngine",
    "FinishedStep",
    "PastRun",
    "PastStep",
    "PlannedStep",
    "RunningStep",
    "Situation",
    "added_seconds",
]
