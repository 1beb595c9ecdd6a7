from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from robot_sf_otel import guard
from robot_sf_otel.store.history import find_runs
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.reader import load_run
from robot_sf_otel.store.telemetry import iter_snapshots
from robot_sf_otel_manifest import ManifestMetricExporter, ManifestSpanExporter, samples
from tests.unit.exporters.spans import T0, make_root, make_span

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _fresh_guard() -> Iterator[None]:
    guard.reset()
    yield
    guard.reset()


def collected(seconds: float, value: float = 1.0, name: str = "loss") -> MetricsData:
    """What a reader collected `seconds` after T0."""
    when = T0 + round(seconds * 1e9)
    metric = Metric(name, None, "", Gauge([NumberDataPoint({}, when, when, value)]))
    scope = ScopeMetrics(InstrumentationScope("plain"), [metric], "")
    return MetricsData([ResourceMetrics(Resource({}), [scope], "")])


def taken(root: Path) -> list[list[float]]:
    """The milliseconds after T0 of the samples of each run."""
    return [
        [s.timestamp_ms - T0 / 1e6 for s in iter_snapshots(RunPaths(run_dir).telemetry)]
        for run_dir in sorted(find_runs([root]))
    ]


def test_samples_go_to_the_open_run(tmp_path: Path) -> None:
    spans, metrics = ManifestSpanExporter(tmp_path), ManifestMetricExporter(tmp_path)
    spans.export([make_span("load", 2)])
    assert metrics.export(collected(2, 0.5)) is MetricExportResult.SUCCESS
    spans.export([make_root()])
    (run_dir,) = find_runs([tmp_path])
    (sample,) = load_run(run_dir).telemetry()

    assert sample.metrics == {"loss": 0.5}
    assert sample.timestamp_ms == T0 // 1_000_000 + 2000


def test_known_instruments_are_summarised_in_the_manifest(tmp_path: Path) -> None:
    spans, metrics = ManifestSpanExporter(tmp_path), ManifestMetricExporter(tmp_path)
    spans.export([make_span("load", 2)])
    metrics.export(collected(2, 0.5, "robot_sf.process_tree.cpu.utilization"))
    spans.export([make_root()])
    (run_dir,) = find_runs([tmp_path])

    assert load_run(run_dir).record.telemetry["cpu_percent_process"].maximum == 50


def test_a_sample_makes_no_run(tmp_path: Path) -> None:
    metrics = ManifestMetricExporter(tmp_path)

    assert metrics.export(collected(1)) is MetricExportResult.SUCCESS
    assert list(tmp_path.iterdir()) == []


def test_samples_wait_for_the_run_that_they_belong_to(tmp_path: Path) -> None:
    metrics = ManifestMetricExporter(tmp_path)
    metrics.export(collected(-1))
    metrics.export(collected(3))
    ManifestSpanExporter(tmp_path).export([make_span("load", 2), make_root()])

    assert taken(tmp_path) == [[3000]]


def test_what_is_collected_at_exit_belongs_to_the_run_that_just_ended(tmp_path: Path) -> None:
    spans, metrics = ManifestSpanExporter(tmp_path), ManifestMetricExporter(tmp_path)
    spans.export([make_root()])
    metrics.export(collected(11, 0.5, "robot_sf.process_tree.cpu.utilization"))
    metrics.export(collected(60))
    (run_dir,) = find_runs([tmp_path])

    assert taken(tmp_path) == [[11_000]]
    assert '"maximum": 50.0' in (run_dir / "manifest.json").read_text()


def test_with_several_open_traces_a_sample_belongs_to_none(tmp_path: Path) -> None:
    spans, metrics = ManifestSpanExporter(tmp_path), ManifestMetricExporter(tmp_path)
    spans.export([make_span("a", 2), make_span("b", 2, trace=9)])
    metrics.export(collected(2))
    spans.export([make_root(), make_root(trace=9)])

    assert taken(tmp_path) == [[], []]


def test_another_artifact_root_has_other_runs(tmp_path: Path) -> None:
    spans = ManifestSpanExporter(tmp_path / "a")
    spans.export([make_span("load", 2)])
    ManifestMetricExporter(tmp_path / "b").export(collected(2))
    spans.export([make_root()])

    assert taken(tmp_path / "a") == [[]]


def test_only_so_many_samples_wait(tmp_path: Path) -> None:
    metrics = ManifestMetricExporter(tmp_path)
    for second in range(samples.WAITING + 10):
        metrics.export(collected(second / 100))

    assert len(samples.desk_of(tmp_path).waiting) == samples.WAITING


def test_data_that_breaks_is_a_failure_and_no_exception(tmp_path: Path) -> None:
    broken: Any = object()

    assert ManifestMetricExporter(tmp_path).export(broken) is MetricExportResult.FAILURE


def test_after_shutdown_nothing_is_taken(tmp_path: Path) -> None:
    metrics = ManifestMetricExporter(tmp_path)
    assert metrics.force_flush()
    metrics.shutdown()

    assert metrics.export(collected(1)) is MetricExportResult.FAILURE
    assert len(samples.desk_of(tmp_path).waiting) == 0


def test_the_switch_holds_for_metrics_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOT_SF_OTEL_ENABLED", "false")
    metrics = ManifestMetricExporter(tmp_path)

    assert metrics.export(collected(1)) is MetricExportResult.SUCCESS
    assert len(samples.desk_of(tmp_path).waiting) == 0
