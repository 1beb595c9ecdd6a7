"""Recorded runs into a real Collector and back out of its files."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from robot_sf_otel.cli.main import run_command
from robot_sf_otel.store.history import find_runs
from robot_sf_otel.store.reader import load_run
from tests.data import sample_runs
from tests.integration.backends import Collector, collector, to_file, until
from tests.unit.interop.round_trip import bring, carried, export
from tests.unit.interop.test_round_trip import large, measured

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.integration

SIGNALS: Final = {"resourceSpans", "resourceMetrics", "resourceLogs"}


@pytest.fixture
def target(tmp_path: Path) -> Generator[Collector]:
    """A Collector that writes all that it gets to a file."""
    with collector(tmp_path / "collector") as made:
        yield made


def runs(root: Path) -> list[Path]:
    """Return runs with everything that goes out: failures, findings, samples of GPUs."""
    made: list[Path] = []
    for number, tell in enumerate((sample_runs.healthy, sample_runs.failed, measured), start=1):
        story = tell()
        story.events[0].trace_id = f"{number:032x}"
        made.append(story.write(root))
    return made


def same(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return OTLP JSON without what has the default value, which encoders may leave out."""
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        fields = {name: same(held) for name, held in table.items()}
        return {name: held for name, held in fields.items() if held not in ({}, [], "", 0)}
    if isinstance(value, list):
        return [same(item) for item in cast("list[Any]", value)]
    # Go writes 1 for 1.0.
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def test_every_exported_line_is_accepted_and_comes_out_equal(
    tmp_path: Path, target: Collector
) -> None:
    sent: list[dict[str, Any]] = []
    for run_dir in runs(tmp_path / "output"):
        for path in export(run_dir, tmp_path / run_dir.name):
            for line in path.read_bytes().splitlines():
                headers = {"Content-Type": "application/json"}
                url = f"{target.http}/v1/{path.stem}"
                request = urllib.request.Request(url, line, headers)  # noqa: S310 - http, made here
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
                    assert json.loads(answer.read()) == {"partialSuccess": {}}
                sent.append(json.loads(line))
    assert_came_out(target, sent)


EXPORTED: Final = """\
  otlpjsonfile:
    include: ["${env:EXPORTED}/*/*.jsonl"]
    start_at: beginning
    include_file_name: false
"""


def test_receiver_of_otlp_json_files_reads_every_exported_line(tmp_path: Path) -> None:
    """Its line limit, which is 1 MiB, is left as it is."""
    exported = tmp_path / "exported"
    sent: list[dict[str, Any]] = []
    for run_dir in [*runs(tmp_path / "output"), large().write(tmp_path / "output")]:
        for path in export(run_dir, exported / run_dir.name):
            sent += [json.loads(line) for line in path.read_bytes().splitlines()]
    assert {signal for line in sent for signal in line} == SIGNALS
    configuration = tmp_path / "from_files.yaml"
    configuration.write_text(to_file(EXPORTED))
    environ = {"EXPORTED": str(exported)}
    with collector(tmp_path / "reader", configuration, environ) as reader:
        assert_came_out(reader, sent)


def assert_came_out(target: Collector, sent: list[dict[str, Any]]) -> None:
    """Wait for as many lines as were given in and compare them, in any order."""
    until(lambda: len(target.lines()) >= len(sent), "all lines")

    def key(line: dict[str, Any]) -> str:
        return json.dumps(same(line), sort_keys=True)

    assert sorted(map(key, target.lines())) == sorted(map(key, sent))


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_replayed_runs_are_imported_equal_and_replaying_again_leaves_the_same(
    tmp_path: Path,
    target: Collector,
    protocol: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    made = runs(tmp_path / "output")
    endpoint = target.grpc if protocol == "grpc" else target.http
    command = ["--artifact-root", str(tmp_path / "output"), "replay", "--all"]
    command += ["--endpoint", endpoint, "--protocol", protocol, "--format", "json"]

    def replayed(*more: str) -> dict[str, Any]:
        assert run_command([*command, *more]) == 0
        told: dict[str, Any] = json.loads(capsys.readouterr().out)["signals"]
        return told

    first = replayed()
    spans = first["traces"]["accepted"]
    until(lambda: len(target.spans()) >= spans, "all spans")
    until(lambda: sum(1 for line in target.lines() if "resourceLogs" in line) >= len(made), "logs")
    once = {(span["traceId"], span["spanId"]): span for span in target.spans()}
    assert len(once) == len(target.spans()) == spans

    assert replayed()["traces"] == {
        "accepted": 0,
        "accepted_before": spans,
        "refused": 0,
        "not_sent": 0,
    }
    assert replayed("--again")["traces"]["accepted"] == spans
    until(lambda: len(target.spans()) >= 2 * spans, "all spans again")
    twice = {(span["traceId"], span["spanId"]): span for span in target.spans()}
    assert twice == once

    target.stop()
    imported, problems = bring([target.output], tmp_path / "imported")
    assert problems == []
    originals = {run_dir.name: load_run(run_dir) for run_dir in find_runs([tmp_path / "output"])}
    assert {run.record.run_id for run in imported} == originals.keys()
    for run in imported:
        original = originals[run.record.run_id]
        got, expected = carried(run.record), carried(original.record)
        got["summary"].pop("custom")
        expected["summary"].pop("custom")
        assert got == expected
        for sample, other in zip(run.telemetry(), original.telemetry(), strict=True):
            other.notes = None
            assert sample == other
