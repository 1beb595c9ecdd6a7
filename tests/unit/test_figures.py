"""What instruments and events show of live runs, as capture feeds them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from robot_sf_otel import current_run, pipeline, step
from robot_sf_otel.event_log import EventLog
from robot_sf_otel.figures import KEPT_RUNS, KEPT_STEPS, SHOWN_METRICS
from robot_sf_otel.instrument import context
from robot_sf_otel.instrument.live_run import LiveRun
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation
from robot_sf_otel.redaction import Outgoing, Redactor
from robot_sf_otel.testing import FakeClock, capture_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robot_sf_otel.observer import RunObserver

Series = dict[tuple[str, ...], float]
Collect = Callable[[str], Series]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def collect(tmp_path: Path, clock: FakeClock) -> Iterator[Collect]:
    """Return the value of each series of an instrument, by its attributes but the pipeline."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)

    def collect(name: str) -> Series:
        found: Series = {}
        data: Any = reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for metric in resource.scope_metrics[0].metrics:
                for point in metric.data.data_points if metric.name == name else ():
                    which = {k: v for k, v in point.attributes.items() if k != "cicd.pipeline.name"}
                    value = point.value if hasattr(point, "value") else point.count
                    found[tuple(which.values())] = value
        return found

    with capture_run(tmp_path, clock=clock, meter_provider=meters, interval=600):
        yield collect
    meters.shutdown()


def observer() -> RunObserver:
    assert context.process.runtime is not None
    return cast("RunObserver", context.process.runtime.observer)


def test_running_step_is_shown_with_its_time_and_is_gone_at_its_end(
    collect: Collect, clock: FakeClock
) -> None:
    with pipeline("p"), step("train", total=10) as this:
        clock.advance(5.0)
        this.advance(4)
        observer()._tick()
        assert collect("robot_sf.step.elapsed") == {("train",): 5.0}
        assert collect("robot_sf.run.elapsed") == {(): 5.0}
        assert collect("robot_sf.run.progress.done") == {("train",): 4}
        assert collect("robot_sf.run.progress.rate") == {("train",): 0.8}
        clock.advance(1.0)
    assert collect("robot_sf.step.elapsed") == {}
    assert collect("robot_sf.run.progress.rate") == {}
    assert collect("robot_sf.run.progress.done") == {("train",): 4}
    assert collect("robot_sf.run.progress.total") == {("train",): 10}
    assert collect("robot_sf.run.elapsed") == {(): 6.0}
    assert collect("robot_sf.step.duration") == {("train", "success"): 1}


def test_times_are_those_of_the_last_sample_whoever_asks(
    collect: Collect, clock: FakeClock
) -> None:
    with pipeline("p"), step("train"):
        before = collect("robot_sf.step.elapsed")
        clock.advance(5.0)
        assert collect("robot_sf.step.elapsed") == before
        observer()._tick()
        assert collect("robot_sf.step.elapsed") == {("train",): 5.0}


def test_logged_values_of_steps_and_of_the_run_stay_until_the_next_run(collect: Collect) -> None:
    with pipeline("p"):
        with step("train") as this:
            this.log_metric("fps", 30.0)
            this.log_metric("loss", float("nan"))
        current_run().log_metric("reward", 2)
    shown = {("train", "fps"): 30.0, ("reward",): 2.0}
    assert collect("robot_sf.step.metric") == shown
    with pipeline("other"):
        assert collect("robot_sf.step.metric") == shown
    with pipeline("p"):
        assert collect("robot_sf.step.metric") == {}


