"""Worker processes that play episodes and never outlive the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Self

from robot_sf_otel.demo.environment import Environment
from robot_sf_otel.demo.rollouts import GROUP_SIZE, Episode, play

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import numpy as np

    from robot_sf_otel.demo.policies import Policy


class Workers:
    """A pool of processes that each hold a group of environments.

    The pool is a context manager; leaving it ends the processes.

    Attributes:
        observation_size: Dimensions of an observation of the environment.
        action_size: Dimensions of an action.
        episode_steps: Steps after which an episode is cut off.
    """

    def __init__(
        self, environment: str, *, count: int | None = None, start_method: str | None = None
    ) -> None:
        """Check the environment and get ready; processes start with the first episodes.

        Args:
            environment: Gymnasium name of the environment.
            count: Number of processes; by default as many as there are usable CPUs, at most 8.
            start_method: Of `multiprocessing`. The default is `forkserver` where there is one and
                `spawn` elsewhere, because a process that has threads (telemetry runs in one)
                should not be forked.

        Raises:
            DemoError: If the environment does not exist or is of another kind.
        """
        probe = Environment(environment)
        self.observation_size = probe.observation_size
        self.action_size = probe.action_size
        self.episode_steps = probe.episode_steps
        probe.close()
        methods = multiprocessing.get_all_start_methods()
        preferred = "forkserver" if "forkserver" in methods else "spawn"
        self.count = count or min(_usable_cpus(), 8)
        self._executor = ProcessPoolExecutor(
            self.count,
            mp_context=multiprocessing.get_context(start_method or preferred),
            initializer=_start_worker,
            initargs=(environment,),
        )

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the processes; after an error, without playing what still waits."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def play(
        self, policy: Policy, seeds: Sequence[np.random.SeedSequence], *, explore: bool
    ) -> Iterator[Episode]:
        """Play one episode for each seed and yield them in the order of the seeds."""
        groups = [seeds[start : start + GROUP_SIZE] for start in range(0, len(seeds), GROUP_SIZE)]
        futures = [
            self._executor.submit(_play_group, policy, group, explore=explore) for group in groups
        ]
        for future in futures:
            yield from future.result()


_environments: list[Environment] = []
"""The environments of a worker process; empty in every other process."""


def _start_worker(environment: str) -> None:
    # Ctrl-C reaches the whole foreground group; the parent decides what it means and ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _environments.extend(Environment(environment) for _ in range(GROUP_SIZE))


def _exit_with_parent() -> None:
    """End a worker whose parent was killed: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _play_group(
    policy: Policy, seeds: Sequence[np.random.SeedSequence], *, explore: bool
) -> list[Episode]:
    return play(_environments, policy, seeds, explore=explore)


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
