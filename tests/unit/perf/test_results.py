"""Reports for scripts and for CI."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel.analysis.baseline import Baseline, Judgement, Sample
from robot_sf_otel.perf.advice import advice, sentence
from robot_sf_otel.perf.recording import result_of
from robot_sf_otel.perf.results import (
    Measured,
    Report,
    as_document,
    as_junit,
    as_markdown,
    write_files,
)

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.manifest.schema import PerformanceTestResult, PerfStatus

SAMPLES = [Sample(60.0, 1.0), Sample(62.0, 1.0)]
BASELINE = Baseline(
    test_id="t", host_class="box", metric="advance", unit="it/s", median=100, samples=[100.0]
)


def measured(status: PerfStatus, *, name: str = "t", host: str = "box", **fields: Any) -> Measured:  # noqa: ANN401 - the fields of a judgement
    """A test that came out like this."""
    known = status != "no-baseline"
    told: dict[str, Any] = {
        "measured": 61.0,
        "expected": 100.0 if known else None,
        "ratio": 0.61 if known else None,
        "interval": (60.0, 62.0),
        **fields,
    }
    judgement = Judgement(status=status, **told)
    result = result_of(
        judgement,
        SAMPLES,
        test_id=name,
        matrix={},
        metric="advance",
        unit="it/s",
        tolerance=0.25,
        seconds=3.0,
    )
    return Measured(
        result=result,
        samples=SAMPLES,
        judgement=judgement,
        baseline=BASELINE if known else None,
        host_class=host,
    )


def report(*tests: Measured, errors: dict[str, str] | None = None) -> Report:
    return Report(name="s", run_id="r", host_class="box", tests=tests, errors=errors or {})


@pytest.mark.parametrize(
    ("statuses", "worst", "code"),
    [
        (["passed"], "passed", 0),
        (["passed", "no-baseline"], "no-baseline", 0),
        (["no-baseline", "inconclusive"], "inconclusive", 0),
        (["inconclusive", "soft-breach"], "soft-breach", 3),
        (["soft-breach", "failed"], "failed", 1),
    ],
)
def test_the_worst_test_decides_the_exit_code(
    statuses: list[PerfStatus], worst: str, code: int
) -> None:
    found = report(*(measured(status) for status in statuses))

    assert (found.status, found.exit_code) == (worst, code)


def test_a_test_that_could_not_be_measured_is_an_error() -> None:
    found = report(measured("passed"), errors={"u": "exited with code 1"})

    assert (found.status, found.exit_code) == ("error", 1)


def test_the_document_has_results_remarks_and_errors(tmp_path: Path) -> None:
    path, *_ = write_files(
        report(measured("failed", machine_speed=0.5, scaled=True), errors={"u": "no"}), tmp_path
    )

    found = json.loads(path.read_bytes())

    assert found["status"] == "error"
    assert found["errors"] == {"u": "no"}
    assert found["results"][0]["recommendations_ref"] == ["throughput_drop:t"]
    assert "had 50% of the speed" in found["remarks"]["t"][0]


def test_markdown_is_a_table_with_what_did_not_pass_below() -> None:
    text = as_markdown(report(measured("failed", name="a|b"), errors={"u": "exited with code 1"}))

    assert "| a\\|b | ❌ failed | 61 it/s | 60 to 62 | 100 | 61 % | 2 | 3.0 s |" in text
    assert "| u | ❌ error |" in text
    assert "39.0% below the baseline of 100" in text
    assert "- u: exited with code 1" in text


def test_junit_counts_failures_and_errors_and_can_be_parsed() -> None:
    hostile = 'a<b>"&\x1b[31m'
    found = ET.fromstring(  # noqa: S314 - what was written a line before
        as_junit(
            report(measured("failed", name=hostile), measured("soft-breach"), errors={"u": "x<"})
        )
    )

    (suite,) = found
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    failed, soft, error = suite
    assert [child.tag for child in failed] == ["failure", "system-out"]
    assert [child.tag for child in soft] == ["system-out"]
    assert [child.tag for child in error] == ["error"]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (measured("passed", host="new", machine_speed=0.8, scaled=True), "another class"),
        (measured("passed", host="new"), "not measured on both"),
        (measured("passed", machine_speed=0.8, scaled=True), "80% of the speed"),
        (measured("passed", speed_spread=0.5), "noisy"),
    ],
)
def test_what_a_comparison_rests_on_is_said(made: Measured, said: str) -> None:
    (remark,) = made.remarks()

    assert said in remark


def test_a_comparison_like_with_like_needs_no_remark() -> None:
    assert measured("passed", machine_speed=1.02, speed_spread=0.01).remarks() == []
    assert as_document(report(measured("passed")))["remarks"] == {}


@pytest.mark.parametrize(
    ("status", "severity", "trigger", "threshold"),
    [
        ("failed", "critical", "throughput_drop", 75.0),
        ("soft-breach", "warning", "throughput_drop", 87.5),
        ("inconclusive", "info", "throughput_drop", 87.5),
        ("no-baseline", "info", "baseline_missing", None),
    ],
)
def test_what_did_not_pass_is_advised_on_and_refers_to_it(
    status: PerfStatus, severity: str, trigger: str, threshold: float | None
) -> None:
    result = measured(status).result

    found = advice(result, step_id="t", started_ms=1000, now_ms=2500)

    assert found is not None
    assert (found.severity, found.trigger) == (severity, trigger)
    assert result.recommendations_ref == [found.id]
    assert found.suggested_actions
    assert found.evidence["value"] == 61.0
    assert found.evidence["threshold"] == threshold
    assert found.evidence["window_start"] == "1970-01-01T00:00:01.000000Z"
    assert found.evidence["window_end"] == "1970-01-01T00:00:02.500000Z"


def test_what_passed_needs_no_advice() -> None:
    result = measured("passed").result

    assert result.recommendations_ref == []
    assert advice(result, step_id=None, started_ms=1, now_ms=2) is None


def test_too_noisy_to_tell_is_said_with_the_reason() -> None:
    result: PerformanceTestResult = measured("inconclusive").result
    assert "too noisy to tell: anything from 60 to 62" in sentence(result)
    result.interval = None
    assert "does not say how noisy" in sentence(result)
