"""`step`: the decorator and block that mark one step of a pipeline, and its handle."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar, cast, overload

from robot_sf_otel import guard
from robot_sf_otel.instrument import context
from robot_sf_otel.instrument.child_process import run_child
from robot_sf_otel.instrument.wrapping import is_generator, wrap

if TYPE_CHECKING:
    import subprocess
    from os import PathLike

    from robot_sf_otel.instrument.artifacts import Loggable

P = ParamSpec("P")
R = TypeVar("R")

SPEC_ATTRIBUTE: Final = "__robot_sf_step__"
"""Where a decorated function keeps its `StepSpec`, for plans."""

MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """What is declared of a step.

    Raises:
        ValueError: A number is negative or no number, or the name is empty.
    """

    step_id: str
    title: str | None = None
    total: float | None = None
    unit: str = "it"
    expected_seconds: float | None = None
    baseline_rate: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no step can have."""
        if not self.step_id.strip():
            msg = "a step needs a name that is not empty"
            raise ValueError(msg)
        for name in ("total", "expected_seconds", "baseline_rate"):
            check_count(f"step {self.step_id!r}: {name}", getattr(self, name))


class StepHandle(Protocol):
    """What code inside a step can say about it. Never raises but for `run`."""

    @property
    def step_id(self) -> str:
        """The step's name; empty outside a step."""
        ...

    @property
    def span_id(self) -> str | None:
        """The step's span id in hex, None outside a step."""
        ...

    @property
    def done(self) -> float:
        """Units of progress done so far."""
        ...

    @property
    def total(self) -> float | None:
        """Units of progress in all, None where it is not known."""
        ...

    @property
    def unit(self) -> str:
        """What is counted."""
        ...

    def advance(self, n: float = 1) -> None:
        """Count `n` more units as done. An addition: no lock, no I/O."""
        ...

    def set_progress(self, done: float, total: float | None = None) -> None:
        """Say how many units are done and, if it changed, how many there are."""
        ...

    def log_metric(self, name: str, value: float) -> None:
        """Report a value; the last one of each name goes with the next telemetry sample."""
        ...

    def log_artifact(
        self,
        path: Loggable,
        *,
        kind: str | None = None,
        name: str | None = None,
        copy: bool = False,
    ) -> None:
        """Record a file, a folder or a figure that this step produced.

        Args:
            path: A file or folder, which stays where it is; or a figure (whatever has `savefig`) or
                an image (`save`), which is saved into the run's `artifacts/`.
            kind: What it is: `checkpoint`, …; by default `file`, `directory`, `figure` or `image`.
            name: What people call it; a figure is saved under it, as PNG unless it ends with the
                suffix of another format.
            copy: Whether the file or folder is copied into `artifacts/` first.
        """
        ...

    def mark_skipped(self, reason: str | None = None) -> None:
        """End this step as skipped, whatever it returns."""
        ...

    def run(
        self,
        argv: Sequence[str | PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command that joins the run; see `child_process.run_child`."""
        ...

    def end(self, error: BaseException | None) -> None:
        """End the step; called by the decorator or block that began it."""
        ...


class InertStep:
    """The handle outside a step or with telemetry off: accepts everything, records nothing."""

    __slots__ = ()
    step_id = ""
    span_id = None
    done = 0.0
    total = None
    unit = "it"

    def advance(self, n: float = 1) -> None:
        """Do nothing."""

    def set_progress(self, done: float, total: float | None = None) -> None:
        """Do nothing."""

    def log_metric(self, name: str, value: float) -> None:
        """Do nothing."""

    def log_artifact(
        self,
        path: Loggable,
        *,
        kind: str | None = None,
        name: str | None = None,
        copy: bool = False,
    ) -> None:
        """Do nothing."""

    def mark_skipped(self, reason: str | None = None) -> None:
        """Do nothing."""

    def run(
        self,
        argv: Sequence[str | PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command all the same: the pipeline depends on it."""
        return run_child(argv, env=env, check=check, timeout=timeout)

    def end(self, error: BaseException | None) -> None:
        """Do nothing."""


INERT_STEP: Final = InertStep()


def begin(spec: StepSpec) -> StepHandle:
    """Begin a step where telemetry is on; the handle's `end` ends it. Never raises."""
    runtime = context.runtime()
    if runtime is None:
        return INERT_STEP
    with guard.shielded("step start"):  # an import fails too where file handles have run out
        from robot_sf_otel.instrument.live_step import begin_step

        return begin_step(runtime, spec)
    return INERT_STEP


class StepBlock:
    """What `step(...)` returns: decorates a function, or is entered with `with`."""

    __slots__ = ("_active", "_declared", "_name")

    def __init__(self, name: str | None, declared: dict[str, Any]) -> None:
        """Keep what was declared; checked at once when the name is known."""
        self._name = name
        self._declared = declared
        self._active: list[StepHandle] = []
        if name is not None or declared:
            StepSpec(step_id="step" if name is None else name, **declared)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a plain or async function or method.

        Raises:
            TypeError: It is a generator function; the message says what to do instead.
        """
        return decorate(self._name, self._declared, function)

    def __enter__(self) -> StepHandle:
        """Begin the step.

        Raises:
            ValueError: The block has no name.
        """
        if self._name is None:
            msg = 'a step block needs a name: with step("evaluate"): ...'
            raise ValueError(msg)
        handle = begin(StepSpec(step_id=self._name, **self._declared))
        self._active.append(handle)
        return handle

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the step; exceptions propagate."""
        # Threads and tasks may share the block: each leaves the step that it is in.
        current = context.step_var.get()
        last = len(self._active) - 1
        own = next((i for i in range(last, -1, -1) if self._active[i] is current), last)
        self._active.pop(own).end(error)


@overload
def step(name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def step(
    name: str | None = None,
    *,
    title: str | None = None,
    total: float | None = None,
    unit: str = "it",
    expected_seconds: float | None = None,
    baseline_rate: float | None = None,
) -> StepBlock: ...
def step(
    name: str | Callable[..., Any] | None = None,
    *,
    title: str | None = None,
    total: float | None = None,
    unit: str = "it",
    expected_seconds: float | None = None,
    baseline_rate: float | None = None,
) -> Callable[..., Any] | StepBlock:
    """Mark a function or a block as a step of the pipeline.

    Args:
        name: Identifier of the step; a decorated function's own name by default.
        title: What people read; the name by default.
        total: Units of progress that make the step complete.
        unit: What is counted, such as `episodes` or `timesteps`.
        expected_seconds: Declared duration in seconds, for an ETA without history.
        baseline_rate: Documented throughput in units a second.

    Raises:
        TypeError: The decorated function is a generator function.
        ValueError: A number is negative.
    """
    declared = {
        key: value
        for key, value in {
            "title": title,
            "total": total,
            "unit": unit,
            "expected_seconds": expected_seconds,
            "baseline_rate": baseline_rate,
        }.items()
        if value is not None
    }
    if name is None or isinstance(name, str):
        return StepBlock(name, declared)
    return decorate(None, declared, name)


def decorate(
    name: str | None, declared: dict[str, Any], function: Callable[P, R]
) -> Callable[P, R]:
    """Return `function` as a step that keeps its signature.

    Raises:
        TypeError: It is no function, or a generator function.
    """
    if isinstance(function, staticmethod | classmethod):
        method = cast("Any", function)
        return cast("Callable[P, R]", type(method)(decorate(name, declared, method.__func__)))
    if not callable(function):
        msg = f"@step decorates functions, not {function!r}"
        raise TypeError(msg)
    step_id = name if name is not None else _name_of(function)
    if is_generator(function):
        msg = (
            f"@step on the generator function {step_id!r}: the step would end before its work "
            f'begins; use `with step("{step_id}"):` inside it, or return a list'
        )
        raise TypeError(msg)
    spec = StepSpec(step_id=step_id, **declared)
    wrapped = wrap(functools.partial(begin, spec), function)
    setattr(wrapped, SPEC_ATTRIBUTE, spec)
    return wrapped


def _name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


Planned = tuple[str, str | None, float | None, float | None]
"""An entry of a plan: step_id, title, expected seconds, total."""


def planned(entry: object) -> Planned:
    """Return (step_id, title, expected seconds, total) of an entry of a plan.

    Raises:
        TypeError: The entry is neither a name nor a function.
    """
    if isinstance(entry, str):
        return entry[:MAX_NAME], None, None, None
    spec = getattr(entry, SPEC_ATTRIBUTE, None)
    if isinstance(spec, StepSpec):
        return spec.step_id[:MAX_NAME], spec.title, spec.expected_seconds, spec.total
    if callable(entry):
        return _name_of(entry), None, None, None
    msg = f"a plan names steps or decorated functions, not {entry!r}"
    raise TypeError(msg)


def check_count(label: str, value: float | None) -> None:
    """Refuse what cannot be a number of units or seconds.

    Raises:
        ValueError: The value is negative, NaN or no number.
    """
    try:
        fits = value is None or value >= 0
    except TypeError:
        raise ValueError(f"{label}={value!r} is no number") from None
    if not fits:
        raise ValueError(f"{label}={value!r} must not be negative")


def is_finite(value: float) -> bool:
    """Return whether a progress value is a finite number."""
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False
