"""`robot-sf-otel run` and `step` with real commands: exit codes, signals, shell pipelines."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Final

import pytest

from robot_sf_otel.store.journal import iter_raw
from robot_sf_otel.store.layout import RunPaths
from tests.integration.scripts import UNMEASURED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.scripts import Finished, Running, Scripts

pytestmark = pytest.mark.integration

COMMAND: Final = [sys.executable, "-m", "robot_sf_otel.cli.main"]
SHELL_COMMAND: Final = f"{sys.executable} -m robot_sf_otel.cli.main"


def start(scripts: Scripts, *arguments: str, env: Mapping[str, str] | None = None) -> Running:
    """Start `robot-sf-otel` with these arguments."""
    return scripts.start_command([*COMMAND, *arguments], env=env)


def run(scripts: Scripts, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
    """Run `robot-sf-otel` with these arguments to its end."""
    return start(scripts, *arguments, env=env).ends()


@pytest.mark.parametrize(
    ("command", "code", "status", "result"),
    [
        (["true"], 0, "completed", "success"),
        (["sh", "-c", "exit 3"], 3, "failed", "failure"),
        (["sh", "-c", "kill -9 $$"], 137, "failed", "error"),
        (["sh", "-c", "kill -15 $$"], 143, "failed", "error"),
        (["./there-is-none"], 127, "failed", "failure"),
        (["/"], 126, "failed", "failure"),
    ],
    ids=["success", "exit-3", "sigkill", "sigterm", "not-found", "not-executable"],
)
def test_run_exits_with_the_commands_own_code_and_records_it(
    scripts: Scripts, command: list[str], code: int, status: str, result: str
) -> None:
    done = run(scripts, "run", "--", *command)
    assert done.code == code
    assert not done.warnings
    record = scripts.record
    assert record.status == status
    (finished,) = scripts.events("run_finished")
    assert finished["result"] == result
    assert finished.get("error", {}).get("exit_code") == (code or None)
    assert record.steps == []


def test_run_hands_on_input_output_and_arguments(scripts: Scripts) -> None:
    done = run(
        scripts, "run", "--", "sh", "-c", 'echo "$1"; cat; echo to-stderr >&2', "sh", "--name"
    )
    assert done.out == "--name\n"
    assert "to-stderr" in done.errors


def test_run_takes_name_pipeline_and_scenario(scripts: Scripts) -> None:
    run(
        scripts,
        *("run", "--name", "night", "--pipeline", "imitation", "--scenario", "maps/a.yaml"),
        *("--", "true"),
    )
    record = scripts.record
    assert (record.run_id, record.pipeline) == ("night", "imitation")
    assert record.scenario_config_path == "maps/a.yaml"


def test_run_without_a_name_is_called_after_its_command(scripts: Scripts) -> None:
    run(scripts, "run", "--", "/bin/sh", "-c", "true")
    assert scripts.record.pipeline == "sh"


DECORATED: Final = """
    import sys
    from robot_sf_otel import configure, current_run, pipeline, step
    configure()

    @step(title="Collect trajectories")
    def collect():
        pass

    @pipeline("imitation", steps=[collect, "evaluate"], params={"lr": 0.1}, seeds=4, tags=["t"],
              scenario="maps/b.yaml")
    def main():
        collect()
        current_run().log_metric("best", 1.0)

    main()
    sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 2])
def test_pipeline_below_run_gives_it_name_plan_and_parameters(scripts: Scripts, code: int) -> None:
    script = scripts.write(DECORATED)
    done = run(scripts, "run", "--", sys.executable, str(script), str(code))
    assert done.code == code, done.errors
    record = scripts.record
    assert (record.pipeline, record.scenario_config_path) == ("imitation", "maps/b.yaml")
    assert (record.params, record.seeds, record.tags) == ({"lr": 0.1}, {"seed": 4}, ["t"])
    assert record.enabled_steps == ["collect", "evaluate"]
    assert scripts.statuses == {"collect": "completed", "evaluate": "pending"}
    assert scripts.steps["collect"].parent_step_id is None
    assert record.status == ("completed" if code == 0 else "failed")
    (run_dir,) = scripts.run_dirs
    own = [event["event"] for event in iter_raw(RunPaths(run_dir).journal)]
    assert "step_started" not in own, "the child writes a journal of its own"


def test_exception_in_the_pipeline_below_run_is_recorded(scripts: Scripts) -> None:
    script = scripts.write(
        """
        from robot_sf_otel import pipeline, step
        with pipeline("p"), step("train"):
            raise ValueError("no reward")
        """
    )
    done = run(scripts, "run", "--", sys.executable, str(script))
    assert done.code == 1
    assert "ValueError: no reward" in done.errors
    assert scripts.record.status == "failed"
    error = scripts.steps["train"].error
    assert error is not None
    assert (error.type, error.message) == ("ValueError", "no reward")


