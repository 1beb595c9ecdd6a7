"""`robot-sf-otel run` and `step`: track a command that nobody edits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from robot_sf_otel.cli.common import fail
from robot_sf_otel.environment_variables import CONSOLE

NOT_FOUND: Final = 127
"""Exit code of a shell for a command that does not exist."""
NOT_EXECUTABLE: Final = 126
FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Command = Annotated[list[str], typer.Argument(metavar="CMD...", help="The command, after `--`.")]


def run(  # noqa: PLR0917 - typer passes options by name
    context: typer.Context,
    command: Command,
    name: Annotated[str | None, typer.Option("--name", help="Directory name of the run.")] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="Name of the pipeline.")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option("--scenario", help="Scenario identifier or configuration file.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run that was stopped."),
    ] = None,
) -> None:
    """Track any command with no code change; exits with the command's own exit code."""
    if resume is not None and name is not None:
        raise typer.BadParameter("a resumed run keeps its name", param_hint="'--name'")
    root = _artifact_root(context)
    raise typer.Exit(track_run(command, name, pipeline, scenario, root, resume=resume))


def step(
    context: typer.Context,
    step_id: Annotated[str, typer.Argument(metavar="NAME", help="Name of the step.")],
    command: Command,
    title: Annotated[str | None, typer.Option("--title", help="What people read.")] = None,
) -> None:
    """Run a command as one step of a shell pipeline; exits with its own exit code."""
    raise typer.Exit(track_step(step_id, title, command, _artifact_root(context)))


def register(app: typer.Typer) -> None:
    """Add the two commands."""
    # The options of `run` end where the tracked command begins, with or without `--`.
    app.command("run", context_settings={"allow_interspersed_args": False})(run)
    app.command("step")(step)


def _artifact_root(context: typer.Context) -> str | Path | None:
    settings: dict[str, list[Path]] = context.obj or {}
    roots = settings.get("artifact_roots", [])
    return roots[0] if roots else None


def track_run(
    argv: Sequence[str],
    name: str | None,
    pipeline: str | None,
    scenario: str | None,
    artifact_root: str | Path | None,
    *,
    resume: str | None = None,
) -> int:
    """Run `argv` as a run of its own, or as a step where this process is inside one already.

    Args:
        argv: The command.
        name: Directory name of the run.
        pipeline: Name of the pipeline; the command's by default.
        scenario: Scenario identifier or configuration file.
        artifact_root: Folder that holds `run-tracker/`.
        resume: A run that was stopped, to go on with instead of a new one.

    Returns:
        The command's exit code, 128+N where signal N ended it, 127 where it does not exist.

    Raises:
        typer.Exit: The run cannot be resumed; the command was not started.
    """
    from robot_sf_otel.bootstrap import configure
    from robot_sf_otel.instrument import context
    from robot_sf_otel.instrument.outcome import COMPLETED, Outcome
    from robot_sf_otel.instrument.pipeline import PipelineSpec
    from robot_sf_otel.manifest.schema import ErrorInfo

    shown = pipeline or Path(argv[0]).name
    forwarder = Forwarder()
    # The steps are those of the command and its children: they say what happens, line by line.
    lines = "lines" if os.environ.get(CONSOLE, "auto") == "auto" else None
    configure(artifact_root=artifact_root, run_name=name, console=lines)
    runtime = context.process.runtime
    if runtime is None:  # switched off by the environment
        with forwarder:
            return forwarder.supervise(argv)
    if context.process.live_runs:
        if resume is not None:
            fail(f"cannot resume {resume}: this command is part of another run already")
        return track_step(shown, None, argv, artifact_root)
    from robot_sf_otel.instrument.opening import open_run, resume_run
    from robot_sf_otel.store.resuming import CannotResume

    spec = PipelineSpec(name=shown, scenario=scenario)
    with forwarder:
        if resume is None:
            opened = open_run(runtime, spec, adoptable=True)
        else:
            try:
                any_one = pipeline is None
                opened = resume_run(runtime, resume, spec, adoptable=True, any_pipeline=any_one)
            except CannotResume as cannot:
                fail(str(cannot))
        code = forwarder.supervise(argv)
        outcome = COMPLETED
        if code != 0:
            reason = forwarder.reason(code)
            error = ErrorInfo(type="exit", message=reason, exit_code=code)
            killed = code > 128 and forwarder.ended_by is not None  # noqa: PLR2004 - a shell's rule
            outcome = Outcome("failed", "error" if killed else "failure", error, reason)
            if forwarder.received is not None:
                outcome = Outcome("cancelled", "cancellation", reason=forwarder.received)
        opened.finish_as(outcome)
    return code


