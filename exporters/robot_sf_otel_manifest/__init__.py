"""The canonical file exporter: journal, manifest.json and manifest.md under `run-tracker/`.

`recorder` serves instrumented pipelines (entry point `robot_sf_otel_recorder`); the span and
metric exporters serve any OpenTelemetry program (`OTEL_TRACES_EXPORTER=run_manifest`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robot_sf_otel_manifest.metrics import ManifestMetricExporter
    from robot_sf_otel_manifest.recorder import ManifestRecorder
    from robot_sf_otel_manifest.traces import ManifestSpanExporter

__all__ = ["ManifestMetricExporter", "ManifestRecorder", "ManifestSpanExporter"]

_HOME = {
    "ManifestMetricExporter": "robot_sf_otel_manifest.metrics",
    "ManifestRecorder": "robot_sf_otel_manifest.recorder",
    "ManifestSpanExporter": "robot_sf_otel_manifest.traces",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type of the attribute asked for
    """Import an exporter when it is first asked for: the recorder needs no SDK."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOME[name]), name)