def test_shell_pipeline_of_steps_is_one_run(scripts: Scripts) -> None:
    shell = scripts.folder / "pipeline.sh"
    shell.write_text(
        f"set -e\n{SHELL_COMMAND} step collect --title 'Collect them' -- sh -c 'echo collected'\n"
        f"{SHELL_COMMAND} step train -- sh -c 'exit 4'\n"
    )
    done = run(scripts, "run", "--pipeline", "imitation", "--", "sh", str(shell))
    assert (done.code, done.out) == (4, "collected\n")
    record = scripts.record
    assert (record.pipeline, record.status) == ("imitation", "failed")
    assert scripts.statuses == {"collect": "completed", "train": "failed"}
    assert scripts.steps["collect"].display_name == "Collect them"
    assert {entry.parent_step_id for entry in record.steps} == {None}
    error = scripts.steps["train"].error
    assert error is not None
    assert error.exit_code == 4


def test_decorated_steps_below_a_step_of_the_shell_are_nested_in_it(scripts: Scripts) -> None:
    script = scripts.write(
        """
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("inner", steps=["x"]), step("x"):
            pass
        """
    )
    inner = f"{SHELL_COMMAND} step train -- {sys.executable} {script}"
    assert run(scripts, "run", "--pipeline", "outer", "--", "sh", "-c", inner).code == 0
    parents = {entry.step_id: entry.parent_step_id for entry in scripts.record.steps}
    assert parents == {"train": None, "inner": "train", "x": "inner"}
    assert scripts.record.pipeline == "outer"


def test_step_outside_a_run_is_a_run_of_one_step(scripts: Scripts) -> None:
    done = run(scripts, "step", "collect", "--", "sh", "-c", "exit 6")
    assert done.code == 6
    assert (scripts.record.pipeline, scripts.record.status) == ("collect", "failed")
    assert scripts.statuses == {"collect": "failed"}


def test_run_inside_a_run_is_a_step_of_it(scripts: Scripts) -> None:
    inner = f"{SHELL_COMMAND} run --pipeline inner -- true"
    assert run(scripts, "run", "--pipeline", "outer", "--", "sh", "-c", inner).code == 0
    assert scripts.record.pipeline == "outer"
    assert scripts.statuses == {"inner": "completed"}


CHILD: Final = """
    import signal, sys
    def stop(signum, _):
        print(signal.Signals(signum).name, flush=True)
        sys.exit(int(sys.argv[1]))
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, stop)
    print("ready", flush=True)
    while True:
        signal.sigtimedwait([], 0.05)  # a pause() may begin just after the signal
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("command", [("run",), ("step", "train")], ids=["run", "step"])
def test_signal_is_handed_on_and_the_run_is_cancelled(
    scripts: Scripts, signum: signal.Signals, command: tuple[str, ...]
) -> None:
    child = scripts.write(CHILD)
    script = start(scripts, *command, "--", sys.executable, str(child), "9", env=UNMEASURED)
    script.says("ready")
    script.kill(signum)
    script.says(signum.name)
    assert script.ends().code == 9
    record = scripts.record
    assert (record.status, record.status_reason) == ("cancelled", signum.name)
    assert {entry.status for entry in record.steps} <= {"cancelled"}


def test_command_that_dies_of_the_signal_gives_128_plus_its_number(scripts: Scripts) -> None:
    script = start(scripts, "run", "--", "sh", "-c", "echo ready; exec sleep 60")
    script.says("ready")
    script.kill(signal.SIGTERM)
    assert script.ends().code == 128 + signal.SIGTERM
    assert (scripts.record.status, scripts.record.status_reason) == ("cancelled", "SIGTERM")


def test_signal_is_handed_on_with_telemetry_off_too(scripts: Scripts) -> None:
    off = {"ROBOT_SF_OTEL_ENABLED": "false"}
    script = start(scripts, "run", "--", "sh", "-c", "echo ready; exec sleep 60", env=off)
    script.says("ready")
    script.kill(signal.SIGTERM)
    assert script.ends().code == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    "variables",
    [{"ROBOT_SF_OTEL_ENABLED": "false"}, {"OTEL_SDK_DISABLED": "true"}],
    ids=lambda variables: next(iter(variables)),
)
@pytest.mark.parametrize("command", [("run",), ("step", "x")], ids=["run", "step"])
def test_switched_off_it_only_runs_the_command(
    scripts: Scripts, variables: dict[str, str], command: tuple[str, ...]
) -> None:
    done = run(scripts, *command, "--", "sh", "-c", "echo ran; exit 5", env=variables)
    assert (done.code, done.out, done.errors) == (5, "ran\n", "")
    assert not (scripts.folder / "output").exists()


def test_artifact_root_of_the_command_line_is_where_the_run_lies(scripts: Scripts) -> None:
    root = scripts.folder / "elsewhere"
    assert run(scripts, "--artifact-root", str(root), "run", "--", "true").code == 0
    assert len(list((root / "run-tracker").iterdir())) == 1
    assert not scripts.run_dirs


def test_secrets_of_the_command_line_are_not_recorded(scripts: Scripts) -> None:
    run(scripts, "run", "--", "true", "--api-key", "hunter2secret", "--token=abc123def")
    text = RunPaths(scripts.run_dirs[0]).journal.read_text()
    assert "hunter2secret" not in text
    assert "abc123def" not in text
    assert "[redacted]" in text


def test_run_without_a_command_is_a_usage_error(scripts: Scripts) -> None:
    done = run(scripts, "run")
    assert done.code == 2
    assert "Traceback" not in done.errors
    assert not scripts.run_dirs
