"""`pipeline`: the decorator and block that open a run, and the run's handle."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, Protocol, TypeVar, cast

from robot_sf_otel import guard
from robot_sf_otel.instrument import context
from robot_sf_otel.instrument.step import MAX_NAME, Planned, planned
from robot_sf_otel.instrument.wrapping import is_generator, wrap

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from robot_sf_otel.instrument.artifacts import Loggable

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

FinalStatus = Literal["completed", "failed", "cancelled"]
PlanEntry = str | Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSpec:
    """What is declared of a pipeline."""

    name: str
    plan: tuple[Planned, ...] = ()
    scenario: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seeds: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tags: tuple[str, ...] = ()


class RunHandle(Protocol):
    """What code inside a run can say about it. Never raises."""

    @property
    def run_id(self) -> str | None:
        """The run's id, None outside a run."""
        ...

    @property
    def run_dir(self) -> Path | None:
        """The run's directory, None outside a run and while it cannot be created."""
        ...

    @property
    def artifacts_dir(self) -> Path | None:
        """The run's own folder for artifacts, created when asked for.

        None outside a run and where the folder cannot be created.
        """
        ...

    @property
    def trace_id(self) -> str | None:
        """The run's trace id in hex, None outside a run."""
        ...

    @property
    def completed_steps(self) -> frozenset[str]:
        """The top-level steps that have completed, those of a resumed run from before included.

        Empty outside a run; in a child process those that had completed when it joined the run.
        """
        ...

    def plan(self, steps: Iterable[PlanEntry]) -> None:
        """Replace the plan; steps that began already stay in it."""
        ...

    def skip(self, step_id: PlanEntry, reason: str | None = None) -> None:
        """Mark a planned step as one that will not run."""
        ...

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Add parameters to the run's record."""
        ...

    def log_metric(self, name: str, value: float) -> None:
        """Report a value of the run as a whole; the last one of each name is kept."""
        ...

    def log_artifact(
        self,
        path: Loggable,
        *,
        kind: str | None = None,
        name: str | None = None,
        copy: bool = False,
    ) -> None:
        """Record a file, a folder or a figure that the run produced.

        Args:
            path: A file or folder, which stays where it is; or a figure (whatever has `savefig`) or
                an image (`save`), which is saved into the run's `artifacts/`.
            kind: What it is: `checkpoint`, …; by default `file`, `directory`, `figure` or `image`.
            name: What people call it; a figure is saved under it, as PNG unless it ends with the
                suffix of another format.
            copy: Whether the file or folder is copied into `artifacts/` first.
        """
        ...

    def bind(self, function: F) -> F:
        """Return `function` bound to this run and step, for threads that have no context."""
        ...

    def finish(self, status: FinalStatus = "completed", reason: str | None = None) -> None:
        """End a run that `start()` opened."""
        ...

    def end(self, error: BaseException | None) -> None:
        """End the run; called by the decorator or block that opened it."""
        ...


class InertRun:
    """The handle outside a run or with telemetry off: accepts everything, records nothing."""

    __slots__ = ()
    run_id = None
    run_dir = None
    artifacts_dir = None
    trace_id = None
    completed_steps: frozenset[str] = frozenset()

    def plan(self, steps: Iterable[PlanEntry]) -> None:
        """Do nothing."""

    def skip(self, step_id: PlanEntry, reason: str | None = None) -> None:
        """Do nothing."""

    def log_params(self, params: Mapping[str, Any]) -> None:
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

    def bind(self, function: F) -> F:
        """Return the function as it is."""
        return function

    def finish(self, status: FinalStatus = "completed", reason: str | None = None) -> None:
        """Do nothing."""

    def end(self, error: BaseException | None) -> None:
        """Do nothing."""


INERT_RUN: Final = InertRun()


def begin(spec: PipelineSpec) -> RunHandle:
    """Open a run where telemetry is on; the handle's `end` ends it. Never raises."""
    runtime = context.runtime()
    if runtime is None:
        return INERT_RUN
    with guard.shielded("run start"):  # an import fails too where file handles have run out
        from robot_sf_otel.instrument.opening import begin_pipeline

        return begin_pipeline(runtime, spec)
    return INERT_RUN


