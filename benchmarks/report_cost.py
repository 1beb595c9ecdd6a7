"""What the HTML report of a run with a day of samples costs: to make, to keep, and to open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import limits
from benchmarks.finished_run import START, events
from benchmarks.interpreters import environment, start_in_turn
from benchmarks.results import Counts, Figure, Row, stat
from benchmarks.status_cost import PROGRAM, day_samples
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.codec import encode_event
from robot_sf_otel.store.derived import write_derived
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.reader import load_run
from tools.chromium import browser, chromium

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "export --format html"


def measure(counts: Counts, directory: Path) -> list[Row]:
    """Return what making and opening the report takes.

    Args:
        counts: How many samples, and how often to measure.
        directory: An empty folder for the run.
    """
    run_dir = directory / "output" / "run-tracker" / "day"
    run_dir.mkdir(parents=True)
    _write(run_dir, counts.day_samples)
    report = directory / "report.html"
    peaks: list[int] = []
    times = start_in_turn(
        {_NAME: ["-c", PROGRAM, "export", str(run_dir), "--output", str(report)]},
        counts.interpreters,
        environment(directory / "bytecode"),
        seen=lambda _, printed: peaks.append(int(printed)),
    )[_NAME]
    group = f"HTML report of a run with {counts.day_samples:,} samples"
    return [
        Row(group=group, name=_NAME, wall=times.wall_stat, cpu=times.cpu_stat),
        Row(
            group=group,
            name="memory at its peak",
            figure=Figure(value=max(peaks) / 1e6, unit="MB"),
            limit_figure=limits.REPORT_MEMORY_MB,
        ),
        Row(
            group=group,
            name="size",
            figure=Figure(value=report.stat().st_size / 1e6, unit="MB"),
            limit_figure=limits.REPORT_MB,
        ),
        _opened(group, report, counts.interpreters, directory / "profile"),
    ]


def _write(run_dir: Path, samples: int) -> None:
    paths = RunPaths(run_dir)
    told = list(events("day", "day", "completed"))
    told[-1] = e.RunFinished(
        time_unix_nano=(START + samples) * e.NANOSECONDS, status="completed", result="success"
    )
    paths.journal.write_bytes(b"".join(map(encode_event, told)))
    paths.telemetry.write_bytes(b"".join(day_samples(samples)))
    write_derived(run_dir, load_run(run_dir).record)


def _opened(group: str, report: Path, rounds: int, profile: Path) -> Row:
    """Return how long the page takes to load and draw, by the browser's own clock."""
    name = "open in Chromium"
    if browser() is None:
        return Row(group=group, name=name, note="no chromium is installed")
    seconds: list[float] = []
    with chromium(profile) as page:
        page.emulate()
        for _ in range(rounds + 1):
            page.open(report)
            seconds.append(page.evaluate("performance.now()") / 1000)
    return Row(group=group, name=name, wall=stat(seconds[1:]), limit_wall=limits.REPORT_OPEN)
