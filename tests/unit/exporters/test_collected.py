from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData

from robot_sf_otel import semconv
from robot_sf_otel.manifest.from_points import MAX_METRICS, Growth, snapshot_of
from robot_sf_otel.manifest.points import name_of
from robot_sf_otel.redaction import Redactor
from robot_sf_otel.semconv.instruments import INSTRUMENTS
from robot_sf_otel.system_metrics import instruments
from robot_sf_otel.system_metrics.points import Point
from robot_sf_otel_manifest.readable import points_of

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import TelemetrySnapshot

REDACT = Redactor()
MIB = 1 << 20
CPU_TIME = name_of("tree_cpu_time")


class Metered:
    """A meter, and what a reader collects from it as a sample."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.meter = self._provider.get_meter("plain")
        self._growth = Growth()

    def sample(self) -> TelemetrySnapshot:
        data = self._reader.get_metrics_data()
        assert data is not None
        snapshot = snapshot_of(points_of(data), REDACT, self._growth)
        assert snapshot is not None
        return snapshot


def test_instruments_of_this_package_fill_the_fields_of_a_sample() -> None:
    metered = Metered()
    step = {semconv.PIPELINE_NAME: "imitation", semconv.TASK_NAME: "train"}
    readings = {
        "container_memory_limit": [Point(8.0 * MIB)],
        "tree_cpu_utilization": [Point(0.25)],
        "tree_memory": [Point(3.0 * MIB)],
        "processes": [Point(4.0)],
        "progress_done": [Point(12.0, step)],
        "progress_rate": [Point(1.5, step)],
        "own_memory": [Point(9.0)],
    }
    instruments.register(metered.meter, lambda: readings)
    sample = metered.sample()

    assert sample.memory_limit_mb == 8
    assert sample.cpu_percent_process == 25
    assert sample.memory_rss_mb == 3
    assert sample.process_count == 4
    assert (sample.progress_done, sample.steps_per_sec) == (12, 1.5)
    assert sample.metrics == {"process.memory.usage": 9}
    assert sample.timestamp_ms > 1_600_000_000_000


def test_every_other_value_keeps_its_name_and_attributes() -> None:
    metered = Metered()
    counter = metered.meter.create_counter("jobs")
    counter.add(2, {"queue": "b", "host": "a"})
    counter.add(3)

    assert metered.sample().metrics == {"jobs{host=a,queue=b}": 2, "jobs": 3}


def test_a_histogram_is_told_as_count_sum_and_extremes() -> None:
    metered = Metered()
    histogram = metered.meter.create_histogram("latency")
    histogram.record(1.0, {"route": "/"})
    histogram.record(3.0, {"route": "/"})

    assert metered.sample().metrics == {
        "latency.count{route=/}": 2,
        "latency.sum{route=/}": 4,
        "latency.min{route=/}": 1,
        "latency.max{route=/}": 3,
    }


def test_a_known_name_with_other_attributes_is_no_field() -> None:
    metered = Metered()
    name = "robot_sf.process_tree.memory.usage"
    assert name in {one.name for one in INSTRUMENTS}

    def observe(_: CallbackOptions) -> list[Observation]:
        return [Observation(5, {"pid": 1})]

    metered.meter.create_observable_up_down_counter(name, [observe], "By")
    sample = metered.sample()

    assert sample.memory_rss_mb is None
    assert sample.metrics == {f"{name}{{pid=1}}": 5}


def test_secret_attributes_are_masked() -> None:
    metered = Metered()
    metered.meter.create_counter("calls").add(1, {"api_key": "abcdef123456"})

    assert list(metered.sample().metrics) == ["calls{api_key=[redacted]}"]


def test_a_sample_holds_a_bounded_number_of_values_and_says_so() -> None:
    metered = Metered()
    counter = metered.meter.create_counter("calls")
    for number in range(MAX_METRICS + 5):
        counter.add(1, {"user": number})
    sample = metered.sample()

    assert len(sample.metrics) == MAX_METRICS
    assert sample.notes == f"5 metrics beyond {MAX_METRICS} are left out"


def test_nothing_collected_is_no_sample() -> None:
    assert snapshot_of(points_of(MetricsData([])), REDACT, Growth()) is None


def test_the_rate_of_a_counter_is_known_from_its_second_collection_on() -> None:
    metered = Metered()
    total = iter((5_000.0, 5_000.0, 5_000.0))
    metered.meter.create_observable_counter(
        CPU_TIME, [lambda _: [Observation(next(total))]], unit="s"
    )
    first, second = metered.sample(), metered.sample()

    assert (first.cpu_cores_process, second.cpu_cores_process) == (None, 0.0)
