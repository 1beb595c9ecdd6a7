"""OpenTelemetry providers: those of the application are joined, otherwise ours are set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.scripts import shape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

APPLICATION: Final = """
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from robot_sf_otel import configure, pipeline, shutdown, step

    exporter = InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    meters = MeterProvider(readers)

    def names():
        return [span.name for span in exporter.get_finished_spans()]

    def points(reader):
        found = {}
        data = reader.get_metrics_data()
        for resource in (data.resource_metrics if data else ()):
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        which = (metric.name, *sorted(point.attributes.values()))
                        value = getattr(point, "value", None) or getattr(point, "count", None)
                        found.setdefault(which, []).append(value)
        return found
"""


def test_global_providers_of_the_application_are_joined_and_outlive_us(scripts: Scripts) -> None:
    done = scripts.run(
        APPLICATION
        + """
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    configure()
    with trace.get_tracer("app").start_as_current_span("app"):
        with pipeline("p"), step("train"):
            with trace.get_tracer("app").start_as_current_span("inner"):
                pass
    assert names() == ["inner", "train", "RUN p", "app"], names()
    inner, train, run, app = exporter.get_finished_spans()
    assert inner.parent.span_id == train.context.span_id
    assert run.parent.span_id == app.context.span_id
    assert trace.get_tracer_provider() is tracers
    assert metrics.get_meter_provider() is meters
    shutdown()
    with trace.get_tracer("app").start_as_current_span("after"):
        pass
    assert names()[-1] == "after"
    assert points(readers[0])["cicd.pipeline.run.duration", "executing", "p", "success"] == [1]
    configure()
    with pipeline("again"):
        pass
    assert names()[-1] == "RUN again"
    """
    )
    assert done.errors == ""
    assert {record.pipeline for record in scripts.records} == {"p", "again"}


def test_named_providers_are_used_and_the_global_ones_left_alone(scripts: Scripts) -> None:
    scripts.run(
        APPLICATION
        + """
    configure(tracer_provider=tracers, meter_provider=meters)
    with pipeline("p"), step("train"):
        pass
    assert names() == ["train", "RUN p"]
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"
    """
    )


def test_metric_readers_see_the_same_values(scripts: Scripts) -> None:
    scripts.run(
        APPLICATION
        + """
    from robot_sf_otel.semconv.instruments import INSTRUMENTS
    configure(tracer_provider=tracers, meter_provider=meters, interval=600)
    with pipeline("p"), step("train", total=10) as this:
        this.advance(4)
        first, second = points(readers[0]), points(readers[1])
        assert first == second
        assert points(readers[0]) == first, "reading changes nothing"
    assert {name for name, *_ in first} <= {instrument.name for instrument in INSTRUMENTS}
    assert first["robot_sf.run.progress.done", "p", "train"] == [4]
    assert first["cicd.pipeline.run.active", "executing", "p"] == [1]
    assert first["process.memory.usage",][0] > 1e6
    assert first["process.cpu.time", "user"][0] > 0
    assert all(len(values) == 1 for values in first.values()), first
    """
    )


def test_configuring_again_does_not_register_the_instruments_twice(scripts: Scripts) -> None:
    done = scripts.run(
        APPLICATION
        + """
    for _ in range(2):
        configure(tracer_provider=tracers, meter_provider=meters, interval=600)
        with pipeline("p"):
            found = points(readers[0])
            assert all(len(values) == 1 for values in found.values()), found
        shutdown()
    """
    )
    assert done.errors == ""


def test_providers_are_made_and_set_where_there_are_none(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import os
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        from robot_sf_otel import configure, pipeline, shutdown
        configure()
        first = trace.get_tracer_provider(), metrics.get_meter_provider()
        assert isinstance(first[0], TracerProvider) and isinstance(first[1], MeterProvider)
        assert first[0].resource.attributes["service.name"] == os.environ.get("EXPECTED")
        shutdown()
        configure()
        assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == first
        with pipeline("p"):
            pass
        """,
        env={"EXPECTED": "robot-sf-otel"},
    )
    assert done.errors == ""


