"""Runs as a real Collector, a real Prometheus and the dashboards see them."""

from __future__ import annotations

import re
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from robot_sf_otel.demo.scenario import DEFAULT_SCENARIO
from robot_sf_otel.semconv.instruments import INSTRUMENTS, WRITTEN
from tests.integration import backends, test_cgroup_limits
from tests.integration.backends import CONFIG, Collector, Prometheus, until
from tests.integration.collectors import answering
from tests.integration.dashboards import RULES, alerts, asked, filled, variables
from tests.integration.scripts import shape

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord
    from tests.integration.scripts import Scripts

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DEMO: Final = DEFAULT_SCENARIO.read_text(encoding="utf-8")
RESULTS: Final = {"completed": "success", "failed": "failure", "skipped": "skip"}
NANOSECONDS: Final = 1_000_000_000
THRESHOLDS: Final = """
[evaluation]
frame_seconds = 0.5
[throughput_drop]
seconds = 1
shortest_seconds = 1
"""
EVERYTHING: Final = f"""
    import ctypes, sys, time
    sys.path.insert(0, {str(backends.ROOT)!r})
    from tests.unit.system_metrics.recorded_nvml import FakeDevice, FakeNvml, busy
    rows = [busy(t, energy_mj=1000 * t) for t in range(1, 60)]
    began = time.monotonic()
    sys.modules["pynvml"] = FakeNvml(lambda: time.monotonic() - began, FakeDevice(rows))
    library = ctypes.CDLL  # the driver's, which NVML is asked for first
    ctypes.CDLL = lambda name, *rest: None if name == "libnvidia-ml.so.1" else library(name, *rest)

    from robot_sf_otel import configure, current_step, pipeline, step, track
    configure(interval=0.2, rules="rules.toml")

    @step
    def collect():
        with open("collected", "wb") as file:
            for _ in track(range(40), unit="episodes"):
                file.write(bytes(100_000))
                time.sleep(0.05)

    @step(total=200, unit="timesteps", baseline_rate=10_000)
    def train():
        for n in range(200):
            time.sleep(0.025)
            current_step().advance()
            current_step().log_metric("episode_reward", n / 10)

    @step
    def evaluate():
        if "fail" in sys.argv:
            raise ValueError("the robot fell over")

    @pipeline("imitation", steps=[collect, train, evaluate])
    def main():
        collect(); train(); evaluate()

    main()
"""


@dataclass
class World:
    """Everything that a team has: an agent, a gateway, and what stands behind it."""

    agent: Collector
    gateway: Collector
    tempo: Collector
    prometheus: Prometheus
    began: float

    def environment(self, protocol: str = "grpc") -> dict[str, str]:
        """Return what a pipeline is told."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.agent.grpc
            if protocol == "grpc"
            else self.agent.http,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }

    def ever(self, promql: str) -> list[dict[str, Any]]:
        """Return the series that a query has had since this world began."""
        return self.prometheus.range(promql, self.began, time.time())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The configurations as they are delivered, on free ports; Tempo is a Collector's receiver."""
    settings = yaml.safe_load((CONFIG / "prometheus" / "prometheus.yml").read_text())
    settings["global"]["evaluation_interval"] = "1s"
    settings["rule_files"] = [str(RULES)]
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(yaml.safe_dump(settings))
    with ExitStack() as stack:
        prometheus = stack.enter_context(
            backends.prometheus(tmp_path / "prometheus", configuration)
        )
        tempo = stack.enter_context(backends.collector(tmp_path / "tempo"))
        gateway = stack.enter_context(
            backends.collector(
                tmp_path / "gateway",
                CONFIG / "gateway.yaml",
                {
                    "PROMETHEUS": prometheus.remote_write,
                    "TEMPO": f"127.0.0.1:{tempo.grpc_port}",
                    "QUEUE_DIRECTORY": str(tmp_path / "gateway" / "queue"),
                },
            )
        )
        agent = stack.enter_context(
            backends.collector(
                tmp_path / "agent",
                CONFIG / "agent.yaml",
                {
                    "GATEWAY": f"127.0.0.1:{gateway.grpc_port}",
                    "QUEUE_DIRECTORY": str(tmp_path / "agent" / "queue"),
                },
            )
        )
        yield World(agent, gateway, tempo, prometheus, time.time())


