"""What leaves a process by OTLP, as a receiver of gRPC and of HTTP gets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from robot_sf_otel.semconv.instruments import INSTRUMENTS, WRITTEN
from tests.data import redaction_corpus as corpus
from tests.integration.otlp_receiver import PROTOCOLS, Item, Received, receiving

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import StepExecutionEntry
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

KINDS: Final = {"internal": 1, "server": 2}
OK: Final = 0
ERROR: Final = 2

PIPELINE: Final = """
    from robot_sf_otel import configure, current_run, pipeline, step
    configure(interval=0.1, gpu="off")
    try:
        with pipeline("p", steps=["train", "skipped", "fails"], scenario="city", tags=["nightly"]):
            with step("train", title="Training", total=4) as this:
                this.advance(4)
                this.log_metric("fps", 30.0)
                with step("nested"):
                    pass
            current_run().skip("skipped", "not today")
            with step("fails"):
                raise ValueError("no such policy")
    except ValueError:
        pass
"""


def hexed(identity: bytes) -> str | None:
    return identity.hex() or None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_arrives_of_a_short_run_equals_its_record(scripts: Scripts, protocol: str) -> None:
    with receiving(protocol) as (received, variables):
        done = scripts.run(PIPELINE, env=variables)
    assert done.errors == ""
    record = scripts.record
    assert {item.resource["service.name"] for item in received.spans} == {"robot-sf-otel"}

    spans = {item.message.span_id.hex(): item for item in received.spans}
    assert len(spans) == len(received.spans), "no span twice"
    root = spans.pop(record.span_id or "")
    assert root.name == "RUN p"
    assert root.message.kind == KINDS["server"]
    assert hexed(root.message.parent_span_id) is None
    assert root.attributes == {
        "cicd.pipeline.name": "p",
        "cicd.pipeline.action.name": "RUN",
        "cicd.pipeline.run.id": record.run_id,
        "cicd.pipeline.run.url.full": scripts.run_dirs[0].as_uri(),
        "cicd.pipeline.result": "failure",
        "error.type": "ValueError",
        "robot_sf.run.scenario": "city",
        "robot_sf.run.tags": ("nightly",),
    }
    ran = {entry.span_id: entry for entry in record.steps if entry.span_id}
    assert set(spans) == set(ran)
    for span_id, item in spans.items():
        compare_step(item, ran[span_id], {entry.span_id: entry for entry in record.steps})
    assert {item.message.trace_id.hex() for item in received.spans} == {record.trace_id}

    known = {row.name for row in (*INSTRUMENTS, *WRITTEN)}
    assert {item.name for item in received.points} <= known
    last = received.last
    assert last("robot_sf.run.info", robot_sf__run__status="failed") == 1
    info = next(item for item in received.points if item.name == "robot_sf.run.info")
    assert info.attributes["cicd.pipeline.run.id"] == record.run_id
    assert info.attributes["robot_sf.run.trace_id"] == record.trace_id
    assert last("cicd.pipeline.run.active", cicd__pipeline__run__state="executing") == 0
    assert last("robot_sf.run.steps.completed") == record.summary.steps_completed == 1
    assert last("robot_sf.run.steps.planned") == record.summary.steps_total == 2
    assert last("robot_sf.run.progress.done") == 4
    assert last("robot_sf.run.progress.total") == 4
    assert last("robot_sf.step.metric", robot_sf__metric__name="fps") == 30.0
    assert last("robot_sf.run.elapsed") == pytest.approx(record.duration_seconds, abs=1.0)
    assert last("cicd.pipeline.run.errors", error__type="ValueError") == 1
    assert last("cicd.pipeline.run.duration", cicd__pipeline__result="failure") == 1
    ended = {"train": "success", "nested": "success", "fails": "failure"}
    for name, result in ended.items():
        which = {"cicd__pipeline__task__name": name, "cicd__pipeline__task__run__result": result}
        assert last("robot_sf.step.duration", **which) == 1

    (started,) = [item for item in received.logs if item.name == "robot_sf.run.started"]
    assert started.message.trace_id.hex() == record.trace_id
    assert started.message.span_id.hex() == record.span_id
    assert started.attributes["cicd.pipeline.run.id"] == record.run_id


def compare_step(
    item: Item, entry: StepExecutionEntry, every: dict[str | None, StepExecutionEntry]
) -> None:
    """Compare the span of a step with its entry in the record."""
    span = item.message
    assert item.name == entry.step_id
    assert span.kind == KINDS["internal"]
    assert item.attributes["cicd.pipeline.task.name"] == entry.step_id
    assert item.attributes["cicd.pipeline.task.run.id"] == entry.span_id
    assert str(item.attributes["cicd.pipeline.task.run.url.full"]).startswith("file:///")
    parent = every.get(span.parent_span_id.hex())
    assert (parent.step_id if parent else None) == entry.parent_step_id
    seconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    assert seconds == pytest.approx(entry.duration_seconds, abs=0.5)
    result = item.attributes["cicd.pipeline.task.run.result"]
    if entry.status == "completed":
        assert (result, span.status.code) == ("success", OK)
        assert "error.type" not in item.attributes
    else:
        assert (entry.status, result, span.status.code) == ("failed", "failure", ERROR)
        assert entry.error is not None
        assert item.attributes["error.type"] == entry.error.type
        (event,) = span.events
        assert event.name == "exception"
        assert span.status.message == f"{entry.error.type}: {entry.error.message}"


WAITS: Final = """
    import time
    from pathlib import Path
    from robot_sf_otel import configure, pipeline, step
    configure(interval=0.1, gpu="off")
    with pipeline("p", steps=["before", "long", "after"]) as run:
        with step("before"):
            pass
        with step("long", total=10) as this:
            this.advance(3)
            print(run.run_id, flush=True)
            while not Path("go").exists():
                time.sleep(0.02)
