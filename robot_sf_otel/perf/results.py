"""The results of performance tests as files: JSON for scripts, Markdown and JUnit XML for CI."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.manifest.codec import encode_document
from robot_sf_otel.manifest.formats import duration, number, one_line, percent
from robot_sf_otel.manifest.markdown_text import escape, table
from robot_sf_otel.perf.advice import sentence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from robot_sf_otel.analysis.baseline import Baseline, Judgement, Sample
    from robot_sf_otel.manifest.schema import PerformanceTestResult

VERSION: Final = 1
RESULTS: Final = "perf_test_results.json"
SUMMARY: Final = "perf_test_summary.md"
JUNIT: Final = "perf_test_junit.xml"
_NOISY: Final = 0.10
"""Spread of the machine's speed from which on it is called noisy."""
_ICONS: Final = {
    "passed": "✅",
    "soft-breach": "⚠️",
    "failed": "❌",
    "no-baseline": "◽",
    "inconclusive": "◽",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A test and what came out.

    Attributes:
        result: As it is recorded.
        samples: The repetitions.
        judgement: What it rests on.
        baseline: What it was compared with.
        host_class: Class of the machine that was measured.
    """

    result: PerformanceTestResult
    samples: Sequence[Sample]
    judgement: Judgement
    baseline: Baseline | None
    host_class: str

    def remarks(self) -> list[str]:
        """Return what a reader has to know of the comparison."""
        found: list[str] = []
        if self.baseline is None:
            return found
        judgement = self.judgement
        other = self.baseline.host_class != self.host_class
        if judgement.machine_speed is None:
            if other:
                found.append(
                    f"the baseline is of another class of machines ({self.baseline.host_class}) "
                    "and the machine's speed was not measured on both"
                )
        elif other:
            found.append(
                f"the baseline is of another class of machines ({self.baseline.host_class}); by "
                f"the calibration loop this one has {judgement.machine_speed:.0%} of its speed, "
                "which was taken into account"
            )
        elif judgement.scaled:
            found.append(
                f"the machine had {judgement.machine_speed:.0%} of the speed that it had at the "
                "baseline, which was taken into account"
            )
        if judgement.speed_spread is not None and judgement.speed_spread > _NOISY:
            found.append(f"the machine is noisy: its speed varied by {judgement.speed_spread:.0%}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the tests of a scenario, or of a past step, came to.

    Attributes:
        name: The scenario, or the run and step.
        run_id: The run that has it all.
        host_class: Class of the machine that was measured.
        tests: What could be measured.
        errors: Why the others could not be, by test.
    """

    name: str
    run_id: str
    host_class: str
    tests: Sequence[Measured]
    errors: Mapping[str, str]

    @property
    def status(self) -> str:
        """The worst of all: `error`, `failed`, `soft-breach`, `inconclusive`, …."""
        found = {test.result.status for test in self.tests}
        if self.errors:
            return "error"
        for status in ("failed", "soft-breach", "inconclusive", "no-baseline"):
            if status in found:
                return status
        return "passed"

    @property
    def exit_code(self) -> int:
        """0 passed, no baseline or inconclusive; 1 failed; 3 soft breach."""
        return {"error": 1, "failed": 1, "soft-breach": 3}.get(self.status, 0)


def as_document(report: Report) -> dict[str, Any]:
    """Return the report as `perf_test_results.json` has it."""
    return {
        "schema_version": VERSION,
        "scenario": report.name,
        "run_id": report.run_id,
        "host_class": report.host_class,
        "status": report.status,
        "results": [test.result for test in report.tests],
        "remarks": {test.result.test_id: said for test in report.tests if (said := test.remarks())},
        "errors": dict(report.errors),
    }


def as_markdown(report: Report) -> str:
    """Return the report for the page of a CI job."""
    rows = [
        [
            escape(test.result.test_id),
            f"{_ICONS[test.result.status]} {test.result.status}",
            escape(f"{number(test.result.throughput_measured)} {test.result.unit}"),
            _interval(test.result.interval),
            number(test.result.throughput_baseline),
            percent(None if test.result.ratio is None else 100 * test.result.ratio),
            str(len(test.result.samples)),
            duration(test.result.duration_seconds),
        ]
        for test in report.tests
    ]
    rows += [[escape(name), "❌ error", *["--"] * 6] for name in report.errors]
    head = ["Test", "Status", "Median:", "95 %", "Baseline:", "Of it:", "Samples:", "Took:"]
    lines = [f"## Performance: {escape(report.name)}: {report.status}", "", *table(head, rows)]
    said = [
        *(sentence(test.result) for test in report.tests if test.result.status != "passed"),
        *(f"{test.result.test_id}: {said}" for test in report.tests for said in test.remarks()),
        *(f"{name}: {message}" for name, message in report.errors.items()),
    ]
    lines += [f"- {escape(one, 2000)}" for one in said]
    lines += ["", f"Machine: {escape(report.host_class)}. Run: {escape(report.run_id)}.", ""]
    return "\n".join(lines)


def _interval(interval: tuple[float, float] | None) -> str:
    return "--" if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def as_junit(report: Report) -> str:
    """Return the report as JUnit XML: a soft breach is no failure there, its output says so."""
    failed = sum(test.result.status == "failed" for test in report.tests)
    total = len(report.tests) + len(report.errors)
    seconds = sum(test.result.duration_seconds for test in report.tests)
    counts = f'tests="{total}" failures="{failed}" errors="{len(report.errors)}"'
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<testsuites><testsuite name="{_xml(report.name)}" {counts} time="{seconds:.3f}">',
    ]
    for test in report.tests:
        result = test.result
        said = "; ".join([sentence(result), *test.remarks()])
        lines.append(
            f'<testcase classname="{_xml(report.name)}" name="{_xml(result.test_id)}" '
            f'time="{result.duration_seconds:.3f}">'
        )
        if result.status == "failed":
            lines.append(f'<failure message="{_xml(said)}"/>')
        lines.append(f"<system-out>{_xml(f'{result.status}: {said}')}</system-out></testcase>")
    for name, message in report.errors.items():
        lines.append(
            f'<testcase classname="{_xml(report.name)}" name="{_xml(name)}">'
            f'<error message="{_xml(message)}"/></testcase>'
        )
    lines.append("</testsuite></testsuites>\n")
    return "\n".join(lines)


def _xml(text: str) -> str:
    return html.escape(one_line(text))


def write_files(report: Report, folder: Path, results: str = RESULTS) -> list[Path]:
    """Write the three files into a folder and return them.

    Args:
        report: What came out.
        folder: Made where it is missing.
        results: Name of the JSON file.

    Raises:
        OSError: They cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        results: encode_document(as_document(report)),
        SUMMARY: as_markdown(report).encode(),
        JUNIT: as_junit(report).encode(),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in contents]
