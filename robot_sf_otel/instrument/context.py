"""Which run and step the running code belongs to, and whether telemetry is on at all.

Context-local first. Code without context (a plain thread) belongs to the only live run and its
only running step; with several live runs it belongs to none, with one warning.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel import environment_variables as env
from robot_sf_otel import guard
from robot_sf_otel.config import switched

if TYPE_CHECKING:
    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.instrument.live_step import LiveStep
    from robot_sf_otel.instrument.pipeline import RunHandle
    from robot_sf_otel.instrument.runtime import Runtime
    from robot_sf_otel.instrument.step import StepHandle

run_var: Final[ContextVar[LiveRun | None]] = ContextVar("robot_sf_otel_run", default=None)
step_var: Final[ContextVar[LiveStep | None]] = ContextVar("robot_sf_otel_step", default=None)

MULTIPROCESSING_KEY: Final = "robot_sf_otel"
"""Key in `multiprocessing.current_process()._config`, which every start method hands down."""


class _Process:
    """The state of this process: one object, so that tests and forks can replace what it holds."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self.activate: Callable[[], object] | None = None
        self.activation = threading.RLock()
        self.activating = False
        self.tried = False
        self.live_runs: list[LiveRun] = []
        self.generation = 0


process: Final = _Process()


def set_activator(activate: Callable[[], object]) -> None:
    """Name the function that configures telemetry when the environment asks for it."""
    process.activate = activate


def in_multiprocessing_bootstrap() -> bool:
    """Return whether a spawned child is still importing its main module.

    Without an `if __name__ == "__main__"` guard that import runs the pipeline again; nothing may
    be switched on before it is over.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is None:
        return False
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def inherited_by_process_state() -> dict[str, str]:
    """Return what a parent left for its multiprocessing children, empty in all others."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is None or multiprocessing.parent_process() is None:
        return {}
    config: dict[str, Any] = getattr(multiprocessing.current_process(), "_config", {})
    left: dict[str, str] = config.get(MULTIPROCESSING_KEY, {})
    return dict(left)


def runtime() -> Runtime | None:
    """Return the live runtime, switching on first where the environment or a parent says so."""
    live = process.runtime
    if live is not None or process.tried:
        return live
    with process.activation:  # other threads wait; the activating one must not recur
        return process.runtime if _decided() else _activate()


def _decided() -> bool:
    """Return whether it is settled that telemetry is on or off, or being settled by this thread."""
    return process.runtime is not None or process.tried or process.activating


def _activate() -> Runtime | None:
    if in_multiprocessing_bootstrap():
        return None
    wanted = switched(os.environ, guard.warn)
    if wanted is None and inherited_by_process_state().get(env.RUN_DIR):
        wanted = True
    if not wanted:
        process.tried = True
        return None
    process.activating = True
    try:
        with guard.shielded("configure"):
            (process.activate or _activate_by_package)()
    finally:
        process.activating = False
        process.tried = True
    return process.runtime


def _activate_by_package() -> None:
    """Switch on in a process that never asked the package for a name.

    A function that cloudpickle took to another process refers to the module of `step` itself.
    """
    import_module("robot_sf_otel")._activate()  # noqa: SLF001 - the package is its own


def live_run() -> LiveRun | None:
    """Return the run that this code belongs to, or None."""
    run = run_var.get()
    if run is not None:  # code of a run that has ended belongs to no other
        return None if run.ended else run
    live = process.live_runs
    if len(live) == 1:
        return live[0]
    if len(live) > 1:
        guard.warn_once(
            "ambiguous-run",
            "several runs are live and this code belongs to none of them, so what it reports is "
            "left out; hand it to its thread with current_run().bind(fn)",
        )
    return None


def live_step(run: LiveRun) -> LiveStep | None:
    """Return the step of `run` that this code belongs to: its own, else the only running one."""
    step = step_var.get()
    if step is not None and step.of_run is run and not step.ended:
        return step
    if run_var.get() is run:
        return None
    running = run.running_steps()
    return running[0] if len(running) == 1 else None


def current_run() -> RunHandle:
    """Return the run that this code belongs to; outside a run a handle that does nothing."""
    runtime()
    return live_run() or _inert_handles()[0]


def current_step() -> StepHandle:
    """Return the step that this code belongs to; outside a step a handle that does nothing."""
    runtime()
    run = live_run()
    step = live_step(run) if run is not None else None
    return step or _inert_handles()[1]


@functools.cache
def _inert_handles() -> tuple[RunHandle, StepHandle]:
    """Return the handles for code outside a run; their modules import this one."""
    from robot_sf_otel.instrument.pipeline import INERT_RUN
    from robot_sf_otel.instrument.step import INERT_STEP

    return INERT_RUN, INERT_STEP
