"""`perf-tests` with real child processes: measuring, failing, and being interrupted."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import textwrap
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.integration.scripts import UNMEASURED, Scripts, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.scripts import Finished, Running

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
WORK = """
from robot_sf_otel import current_step, step

def loop(turns, count=1):
    for _ in range(count):
        sum(range(turns))
        current_step().advance()

@step("inner", unit="turns")
def instrumented(turns):
    loop(turns)

def broken():
    raise RuntimeError("the simulator is gone")
"""
SHORT = "repetitions = 2\nmax_seconds = 0.1\n"


def started(
    scripts: Scripts, scenario: str, *arguments: str, env: Mapping[str, str] | None = None
) -> Running:
    """Start perf-tests in the folder of the scripts."""
    scripts.write(WORK, "work.py")
    (scripts.folder / "speed.toml").write_text(scenario, encoding="utf-8")
    command = [sys.executable, "-m", "robot_sf_otel.cli.main", "perf-tests"]
    return scripts.start_command([*command, "--scenario", "speed.toml", *arguments], env=env)


def run(scripts: Scripts, scenario: str, *arguments: str) -> Finished:
    return started(scripts, scenario, *arguments).ends()


def results(finished: Finished) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(finished.out)
    return found


def test_a_function_is_repeated_in_child_processes_of_one_run(scripts: Scripts) -> None:
    scenario = f'call = "work:loop"\nunit = "turns"\n{SHORT}[matrix]\nturns = [1000, 2000]\n'

    finished = run(scripts, scenario, "--format", "json", "--output", "named")

    assert finished.code == 0, finished.errors
    document = results(finished)
    assert document["status"] == "no-baseline"
    assert [one["test_id"] for one in document["results"]] == [
        "speed[turns=1000]",
        "speed[turns=2000]",
    ]
    assert all(one["unit"] == "turns/s" for one in document["results"])
    record = scripts.record
    assert (record.run_id, record.pipeline, record.status) == ("named", "perf-tests", "completed")
    assert record.enabled_steps == [one["test_id"] for one in document["results"]]
    ids = {one.id for one in record.recommendations}
    assert all(set(test.recommendations_ref) <= ids for test in record.perf_tests)
    repetitions = [step for step in record.steps if step.step_id == "repetition"]
    assert len(repetitions) >= 4
    assert len({step.process for step in record.steps}) >= 3
    assert {artifact.name for artifact in record.artifacts} == {
        "perf_test_results.json",
        "perf_test_summary.md",
        "perf_test_junit.xml",
    }
    ET.parse(scripts.run_dirs[0] / "artifacts/perf_test_junit.xml")  # noqa: S314 - our own file


def test_a_baseline_file_tells_the_same_from_slower_work(scripts: Scripts) -> None:
    scenario = (
        'name = "x"\ncall = "work:loop"\nmax_seconds = 20\n[params]\nturns = {}\ncount = 30\n'
    )
    asked = ("--baseline", "b.json", "--format", "json")

    first = run(scripts, scenario.format(100_000), *asked, "--update-baseline")
    same = run(scripts, scenario.format(100_000), *asked)
    slow = run(scripts, scenario.format(300_000), *asked)

    assert first.code == 0, first.errors
    assert results(same)["status"] in {"passed", "inconclusive"}, same.out
    assert same.code == 0
    assert results(slow)["status"] == "failed", slow.out
    assert slow.code == 1
    assert "below the baseline" in slow.errors
    critical = [one for one in scripts.records[-1].recommendations if one.severity == "critical"]
    assert [one.id for one in critical] == ["throughput_drop:x"]


def test_earlier_good_runs_are_the_baseline_where_there_is_no_file(scripts: Scripts) -> None:
    scenario = (
        'name = "x"\ncall = "work:loop"\nmax_seconds = 20\n[params]\nturns = {}\ncount = 30\n'
    )
    assert run(scripts, scenario.format(100_000)).code == 0

    again = run(scripts, scenario.format(100_000), "--format", "json")
    other = run(scripts, scenario.format(100_001), "--format", "json")

    assert results(again)["results"][0]["ratio"] is not None
    assert results(other)["status"] == "no-baseline", "other parameters are other work"


def test_a_command_is_timed_and_its_steps_can_be_measured(scripts: Scripts) -> None:
    scripts.write("import work\nimport sys\nwork.instrumented(int(sys.argv[1]))", "train.py")
    command = json.dumps([sys.executable, "train.py", "{turns}"])
    params = "[params]\nturns = 1000\n"
    for metric, unit in (("advance", "turns/s"), ("wall", "runs/s"), ("cpu", "runs/s")):
        scenario = f'command = {command}\nmetric = "{metric}"\nwarmup = 0\n{SHORT}{params}'
        finished = run(scripts, scenario, "--format", "json")
        assert finished.code == 0, finished.errors
        (result,) = results(finished)["results"]
        assert result["unit"] == unit
        assert result["throughput_measured"] > 0
    steps = {step.step_id: step for step in scripts.records[-1].steps}
    assert steps["inner"].parent_step_id == "repetition"
    assert float(steps["repetition"].metrics["cpu_seconds"]) > 0


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ('call = "work:broken"', "the simulator is gone"),
        ('call = "work:missing"', "no attribute 'missing'"),
        ('call = "work:loop"\nparams = { turns = 1 }\nmetric = "logged:fps"', "'logged:fps'"),
        ('command = ["sh", "-c", "echo out of memory; exit 3"]', "code 3: out of memory"),
        ('command = ["no-such-program"]', "no-such-program: No such file"),
        ('command = ["sleep", "60"]\ntimeout = 0.2', "sleep took longer than 0.2 s"),
        ('command = ["sh", "-c", "kill -9 $$"]', "ended by signal 9"),
    ],
)
def test_what_cannot_be_measured_is_an_error_with_the_reason(
    scripts: Scripts, scenario: str, said: str
) -> None:
    finished = run(scripts, scenario, "--format", "json")

    assert finished.code == 1
    document = results(finished)
    assert document["status"] == "error"
    assert said in document["errors"]["speed"]
    assert said in finished.errors
    assert scripts.record.status == "failed"
    assert said in (scripts.record.status_reason or "")


def test_one_test_that_fails_does_not_hide_the_others(scripts: Scripts) -> None:
    scenario = f"""command = ["sh", "-c", "exit {{code}}"]\nmetric = "wall"\n{SHORT}
