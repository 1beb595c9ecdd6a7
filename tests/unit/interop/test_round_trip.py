"""What goes out as OTLP comes back as the same run."""

from __future__ import annotations

import json
import re
import statistics
from typing import TYPE_CHECKING

import msgspec
import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import (
    Anomaly,
    ErrorInfo,
    GpuSample,
    StepSample,
    TelemetrySnapshot,
)
from tests.data import sample_runs
from tests.data.sample_runs import SECOND, Story
from tests.unit.interop.round_trip import bring, carried, export, there_and_back

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize(
    "story",
    [
        sample_runs.healthy,
        sample_runs.failed,
        sample_runs.cancelled,
        sample_runs.hostile,
        sample_runs.thousand,
    ],
)
def test_a_run_comes_back_equal_in_all_that_otlp_carries(
    tmp_path: Path, story: Callable[[], Story]
) -> None:
    told = story()
    told.events[0].span_id = "f" * 16  # the thousandth step has passed the one of stories
    for sample in told.samples:  # of no step, although a step has logged it
        sample.metrics = {}
    back = there_and_back(told.write(tmp_path / "output"), tmp_path).record
    expected = carried(told.record())
    got = carried(back)
    for record in (expected, got):  # the figures of samples are compared below
        del record["telemetry"]

    assert got == expected


def test_a_resumed_run_comes_back_with_its_sessions_and_without_its_pause(tmp_path: Path) -> None:
    story = Story("20260101T060000Z-imitation-abcdef", process="a:1")
    story.end(story.begin("train", process="a:1"))
    story.finish("failed", reason="power cut", result="error", duration_seconds=3.0)
    for _ in range(600):
        story.now()
    story.events.append(
        e.RunResumed(
            time_unix_nano=story.now(),
            span_id="00000000000000fe",
            trace_id=story.events[0].trace_id,
            process="b:2",
            previous_span_id="00000000000000ff",
        )
    )
    story.end(story.begin("evaluate", process="b:2"))
    story.finish(duration_seconds=6.0)
    back = there_and_back(story.write(tmp_path / "output"), tmp_path)

    assert carried(back.record) == carried(story.record())
    assert back.record.span_id == "00000000000000fe"
    assert back.record.duration_seconds == 6.0
    events = [raw["event"] for raw in back.journal()]
    assert (events.count("run_resumed"), events.count("run_finished")) == (1, 2)


def snapshots() -> list[TelemetrySnapshot]:
    """Return samples in which every field that OTLP carries has a value, as sensors round it."""
    begun = 1_767_225_600_000
    full = TelemetrySnapshot(
        timestamp_ms=0,
        step_id="train",
        steps_per_sec=12.5,
        progress_done=10,
        progress_total=100,
        fps=30.5,
        cpu_percent_process=97.123,
        cpu_cores_process=1.943,
        cpu_percent_system=55.001,
        memory_rss_mb=1054.777,
        memory_limit_mb=8192.0,
        memory_available_mb=21882.223,
        swap_used_mb=0.004,
        disk_read_mb_s=0.025,
        disk_write_mb_s=123.456,
        disk_free_mb=64334.0,
        process_count=9,
        thread_count=41,
        cpu_pressure=97.34,
        io_pressure=1.14,
        memory_pressure=0.0,
        cpu_throttled_percent=3.5,
        gpu_util_percent=50.0,
        gpu_mem_used_mb=3000.0,
        metrics={"fps": 30.5, "reward": -1.25},
    )
    devices = [
        GpuSample(
            index=index,
            uuid=f"GPU-{index}",
            name="NVIDIA H100",
            util_percent=40.0 + 20 * index,
            mem_used_mb=1000.0 + 1000 * index,
            mem_total_mb=81559.0,
            run_mem_used_mb=900.0,
            temperature_c=45.0,
            power_w=350.5,
            energy_joules=1000.25,
        )
        for index in range(2)
    ]
    later = [
        msgspec.structs.replace(gpu, uuid=None, name=None, mem_total_mb=None) for gpu in devices
    ]
    rates = {"cpu_cores_process": None, "disk_read_mb_s": None, "disk_write_mb_s": None}
    first = msgspec.structs.replace(full, timestamp_ms=begun + 1500, gpus=devices, **rates)
    made = [first]
    for number, gap in enumerate((1000, 999, 2001), start=1):
        made.append(
            msgspec.structs.replace(
                full,
                timestamp_ms=made[-1].timestamp_ms + gap,
                gpus=later,
                progress_done=10.0 * number,
                disk_read_mb_s=round(0.025 * number, 3),
            )
        )
    made.append(msgspec.structs.replace(full, timestamp_ms=begun + 6_000, gpus=later, **rates))
    made.append(msgspec.structs.replace(full, timestamp_ms=begun + 7_000, gpus=later))
    several = [
        StepSample(step_id="train", span_id=f"{1:016x}", done=50, total=100, rate=2.0),
        StepSample(step_id="evaluate", span_id=f"{2:016x}", done=5, rate=1.0),
    ]
    made.append(
        msgspec.structs.replace(
            full,
            timestamp_ms=begun + 8_500,
            gpus=later,
            step_id="evaluate",
            steps_per_sec=1.0,
            progress_done=5,
            progress_total=None,
            steps=several,
        )
    )
    return made


