"""Programs that know OpenTelemetry and nothing of this package, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

_SECONDS = 60
# What `opentelemetry-instrument` does before it starts the program.
_AUTO = """
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
_OTelSDKConfigurator().configure()
"""
_PIPELINE = """
from opentelemetry import metrics, trace
metrics.get_meter("plain").create_gauge("loss").set(0.25)
tracer = trace.get_tracer("plain")
with tracer.start_as_current_span("nightly") as root:
    root.set_attribute("learning_rate", 0.1)
    with tracer.start_as_current_span("load"):
        with tracer.start_as_current_span("open"):
            pass
    try:
        with tracer.start_as_current_span("train"):
            raise ValueError("bad batch")
    except ValueError:
        pass
"""


def _environment(root: Path, **changes: str) -> dict[str, str]:
    return {
        **os.environ,
        "ROBOT_SF_ARTIFACT_ROOT": str(root),
        "OTEL_TRACES_EXPORTER": "run_manifest",
        "OTEL_METRICS_EXPORTER": "run_manifest",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "shop",
        **changes,
    }


def _run(script: str, root: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env=_environment(root, **changes),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def _records(root: Path) -> list[dict[str, Any]]:
    paths = sorted(root.glob("run-tracker/*/manifest.json"))
    return [json.loads(path.read_text()) for path in paths]


def _the_record(root: Path) -> dict[str, Any]:
    (record,) = _records(root)
    return record


def test_the_environment_alone_makes_a_plain_program_write_a_record(tmp_path: Path) -> None:
    done = _run(_AUTO + _PIPELINE, tmp_path)
    assert done.returncode == 0, done.stderr
    record = _the_record(tmp_path)

    assert (record["pipeline"], record["status"]) == ("nightly", "completed")
    assert [(s["step_id"], s["status"], s["parent_step_id"]) for s in record["steps"]] == [
        ("load", "completed", None),
        ("open", "completed", "load"),
        ("train", "failed", None),
    ]
    assert record["steps"][2]["error"]["message"] == "bad batch"
    assert record["params"] == {"learning_rate": 0.1}
    assert record["runtime"]["service.name"] == "shop"
    samples = (Path(record["artifact_dir"]) / "telemetry.jsonl").read_text().splitlines()
    assert json.loads(samples[-1])["metrics"]["loss"] == 0.25
    assert done.stderr == ""


@pytest.mark.parametrize("processor", ["SimpleSpanProcessor", "BatchSpanProcessor"])
def test_the_exporter_can_be_added_by_hand(tmp_path: Path, processor: str) -> None:
    script = f"""
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import {processor}
from robot_sf_otel_manifest import ManifestSpanExporter
provider = TracerProvider()
provider.add_span_processor({processor}(ManifestSpanExporter({str(tmp_path)!r})))
trace.set_tracer_provider(provider)
"""
    done = _run(script + _PIPELINE, tmp_path / "unused")
    assert done.returncode == 0, done.stderr

    assert [s["step_id"] for s in _the_record(tmp_path)["steps"]] == ["load", "open", "train"]
    assert not (tmp_path / "unused").exists()


def test_a_program_that_exits_within_its_root_span_is_failed_and_says_why(tmp_path: Path) -> None:
    script = """
from opentelemetry import trace
tracer = trace.get_tracer("plain")
root = tracer.start_span("nightly")
with trace.use_span(root):
    with tracer.start_as_current_span("load"):
        pass
"""
    done = _run(_AUTO + script, tmp_path)
    assert done.returncode == 0, done.stderr
    record = _the_record(tmp_path)

    assert (record["pipeline"], record["status"]) == ("shop", "failed")
    assert "the root span had not ended" in record["status_reason"]
    assert [s["status"] for s in record["steps"]] == ["completed"]


def test_a_killed_program_keeps_what_was_exported_and_readers_see_that_it_is_dead(
    tmp_path: Path,
) -> None:
    script = """
import time
from opentelemetry import trace
tracer = trace.get_tracer("plain")
with tracer.start_as_current_span("nightly"):
    with tracer.start_as_current_span("load"):
        pass
    trace.get_tracer_provider().force_flush()
    with tracer.start_as_current_span("never seen"):
        print("ready", flush=True)
        time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", _AUTO + script],
        env=_environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
    from robot_sf_otel.store.history import find_runs
    from robot_sf_otel.store.reader import load_run

    (run_dir,) = find_runs([tmp_path])
    record = load_run(run_dir).record

    assert record.status == "failed"
    assert "is gone" in (record.status_reason or "")
    assert [s.step_id for s in record.steps] == ["load"]


def test_the_program_does_not_notice_that_nothing_can_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = _run(_AUTO + _PIPELINE + "print('done')", blocked)

    assert (done.returncode, done.stdout) == (0, "done\n")
    assert done.stderr.count("cannot be written") == 1
    assert "Traceback" not in done.stderr


def test_a_decorated_pipeline_in_such_a_program_leaves_one_record(tmp_path: Path) -> None:
    script = """
from opentelemetry import trace
from robot_sf_otel import configure, pipeline, step
configure(console="off")
tracer = trace.get_tracer("the application")
with pipeline("imitation"):
    with step("train"):
        with tracer.start_as_current_span("query"):
            pass
        trace.get_tracer_provider().force_flush()
    with tracer.start_as_current_span("after"):
        pass
"""
    done = _run(_AUTO + script, tmp_path)
    assert done.returncode == 0, done.stderr
    record = _the_record(tmp_path)

    assert record["pipeline"] == "imitation"
    assert [s["step_id"] for s in record["steps"]] == ["train"]


def test_opentelemetry_finds_both_exporters_by_name() -> None:
    script = """
from importlib.metadata import entry_points
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace.export import SpanExporter
(spans,) = entry_points(group="opentelemetry_traces_exporter", name="run_manifest")
(metrics,) = entry_points(group="opentelemetry_metrics_exporter", name="run_manifest")
print(issubclass(spans.load(), SpanExporter), issubclass(metrics.load(), MetricExporter))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout == "True True\n"


def test_a_server_with_many_traces_keeps_its_memory_and_descriptors(tmp_path: Path) -> None:
    script = """
import os, resource
from opentelemetry import trace
tracer = trace.get_tracer("plain")
provider = trace.get_tracer_provider()
def requests(number):
    for _ in range(number):
        with tracer.start_as_current_span("GET /"):
            with tracer.start_as_current_span("query"):
                pass
        provider.force_flush()
    return len(os.listdir("/dev/fd")), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
requests(50)
before = requests(100)
after = requests(150)
print(after[0] - before[0], (after[1] - before[1]) / before[1])
"""
    done = _run(_AUTO + script, tmp_path)
    assert done.returncode == 0, done.stderr
    descriptors, growth = done.stdout.split()

    assert int(descriptors) == 0
    assert float(growth) < 0.05
    assert len(list(tmp_path.glob("run-tracker/*"))) == 300
