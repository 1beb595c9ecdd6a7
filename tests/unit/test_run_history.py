"""The earlier runs of a live run: read once, aside, for all who learn from them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from robot_sf_otel import run_history as module
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.run_history import RunHistory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.manifest.schema import PipelineRunRecord


class Bench:
    """A run whose threads are run by hand; what was asked for, and what was learned."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fold = RunFold()
        self.fold.apply(e.RunStarted(time_unix_nano=0, run_id="r", pipeline="python"))
        self.aside: list[Callable[[], None]] = []
        self.asked: list[tuple[object, str]] = []
        self.learned: list[tuple[str, str]] = []
        self.error: Exception | None = None
        monkeypatch.setattr(module, "earlier_runs", self.earlier)
        recorder = SimpleNamespace(look=self.look)
        run: Any = SimpleNamespace(run_dir=root / "run-tracker" / "r", recorder=recorder)
        learners = (self.learner("forecast"), self.learner("diagnosis"))
        self.history = RunHistory(cast("LiveRun", run), self.aside.append, learners)

    def look(self, function: Callable[[RunFold], object]) -> object:
        return function(self.fold)

    def earlier(self, roots: object, *, pipeline: str, **_: object) -> list[str]:
        self.asked.append((roots, pipeline))
        if self.error is not None:
            raise self.error
        return [pipeline]

    def learner(self, name: str) -> Callable[[Sequence[PipelineRunRecord]], None]:
        return lambda records: self.learned.extend((name, str(one)) for one in records)

    def rename(self, pipeline: str) -> None:
        self.fold.apply(e.PlanChanged(time_unix_nano=0, plan=[], pipeline=pipeline))

    def read(self) -> None:
        while self.aside:
            self.aside.pop(0)()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_history_is_read_once_and_aside_for_all_who_learn(bench: Bench, tmp_path: Path) -> None:
    bench.history.learn("python")
    bench.history.keep_up()
    assert bench.asked == []  # samples and signals do not wait for it
    bench.read()
    # A run that is resumed by its path has the history of the root that it lies in.
    assert bench.asked == [([tmp_path], "python")]
    assert bench.learned == [("forecast", "python"), ("diagnosis", "python")]


def test_a_run_that_a_child_process_names_learns_from_the_runs_of_that_name(bench: Bench) -> None:
    bench.history.learn("python")
    bench.read()
    bench.rename("imitation")
    bench.history.keep_up()
    bench.history.keep_up()
    bench.read()
    assert [name for _, name in bench.asked] == ["python", "imitation"]


def test_history_of_a_name_that_the_run_has_no_longer_does_not_count(bench: Bench) -> None:
    bench.history.learn("python")
    bench.rename("imitation")
    bench.history.keep_up()
    slow, quick = bench.aside
    quick()
    slow()
    assert bench.learned == [("forecast", "imitation"), ("diagnosis", "imitation")]


def test_history_that_cannot_be_read_is_not_read_again_at_each_look(bench: Bench) -> None:
    bench.error = OSError("stale file handle")
    bench.history.learn("python")
    with pytest.raises(OSError, match="stale"):
        bench.read()
    bench.history.keep_up()
    assert bench.aside == []