"""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_open_run_and_its_open_step_are_visible_before_they_end(
    scripts: Scripts, protocol: str
) -> None:
    often = {"OTEL_METRIC_EXPORT_INTERVAL": "200", "OTEL_BLRP_SCHEDULE_DELAY": "100"}
    with receiving(protocol) as (received, variables):
        script = scripts.start(WAITS, env={**variables, **often})

        def seen(so_far: Received) -> bool:
            points = {
                (item.name, item.attributes.get("cicd.pipeline.task.name"))
                for item in so_far.points
            }
            events = {item.name for item in so_far.logs}
            return (
                ("robot_sf.step.elapsed", "long") in points
                and ("robot_sf.run.progress.done", "long") in points
                and {"robot_sf.run.started", "robot_sf.step.started"} <= events
            )

        received.wait_for(seen)
        info = [item for item in received.points if item.name == "robot_sf.run.info"]
        assert {item.attributes["robot_sf.run.status"] for item in info} == {"running"}
        assert "long" not in {item.name for item in received.spans}
        (event,) = [
            item
            for item in received.logs
            if item.name == "robot_sf.step.started"
            and item.attributes["cicd.pipeline.task.name"] == "long"
        ]
        (scripts.folder / "go").touch()
        assert script.ends().code == 0
    (long,) = [item for item in received.spans if item.name == "long"]
    assert event.message.span_id == long.message.span_id
    assert event.message.trace_id == long.message.trace_id
    assert abs(event.message.time_unix_nano - long.message.start_time_unix_nano) < 5e9
    assert received.last("robot_sf.run.info", robot_sf__run__status="completed") == 1
    assert received.last("robot_sf.run.info", robot_sf__run__status="running") == 0


SECRETS: Final = """
    import json, sys
    from pathlib import Path
    from robot_sf_otel import configure, current_run, pipeline, step
    configure(interval=0.1, gpu="off")
    texts = json.loads(Path("texts.json").read_text())
    for number, text in enumerate(texts):
        try:
            with pipeline("p", scenario=text, params={"note": text}, tags=[text]):
                current_run().log_metric(text, 1.0)
                with step(f"a{number}", title=text) as this:
                    this.log_metric(text, 1.0)
                    this.mark_skipped(text)
                with step(text if len(text) < 200 else f"b{number}"):
                    try:
                        raise ValueError(text)
                    except ValueError as error:
                        raise RuntimeError(repr(text)) from error
        except RuntimeError:
            pass
        pipeline("p").start().finish("failed", text)
