"""The operator's command for runs that have ended."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_commands: Final[list[subprocess.Popen[bytes]]] = []
"""Commands that may still run, kept so that they are reaped."""


def start_on_finish(command: str, run_dir: Path, status: str, *, folder: str | None = None) -> None:
    """Start the operator's command for a run that has ended, and do not wait for it.

    Args:
        command: The command; the run's directory and its status become its last arguments.
        run_dir: The run's directory.
        status: How it ended.
        folder: Where the command runs; by default where this process is.

    Raises:
        OSError: It cannot be started.
        ValueError: It cannot be split into words.
    """
    _commands[:] = [started for started in _commands if started.poll() is None]
    _commands.append(
        subprocess.Popen(
            [*shlex.split(command), str(run_dir), status],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # it goes on when this process is ended by a signal
        )
    )
