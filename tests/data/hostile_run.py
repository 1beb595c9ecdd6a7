"""A run in which every text tries to become markup, a script or a link of its own."""

from __future__ import annotations

from typing import Final

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import (
    Anomaly,
    Artifact,
    ErrorInfo,
    GpuSample,
    PerformanceRecommendation,
    PerformanceTestResult,
    TelemetrySnapshot,
)
from tests.data.sample_runs import Story

PAYLOADS: Final = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '" onmouseover=alert(3) autofocus onfocus=alert(4) x="',
    "' onclick='alert(5)",
    "<svg/onload=alert(6)>",
    "</title></style></textarea><iframe src=javascript:alert(7)>",
    "javascript:alert(8)",
    "{{ 7 * 7 }}{% include 'x' %}${alert(9)}",
    "<!--<script>",
    "]]><meta http-equiv=refresh content='0;url=http://evil.example/'>",
    "<link rel=stylesheet href=http://evil.example/x.css><base href=http://evil.example/>",
    "user\u202egnp.exe\u2066\u200f",
    "\x1b[2J\x00nul\x07",
    "http://evil.example/<b>",
    "&lt;script&gt;alert(10)&lt;/script&gt;",
    "caf\udce9",
)
EVERYTHING: Final = " ".join(PAYLOADS[:-1])


def hostile_run() -> Story:
    """Return a failed run whose texts are all payloads."""
    story = Story(
        "20260102T000000Z-run-eeeeee",
        pipeline=EVERYTHING,
        params={text: {text: text} for text in PAYLOADS[:-1]},
        seeds={EVERYTHING: EVERYTHING},
        tags=list(PAYLOADS[:-1]),
        argv=["python", *PAYLOADS[:-1]],
        cwd=EVERYTHING,
        scenario_config_path=EVERYTHING,
    )
    story.events.append(
        e.ParamsLogged(
            time_unix_nano=story.now(),
            host={"hostname": EVERYTHING, EVERYTHING: EVERYTHING},
            vcs={"commit": EVERYTHING, "branch": EVERYTHING},
            runtime={EVERYTHING: {EVERYTHING: EVERYTHING}},
            summary={EVERYTHING: EVERYTHING},
        )
    )
    for text in PAYLOADS[:-1]:
        span = story.begin(text, text, total=2, unit=text)
        story.events.append(
            e.ArtifactLogged(
                time_unix_nano=story.now(),
                span_id=span,
                artifact=Artifact(path=text, name=text, kind=text, sha256=text, size_bytes=1),
            )
        )
        story.events.append(
            e.MetricLogged(time_unix_nano=story.now(), span_id=span, metrics={text: 1.0})
        )
        error = ErrorInfo(type=text, message=f"{text}\n{text}", stacktrace=f"{text}\n{text}")
        story.end(span, "failed", error=error, result="failure")
    story.events.append(
        e.StepSkipped(time_unix_nano=story.now(), step_id="later", reason=EVERYTHING)
    )
    begun = story.start_ns // 1_000_000
    evidence = {
        "metric": "cpu_percent_process",
        "value": 97.1,
        "threshold": 90,
        "unit": EVERYTHING,
        "window_start": e.rfc3339(story.start_ns + 2_000_000_000),
        "window_end": e.rfc3339(story.start_ns + 9_000_000_000),
        EVERYTHING: EVERYTHING,
    }
    advice = PerformanceRecommendation(
        id=EVERYTHING,
        trigger=EVERYTHING,
        severity="warning",
        message=EVERYTHING,
        suggested_actions=[EVERYTHING],
        timestamp_ms=begun,
        step_id=EVERYTHING,
        evidence=evidence,
    )
    anomaly = Anomaly(
        id=EVERYTHING,
        trigger=EVERYTHING,
        severity="critical",
        message=EVERYTHING,
        timestamp_ms=begun,
        evidence={**evidence, "metric": EVERYTHING},
    )
    story.events += [
        e.RecommendationAdded(time_unix_nano=story.now(), recommendation=advice),
        e.AnomalyDetected(time_unix_nano=story.now(), anomaly=anomaly),
        e.TelemetryFault(time_unix_nano=story.now(), where=EVERYTHING, message=EVERYTHING),
        e.WorkerLost(time_unix_nano=story.now(), process=EVERYTHING, reason=EVERYTHING),
        e.PerfTestRecorded(
            time_unix_nano=story.now(),
            result=PerformanceTestResult(
                test_id=EVERYTHING,
                metric=EVERYTHING,
                unit=EVERYTHING,
                throughput_measured=1.0,
                duration_seconds=1.0,
                status="passed",
            ),
        ),
    ]
    story.samples = [
        TelemetrySnapshot(
            timestamp_ms=begun + 1000 * second,
            step_id=EVERYTHING,
            steps_per_sec=1.0 + second,
            cpu_percent_process=50.0 + second,
            memory_rss_mb=100.0,
            gpus=[GpuSample(index=0, name=EVERYTHING, util_percent=5.0 * second)],
            metrics={text: float(second) for text in PAYLOADS[:-1]},
            notes=f"{EVERYTHING} {second}",
        )
        for second in range(20)
    ]
    story.finish("failed", reason=EVERYTHING, result="failure")
    return story