"""


@pytest.mark.parametrize(("private", "every"), [("false", 1), ("true", 4)])
def test_no_secret_leaves_the_machine(scripts: Scripts, private: str, every: int) -> None:
    chosen = corpus.in_context(corpus.Fakes())[::every]
    (scripts.folder / "texts.json").write_text(json.dumps([text for _, _, text in chosen]))
    arguments = [item for _, _, argv in corpus.argument_lists(corpus.Fakes()) for item in argv]
    with receiving("http/protobuf") as (received, variables):
        scripts.run(
            SECRETS,
            *arguments,
            env={
                **variables,
                "ROBOT_SF_OTEL_OTLP_PRIVATE": private,
                "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN": "logs/dup",
                "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process",
                "OTEL_RESOURCE_ATTRIBUTES": "api_key=hunter2hunter2",
            },
        )
    sent = received.bytes
    assert len(received.spans) >= 4 * len(chosen)
    leaked = [(kind, secret) for kind, secret, _ in chosen if secret.encode() in sent]
    leaked += [
        (kind, secret)
        for kind, secret, _ in corpus.argument_lists(corpus.Fakes())
        if secret.encode() in sent
    ]
    assert leaked == []
    assert b"hunter2" not in sent
    assert b"[redacted]" in sent


PRIVATE: Final = """
    import subprocess, sys
    from pathlib import Path
    from robot_sf_otel import configure, pipeline, step
    configure(interval=0.1, gpu="off")
    private = str(Path.cwd() / "my data" / "policy.zip")
    about = {"scenario": "configs/mine.yaml", "params": {"lr": "tree-frog"}, "tags": [private]}
    command = [sys.executable, "-c", "1/0", "--lr=3"]
    run = lambda: subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    for fails in (lambda: open(private), run):
        try:
            with pipeline("p", **about), step("train", title=f"Train {private}"):
                fails()
        except (OSError, subprocess.CalledProcessError):
            pass
"""


@pytest.mark.parametrize("provider", ["ours", "theirs"])
def test_private_setting_leaves_out_commands_paths_and_parameters(
    scripts: Scripts, provider: str
) -> None:
    source = PRIVATE
    if provider == "theirs":  # their resource is theirs, what is on our spans is ours
        theirs = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracers)
"""
        source = theirs + PRIVATE
    with receiving("http/protobuf") as (received, variables):
        scripts.run(
            source,
            "--argument-of-mine",
            env={
                **variables,
                "ROBOT_SF_OTEL_OTLP_PRIVATE": "true",
                "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN": "logs/dup",
                "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process" if provider == "ours" else "",
            },
        )
    sent = received.bytes
    assert len(received.spans) == 4
    for hidden in (
        *(str(scripts.folder), "main.py", "argument-of-mine", "mine.yaml", "tree-frog"),
        *("my data", "--lr=3", "No such file", "Traceback", "python3"),
    ):
        assert hidden.encode() not in sent, hidden
    for item in received.spans:
        assert item.attributes.get("error.type") in {
            "FileNotFoundError",
            "subprocess.CalledProcessError",
        }
        assert item.message.status.message == item.attributes["error.type"]
    first = next(one for one in scripts.records if "FileNotFound" in (one.status_reason or ""))
    urls = {
        value
        for item in received.spans
        for name, value in item.attributes.items()
        if name.endswith("url.full")
    }
    assert urls == {f"file:{record.run_id}" for record in scripts.records}
    assert first.scenario_config_path == "configs/mine.yaml"
    assert first.params == {"lr": "tree-frog"}
    assert "my data" in (first.status_reason or "")