@pytest.mark.parametrize(
    "variables",
    [{"OTEL_SERVICE_NAME": "mine"}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=mine"}],
    ids=lambda variables: next(iter(variables)),
)
def test_service_name_of_the_environment_wins(scripts: Scripts, variables: dict[str, str]) -> None:
    scripts.run(
        """
        from opentelemetry import trace
        from robot_sf_otel import configure
        configure()
        assert trace.get_tracer_provider().resource.attributes["service.name"] == "mine"
        """,
        env=variables,
    )


def test_exporter_of_the_environment_gets_the_spans_and_metrics(scripts: Scripts) -> None:
    done = scripts.run(
        """
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("train"):
            pass
        """,
        env={"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"},
    )
    assert '"name": "train"' in done.out
    assert '"name": "RUN p"' in done.out
    assert "robot_sf.process_tree.cpu.time" in done.out


def test_unknown_exporter_is_named_in_one_warning(scripts: Scripts) -> None:
    done = scripts.run(
        """
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p"):
            pass
        """,
        env={"OTEL_TRACES_EXPORTER": "telegraph"},
    )
    (warning,) = done.warnings
    assert "'telegraph'" in warning
    assert scripts.record.status == "completed"


EVERYTHING: Final = """
    from robot_sf_otel import configure, current_run, pipeline, step, track
    import subprocess, sys
    if sys.argv[1:]:
        with step("child"):
            pass
        sys.exit()
    configure()
    with pipeline("p", steps=["a", "b", "never"], params={"lr": 0.1}, seeds=3, tags=["t"]):
        with step("a", title="The first", total=4) as this:
            for _ in track(range(4)):
                pass
            this.log_metric("fps", 2.0)
            this.log_artifact(__file__)
            with step("nested"):
                pass
            subprocess.run([sys.executable, __file__, "child"], check=True)
        try:
            with step("b"):
                raise ValueError("x")
        except ValueError:
            pass
        with step("b"):
            pass
        current_run().skip("never", "why")
"""


def recorded(folder: Path, environment: Mapping[str, str]) -> dict[str, object]:
    """Return what the pipeline above records under other variables."""
    from tests.integration.scripts import Scripts

    folder.mkdir()
    scripts = Scripts(folder)
    done = scripts.run(EVERYTHING, env=environment)
    assert done.errors == ""
    record = scripts.record
    assert record.trace_id
    assert int(record.trace_id, 16)
    assert all(int(entry.span_id or "0", 16) for entry in record.steps if entry.started_at)
    return shape(record)


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_SAMPLER": "always_off"},
        {"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
    ],
    ids=["always_off", "unsampled-parent", "ratio-0"],
)
def test_record_does_not_depend_on_sampling(
    tmp_path: Path, variables: dict[str, str], request: pytest.FixtureRequest
) -> None:
    cache = request.config.stash.setdefault(SAMPLED, {})
    if not cache:
        cache.update(recorded(tmp_path / "sampled", {}))
    assert recorded(tmp_path / "unsampled", variables) == cache


SAMPLED: Final = pytest.StashKey[dict[str, object]]()


def test_traceparent_without_a_run_directory_is_the_roots_parent(scripts: Scripts) -> None:
    scripts.run(
        APPLICATION
        + """
    configure(tracer_provider=tracers)
    with pipeline("p") as run, step("train"):
        assert run.trace_id == "0af7651916cd43dd8448eb211c80319c"
    train, run = exporter.get_finished_spans()
    assert run.parent.span_id == 0xb7ad6b7169203331 and run.parent.is_remote
    assert train.parent.span_id == run.context.span_id
    """,
        env={"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    )
    assert scripts.record.trace_id == "0af7651916cd43dd8448eb211c80319c"
    (started,) = scripts.events("run_started")
    assert started["parent_span_id"] == "b7ad6b7169203331"


def test_traceparent_that_is_none_is_ignored(scripts: Scripts) -> None:
    done = scripts.run(
        """
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p"):
            pass
        """,
        env={"TRACEPARENT": "nonsense"},
    )
    assert done.errors == ""
    assert "parent_span_id" not in scripts.events("run_started")[0]
