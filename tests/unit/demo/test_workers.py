"""The worker processes' own code, run in this process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Sequence

import numpy as np
import pytest

from robot_sf_otel.demo import workers
from robot_sf_otel.demo.errors import DemoError
from robot_sf_otel.demo.policies import RandomPolicy
from robot_sf_otel.demo.rollouts import GROUP_SIZE, episode_seeds
from robot_sf_otel.demo.workers import Workers


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Generator[list[tuple[int, object]]]:
    """Start a worker's life in this process; return the signal dispositions that it set."""
    dispositions: list[tuple[int, object]] = []

    def record(number: int, to: object) -> None:
        dispositions.append((number, to))

    monkeypatch.setattr(signal, "signal", record)
    monkeypatch.setattr(threading, "Thread", NoThread)
    monkeypatch.setattr(workers, "_environments", [])
    workers._start_worker("Pendulum-v1")
    yield dispositions
    for environment in workers._environments:
        environment.close()


class NoThread:
    """A thread that is not started."""

    def __init__(self, **options: object) -> None:
        assert options["daemon"] is True

    def start(self) -> None:
        pass


def test_a_worker_leaves_ctrl_c_to_its_parent(started: list[tuple[int, object]]) -> None:
    assert started == [(signal.SIGINT, signal.SIG_IGN)]


@pytest.mark.usefixtures("started")
def test_a_worker_plays_with_the_environments_that_it_made_at_its_start() -> None:
    assert len(workers._environments) == GROUP_SIZE
    seeds = episode_seeds(1, "test", count=2)

    first = workers._play_group(RandomPolicy(1), seeds, explore=True)
    again = workers._play_group(RandomPolicy(1), seeds, explore=True)

    assert [len(episode.rewards) for episode in first] == [200, 200]
    assert np.array_equal(first[1].observations, again[1].observations)


def test_a_worker_exits_when_its_parent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Parent:
        sentinel = 77

    waited: list[Sequence[object]] = []
    exits: list[int] = []
    monkeypatch.setattr(multiprocessing, "parent_process", Parent)
    monkeypatch.setattr(workers, "wait", waited.append)
    monkeypatch.setattr(os, "_exit", exits.append)

    workers._exit_with_parent()

    assert waited == [[77]]
    assert exits == [1]


def test_a_process_without_parent_waits_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "_exit", pytest.fail)

    workers._exit_with_parent()


def test_an_environment_that_does_not_exist_is_found_before_a_process_starts() -> None:
    with pytest.raises(DemoError, match="Nonsense-v0"):
        Workers("Nonsense-v0")


def test_there_is_a_worker_for_each_usable_cpu_but_no_more_than_eight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for usable, expected in ((3, 3), (64, 8)):
        monkeypatch.setattr(workers, "_usable_cpus", lambda usable=usable: usable)
        with Workers("Pendulum-v1") as pool:
            assert pool.count == expected


def test_cpus_that_the_process_may_not_use_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def affinity(pid: int) -> set[int]:
        return {4, 5}

    monkeypatch.setattr(os, "sched_getaffinity", affinity, raising=False)
    assert workers._usable_cpus() == 2

    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert workers._usable_cpus() == 1