CHILDREN: Final = """
    import multiprocessing, os, sys
    from robot_sf_otel import configure, current_step, pipeline, step

    def work(number):
        with step(f"child{number}"):
            current_step().log_metric("fps", 1.0)

    if __name__ == "__main__":
        configure(interval=0.1, gpu="off")
        with pipeline("before"), step("warm"):
            pass
        from opentelemetry import trace
        trace.get_tracer_provider().force_flush()  # connections are open when the children begin
        with pipeline("p"), step("outer"):
            started = multiprocessing.get_context(sys.argv[1])
            children = [started.Process(target=work, args=(n,)) for n in range(2)]
            for child in children:
                child.start()
            for child in children:
                child.join()
            assert [child.exitcode for child in children] == [0, 0]
"""


@pytest.mark.parametrize(
    ("protocol", "method"),
    [("grpc", "fork"), ("http/protobuf", "fork"), ("http/protobuf", "forkserver")],
)
def test_child_processes_send_their_steps_under_a_resource_of_their_own(
    scripts: Scripts, protocol: str, method: str
) -> None:
    with receiving(protocol) as (received, variables):
        scripts.run(CHILDREN, method, env=variables)
    spans = {item.name: item for item in received.spans}
    assert len(received.spans) == len(spans) == 6
    own = [spans[name] for name in ("outer", "child0", "child1")]
    for attribute in ("service.instance.id", "process.pid", "cicd.worker.id"):
        assert len({item.resource[attribute] for item in own}) == 3, attribute
    parent = spans["outer"].resource["service.instance.id"]
    assert spans["warm"].resource["service.instance.id"] == parent
    assert spans["child0"].message.parent_span_id == spans["outer"].message.span_id
    for name in ("child0", "child1"):
        process = spans[name].resource["cicd.worker.id"]
        entries = next(record.steps for record in scripts.records if record.pipeline == "p")
        assert [entry.process for entry in entries if entry.step_id == name] == [process]
    # What a parent has counted is not counted again by its forked children.
    for item in received.points:
        if item.resource["service.instance.id"] != parent:
            assert item.attributes.get("cicd.pipeline.name", "p") == "p"
            assert item.attributes.get("cicd.pipeline.task.name") in {None, "child0", "child1"}
    counted = [
        item.attributes["cicd.pipeline.task.name"]
        for item in received.points
        if item.name == "robot_sf.step.duration" and item.resource["service.instance.id"] != parent
    ]
    assert set(counted) == {"child0", "child1"}
    told = {
        item.resource["service.instance.id"]
        for item in received.points
        if item.name == "robot_sf.run.member"
        and item.attributes["cicd.pipeline.run.id"] == own[0].attributes["cicd.pipeline.run.id"]
    }
    assert {item.resource["service.instance.id"] for item in own} <= told


def test_worker_of_a_distributed_job_says_which_one_it_is(scripts: Scripts) -> None:
    job = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "GROUP_RANK": "1"}
    with receiving("http/protobuf") as (received, variables):
        scripts.run(PIPELINE, env={**variables, **job, "SLURM_JOB_ID": "4711"})
    for items in (received.spans, received.points, received.logs):
        assert items
        for item in items:
            assert item.resource["robot_sf.worker.rank"] == 3
            assert item.resource["robot_sf.worker.local_rank"] == 1
            assert item.resource["robot_sf.worker.world_size"] == 8
            assert item.resource["robot_sf.worker.node_rank"] == 1
            assert item.resource["robot_sf.worker.job_id"] == "4711"
            assert str(item.resource["cicd.worker.name"]).endswith(" rank 3")
    ids = {item.resource["service.instance.id"] for item in received.points}
    assert len(ids) == 1


COMMAND: Final = """
    from robot_sf_otel import current_run, pipeline, step, track
    with pipeline("training", steps=["train", "evaluate"], scenario="city"):
        current_run().log_metric("reward", 2.0)
        for name in ("train", "evaluate"):
            with step(name):
                for _ in track(range(3)):
                    pass
"""


