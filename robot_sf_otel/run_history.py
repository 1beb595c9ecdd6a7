"""The earlier runs of a pipeline: read once for a live run, aside, for all who learn from them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from robot_sf_otel.manifest.schema import PipelineRunRecord
from robot_sf_otel.store.history import earlier_runs

if TYPE_CHECKING:
    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.manifest.fold import RunFold

RUNS: Final = 50
"""Earlier runs that are learned from."""
UNREAD: Final = 200
"""Runs unknown to the index that are read for it at most; more would take seconds."""

Learner = Callable[[Sequence[PipelineRunRecord]], object]
"""Takes the slim records of earlier runs, the oldest first."""


class RunHistory:
    """The history of one run that this process owns.

    Args:
        run: The run; the others in its artifact root are its history.
        aside: Calls a function in a thread of its own.
        learners: Who is told.
    """

    def __init__(
        self,
        run: LiveRun,
        aside: Callable[[Callable[[], None]], object],
        learners: Sequence[Learner],
    ) -> None:
        self._run = run
        self._root = run.run_dir.parent.parent  # of a resumed run not always the configured one
        self._aside = aside
        self._learners = learners
        self._pipeline: str | None = None

    def learn(self, pipeline: str) -> None:
        """Read the history of a pipeline, aside: it may take seconds, or hang with its disk."""
        self._pipeline = pipeline
        self._aside(functools.partial(self._read, pipeline))

    def keep_up(self) -> None:
        """Learn anew where a child process gave the run another name. Monitor thread only."""
        name = self._run.recorder.look(_pipeline_of)
        if name is not None and name != self._pipeline:
            self.learn(name)

    def _read(self, pipeline: str) -> None:
        records = earlier_runs([self._root], pipeline=pipeline, limit=RUNS, unread=UNREAD)
        if pipeline != self._pipeline:  # the run has another name by now
            return
        for learner in self._learners:
            learner(records)


def _pipeline_of(fold: RunFold) -> str | None:
    return fold.pipeline
