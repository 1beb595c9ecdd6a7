"""A run over two hosts that share no file: an agent on each, one gateway, one imported manifest."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.store.history import find_runs
from robot_sf_otel.store.reader import load_run
from tests.integration import backends
from tests.integration.backends import CONFIG, Collector, until
from tests.integration.hosts import Host, hosts

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PipelineRunRecord
    from tests.integration.scripts import Scripts

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FIRST = """
    import os, sys, time
    from opentelemetry.propagate import inject
    from robot_sf_otel import configure, pipeline, step, track
    configure(interval=0.2)

    with pipeline("distributed", steps=["train", "evaluate"]):
        with step("train"):
            carrier = {}
            inject(carrier)
            print(carrier["traceparent"], flush=True)
            sys.stdin.readline()  # until the other host is done
            for _ in track(range(20), unit="batches"):
                time.sleep(0.05)
        with step("evaluate"):
            time.sleep(0.1)
"""
SECOND = """
    import time
    from robot_sf_otel import configure, pipeline, step, track
    configure(interval=0.2)

    with pipeline("distributed worker", steps=["shard", "reduce"]):
        with step("shard"):
            for _ in track(range(30), unit="batches"):
                time.sleep(0.05)
        with step("reduce"):
            time.sleep(0.1)
"""


def agent(folder: Path, host: Host, gateway: Collector, address: str) -> Collector:
    """Return the agent of a host, not started."""
    return Collector(
        folder,
        CONFIG / "agent.yaml",
        {
            "GATEWAY": f"{address}:{gateway.grpc_port}",
            "QUEUE_DIRECTORY": str(folder / "queue"),
        },
        host.prefix,
    )


def test_two_hosts_make_one_manifest_that_equals_what_each_saw(
    scripts: Scripts, tmp_path: Path
) -> None:
    with hosts(3) as (one, two, middle):
        gateway = Collector(tmp_path / "gateway", prefix=middle.prefix)
        configuration = tmp_path / "gateway" / "collector.yaml"
        configuration.write_text(
            configuration.read_text().replace("${env:OTLP_GRPC}", f"0.0.0.0:{gateway.grpc_port}")
        )
        agents = [agent(tmp_path / host.name, host, gateway, middle.address) for host in (one, two)]
        servers = [gateway, *agents]
        try:
            for server in servers:
                server.start()
            _train(scripts, tmp_path, (one, agents[0]), (two, agents[1]))
            records = {host.name: _only(tmp_path / f"output-{host.name}") for host in (one, two)}
            spans = sum(len(record.steps) + 1 for record in records.values())
            until(lambda: len(gateway.spans()) >= spans, "the spans of both hosts")
        finally:
            for server in reversed(servers):
                server.stop()

    command = [sys.executable, "-m", "robot_sf_otel.cli.main", "--artifact-root", "imported"]
    subprocess.run([*command, "import", str(gateway.output)], cwd=tmp_path, check=True)

    imported = _only(tmp_path / "imported")
    first, second = records["host-0"], records["host-1"]
    assert first.trace_id == second.trace_id == imported.trace_id
    assert imported.pipeline == first.pipeline
    assert imported.status == first.status == "completed"
    steps = {entry.span_id: entry for entry in imported.steps}
    for host, record in records.items():
        for entry in record.steps:
            found = steps[entry.span_id]
            assert found.step_id == entry.step_id
            assert found.status == entry.status
            assert found.duration_seconds == pytest.approx(entry.duration_seconds, abs=0.5)
            assert found.progress.done == entry.progress.done
            assert found.process is not None
            assert found.process.startswith(f"{host}:")
    assert steps[second.span_id].parent_step_id == "train"
    assert {entry.parent_step_id for entry in imported.steps if entry.step_id == "shard"} == {
        steps[second.span_id].step_id
    }
    assert imported.telemetry["memory_rss_mb"].count
    ((process, figures),) = imported.worker_telemetry.items()
    assert process.startswith("host-1:")
    assert figures["memory_rss_mb"].count


def _train(
    scripts: Scripts, folder: Path, first: tuple[Host, Collector], second: tuple[Host, Collector]
) -> None:
    """Run the pipeline on the first host, and its other half on the second meanwhile."""

    def start(
        source: str, name: str, where: tuple[Host, Collector], **more: str
    ) -> subprocess.Popen[str]:
        host, collector = where
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc,
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "ROBOT_SF_ARTIFACT_ROOT": str(folder / f"output-{host.name}"),
            **more,
        }
        return subprocess.Popen(
            [*host.prefix, sys.executable, str(scripts.write(source, name))],
            env=scripts.environment(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    one = start(FIRST, "first.py", first, RANK="0", WORLD_SIZE="2")
    assert one.stdout is not None
    parent = one.stdout.readline().strip()
    two = start(SECOND, "second.py", second, RANK="1", WORLD_SIZE="2", TRACEPARENT=parent)
    two.communicate(timeout=backends.PATIENCE)
    one.communicate("go on\n", timeout=backends.PATIENCE)
    assert (one.returncode, two.returncode) == (0, 0)


def _only(root: Path) -> PipelineRunRecord:
    (run_dir,) = find_runs([root])
    return load_run(run_dir).record