def test_more_steps_between_two_samples_than_may_wait_are_all_counted(
    collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robot_sf_otel.outward.WAITING_STEPS", 2)
    with pipeline("p"):
        for _ in range(5):
            with step("train"):
                pass
    assert collect("robot_sf.step.duration") == {("train", "success"): 5}


def test_steps_that_completed_are_counted_once_each(collect: Collect) -> None:
    with pipeline("p", steps=["a", "b", "c"]):
        assert collect("robot_sf.run.steps.planned") == {(): 3}
        for name in ("a", "a", "b"):
            with step(name):
                pass
        current_run().skip("c")
        assert collect("robot_sf.run.steps.completed") == {(): 2}
        assert collect("robot_sf.run.steps.planned") == {(): 2}


def test_open_run_is_executing_and_its_end_is_a_status(collect: Collect) -> None:
    with suppress(ValueError), pipeline("p"):
        assert collect("cicd.pipeline.run.active") == {("executing",): 1, ("finalizing",): 0}
        raise ValueError("x")
    assert set(collect("cicd.pipeline.run.active").values()) == {0}
    by_status = {which[2]: value for which, value in collect("robot_sf.run.info").items()}
    assert by_status == {"failed": 1, "running": 0}
    assert collect("cicd.pipeline.run.errors") == {("ValueError",): 1}


def test_process_says_to_which_runs_it_reports_from_their_end_on_too(collect: Collect) -> None:
    with pipeline("p") as first:
        assert collect("robot_sf.run.member") == {(first.run_id,): 1}
    with pipeline("p") as second:
        assert collect("robot_sf.run.member") == {(first.run_id,): 1, (second.run_id,): 1}


def test_run_that_a_child_named_is_open_under_its_new_name_alone(collect: Collect) -> None:
    with pipeline("python") as run:
        assert isinstance(run, LiveRun)
        assert collect("robot_sf.run.info")[run.run_id, run.trace_id, "running"] == 1
        ids = run.ids()
        ids |= {"pipeline": "imitation", "scenario_config_path": "maps/x.yaml"}
        run.record(e.PlanChanged(plan=[], **ids))
        observer().outward.kept_up(run, last=True)
        assert collect("robot_sf.run.info") == {
            (run.run_id, run.trace_id, "running", "maps/x.yaml"): 1,
            (run.run_id, run.trace_id, "running"): 0,
        }
    assert collect("robot_sf.run.info") == {
        (run.run_id, run.trace_id, "completed", "maps/x.yaml"): 1,
        (run.run_id, run.trace_id, "running", "maps/x.yaml"): 0,
        (run.run_id, run.trace_id, "running"): 0,
    }


def test_failure_without_an_exception_has_a_conventional_error_type(collect: Collect) -> None:
    pipeline("p").start().finish("failed", "no reason")
    assert collect("cicd.pipeline.run.errors") == {("_OTHER",): 1}


def test_number_of_series_is_bounded(collect: Collect) -> None:
    for _ in range(KEPT_RUNS + 2):
        pipeline("p").start().finish()
    assert sum(collect("robot_sf.run.info").values()) == KEPT_RUNS
    with pipeline("p"):
        for number in range(KEPT_STEPS + 5):
            with step(f"s{number}", total=1) as this:
                pass
        with step("many") as this:
            for number in range(SHOWN_METRICS + 5):
                this.log_metric(f"m{number}", 1.0)
            assert len(collect("robot_sf.run.progress.total")) == KEPT_STEPS
            assert len(collect("robot_sf.step.metric")) == SHOWN_METRICS


def finding(**other: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of the record
    return {
        "trigger": "stalled",
        "severity": "warning",
        "step_id": "train",
        "message": "token=hunter2x stalls",
        "evidence": {},
        "timestamp_ms": 1_767_225_600_000,
        **other,
    }


@pytest.fixture
def events(collect: Collect) -> Iterator[InMemoryLogRecordExporter]:
    """Send events of the process to a list."""
    made: Any = InMemoryLogRecordExporter  # it has no types
    exporter: InMemoryLogRecordExporter = made()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    assert context.process.runtime is not None
    context.process.runtime.events = EventLog(provider, "1", Outgoing(Redactor()))
    yield exporter
    provider.shutdown()


def records(events: InMemoryLogRecordExporter) -> list[tuple[Any, Any, Any]]:
    logs = [one.log_record for one in events.get_finished_logs()]
    return [(one.event_name, one.severity_text, one.body) for one in logs]


def test_step_is_told_of_once_if_it_still_runs_at_a_sample(
    events: InMemoryLogRecordExporter, clock: FakeClock
) -> None:
    with pipeline("p") as run:
        with step("short"):
            pass
        with step("long") as this:
            clock.advance(2.0)
            observer()._tick()
            observer()._tick()
            span: Any = this
        observer()._tick()
    assert records(events) == [
        ("robot_sf.run.started", "INFO", f"run of p started: {run.run_id}"),
        ("robot_sf.step.started", "INFO", "step long started"),
    ]
    told = events.get_finished_logs()[-1].log_record
    assert f"{told.span_id:016x}" == span.span_id
    assert f"{told.trace_id:032x}" == run.trace_id
    assert told.timestamp == 1_767_225_600_000_000_000, "when it began, not when it was told of"


def test_finding_is_told_of_and_counted_when_it_is_found(
    collect: Collect, events: InMemoryLogRecordExporter
) -> None:
    with pipeline("p"), step("train") as this:
        run: Any = context.live_run()
        live: Any = this
        observer().outward.found(run, Anomaly(id="stalled:train:2", **finding()), live.span)
        advice = PerformanceRecommendation(
            id="stalled:train", suggested_actions=["look"], **finding(severity="critical")
        )
        observer().outward.found(run, advice, live.span)
        told = records(events)[1:]
    assert told == [
        ("robot_sf.anomaly", "WARN", "token=[redacted] stalls"),
        ("robot_sf.recommendation", "ERROR", "token=[redacted] stalls"),
    ]
    assert collect("robot_sf.run.findings") == {
        ("stalled:train", "warning", "anomaly"): 1,
        ("stalled:train", "critical", "recommendation"): 1,
    }


@pytest.mark.parametrize(
    ("signal", "on_span", "in_logs"),
    [("spans", True, False), ("logs", False, True), ("logs/dup", True, True)],
)
def test_exception_is_reported_where_the_variable_says(
    events: InMemoryLogRecordExporter,
    tmp_path: Path,
    signal: Any,  # noqa: ANN401 - one of the literal's values
    *,
    on_span: bool,
    in_logs: bool,
) -> None:
    runtime: Any = context.process.runtime
    runtime.exceptions = signal
    seen: list[Any] = []
    with suppress(ValueError), pipeline("p"), step("train") as this:
        live: Any = this
        seen.append(live.span)
        raise ValueError("no")
    assert [event.name for event in seen[0].events] == ["exception"] * on_span
    reported = [one for one in records(events) if one[0] == "exception"]
    assert reported == [("exception", "ERROR", "ValueError: no")] * 2 * in_logs


def test_logger_that_fails_breaks_nothing(tmp_path: Path, collect: Collect) -> None:
    class Broken:
        def emit(self, record: object) -> None:
            raise OSError("no route to host")

    class Provider:
        def get_logger(self, *_: object) -> Broken:
            return Broken()

    runtime: Any = context.process.runtime
    provider: Any = Provider()
    runtime.events = EventLog(provider, "1", runtime.outgoing)
    with pipeline("p"), step("train"):
        observer()._tick()
    assert collect("cicd.pipeline.run.duration") == {("executing", "success"): 1}
