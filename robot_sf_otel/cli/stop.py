"""`stop`: SIGTERM to the process of a run, by its identity, and the wait for its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from robot_sf_otel.cli.common import (
    LATEST,
    RunArgument,
    TextFormat,
    complain,
    fail,
    load,
    write_json,
)

if TYPE_CHECKING:
    from robot_sf_otel.store.identity import ProcessIdentity
    from robot_sf_otel.store.reader import LoadedRun

_POLL_SECONDS: Final = 0.05
_CLOSING_SECONDS: Final = 5.0
"""How long after the end of its process a run may take to be closed by somebody else."""


def stop(
    context: typer.Context,
    run: RunArgument = LATEST,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", min=0, help="Seconds to wait for its end.")
    ] = 10.0,
    form: Annotated[
        TextFormat, typer.Option("--format", help="JSON: what became of the run.")
    ] = TextFormat.TEXT,
) -> None:
    """Send SIGTERM to the process of a run and wait until the run is closed.

    The exit code is 0 if it has stopped, and 1 if it has not or could not be asked to.
    """
    found = load(context, run)
    owner = _owner(found)
    began = time.monotonic()
    try:
        asked = send_sigterm(owner)
    except PermissionError:
        fail(f"process {owner.pid} of run {found.run_id} belongs to another user")
    except OSError as error:
        fail(f"process {owner.pid} of run {found.run_id} cannot be stopped: {error}")
    if not asked:
        fail(f"run {found.run_id} was not stopped: its process {owner.pid} is gone already")
    stopped, status = wait_for_end(found, owner, timeout)
    took = time.monotonic() - began
    if not stopped:
        complain(
            f"run {found.run_id} goes on {timeout:g} s after SIGTERM to process {owner.pid}; "
            f"`kill -9 {owner.pid}` would end it at once"
        )
    if form is TextFormat.JSON:
        answer: dict[str, Any] = {
            "run_id": found.run_id,
            "run_dir": str(found.run_dir),
            "pid": owner.pid,
            "host": owner.host,
            "stopped": stopped,
            "status": status,
            "waited_seconds": round(took, 3),
        }
        write_json(answer)
    elif stopped:
        typer.echo(f"run {found.run_id} stopped after {took:.1f} s: {status}")
    raise typer.Exit(0 if stopped else 1)


def _owner(found: LoadedRun) -> ProcessIdentity:
    """Return the process that a run belongs to, if a signal can reach it.

    Raises:
        typer.Exit: The run has ended, or its process is elsewhere.
    """
    from robot_sf_otel.manifest.schema import TERMINAL_RUN
    from robot_sf_otel.store.identity import host_name, is_alive
    from robot_sf_otel.store.layout import RunPaths
    from robot_sf_otel.store.lock import read_owner

    if found.status in TERMINAL_RUN:
        fail(f"run {found.run_id} has ended already: {found.status}")
    owner = read_owner(RunPaths(found.run_dir).lock)
    if owner is None:
        fail(f"run {found.run_id} does not say which process it belongs to: it has no run.lock")
    if is_alive(owner) is None:
        what = f"run {found.run_id} belongs to process {owner.pid}"
        if owner.host != host_name():
            fail(f"{what} on host {owner.host}: stop it there")
        fail(f"{what} in another container of {owner.host}, or not to be seen: stop it there")
    return owner


def send_sigterm(owner: ProcessIdentity) -> bool:
    """Send SIGTERM to a process, never to one that got its number later.

    Returns:
        Whether it was sent; False where the process is gone.

    Raises:
        OSError: It may not be sent.
    """
    from robot_sf_otel.store.identity import is_alive

    send, close = _sender(owner.pid)
    try:
        # Looked at after the process is held: what is sent now goes to this one or to nobody.
        if is_alive(owner) is not True:
            return False
        send()
    except ProcessLookupError:
        return False
    finally:
        close()
    return True


def _sender(pid: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return what sends SIGTERM to the process that has this number now, and what lets go of it."""
    if hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal"):
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return _nobody, _nothing
        except OSError:  # an old kernel, or a sandbox that does not know the call
            pass
        else:
            return lambda: signal.pidfd_send_signal(fd, signal.SIGTERM), lambda: os.close(fd)
    return lambda: os.kill(pid, signal.SIGTERM), _nothing


def _nobody() -> None:
    raise ProcessLookupError


def _nothing() -> None:
    """There is nothing to let go of."""


def wait_for_end(
    found: LoadedRun,
    owner: ProcessIdentity,
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[bool, str]:
    """Wait until a run is closed, or its process is gone and nobody else closes it.

    Args:
        found: The run.
        owner: Its process.
        timeout: Seconds.
        clock: Monotonic seconds.
        sleep: Waits for some seconds.

    Returns:
        Whether the run has stopped, and its status: `failed` where its process left it open.
    """
    from robot_sf_otel.manifest.fold import RunFold
    from robot_sf_otel.manifest.schema import TERMINAL_RUN
    from robot_sf_otel.store.identity import is_alive
    from robot_sf_otel.store.journal import JournalTail
    from robot_sf_otel.store.layout import RunPaths

    fold, tail = RunFold(), JournalTail(RunPaths(found.run_dir).journal)
    end = clock() + timeout
    gone_since: float | None = None
    while True:
        gone = is_alive(owner) is False
        for event in tail.read():
            fold.apply(event)
        now = clock()
        if fold.status in TERMINAL_RUN:
            return True, fold.status
        if gone and gone_since is None:
            gone_since = now
        if gone_since is not None and now >= min(end, gone_since + _CLOSING_SECONDS):
            return True, "failed"
        if now >= end:
            return False, fold.status
        sleep(min(_POLL_SECONDS, end - now))