def measured() -> Story:
    story = Story("20260101T000000Z-imitation-0000aa", process="box:7")
    train = story.begin("train", process="box:7")
    logged: dict[str, float | str] = {"fps": 30.5, "reward": -1.25}
    story.events.append(e.MetricLogged(time_unix_nano=story.now(), span_id=train, metrics=logged))
    for _ in range(5):
        story.now()
    evaluate = story.begin("evaluate", process="box:7")
    story.end(train)
    story.end(evaluate)
    story.finish()
    story.samples = snapshots()
    return story


def large() -> Story:
    """A run with much in each span and each sample: tracebacks, eight GPUs."""
    story = Story("20260101T000000Z-imitation-0000bb")
    trace = 'File "policy.py", line 1, in forward\n' * 200
    for number in range(300):
        error = ErrorInfo(type="ValueError", message=f"step {number}", stacktrace=trace)
        story.end(story.begin("train"), "failed", error=error, result="failure")
    story.finish("failed")
    gpus = [
        GpuSample(
            index=index,
            util_percent=50.0,
            mem_used_mb=40_000.0,
            temperature_c=60.0,
            power_w=400.0,
            sm_clock_mhz=1_980.0,
        )
        for index in range(8)
    ]
    story.samples = [
        TelemetrySnapshot(
            timestamp_ms=1_767_225_600_000 + 1_000 * second,
            cpu_percent_process=50.0,
            memory_rss_mb=4_000.0,
            gpus=gpus,
        )
        for second in range(1_000)
    ]
    return story


def test_no_line_is_longer_than_the_collectors_receiver_of_files_reads(tmp_path: Path) -> None:
    most = 1024 * 1024
    for path in export(large().write(tmp_path / "output"), tmp_path / "otlp"):
        lengths = [len(line) for line in path.read_bytes().splitlines()]
        assert max(lengths) < most, path.name
        if path.name != "logs.jsonl":
            assert statistics.median(lengths) > most / 2, "nor are there more lines than needed"


def test_samples_come_back_equal(tmp_path: Path) -> None:
    story = measured()
    back = there_and_back(story.write(tmp_path / "output"), tmp_path)

    assert list(back.telemetry()) == story.samples
    assert back.record.steps[0].metrics == {"fps": 30.5, "reward": -1.25}


def test_findings_come_back_with_what_can_be_done(tmp_path: Path) -> None:
    story = sample_runs.healthy()
    anomaly = Anomaly(
        id="stalled", trigger="stalled", severity="critical", message="it stands", timestamp_ms=9
    )
    story.events.insert(-1, e.AnomalyDetected(time_unix_nano=story.now(), anomaly=anomaly))
    record = there_and_back(story.write(tmp_path / "output"), tmp_path).record

    assert record.recommendations[0].suggested_actions == [
        "Use fewer workers",
        "Use a larger machine",
    ]
    assert (record.anomalies[0].id, record.anomalies[0].severity) == ("stalled", "critical")


def test_findings_come_back_from_spans_where_log_records_did_not_arrive(tmp_path: Path) -> None:
    traces = export(sample_runs.healthy().write(tmp_path / "output"), tmp_path / "otlp")[-1]
    (run,), _ = bring([traces], tmp_path / "imported")
    (found,) = run.record.recommendations

    assert (found.id, found.severity, found.message) == ("r1", "warning", "CPUs were busy")