def track_step(
    step_id: str, title: str | None, argv: Sequence[str], artifact_root: str | Path | None
) -> int:
    """Run `argv` as a step of the inherited run, or of a run of its own.

    Returns:
        The command's exit code, 128+N where signal N ended it, 127 where it does not exist.
    """
    from robot_sf_otel.bootstrap import configure
    from robot_sf_otel.instrument import context
    from robot_sf_otel.instrument import pipeline as pipelines
    from robot_sf_otel.instrument import step as steps

    forwarder = Forwarder()
    configure(artifact_root=artifact_root)
    runtime = context.process.runtime
    with forwarder:
        inside = bool(context.process.live_runs)
        opened = None if inside else pipelines.pipeline(step_id).start()
        handle = steps.begin(steps.StepSpec(step_id=step_id, title=title))
        code = forwarder.supervise(argv)
        live = context.live_run()
        if live is not None and forwarder.received is not None:
            live.interrupted_by = forwarder.received
        error = None
        if code != 0:
            shown = runtime.redact.argv(list(argv)) if runtime is not None else list(argv)
            error = subprocess.CalledProcessError(code, shown)
        handle.end(error)
        if opened is not None:
            opened.end(error)
    return code


class Forwarder:
    """Waits for a command and hands on the signals that this process gets."""

    def __init__(self) -> None:
        """Take no signal over yet."""
        self.received: str | None = None
        self.ended_by: str | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._previous: dict[signal.Signals, Callable[..., object] | int | None] = {}

    def __enter__(self) -> Forwarder:  # noqa: PYI034 - not meant to be subclassed
        """Take over the signals; one that is ignored (nohup) stays ignored."""
        for signum in FORWARDED:
            previous = signal.getsignal(signum)
            if previous is not signal.SIG_IGN:
                self._previous[signum] = previous
                signal.signal(signum, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for signum, previous in self._previous.items():
            signal.signal(signum, previous)

    def _handle(self, signum: int, _: FrameType | None) -> None:
        self.received = signal.Signals(signum).name
        self._hand_on()

    def _hand_on(self) -> None:
        told = self.received == signal.SIGINT.name and _in_foreground()
        if self._child is not None and self.received is not None and not told:
            self._child.send_signal(signal.Signals[self.received])

    def supervise(self, argv: Sequence[str]) -> int:
        """Run the command to its end.

        Returns:
            Its exit code, 128+N where signal N ended it, 127 or 126 where it cannot be run.
        """
        from robot_sf_otel.instrument.child_process import child_env

        try:
            self._child = subprocess.Popen(list(argv), env=child_env())
        except OSError as error:
            sys.stderr.write(f"robot-sf-otel: {argv[0]}: {error.strerror}\n")
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        self._hand_on()  # a signal that came before there was anybody to tell
        code = self._child.wait()
        if code >= 0:
            return code
        try:
            self.ended_by = signal.Signals(-code).name
        except ValueError:  # a real-time signal has no name
            self.ended_by = f"signal {-code}"
        return 128 - code

    def reason(self, code: int) -> str:
        """Return why the command failed, in words."""
        if self.ended_by is not None:
            return f"the command was ended by {self.ended_by}"
        if code in (NOT_FOUND, NOT_EXECUTABLE) and self._child is None:
            return "the command could not be started"
        return f"the command exited with code {code}"


def _in_foreground() -> bool:
    """Return whether a terminal sends Ctrl-C to the command as well as to this process."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False
