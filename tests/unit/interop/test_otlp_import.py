"""Files of OTLP JSON lines as they come: mixed, packed, torn, damaged, hostile, foreign."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel import semconv
from robot_sf_otel.interop import otlp_events, otlp_import, otlp_samples
from robot_sf_otel.interop.outbound import Outbound, exported_files, write_files
from robot_sf_otel.manifest.schema import TelemetrySnapshot
from robot_sf_otel.redaction.outgoing import Outgoing
from robot_sf_otel.store.imported import UNFINISHED
from tests.data.sample_runs import Story
from tests.unit.interop.round_trip import REDACT, bring, export

if TYPE_CHECKING:
    from pathlib import Path

T0 = 1_767_225_600_000_000_000


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Logs, metrics and traces of a run with samples, a file each."""
    story = Story("20260101T000000Z-imitation-aaaaaa", process="box:7")
    story.end(story.begin("train", process="box:7"))
    story.finish()
    story.samples = [
        TelemetrySnapshot(timestamp_ms=T0 // 1_000_000 + 1000 * index, memory_rss_mb=100.0 + index)
        for index in range(3)
    ]
    return export(story.write(tmp_path / "output"), tmp_path / "otlp")


def foreign_line(*spans: dict[str, Any], **resource: str) -> str:
    told = [
        {"key": name.replace("_", "."), "value": {"stringValue": value}}
        for name, value in resource.items()
    ]
    return json.dumps(
        {"resourceSpans": [{"resource": {"attributes": told}, "scopeSpans": [{"spans": spans}]}]}
    )


def foreign_span(number: int, parent: str = "", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a span
    fields: dict[str, Any] = {
        "traceId": "AB" * 16,
        "spanId": f"{number:016X}",
        "parentSpanId": parent,
        "name": f"span {number}",
        "startTimeUnixNano": str(T0 + number),
        "endTimeUnixNano": T0 + 1_000_000_000,
    }
    return fields | more


def test_signals_may_be_mixed_in_one_file_in_any_order(tmp_path: Path, files: list[Path]) -> None:
    apart, _ = bring(files, tmp_path / "a")
    mixed = tmp_path / "all.jsonl"
    text = b"".join(sorted(b"".join(path.read_bytes() for path in files).splitlines(keepends=True)))
    mixed.write_bytes(text)
    together, problems = bring([mixed], tmp_path / "b")

    assert problems == []
    assert [run.record.steps for run in together] == [run.record.steps for run in apart]
    assert list(together[0].telemetry()) == list(apart[0].telemetry())


def test_a_packed_file_is_unpacked(tmp_path: Path, files: list[Path]) -> None:
    packed = tmp_path / "traces.jsonl.gz"
    packed.write_bytes(gzip.compress(files[-1].read_bytes()))
    (run,), problems = bring([packed], tmp_path / "a")

    assert (run.record.status, problems) == ("completed", [])


def test_a_packed_file_that_is_cut_off_is_read_as_far_as_it_goes(
    tmp_path: Path, files: list[Path]
) -> None:
    packed = tmp_path / "traces.jsonl.gz"
    whole = gzip.compress(files[-1].read_bytes()) + gzip.compress(files[1].read_bytes())
    packed.write_bytes(whole[:-20])
    (run,), problems = bring([packed], tmp_path / "a")

    assert run.record.status == "completed"
    assert any("packed stream is damaged" in problem for problem in problems)


def test_what_is_sent_twice_is_taken_once(tmp_path: Path, files: list[Path]) -> None:
    (once,), _ = bring(files, tmp_path / "a")
    for path in files:
        path.write_bytes(path.read_bytes() * 2)
    (twice,), _ = bring(files, tmp_path / "b")

    assert twice.record.steps == once.record.steps
    assert list(twice.telemetry()) == list(once.telemetry())


def test_importing_again_is_recognised(tmp_path: Path, files: list[Path]) -> None:
    first, _ = bring(files, tmp_path / "a")
    again, _ = bring(files[::-1], tmp_path / "a")

    assert [run.run_dir for run in again] == [run.run_dir for run in first]
    assert len(list((tmp_path / "a" / "run-tracker").iterdir())) == 1


def test_damaged_lines_and_spans_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    good = foreign_line(
        foreign_span(1),
        foreign_span(2, f"{1:016x}", attributes="no list"),
        foreign_span(3, f"{1:016x}", traceId="xyz"),
        foreign_span(4, f"{1:016x}", endTimeUnixNano="soon"),
        foreign_span(5, f"{1:016x}", unheardOf={"a": [1]}),
        service_name="shop",
    )
    lines = [good, '{"resourceSpans": 7}', "no json", '{"other": 1}', good[:50]]
    path.write_text("\n".join(lines))
    (run,), problems = bring([path], tmp_path / "a")

    assert (run.record.pipeline, [step.step_id for step in run.record.steps]) == (
        "span 1",
        ["span 5"],
    )
    told = "\n".join(problems)
    for words in (
        "1 spans are damaged",
        "2 spans without valid ids and times",
        "1 lines are damaged",
        "2 lines that are no OTLP JSON",
        "1 line at its end is incomplete",
    ):
        assert words in told


def test_a_file_without_otlp_is_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("hello\n")
    with pytest.raises(ValueError, match=r"notes\.txt: there is no line of OTLP JSON"):
        bring([other], tmp_path / "a")


def test_a_file_without_otlp_among_others_is_named_and_the_rest_is_read(
    tmp_path: Path, files: list[Path]
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("")
    (run,), problems = bring([other, *files], tmp_path / "a")

    assert run.record.status == "completed"
    assert problems == [f"{other}: there is no line of OTLP JSON in it"]


def test_an_export_of_a_run_whose_first_step_still_runs_is_read(tmp_path: Path) -> None:
    story = Story("20260101T000000Z-imitation-aaaaaa", process="box:7")
    story.begin("train", process="box:7")
    outbound = Outbound(story.write(tmp_path / "output"), Outgoing(REDACT))
    counts = write_files(outbound, tmp_path / "otlp", "1.2.3")
    (run,), _ = bring(exported_files(tmp_path / "otlp"), tmp_path / "a")

    assert counts["traces"] == 0
    assert [step.step_id for step in run.record.steps] == ["train"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        bring([tmp_path / "gone.jsonl"], tmp_path / "a")


def test_hostile_names_stay_inside_the_tree(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    hostile = "../../../etc/cron.d/x\x1b[2J<script>"
    told = [
        {"key": key, "value": {"stringValue": hostile}}
        for key in (semconv.PIPELINE_RUN_ID, semconv.PIPELINE_NAME)
    ]
    path.write_text(foreign_line(foreign_span(1, name=hostile, attributes=told)) + "\n")
    (run,), _ = bring([path], tmp_path / "a")

    assert run.run_dir.parent == tmp_path / "a" / "run-tracker"
    assert "\x1b" not in (run.run_dir / "manifest.md").read_text()
    assert {entry.name for entry in tmp_path.iterdir()} == {"traces.jsonl", "a"}


def test_memory_is_bounded_by_limits_that_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_import, "MAX_SPANS", 5)
    monkeypatch.setattr(otlp_events, "MAX_STEPS", 3)
    path = tmp_path / "traces.jsonl"
    spans = [foreign_span(number, f"{1:016x}" if number > 1 else "") for number in range(1, 9)]
    path.write_text(foreign_line(*spans) + "\n")
    (run,), problems = bring([path], tmp_path / "a")

    assert len(run.record.steps) == 3
    (problem,) = problems
    assert problem.startswith("3 spans and log records are left out: more than 5, or 512 MiB")
    assert "steps beyond the first 3 of a run are left out" in run.record.self_cost.faults[0]


def test_a_small_packed_file_of_huge_spans_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_import, "MAX_BYTES", 3 * 1024 * 1024)
    path = tmp_path / "traces.jsonl.gz"
    huge = [{"key": "text", "value": {"stringValue": "A" * 1024 * 1024}}]
    with gzip.open(path, "wt") as file:
        for number in range(1, 9):
            parent = f"{1:016x}" if number > 1 else ""
            file.write(foreign_line(foreign_span(number, parent, attributes=huge)) + "\n")
    (run,), problems = bring([path], tmp_path / "a")

    assert path.stat().st_size < 100_000
    assert len(run.record.steps) == 1
    (problem,) = problems
    assert problem.startswith("6 spans and log records are left out: more than 200,000, or 3 MiB")


def test_points_of_one_moment_do_not_all_wait_in_memory(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    once, _ = bring(files, tmp_path / "a")
    monkeypatch.setattr(otlp_samples, "MAX_HELD", 100)
    most = 0
    add = otlp_samples.Router.add

    def watched(self: otlp_samples.Router, resource: Any, point: Any) -> None:  # noqa: ANN401 - as theirs
        nonlocal most
        add(self, resource, point)
        waiting = self._waiting.values()
        most = max(most, sum(len(found) for one in waiting for found in one.values()))

    monkeypatch.setattr(otlp_samples.Router, "add", watched)
    metrics = next(path for path in files if path.name == "metrics.jsonl")
    metrics.write_bytes(metrics.read_bytes() * 200)
    many, _ = bring(files, tmp_path / "b")

    assert 0 < most <= 100
    assert [len(list(run.telemetry())) for run in many] == [len(list(once[0].telemetry()))]


def test_a_run_without_its_root_says_that_its_end_is_missing(
    tmp_path: Path, files: list[Path]
) -> None:
    line = json.loads(files[-1].read_text())
    scope = line["resourceSpans"][0]["scopeSpans"][0]
    scope["spans"] = [span for span in scope["spans"] if span["kind"] != 2]
    files[-1].write_text(json.dumps(line) + "\n")
    (run,), _ = bring(files, tmp_path / "a")

    assert (run.record.status, run.record.status_reason) == ("failed", UNFINISHED)
    assert run.record.pipeline == "imitation"
    assert run.record.steps[0].status == "completed"


def test_points_of_an_unknown_process_are_told(tmp_path: Path, files: list[Path]) -> None:
    files[1].write_text(files[1].read_text().replace("service.instance.id", "service.other.id"))
    text = files[1].read_text().replace("host.name", "host.other")
    files[1].write_text(text.replace("service.name", "service.else"))
    (run,), problems = bring(files, tmp_path / "a")

    assert list(run.telemetry()) == []
    assert any("points of metrics belong to no run" in problem for problem in problems)


def test_samples_of_two_hosts_stand_side_by_side(tmp_path: Path) -> None:
    hosts: list[Path] = []
    for name, pid, parent in (("a", 1, None), ("b", 2, "00000000000000ff")):
        story = Story(f"20260101T000000Z-p{name}-aaaaaa", process=f"{name}:{pid}", pipeline=name)
        if parent is not None:
            started = story.events[0]
            started.span_id, started.parent_span_id = "00000000000000fe", parent  # type: ignore[union-attr] # pyright: ignore[reportAttributeAccessIssue] - the first one is a start
        story.end(story.begin("train", process=f"{name}:{pid}"))
        story.finish()
        story.samples = [
            TelemetrySnapshot(
                timestamp_ms=T0 // 1_000_000 + 1000 * index, memory_rss_mb=100.0 * pid
            )
            for index in range(3)
        ]
        for path in export(story.write(tmp_path / "output"), tmp_path / f"otlp-{name}"):
            text = path.read_text()
            if parent is not None:
                text = text.replace('"0000000000000001"', '"0000000000000002"')
            path.write_text(text)
            hosts.append(path)
    (run,), problems = bring(hosts, tmp_path / "imported")
    record = run.record

    assert problems == []
    assert (record.pipeline, record.host["hostname"]) == ("a", "a")
    assert [(step.step_id, step.process) for step in record.steps] == [
        ("b @ b", "b:2"),
        ("train", "a:1"),
        ("train", "b:2"),
    ]
    assert record.telemetry["memory_rss_mb"].maximum == 100
    assert record.worker_telemetry["b:2"]["memory_rss_mb"].maximum == 200
    assert [sample.process for sample in run.telemetry()] == [None, "b:2"] * 3


def test_a_metric_of_a_plain_program_is_kept_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    metric = {
        "name": "latency",
        "histogram": {
            "dataPoints": [
                {"timeUnixNano": str(T0 + 5), "count": "2", "sum": 4, "min": 1, "max": 3}
            ]
        },
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    points = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}
    path.write_text(
        foreign_line(foreign_span(1), service_name="shop") + f"\n{json.dumps(points)}\n"
    )
    (run,), _ = bring([path], tmp_path / "a")
    (sample,) = run.telemetry()

    assert sample.metrics == {
        "latency.count": 2,
        "latency.sum": 4,
        "latency.min": 1,
        "latency.max": 3,
    }
