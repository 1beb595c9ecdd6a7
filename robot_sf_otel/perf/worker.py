"""The child process in which a Python callable is repeated: each time a step of the run.

Usage: `python -m robot_sf_otel.perf.worker TASK`, TASK being a `Task` as JSON.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from robot_sf_otel import configure, step
from robot_sf_otel.analysis.perf_samples import (
    CPU_SECONDS,
    MACHINE_SPEED,
    REPETITION,
    SECONDS,
    WAITED_SECONDS,
    WARM_UP,
)
from robot_sf_otel.perf.calibration import calibration_seconds, machine_speed
from robot_sf_otel.perf.stopwatch import Elapsed, timed

if TYPE_CHECKING:
    from robot_sf_otel.instrument.step import StepHandle


class Task(msgspec.Struct, kw_only=True):
    """What a worker does.

    Attributes:
        call: `module:function`.
        params: Its keyword arguments.
        unit: What its progress counts.
        warmup: Calls that do not count.
        repetitions: Calls that do.
        cpu: Whether CPU time is measured.
        calibrate: Whether the machine's speed is measured around each.
    """

    call: str
    params: dict[str, Any] = {}
    unit: str = "it"
    warmup: int = 1
    repetitions: int = 5
    cpu: bool = False
    calibrate: bool = True


def resolve(call: str) -> Callable[..., object]:
    """Return the function that `module:function` names.

    Raises:
        ValueError: There is none; the message says what is missing.
    """
    module, _, name = call.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{call}: {error}") from error
    if not callable(found):
        raise ValueError(f"{call} is no function")  # noqa: TRY004 - a value of the scenario file
    return found


def work(task: Task, function: Callable[..., object]) -> None:
    """Call the function as often as told; each call is a step."""
    for _ in range(task.warmup):
        with step(WARM_UP):
            function(**task.params)
    before: float | None = None
    for _ in range(task.repetitions):
        with step(REPETITION, unit=task.unit) as this:
            if task.calibrate and before is None:
                before = machine_speed(cpu=task.cpu)
            took = timed(partial(function, **task.params))
            log(this, took)
            if before is not None:
                after = machine_speed(calibration_seconds(took.seconds), cpu=task.cpu)
                this.log_metric(MACHINE_SPEED, (before + after) / 2)
                before = after


def log(repetition: StepHandle, took: Elapsed) -> None:
    """Record what a repetition took."""
    repetition.log_metric(SECONDS, took.seconds)
    repetition.log_metric(WAITED_SECONDS, took.waited)
    repetition.log_metric(CPU_SECONDS, took.cpu)


def main() -> int:
    """Do what the command line says; return 1 where there is no such function."""
    task = msgspec.json.decode(sys.argv[1], type=Task)
    try:
        function = resolve(task.call)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    configure()
    work(task, function)
    return 0


if __name__ == "__main__":
    sys.exit(main())