def test_tracked_command_has_the_name_and_the_steps_of_its_pipeline(scripts: Scripts) -> None:
    main = scripts.write(COMMAND, "train.py")
    tracker = Path(sys.executable).parent / "robot-sf-otel"
    with receiving("http/protobuf") as (received, variables):
        done = scripts.start_command(
            [str(tracker), "run", "--", sys.executable, str(main)], env=variables
        ).ends()
    assert done.code == 0, done.errors
    record = scripts.record
    root = next(i for i in received.spans if i.message.span_id.hex() == record.span_id)
    assert (root.name, root.attributes["cicd.pipeline.name"]) == ("RUN training", "training")
    assert root.attributes["robot_sf.run.scenario"] == "city"
    assert {item.name for item in received.spans} == {"RUN training", "train", "evaluate"}
    last = received.last
    assert last("robot_sf.run.info", robot_sf__run__status="completed") == 1
    assert last("robot_sf.run.steps.completed") == last("robot_sf.run.steps.planned") == 2
    assert last("robot_sf.run.progress.done", cicd__pipeline__task__name="train") == 3
    assert last("robot_sf.step.metric", robot_sf__metric__name="reward") == 2.0


CHILD_OF_PRIVATE: Final = """
    import os, subprocess, sys
    from robot_sf_otel import configure, pipeline, step
    if sys.argv[1:]:
        with step("child", title="/home/me/project"):
            pass
        sys.exit()
    configure(interval=0.1, gpu="off", otlp_private=True)
    with pipeline("p"):
        subprocess.run([sys.executable, __file__, "child"], check=True)
    assert "ROBOT_SF_OTEL_OTLP_PRIVATE" not in os.environ
"""


def test_child_process_is_as_private_as_its_parent(scripts: Scripts) -> None:
    with receiving("http/protobuf") as (received, variables):
        scripts.run(CHILD_OF_PRIVATE, env=variables)
    (child,) = [item for item in received.spans if item.name == "child"]
    assert child.attributes["robot_sf.step.title"] == "[path]"
    assert b"/home/me" not in received.bytes
    assert scripts.steps["child"].display_name == "/home/me/project"


SLOW: Final = """
    import time
    from pathlib import Path
    from robot_sf_otel import configure, pipeline, step
    Path("rules.toml").write_text(
        "[evaluation]\\nframe_seconds = 0.5\\n"
        "[throughput_drop]\\nseconds = 1\\nshortest_seconds = 1\\n"
    )
    configure(interval=0.1, gpu="off", rules="rules.toml")
    with pipeline("p"), step("train", total=100000, baseline_rate=10000) as this:
        while not Path("go").exists():
            time.sleep(0.05)
            this.advance()
"""


@pytest.mark.slow
def test_warning_arrives_when_it_fires_and_not_when_its_span_ends(scripts: Scripts) -> None:
    often = {"OTEL_METRIC_EXPORT_INTERVAL": "200", "OTEL_BLRP_SCHEDULE_DELAY": "100"}
    with receiving("http/protobuf") as (received, variables):
        script = scripts.start(SLOW, env={**variables, **often})

        def seen(so_far: Received) -> bool:
            wanted = "throughput_drop:train"
            events, points = so_far.logs, so_far.points
            return all(
                wanted in {item.attributes.get("robot_sf.finding.id") for item in items}
                for items in (events, points)
            )

        received.wait_for(seen)
        assert received.spans == []
        (event,) = [
            item
            for item in received.logs
            if item.attributes.get("robot_sf.finding.id") == "throughput_drop:train"
        ]
        (scripts.folder / "go").touch()
        assert script.ends().code == 0
    train = next(item for item in received.spans if item.name == "train")
    assert event.message.span_id == train.message.span_id
    assert event.message.severity_text == "ERROR"
    advice = next(
        one for one in scripts.record.recommendations if one.id == "throughput_drop:train"
    )
    assert event.attributes["robot_sf.finding.severity"] == advice.severity == "critical"
    assert event.attributes["robot_sf.finding.suggested_actions"] == tuple(advice.suggested_actions)
    assert "throughput_drop:train" in {
        attribute.value.string_value
        for shown in train.message.events
        for attribute in shown.attributes
    }
    which = {"robot_sf__finding__id": "throughput_drop:train"}
    assert received.last("robot_sf.run.findings", **which) == 1
