"""When a run will be done, from its plan, its progress and its past."""

from robot_sf_otel.analysis.eta.engine import EtaEngine
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
]
