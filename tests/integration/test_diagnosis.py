"""A real condition from the program to the console, the journal, `summary` and `explain`."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = [pytest.mark.integration, pytest.mark.slow]

RULES = """
[evaluation]
frame_seconds = 0.5
[stalled]
seconds = 2
[throughput_drop]
seconds = 3
shortest_seconds = 2
"""
STALLS = """
    import time
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from robot_sf_otel import configure, pipeline, step

    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    configure(interval=0.1, rules="rules.toml", tracer_provider=provider, gpu="off")

    with pipeline("imitation"):
        with step("collect", total=200, unit="episodes", baseline_rate=1000) as this:
            for _ in range(30):
                time.sleep(0.05)
                this.advance()
            time.sleep(5)
            for _ in range(100):
                time.sleep(0.05)
                this.advance()

    for span in kept.get_finished_spans():
        for event in span.events:
            print(span.name, event.name, event.attributes["robot_sf.finding.id"])
"""


def cli(scripts: Scripts, *arguments: str) -> str:
    command = [sys.executable, "-m", "robot_sf_otel.cli.main", *arguments]
    done = subprocess.run(
        command,
        cwd=scripts.folder,
        env=scripts.environment(),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def findings(scripts: Scripts) -> dict[str, dict[str, Any]]:
    """Return what was journalled, by id; the last event of each."""
    events = scripts.events("recommendation_added")
    return {event["recommendation"]["id"]: event for event in events}


def test_a_stall_and_a_drop_are_told_recorded_and_explained(scripts: Scripts) -> None:
    (scripts.folder / "rules.toml").write_text(RULES)

    ended = scripts.run(STALLS)

    found = findings(scripts)
    stalled, drop = found["stalled:collect"], found["throughput_drop:collect"]
    assert stalled["span_id"] == scripts.steps["collect"].span_id
    assert stalled["recommendation"]["evidence"]["span_id"] == stalled["span_id"]
    assert drop["recommendation"]["severity"] == "critical"
    assert [line for line in ended.warnings if "stands at 30 of 200 episodes" in line]
    assert len([line for line in ended.warnings if "stands at" in line]) == 1
    assert "collect robot_sf.recommendation stalled:collect" in ended.out
    record = scripts.record
    assert {"stalled:collect", "throughput_drop:collect"} <= {
        one.id for one in record.recommendations
    }
    assert record.self_cost.cpu_seconds

    summary = cli(scripts, "summary")
    assert "warning stalled (collect): Step collect stands at 30 of 200 episodes" in summary
    assert "evidence: seconds_without_progress" in summary
    explained = cli(scripts, "explain", "latest", "throughput_drop")
    assert "•" in explained
    assert "What to do" in explained


def test_a_file_of_thresholds_that_is_wrong_warns_and_the_run_goes_on(scripts: Scripts) -> None:
    (scripts.folder / "rules.toml").write_text("[stalld]")

    ended = scripts.run(
        """
        import time
        from robot_sf_otel import configure, pipeline, step
        configure(interval=0.1, rules="rules.toml", gpu="off")
        with pipeline("p"), step("s"):
            time.sleep(2.5)
        """
    )

    (warning,) = [line for line in ended.warnings if "rules.toml" in line]
    assert "there is no rule 'stalld': did you mean stalled" in warning
    assert "the defaults apply" in warning
    assert scripts.record.status == "completed"


def test_a_healthy_run_is_told_nothing_and_its_children_are_seen(scripts: Scripts) -> None:
    (scripts.folder / "rules.toml").write_text(RULES)

    scripts.run(
        """
        import multiprocessing, time
        from robot_sf_otel import configure, pipeline, step

        def work():
            with step("child", total=80, baseline_rate=5, unit="episodes") as this:
                for _ in range(80):
                    time.sleep(0.05)
                    this.advance()

        if __name__ == "__main__":
            configure(interval=0.1, rules="rules.toml", gpu="off")
            with pipeline("p"):
                child = multiprocessing.Process(target=work)
                child.start()
                child.join()
        """
    )

    assert [one.id for one in scripts.record.recommendations if one.severity != "info"] == []
