"""A run that was stopped goes on in another process: same run, same trace, further attempts."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from robot_sf_otel.store.lock import read_owner
from robot_sf_otel.store.reader import load_run
from robot_sf_otel.store.telemetry import iter_snapshots
from tests.integration.scripts import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

PIPELINE = """
    import sys, time
    from robot_sf_otel import configure, current_run, current_step, pipeline, step

    configure(run_name=None if sys.argv[1:] else "night", resume=(sys.argv[1:] or [None])[0])

    @pipeline("p", steps=["collect", "train", "evaluate"], params={"lr": 0.1})
    def main():
        print("done before:", sorted(current_run().completed_steps), flush=True)
        for name in ("collect", "train", "evaluate"):
            if name in current_run().completed_steps:
                continue
            with step(name) as this:
                this.set_progress(50 if sys.argv[1:] and name == "train" else 0, total=100)
                this.advance(50)
                if name == "train" and not sys.argv[1:]:
                    print("training", flush=True)
                    time.sleep(60)

    main()
"""


def killed(scripts: Scripts, source: str = PIPELINE, signum: int = signal.SIGKILL) -> Path:
    """Return the run of a pipeline that was killed while it trained."""
    running = scripts.start(source)
    running.says("training")
    running.kill(signum)
    running.ends()
    (run_dir,) = scripts.run_dirs
    return run_dir


def attempts(scripts: Scripts) -> list[tuple[str, int, str]]:
    return [(entry.step_id, entry.attempt, entry.status) for entry in scripts.record.steps]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_goes_on_with_its_unfinished_steps(scripts: Scripts, signum: int) -> None:
    killed(scripts, signum=signum)
    before = scripts.record
    finished = scripts.run(PIPELINE, "night")
    after = scripts.record
    status = "failed" if signum == signal.SIGKILL else "cancelled"
    assert (before.status, after.status) == (status, "completed")
    assert "done before: ['collect']" in finished.out
    assert attempts(scripts) == [
        ("collect", 1, "completed"),
        ("train", 1, status),
        ("train", 2, "completed"),
        ("evaluate", 1, "completed"),
    ]
    assert (after.run_id, after.trace_id) == ("night", before.trace_id)
    assert (after.summary.steps_completed, after.summary.steps_total) == (3, 3)
    assert after.status_reason is None


def test_the_closing_event_of_a_killed_run_stands_before_the_resumption(scripts: Scripts) -> None:
    killed(scripts)
    scripts.run(PIPELINE, "night")
    kinds = [event["event"] for event in scripts.journal()]
    ends = [kind for kind in kinds if kind in {"run_recovered", "run_resumed", "run_finished"}]
    assert ends == ["run_recovered", "run_resumed", "run_finished"]


def test_the_new_root_span_is_in_the_old_trace_and_linked_to_the_old_one(
    scripts: Scripts,
) -> None:
    killed(scripts)
    old = scripts.record.span_id
    exported = PIPELINE.replace(
        "configure(",
        """from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, ConsoleSpanExporter
    provider = TracerProvider()
    shown = lambda s: f"{s.name} {s.context.trace_id:032x} {s.parent} " \\
        f"{[format(link.context.span_id, '016x') for link in s.links]}\\n"
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=shown)))
    trace.set_tracer_provider(provider)
    configure(""",
        1,
    )
    finished = scripts.run(exported, "night")

    (root,) = [line for line in finished.out.splitlines() if line.startswith("RUN p")]
    assert root == f"RUN p {scripts.record.trace_id} None ['{old}']"
    (resumed,) = scripts.events("run_resumed")
    assert resumed["previous_span_id"] == old
    assert resumed["span_id"] == scripts.record.span_id != old


def test_time_between_the_sessions_is_no_time_of_the_run(scripts: Scripts) -> None:
    run_dir = killed(scripts)
    first = scripts.record.duration_seconds
    before = len(list(iter_snapshots(run_dir / "telemetry.jsonl")))
    scripts.run(PIPELINE, "night")
    resumed, ended = scripts.events("run_resumed")[0], scripts.events("run_finished")[0]
    session = (ended["time_unix_nano"] - resumed["time_unix_nano"]) / 1e9
    total = scripts.record.duration_seconds
    assert first is not None
    assert total == pytest.approx(first + session, abs=0.5)
    assert scripts.record.telemetry["memory_rss_mb"].count > before


def test_what_was_done_before_is_no_rate_of_the_resumed_step(scripts: Scripts) -> None:
    killed(scripts)
    slow = PIPELINE.replace("this.advance(50)", "time.sleep(0.5); this.advance(50)")
    scripts.run(slow, "night")
    train = scripts.steps["train"]
    assert (train.progress.done, train.progress.total) == (100, 100)
    assert train.duration_seconds is not None
    # 50 units in half a second; with the 50 of before it would be twice as many.
    assert train.progress.rate == pytest.approx(50 / train.duration_seconds, rel=0.05)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [("nowhere", "no run 'nowhere'; the closest are"), ("done", "it has completed")],
)
def test_what_cannot_be_resumed_is_said_and_a_new_run_is_started(
    scripts: Scripts, wanted: str, why: str
) -> None:
    killed(scripts)
    scripts.run(
        "from robot_sf_otel import configure, pipeline\nconfigure(run_name='done')\n"
        "with pipeline('p'): pass\n"
    )
    finished = scripts.run(PIPELINE, wanted)
    (warning,) = finished.warnings
    assert why in warning
    assert "a new run is started instead" in warning
    assert sorted(record.status for record in scripts.records) == [
        "completed",
        "completed",
        "failed",
    ]


def test_a_run_of_another_pipeline_is_not_resumed(scripts: Scripts) -> None:
    killed(scripts)
    finished = scripts.run(PIPELINE.replace('@pipeline("p"', '@pipeline("q"'), "night")
    assert "it is a run of pipeline 'p', not of 'q'" in finished.warnings[0]
    assert len(scripts.records) == 2


def test_a_live_run_is_not_taken_over(scripts: Scripts) -> None:
    running = scripts.start(PIPELINE)
    running.says("training")
    finished = scripts.run(PIPELINE, "night")
    assert f"pid {running.pid}" in finished.warnings[0]
    assert "still runs" in finished.warnings[0]
    assert {record.status for record in scripts.records} == {"running", "completed"}


def test_of_several_processes_that_resume_at_once_one_gets_the_run(scripts: Scripts) -> None:
    killed(scripts)
    holding = PIPELINE.replace('print("done before:"', 'time.sleep(1); print("done before:"')
    holder = [sys.executable, str(scripts.write(holding)), "night"]
    started = [scripts.start_command(holder) for _ in range(6)]
    warned = [running.ends().warnings for running in started]
    assert sorted(map(len, warned)) == [0, 1, 1, 1, 1, 1]
    assert len(scripts.records) == 6
    assert len([r for r in scripts.records if r.run_id == "night"]) == 1
    (night,) = [load_run(path) for path in scripts.run_dirs if path.name == "night"]
    assert [event["event"] for event in night.journal()].count("run_resumed") == 1


def test_a_resumed_run_can_be_killed_and_resumed_again(scripts: Scripts) -> None:
    run_dir = killed(scripts)
    again = PIPELINE.replace("and not sys.argv[1:]", "and sys.argv[2:]")
    running = scripts.start(again, "night", "slow")
    running.says("training")
    owner = read_owner(run_dir / "run.lock")
    assert owner is not None
    assert owner.pid == running.pid
    statuses: list[str] = [scripts.record.status]
    running.kill(signal.SIGKILL)
    running.ends()
    statuses.append(scripts.record.status)
    assert statuses == ["running", "failed"]
    scripts.run(again, "night")
    assert attempts(scripts)[-3:] == [
        ("train", 2, "failed"),
        ("train", 3, "completed"),
        ("evaluate", 1, "completed"),
    ]


def test_the_watchdog_closes_a_resumed_run_too(scripts: Scripts) -> None:
    run_dir = killed(scripts)
    again = PIPELINE.replace("and not sys.argv[1:]", "and sys.argv[1:]")
    running = scripts.start(again, "night", env={"ROBOT_SF_OTEL_WATCHDOG": "true"})
    running.says("training")
    running.kill(signal.SIGKILL)
    running.ends()
    journal = run_dir / "manifest.jsonl"
    wait_until(lambda: journal.read_text().count("run_recovered") == 2, "closed a second time")
    assert "was killed" in (scripts.record.status_reason or "")


# ------------------------------------------------------------------------------ on the command line


def command(scripts: Scripts, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "robot_sf_otel.cli.main", *arguments],
        cwd=scripts.folder,
        env=scripts.environment({"ROBOT_SF_OTEL_CONSOLE": "lines"}),
        capture_output=True,
        text=True,
        check=False,
    )


CHILD = """
    import sys
    from robot_sf_otel import current_run, pipeline, step

    @pipeline("p", steps=["collect", "train"])
    def main():
        print("done before:", sorted(current_run().completed_steps), flush=True)
        for name in ("collect", "train"):
            if name not in current_run().completed_steps:
                with step(name):
                    if name == "train" and sys.argv[1:]:
                        sys.exit(3)

    main()
"""


def test_run_resume_goes_on_under_the_same_id(scripts: Scripts) -> None:
    script = str(scripts.write(CHILD))
    first = command(scripts, "run", "--name", "night", "--", sys.executable, script, "fail")
    assert first.returncode == 3
    second = command(scripts, "run", "--resume", "night", "--", sys.executable, script)
    assert second.returncode == 0
    assert "done before: ['collect']" in second.stdout
    assert "Resumed run" in second.stderr
    assert attempts(scripts) == [
        ("collect", 1, "completed"),
        ("train", 1, "failed"),
        ("train", 2, "completed"),
    ]
    record = scripts.record
    assert (record.pipeline, record.status, record.run_id) == ("p", "completed", "night")
    roots = {entry.parent_step_id for entry in record.steps}
    assert roots == {None}


def test_run_resume_goes_on_with_a_run_that_python_started(scripts: Scripts) -> None:
    killed(scripts)
    script = str(scripts.write(CHILD))
    second = command(scripts, "run", "--resume", "latest", "--", sys.executable, script)
    assert second.returncode == 0, second.stderr
    assert attempts(scripts)[:3] == [
        ("collect", 1, "completed"),
        ("train", 1, "failed"),
        ("train", 2, "completed"),
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--resume", "nowhere"), 1, "there are no runs"),
        (("--resume", "latest", "--name", "x"), 2, "a resumed run keeps its name"),
    ],
)
def test_a_run_that_cannot_be_resumed_starts_no_command(
    scripts: Scripts, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended: Any = command(scripts, "run", *arguments, "--", "touch", "started")
    assert ended.returncode == code
    assert said in ended.stderr
    assert not (scripts.folder / "started").exists()


def test_resume_with_another_pipeline_name_is_refused(scripts: Scripts) -> None:
    killed(scripts)
    arguments = ("run", "--resume", "night", "--pipeline", "q", "--", "touch", "started")
    ended = command(scripts, *arguments)
    assert ended.returncode == 1
    assert "it is a run of pipeline 'p', not of 'q'" in ended.stderr
    assert not (scripts.folder / "started").exists()


def test_the_eta_of_a_resumed_run_counts_neither_what_was_done_nor_the_pause(
    scripts: Scripts,
) -> None:
    slow = (
        PIPELINE.replace("total=100", "total=100 if name == 'train' else 50")
        .replace(
            "this.advance(50)",
            "[(time.sleep(0.03), this.advance()) for _ in range(50)]",
        )
        .replace("configure(", "configure(interval=0.2, console='lines',", 1)
    )
    killed(scripts, slow)
    finished = scripts.run(slow, "night", env={"ROBOT_SF_OTEL_CONSOLE": "lines"})
    assert finished.code == 0
    resumed = scripts.events("run_resumed")[0]["time_unix_nano"]
    left = [
        (event["time_unix_nano"] / 1e9, event["eta"]["remaining_seconds"])
        for event in scripts.events("eta_shown")
        if event["time_unix_nano"] > resumed and event["eta"].get("remaining_seconds")
    ]
    ended = scripts.events("run_finished")[0]["time_unix_nano"] / 1e9
    assert left
    # What is left are 50 of 100 units and the evaluation: three seconds, not four or more.
    for time, seconds in left:
        assert seconds == pytest.approx(ended - time, abs=1.5)