class PipelineBlock:
    """What `pipeline(...)` returns: decorates a function, is entered, or started by hand."""

    __slots__ = ("_active", "_spec")

    def __init__(self, spec: PipelineSpec) -> None:
        """Keep what was declared."""
        self._spec = spec
        self._active: list[RunHandle] = []

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a plain or async function: each call is a run.

        Raises:
            TypeError: It is a generator function.
        """
        if isinstance(function, staticmethod | classmethod):
            method = cast("Any", function)
            return cast("Callable[P, R]", type(method)(self(method.__func__)))
        if is_generator(function):
            msg = (
                f"@pipeline on the generator function {function.__name__!r}: the run would end "
                f'before its work begins; use `with pipeline("{self._spec.name}"):` inside it'
            )
            raise TypeError(msg)
        return wrap(functools.partial(begin, self._spec), function)

    def __enter__(self) -> RunHandle:
        """Open the run."""
        handle = self.start()
        self._active.append(handle)
        return handle

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the run; exceptions propagate."""
        self._active.pop().end(error)

    def start(self) -> RunHandle:
        """Open the run by hand; `finish()` of the returned handle ends it."""
        return begin(self._spec)


def pipeline(
    name: str,
    *,
    steps: Sequence[PlanEntry] | None = None,
    scenario: str | PathLike[str] | None = None,
    params: Mapping[str, Any] | None = None,
    seeds: Mapping[str, Any] | Sequence[int] | int | None = None,
    tags: Sequence[str] | None = None,
) -> PipelineBlock:
    """Declare a pipeline, as decorator, block or with `start()`; each entry is a run.

    Inside a run it opens no second one: directly under `robot-sf-otel run` it gives that run its
    name, plan and parameters, elsewhere it becomes a step.

    Args:
        name: Name of the pipeline; runs of the same name are compared.
        steps: The plan, step names or decorated functions in order.
        scenario: Scenario identifier or path of its configuration file.
        params: Parameters; what JSON cannot hold is recorded as its repr.
        seeds: Seeds by name; a number or a list is recorded as `seed`.
        tags: Words to find the run by.

    Raises:
        TypeError: `name` is no string, or the plan holds something that is no step.
        ValueError: The name is empty, or the plan names a step twice.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - bare @pipeline
        msg = f'a pipeline needs a name: @pipeline("imitation"), not @pipeline on {name!r}'
        raise TypeError(msg)
    if not name.strip():
        msg = "a pipeline needs a name that is not empty"
        raise ValueError(msg)
    return PipelineBlock(
        PipelineSpec(
            name=name[:MAX_NAME],
            plan=checked_plan(steps or ()),
            scenario=None if scenario is None else str(scenario),
            params=dict(params or {}),
            seeds=_named_seeds(seeds),
            tags=(tags,) if isinstance(tags, str) else tuple(tags or ()),
        )
    )


def checked_plan(steps: Iterable[PlanEntry]) -> tuple[Planned, ...]:
    """Return the entries of a plan.

    Raises:
        TypeError: An entry is no step.
        ValueError: A step is named twice.
    """
    if isinstance(steps, str):
        msg = f"a plan is a list of steps, not the text {steps!r}: steps=[{steps!r}]"
        raise TypeError(msg)
    entries = tuple(planned(entry) for entry in steps)
    seen: set[str] = set()
    for step_id, *_ in entries:
        if step_id in seen:
            msg = (
                f"the plan names {step_id!r} twice: a step is planned once, "
                "running it again is a further attempt"
            )
            raise ValueError(msg)
        seen.add(step_id)
    return entries


def _named_seeds(seeds: Mapping[str, Any] | Sequence[int] | int | None) -> dict[str, Any]:
    if seeds is None:
        return {}
    if isinstance(seeds, Mapping):
        return dict(seeds)
    return {"seed": seeds}