def test_the_files_hold_one_signal_each_with_ids_in_hex_and_numbers_as_strings(
    tmp_path: Path,
) -> None:
    story = measured()
    files = export(story.write(tmp_path / "output"), tmp_path / "otlp")
    assert [path.name for path in files] == ["logs.jsonl", "metrics.jsonl", "traces.jsonl"]
    told = {path.stem: lines(path) for path in files}
    assert {key for line in told["traces"] for key in line} == {"resourceSpans"}
    assert {key for line in told["metrics"] for key in line} == {"resourceMetrics"}
    assert {key for line in told["logs"] for key in line} == {"resourceLogs"}
    text = json.dumps(told)
    assert '"traceId": "4bf92f3577b34da6a3ce929d0e0e4736"' in text
    assert '"startTimeUnixNano": "1767225600000000000"' in text
    assert '"aggregationTemporality": 2' in text
    assert '"kind": 2' in text


def test_every_process_of_a_recorded_run_is_tied_to_it(tmp_path: Path) -> None:
    story = measured()
    finished = story.events.pop()
    story.end(story.begin("rollout", process="box:77"))  # a worker: it has no samples
    story.events.append(finished)
    export(story.write(tmp_path / "output"), tmp_path / "otlp")
    tied = {
        pid
        for line in lines(tmp_path / "otlp" / "metrics.jsonl")
        if '"robot_sf.run.member"' in (told := json.dumps(line))
        for pid in re.findall(r'"process.pid", "value": {"intValue": "(\d+)"', told)
    }
    assert tied == {"7", "77"}


def test_exporting_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    run_dir = measured().write(tmp_path / "output")
    first, second = (export(run_dir, tmp_path / name) for name in ("one", "two"))

    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_steps_without_span_ids_get_the_same_ones_each_time(tmp_path: Path) -> None:
    story = Story("20260101T000000Z-old-0000bb")
    story.events[0].trace_id = story.events[0].span_id = None
    story.events += [
        e.StepStarted(time_unix_nano=story.now(), span_id="train", step_id="train"),
        e.StepStarted(
            time_unix_nano=story.now(), span_id="inner", step_id="inner", parent_span_id="train"
        ),
    ]
    story.end("inner")
    story.end("train")
    story.finish()
    back = there_and_back(story.write(tmp_path / "output"), tmp_path)

    assert [(step.step_id, step.parent_step_id) for step in back.record.steps] == [
        ("train", None),
        ("inner", "train"),
    ]


def test_in_private_neither_paths_nor_messages_leave_the_machine(tmp_path: Path) -> None:
    story = Story("20260101T000000Z-p-0000cc", scenario_config_path="/home/me/scenario.toml")
    span = story.begin("train", "Train /home/me/data")
    error = ErrorInfo(type="OSError", message="no /home/me/x", stacktrace="/home/me/x.py")
    story.end(span, "failed", error=error, result="failure")
    story.finish("failed", reason="OSError: no /home/me/x", result="failure", error=error)
    run_dir = story.write(tmp_path / "output")

    told = b"".join(path.read_bytes() for path in export(run_dir, tmp_path / "a", private=True))
    assert b"/home/me" not in told
    assert str(tmp_path).encode() not in told
    assert b"OSError" in told
    assert b"/home/me/x" in b"".join(
        path.read_bytes() for path in export(run_dir, tmp_path / "b", private=False)
    )


def test_secrets_are_masked_on_the_way_in(tmp_path: Path) -> None:
    story = sample_runs.failed()
    (folder := tmp_path / "otlp").mkdir()
    path = export(story.write(tmp_path / "output"), folder)[-1]
    token = "ghp_" + "a1B2" * 10
    path.write_text(path.read_text().replace("no | episodes", f"no | {token}"))
    (run,), _ = bring([path], tmp_path / "imported")

    assert token not in (run.run_dir / "manifest.jsonl").read_text()
    assert token not in (run.run_dir / "manifest.md").read_text()


def test_a_run_that_was_killed_goes_out_closed(tmp_path: Path) -> None:
    story = Story("20260101T000000Z-p-0000dd", process="elsewhere:1")
    story.begin("train")
    record = there_and_back(story.write(tmp_path / "output"), tmp_path).record

    assert record.status == "failed"
    assert record.status_reason is not None
    assert "did not close the record" in record.status_reason
    assert record.steps[0].status == "failed"
    assert record.completed_at == e.rfc3339(story.start_ns + SECOND)
