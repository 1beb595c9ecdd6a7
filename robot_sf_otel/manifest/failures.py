"""What went wrong in a run, in its steps and outside of them, for every report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import (
        ErrorInfo,
        PipelineRunRecord,
        StepExecutionEntry,
    )

OUTSIDE: Final = "The run itself"
"""Where something went wrong that is no step's."""
_FRAME: Final = re.compile(r'File ".+", line \d+')


class Failure(NamedTuple):
    """An error and the step that it left, None for one that left the run outside any step."""

    error: ErrorInfo
    step: StepExecutionEntry | None

    @property
    def where(self) -> str:
        """The name of the step, as people read it."""
        return self.step.display_name if self.step is not None else OUTSIDE

    @property
    def attempt(self) -> int:
        """Which attempt of the step it was."""
        return self.step.attempt if self.step is not None else 1


def failures(record: PipelineRunRecord) -> list[Failure]:
    """Return what went wrong: first what ended the run, if no step has it, then that of the steps.

    Without a traceback there is no more to say of the run's end than its reason does.
    """
    found = [Failure(step.error, step) for step in record.steps if step.error is not None]
    last = record.error
    if last is None or not last.stacktrace or any(_same(one.error, last) for one in found):
        return found
    return [Failure(last, None), *found]


def _same(of_step: ErrorInfo, of_run: ErrorInfo) -> bool:
    """Return whether the error of a step is the one that went on to end the run.

    On its way out its traceback grew at the front; where it was raised stays the same.
    """
    if (of_step.type, of_step.message) != (of_run.type, of_run.message):
        return False
    frames = _FRAME.findall(of_step.stacktrace or "")
    return not frames or frames[-1] in _FRAME.findall(of_run.stacktrace or "")