def told(record: PipelineRunRecord) -> dict[str, tuple[str, str]]:
    """Return what the record says of its spans: name and result by span id."""
    spans = {
        entry.span_id: (entry.step_id, RESULTS[entry.status])
        for entry in record.steps
        if entry.span_id is not None
    }
    assert record.span_id is not None
    return spans | {record.span_id: (record.pipeline, RESULTS[record.status])}


def seen(spans: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Return the same of spans in OTLP JSON; one span twice is a fault."""
    found: dict[str, tuple[str, str]] = {}
    for span in spans:
        attributes = {one["key"]: one["value"].get("stringValue") for one in span["attributes"]}
        name = attributes.get("cicd.pipeline.task.name") or attributes["cicd.pipeline.name"]
        result = (
            attributes.get("cicd.pipeline.task.run.result") or attributes["cicd.pipeline.result"]
        )
        assert span["spanId"] not in found
        found[span["spanId"]] = (name, result)
    return found


def test_every_panel_and_every_alert_finds_what_runs_send(
    world: World, scripts: Scripts, subtests: pytest.Subtests
) -> None:
    (scripts.folder / "rules.toml").write_text(THRESHOLDS)
    group, unlimited = _limited()
    prefix = group.joining() if group is not None else ()
    try:
        scripts.run(EVERYTHING, env=world.environment(), prefix=prefix)
        scripts.run(
            EVERYTHING, "fail", env=world.environment("http/protobuf"), prefix=prefix, code=1
        )
    finally:
        if group is not None:
            group.remove()
    records = scripts.records
    assert [record.status for record in records] == ["completed", "failed"]
    expected = {key: value for record in records for key, value in told(record).items()}
    for collector in (world.gateway, world.tempo):
        _wait_for_spans(collector, len(expected))
    of_run = f'cicd_pipeline_run_id="{records[1].run_id}"'
    failed = f'robot_sf_run_info{{{of_run}, robot_sf_run_status="failed"}} == 1'
    until(lambda: world.prometheus.query(failed), "the metrics")

    with subtests.test("spans are those of the manifests, in the archive and in Tempo's receiver"):
        for collector in (world.gateway, world.tempo):
            assert seen(collector.spans()) == expected
            _same_times(collector.spans(), records)
    with subtests.test("metrics are those of the manifests"):
        _same_metrics(world, records)
    _every_query(world, records[1], subtests, unlimited)
    with subtests.test("a failed run raises an alert"):
        firing = 'ALERTS{alertname="RunFailed", alertstate="firing"}'
        (alert,) = until(lambda: world.prometheus.query(firing), "the alert")
        assert alert["metric"]["cicd_pipeline_run_id"] == records[1].run_id
    with subtests.test("alerts ask for metrics that there are"):
        names = world.prometheus.names()
        for called, expression in alerts():
            for name in re.findall(
                r"\b((?:robot_sf|container|system|cicd)_\w+_\w+)(?=[\[{ ])", expression
            ):
                assert name in names or (unlimited and "container" in name), (called, name)
    with subtests.test("instruments are called in Prometheus what the documentation says"):
        known = {
            backends.prometheus_name(one.name, one.unit, one.kind)
            for one in (*INSTRUMENTS, *WRITTEN)
        }
        got = {
            re.sub(r"_(bucket|sum|count)$", "", name) if "duration" in name else name
            for name in world.prometheus.names()
            if name.startswith(("robot_sf_", "cicd_", "hw_", "container_", "system_"))
        }
        assert got <= known


def _limited() -> tuple[test_cgroup_limits.Group | None, str]:
    """Return a control group with limits, or why there is none."""
    reasons: list[str] = []
    for make in (test_cgroup_limits.make_v1, test_cgroup_limits.make_v2):
        try:
            return make(f"robot-sf-otel-test-{secrets.token_hex(4)}"), ""
        except (OSError, LookupError, ValueError) as error:
            reasons.append(repr(error))
    return None, f"no control group with limits can be made here: {'; '.join(reasons)}"


def _same_times(spans: list[dict[str, Any]], records: list[PipelineRunRecord]) -> None:
    durations = {
        span["spanId"]: (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]))
        / NANOSECONDS
        for span in spans
    }
    traces = {span["spanId"]: span["traceId"] for span in spans}
    parents = {span["spanId"]: span.get("parentSpanId", "") for span in spans}
    for record in records:
        for entry in record.steps:
            assert entry.span_id is not None
            # Two clocks, read one after the other: on a busy machine something comes between.
            assert durations[entry.span_id] == pytest.approx(entry.duration_seconds, abs=0.5)
            assert traces[entry.span_id] == record.trace_id
            assert parents[entry.span_id] == record.span_id


def _same_metrics(world: World, records: list[PipelineRunRecord]) -> None:
    sums = {
        point["metric"]["cicd_pipeline_task_name"]: float(point["value"][1])
        for point in world.prometheus.query(
            "sum by (cicd_pipeline_task_name) (robot_sf_step_duration_seconds_sum)"
        )
    }
    for step in ("collect", "train", "evaluate"):
        recorded = sum(
            entry.duration_seconds or 0.0
            for record in records
            for entry in record.steps
            if entry.step_id == step
        )
        assert sums[step] == pytest.approx(recorded, abs=0.5)
    for record in records:
        info = f'robot_sf_run_info{{cicd_pipeline_run_id="{record.run_id}"}} == 1'
        (state,) = world.prometheus.query(info)
        assert state["metric"]["robot_sf_run_status"] == record.status
        assert state["metric"]["robot_sf_run_trace_id"] == record.trace_id
    rewards = world.ever('robot_sf_step_metric{robot_sf_metric_name="episode_reward"}')
    assert max(float(value) for series in rewards for _, value in series["values"]) == 19.9
    busy = world.ever("hw_gpu_utilization_ratio")
    assert {float(value) for series in busy for _, value in series["values"]} == {0.8}


def _every_query(
    world: World,
    record: PipelineRunRecord,
    subtests: pytest.Subtests,
    unlimited: str = "",
    panels: frozenset[str] = frozenset(),
) -> None:
    """Ask every query as Grafana does, for the run that is looked at; of all panels or of some."""
    values: dict[str, str] = {"trace": record.trace_id or ""}
    for dashboard, name, series, label in variables():
        with subtests.test("variable", dashboard=dashboard, variable=name):
            found = {
                point["metric"][label] for point in world.prometheus.query(filled(series, values))
            }
            wanted = {"pipeline": record.pipeline, "run": record.run_id}
            if name == "instance":  # all that there are
                assert found
                values[name] = "|".join(sorted(found))
                continue
            values[name] = wanted.get(name) or next(iter(found))
            assert values[name] in found
    for query in asked():
        if panels and query.where not in panels:
            continue
        if query.datasource != "prometheus":
            continue
        with subtests.test("panel", where=query.where, query=query.text):
            if unlimited and "limit" in query.text:
                pytest.skip(unlimited)
            assert world.ever(filled(query.text, values))


def test_the_demo_arrives_whole(world: World, scripts: Scripts) -> None:
    """The real pipeline, at the size of its own tests."""
    short = scripts.folder / "short.toml"
    short.write_text(
        re.sub(
            r"^(iterations|episodes|epochs|validation_episodes) = \d+",
            r"\1 = 3",
            DEMO,
            flags=re.MULTILINE,
        )
    )
    command = [sys.executable, "-m", "robot_sf_otel.cli.main", "demo", "--scenario", str(short)]
    ended = scripts.start_command(command, env=world.environment()).ends(120)

    assert ended.code == 0, ended.errors
    record = scripts.record
    expected = told(record)
    _wait_for_spans(world.gateway, len(expected))
    assert seen(world.gateway.spans()) == expected
    assert {span["traceId"] for span in world.gateway.spans()} == {record.trace_id}
    done = world.ever("robot_sf_run_steps_completed")
    assert {float(series["values"][-1][1]) for series in done} == {5.0}


WRAPPED: Final = """
    import multiprocessing, time
    from robot_sf_otel import configure, current_step, pipeline, step, track

    @step
    def collect():
        for _ in track(range(20), unit="episodes"):
            time.sleep(0.1)
            current_step().log_metric("reward", 1.0)

    @step(total=20)
    def train():
        worker = multiprocessing.get_context("spawn").Process(target=collect)
        worker.start()
        for _ in range(20):
            time.sleep(0.1)
            current_step().advance()
        worker.join()

    @pipeline("imitation", steps=[train])
    def main():
        train()

    if __name__ == "__main__":
        configure(interval=0.2)
        main()
"""
OF_PROCESSES: Final = frozenset(
    f"run.json: {title}"
    for title in (
        *("Status", "Steps done", "Steps planned", "Elapsed", "Running steps", "Progress"),
        *("Throughput", "Metrics of the steps"),
    )
)
"""Panels of what every run has, whatever the machine."""


def test_page_of_a_run_shows_what_a_wrapped_command_and_its_workers_report(
    world: World, scripts: Scripts, subtests: pytest.Subtests
) -> None:
    main = scripts.write(WRAPPED, "train.py")
    tracker = [sys.executable, "-m", "robot_sf_otel.cli.main", "run", "--"]
    started = scripts.start_command(
        [*tracker, sys.executable, str(main)],
        env=world.environment() | {"ROBOT_SF_OTEL_INTERVAL": "0.2"},
    )
    done = started.ends(60)
    assert done.code == 0, done.errors
    record = scripts.record
    assert record.pipeline == "imitation"
    of_run = f'cicd_pipeline_run_id="{record.run_id}"'
    ended = f'robot_sf_run_info{{{of_run}, robot_sf_run_status="completed"}}'
    until(lambda: world.prometheus.query(ended), "the metrics")

    _every_query(world, record, subtests, panels=OF_PROCESSES)
    with subtests.test("steps of the command and of its worker"):
        processes = f"robot_sf_run_member{{{of_run}}}"
        rates = f"robot_sf_run_progress_done * on (instance) group_left () {processes}"
        steps = {one["metric"]["cicd_pipeline_task_name"] for one in world.ever(rates)}
        assert steps == {"train", "collect"}
    with subtests.test("no run is open"):
        assert not world.prometheus.query('robot_sf_run_info{robot_sf_run_status="running"} == 1')
        assert not world.prometheus.query("cicd_pipeline_run_active > 0")


STEADY: Final = """
    import time
    from robot_sf_otel import configure, pipeline, step, track
    configure(interval=0.2)

    @step
    def turn(): time.sleep(0.1)

    with pipeline("steady", steps=["long"]):
        with step("long"):
            print("begun", flush=True)
            for n in track(range(60)):
                turn()
"""


def test_killed_collector_loses_no_span_and_costs_the_pipeline_nothing(
    world: World, scripts: Scripts, tmp_path: Path
) -> None:
    """The agent dies and comes back, then the gateway is away for a while; all within one run."""
    alone = scripts.start(STEADY, env={"ROBOT_SF_ARTIFACT_ROOT": str(tmp_path / "alone")})
    assert alone.ends().code == 0
    spans = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "30"}
    running = scripts.start(STEADY, env=world.environment() | spans)
    running.says("begun")
    until(world.gateway.spans, "the first spans")
    world.agent.kill()
    time.sleep(1)  # a second in which steps end and nobody listens
    world.agent.start()
    world.gateway.stop()
    time.sleep(1)
    ended = running.ends(60)
    world.gateway.start()

    assert ended.code == 0, ended.errors
    (record,) = scripts.records
    expected = told(record)
    assert len(expected) == 62
    _wait_for_spans(world.gateway, len(expected))
    assert _ids(world.gateway) == set(expected)
    (undisturbed,) = list(_records(tmp_path / "alone"))
    assert shape(record) == shape(undisturbed)
    assert record.duration_seconds is not None
    assert undisturbed.duration_seconds is not None
    assert record.duration_seconds < 1.2 * undisturbed.duration_seconds


PARALLEL: Final = """
    import time
    from concurrent.futures import ThreadPoolExecutor
    from robot_sf_otel import configure, pipeline, step, track
    configure(interval=0.2)

    def one(number):
        with pipeline("sweep", steps=["fit"], seeds={"seed": number}):
            with step("fit"):
                for _ in track(range(30)): time.sleep(0.1)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, [5, 6]))
