"""A metric exporter for any OpenTelemetry program: samples in the run that is being recorded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult

from robot_sf_otel import guard
from robot_sf_otel.config import Arguments, resolve, switched
from robot_sf_otel.manifest.from_points import Growth, snapshot_of
from robot_sf_otel.redaction import Redactor
from robot_sf_otel_manifest.readable import points_of
from robot_sf_otel_manifest.samples import desk_of

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.metrics.export import MetricsData


class ManifestMetricExporter(MetricExporter):
    """Writes what metric readers collect to `telemetry.jsonl` of the run of this process.

    The run is the one that `ManifestSpanExporter` records under the same artifact root. There is no
    run without spans: samples wait for one (the last 120), and are lost where none comes. With
    several runs open at a time it cannot be told which a sample belongs to: it is left out.

    Args:
        artifact_root: Folder that holds `run-tracker/`; `ROBOT_SF_ARTIFACT_ROOT`, else `output`.
    """

    def __init__(self, artifact_root: str | Path | None = None) -> None:
        super().__init__()
        config = resolve(Arguments(artifact_root=artifact_root), os.environ, guard.warn)
        self._off = switched(os.environ, guard.warn) is False
        self._redact = Redactor(config.redact)
        self._growth = Growth()
        self._desk = desk_of(config.artifact_root)
        self._shut = False

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,
        **kwargs: Any,  # noqa: ANN401 - what later versions of the SDK may add
    ) -> MetricExportResult:
        """Add a sample to the run. Never raises."""
        del timeout_millis, kwargs
        if self._off:
            return MetricExportResult.SUCCESS
        if self._shut:
            return MetricExportResult.FAILURE
        with guard.shielded("metric exporter"):
            snapshot = snapshot_of(points_of(metrics_data), self._redact, self._growth)
            if snapshot is not None:
                self._desk.leave(snapshot)
            return MetricExportResult.SUCCESS
        return MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Return True: samples are written as they come."""
        del timeout_millis
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ANN401 - as export
        """Take no more samples."""
        del timeout_millis, kwargs
        self._shut = True