[matrix]\ncode = [1, 0]\n"""

    document = results(run(scripts, scenario, "--format", "json"))

    assert list(document["errors"]) == ["speed[code=1]"]
    assert [one["test_id"] for one in document["results"]] == ["speed[code=0]"]


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_an_interruption_leaves_a_record_and_no_children(
    scripts: Scripts, tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    # A shell that does not hear SIGTERM, with a child of its own.
    script = f"trap '' TERM; sleep 300 & echo $! > {tmp_path}/pid.tmp; mv pid.tmp pid; wait; wait"
    command = json.dumps(["sh", "-c", script])
    running = started(
        scripts, f'command = {command}\nmetric = "wall"\nwarmup = 0\n', env=UNMEASURED
    )
    wait_until((tmp_path / "pid").exists, "the grandchild is there")
    grandchild = int((tmp_path / "pid").read_text())
    children = psutil.Process(running.pid).children(recursive=True)
    assert grandchild in {child.pid for child in children}

    running.kill(signum)
    finished = running.ends()

    assert finished.code == code, finished.errors
    assert "interrupted" in finished.errors
    wait_until(
        lambda: (
            not any(
                child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children
            )
        ),
        "no child is left",
    )
    record = scripts.record
    assert record.status == "cancelled"
    assert {step.status for step in record.steps} == {"cancelled"}


@pytest.mark.parametrize(("turns", "code"), [(100_000, 0), (300_000, 1)])
def test_the_recipe_for_github_actions_gates_and_writes_the_jobs_summary(
    scripts: Scripts, turns: int, code: int
) -> None:
    page = (ROOT / "docs/how-to/performance-tests.md").read_text(encoding="utf-8")
    _, _, rest = page.partition("        run: |\n")
    lines = itertools.takewhile(lambda line: line.startswith(" " * 10), rest.splitlines())
    recipe = textwrap.dedent("\n".join(lines))
    scenario = (
        'name = "x"\ncall = "work:loop"\nmax_seconds = 20\n[params]\nturns = {}\ncount = 30\n'
    )
    taken = run(
        scripts, scenario.format(100_000), "--baseline", "baselines.json", "--update-baseline"
    )
    assert taken.code == 0, taken.errors
    (scripts.folder / "speed.toml").write_text(scenario.format(turns))

    # As the service runs it: bash with -e and pipefail.
    done = scripts.start_command(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", recipe],
        env={
            "GITHUB_STEP_SUMMARY": str(scripts.folder / "summary.md"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
    ).ends()

    assert done.code == code, done.errors
    assert "## Performance: x" in (scripts.folder / "summary.md").read_text()
    assert (scripts.folder / "results/perf_test_junit.xml").exists()