"""


def test_queries_hold_for_runs_side_by_side_in_one_process_and_after_they_are_replayed(
    world: World, scripts: Scripts, subtests: pytest.Subtests
) -> None:
    """Two runs on one instance, then two resources: what a join finds twice it refuses."""
    for _ in range(2):  # the second time there is an ETA
        scripts.run(PARALLEL, env=world.environment())
    (page,) = re.findall(
        r"```text\n(robot_sf_run_eta.*?)```",
        (backends.ROOT / "docs" / "how-to" / "grafana.md").read_text(),
        re.DOTALL,
    )
    assert [record.status for record in scripts.records] == ["completed"] * 4
    ended = 'robot_sf_run_info{robot_sf_run_status="completed"} == 1'
    until(lambda: len(world.prometheus.query(ended)) == 4, "the metrics")
    both = 'count(robot_sf_run_info{robot_sf_run_status="running"} == 1) == 2'
    assert world.ever(both), "the runs were not open at once"
    values = {"pipeline": ".*"}
    fleet = [
        query
        for query in asked()
        if query.where.startswith("fleet") and "target_info" in query.text
    ]
    assert fleet
    for query in [filled(one.text, values) for one in fleet] + [page]:
        with subtests.test("side by side", query=query):
            assert world.ever(query)
    of_open = [query for query in fleet if "Open runs" in query.where]
    until(
        lambda: not any(world.prometheus.query(filled(one.text, values)) for one in of_open),
        "the ended runs to be gone from the open ones",
    )

    command = [sys.executable, "-m", "robot_sf_otel.cli.main", "replay", "--all"]
    command += ["--endpoint", world.agent.grpc]
    assert scripts.start_command(command).ends(60).code == 0
    twice = "count by (instance) (target_info) == 2"
    until(lambda: len(world.ever(twice)) == 2, "a second target_info of each process")
    for query in fleet:
        with subtests.test("replayed", where=query.where, query=query.text):
            world.ever(filled(query.text, values))
    for called, expression in alerts():
        with subtests.test("replayed", alert=called):
            world.ever(expression)


def test_old_samples_take_no_live_ones_with_them(world: World) -> None:
    """The queue of an agent makes one request of what several processes sent.

    One that is too old even for this Prometheus is refused over and over by versions before 2.49.
    """
    now = time.time()
    world.gateway.send_gauge("old", {"live": now})
    until(lambda: world.prometheus.query("old"), "the first sample")
    hours = {"cut_off_for_hours": now - 5 * 3600, "replayed": now - 29 * 24 * 3600, "beside": now}
    world.gateway.send_gauge("mixed", hours)

    for which, moment in hours.items():
        query = f'mixed{{which="{which}"}}'
        until(partial(world.prometheus.query, query, moment), which)
    world.gateway.send_gauge("older", {"than_the_window": now - 31 * 24 * 3600})
    world.gateway.send_gauge("live", {"behind": time.time()})
    until(lambda: world.prometheus.query("live"), "what came behind it")


def test_what_prometheus_refuses_is_let_go_and_what_it_cannot_take_now_is_sent_again(
    tmp_path: Path,
) -> None:
    """It says 400 to a request that it never takes, and 503 while it starts."""
    with ExitStack() as stack:
        port, given = stack.enter_context(answering(400, 503, 503))
        environ = {
            "PROMETHEUS": f"http://127.0.0.1:{port}",
            "QUEUE_DIRECTORY": str(tmp_path / "queue"),
        }
        gateway = stack.enter_context(
            backends.collector(tmp_path / "gateway", CONFIG / "gateway.yaml", environ)
        )
        gateway.send_gauge("refused", {"a": time.time()})
        until(lambda: given == [400], "the refusal")
        gateway.send_gauge("kept", {"a": time.time()})
        until(lambda: 200 in given, "what was kept")
    assert given == [400, 503, 503, 200]


def test_metrics_outlive_a_prometheus_that_is_away_and_a_gateway_that_is_started_again(
    world: World,
) -> None:
    world.prometheus.stop()
    moments = {"stopped": time.time(), "killed": time.time() - 1}
    world.gateway.send_gauge("kept", {"stopped": moments["stopped"]})
    world.gateway.stop()
    world.gateway.start()
    world.gateway.send_gauge("kept", {"killed": moments["killed"]})
    world.gateway.kill()
    world.gateway.start()
    world.prometheus.start()

    for which, moment in moments.items():
        query = f'kept{{which="{which}"}}'
        until(partial(world.prometheus.query, query, moment + 1), which)


def _wait_for_spans(collector: Collector, number: int) -> None:
    until(lambda: len(_ids(collector)) >= number, f"{number} spans")


def _ids(collector: Collector) -> set[str]:
    """Return the ids of the spans that arrived; one that was sent again is one."""
    return {span["spanId"] for span in collector.spans()}


def _records(root: Path) -> list[PipelineRunRecord]:
    from robot_sf_otel.store.history import find_runs
    from robot_sf_otel.store.reader import load_run

    return [load_run(run_dir).record for run_dir in find_runs([root])]
