"""A pipeline that is there to be killed; it says on a pipe what must be on disk by then.

Run as a script: `victim.py SEED PIPE [FATAL]`. A line on the pipe is a JSON object: `about` lists
the events of an API call that begins, `done` says that it returned: then they are on disk.
With FATAL (`17:before`) the process kills itself around its 17th call that changes a file.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import TelemetrySnapshot
    from robot_sf_otel.store.telemetry import TelemetryWriter

PLAN: Final = ("prepare", "collect", "train", "evaluate", "compare")
LATER_PLAN: Final = (*PLAN, "publish")
ROLLOUTS: Final = 5
BATCHES: Final = 4
PAUSE_SECONDS: Final = 0.05
_FILE_CALLS: Final = ("mkdir", "open", "posix_spawn", "pwrite", "replace", "write")

Said = tuple[str, str]
"""A kind of event, and what tells it from others of the kind."""

_write = os.write


class Report:
    """What this process tells of itself; each line is one atomic write to a pipe."""

    def __init__(self, fd: int) -> None:
        """Keep the pipe's descriptor; children inherit it."""
        self._fd = fd

    def say(self, **fields: object) -> None:
        """Tell something."""
        line = json.dumps({"pid": os.getpid(), **fields}).encode() + b"\n"
        try:
            _write(self._fd, line)
        except BrokenPipeError:  # nobody listens any more
            os._exit(1)

    @contextmanager
    def call(self, *events: Said, lane: str = "main") -> Generator[None]:
        """Tell what an API call will have written, and afterwards that it returned."""
        self.say(about=events, lane=lane)
        yield
        self.say(done=True, lane=lane)


class Script:
    """The pipeline, with moments at which nothing is written."""

    def __init__(self, seed: int, report: Report) -> None:
        self._draw = random.Random(seed)  # noqa: S311 - no secret
        self._report = report

    def pause(self) -> None:
        time.sleep(self._draw.uniform(0, PAUSE_SECONDS))

    def step(self, name: str, work: Callable[[Any], None], *, lane: str = "main") -> None:
        """Run one step; its metrics come with its end."""
        from robot_sf_otel import step

        block = step(name, total=10, unit="episodes")
        with self._report.call(("step_started", name), lane=lane):
            this = block.__enter__()
        work(this)
        value = float(self._draw.randint(0, 999))
        this.log_metric("reward", value)
        ends = (("metric_logged", f"{name}: {value}"), ("step_finished", name))
        with self._report.call(*ends, lane=lane):
            block.__exit__(None, None, None)

    def keep(self, this: Any, name: str) -> None:  # noqa: ANN401 - a step's or a run's handle
        """Record an artifact."""
        path = Path(f"{name}.bin")
        path.write_bytes(b"weights")
        with self._report.call(("artifact_logged", name)):
            this.log_artifact(path, kind="checkpoint", name=name)

    def run(self) -> None:
        """Run the pipeline from its start to its end."""
        from robot_sf_otel import pipeline
        from robot_sf_otel.instrument import context

        with self._report.call(("run_started", "torture")):
            run = pipeline("torture", steps=list(PLAN), params={"lr": 0.1}).start()
        runtime = context.process.runtime
        observer: Any = runtime.observer if runtime is not None else None
        self._report.say(watchdog=sorted(observer._watchdog.pids))
        self.step("prepare", self._prepare)
        with self._report.call(("plan_changed", ",".join(LATER_PLAN))):
            run.plan(list(LATER_PLAN))
        self.step("collect", self._collect)
        self.step("train", lambda this: self._train(run, this))
        with self._report.call(("step_skipped", "evaluate")):
            run.skip("evaluate", "no policy")
        self.keep(run, "table")
        for number in range(3):
            with self._report.call(("params_logged", str(number))):
                run.log_params({"number": number})
            self.pause()
        self.step("compare", lambda _: self.pause())
        self.step("compare", lambda _: self.pause())
        with self._report.call(("run_finished", "completed")):
            run.finish()

    def _prepare(self, this: Any) -> None:  # noqa: ANN401
        for _ in range(3):
            this.advance(2)
            self.pause()

    def _collect(self, this: Any) -> None:  # noqa: ANN401
        child = multiprocessing.get_context("fork").Process(target=self._work, args=(os.getpid(),))
        child.start()
        self._report.say(child=child.pid)
        this.advance(1)
        self.keep(this, "rollouts")
        for number in range(2):
            self.step(f"shard-{number}", lambda _: self.pause())
        child.join()
        self._report.say(joined=child.exitcode)

    def _work(self, owner: int) -> None:
        """Run a child process, which ends once its parent is gone."""

        def work(this: Any) -> None:  # noqa: ANN401
            this.advance(3)
            self.pause()
            if os.getppid() != owner:
                os._exit(0)

        self._report = Orphan(self._report, owner)
        for number in range(ROLLOUTS):
            self.step(f"rollout-{number}", work)

    def _train(self, run: Any, this: Any) -> None:  # noqa: ANN401
        def probe() -> None:
            for number in range(BATCHES):
                self.step(f"probe-{number}", lambda _: None, lane="thread")

        beside = threading.Thread(target=run.bind(probe))
        beside.start()
        for number in range(BATCHES):
            this.set_progress(number, 10)
            self.step(f"batch-{number}", lambda _: self.pause())
        beside.join()
        self.keep(this, "policy")


class Orphan(Report):
    """The reports of a child process, which promise nothing any more once its parent is gone."""

    def __init__(self, report: Report, owner: int) -> None:
        super().__init__(report._fd)
        self._owner = owner

    @contextmanager
    def call(self, *events: Said, lane: str = "main") -> Generator[None]:
        self.say(about=events, lane=lane)
        yield
        if os.getppid() != self._owner:
            os._exit(0)
        self.say(done=True, lane=lane)


def tell_of_samples(report: Report) -> None:
    """Report each telemetry sample around its write, and when the derived files are written."""
    from robot_sf_otel.store import derived
    from robot_sf_otel.store.telemetry import TelemetryWriter

    append = TelemetryWriter.append
    files: Any = derived  # what it imported, and does not export
    replace = files.replace_atomically

    def told(self: TelemetryWriter, snapshot: TelemetrySnapshot) -> None:
        lost = self.samples_lost
        report.say(sampling=snapshot.timestamp_ms)
        append(self, snapshot)
        # A tick may come when the run has just been closed: it is none of its samples any more.
        taken = self.samples_lost == lost
        report.say(**{"sampled" if taken else "left_out": snapshot.timestamp_ms})

    def replaced(path: Path, data: bytes, *, sync: bool = False) -> None:
        report.say(deriving=path.name)
        replace(path, data, sync=sync)

    TelemetryWriter.append = told  # type: ignore[method-assign]
    files.replace_atomically = replaced


class Fatal:
    """Kills this process around its n-th call that changes a file: before, after or torn.

    `torn` writes only half of what a write was to write.
    """

    def __init__(self, number: int, mode: str) -> None:
        self._left = number
        self._mode = mode
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def install(self) -> None:
        """Put this around the functions of `os` that the package uses."""
        for name in _FILE_CALLS:
            setattr(os, name, self._around(name, getattr(os, name)))

    def _around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def around(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever `os` takes
            if not self._is_ours(name, args):
                return function(*args, **kwargs)
            with self._lock:
                self._left -= 1
                fatal = self._left == 0
            if fatal and self._mode == "torn" and name == "write":
                data = cast("bytes", args[1])
                function(args[0], data[: len(data) // 2])
            if fatal and self._mode != "after":
                os.kill(self._owner, signal.SIGKILL)
            result = function(*args, **kwargs)
            if fatal:
                os.kill(self._owner, signal.SIGKILL)
            return result

        return around

    def _is_ours(self, name: str, args: Sequence[Any]) -> bool:
        if os.getpid() != self._owner:
            return False
        return name != "open" or "run-tracker" in os.fspath(args[0])


def main(arguments: Sequence[str]) -> None:
    """Run the pipeline and report on a pipe."""
    from robot_sf_otel import configure

    report = Report(int(arguments[1]))
    report.say(began=True)
    tell_of_samples(report)
    configure()
    for fatal in arguments[2:]:
        number, _, mode = fatal.partition(":")
        Fatal(int(number), mode).install()
    Script(int(arguments[0]), report).run()
    report.say(ended=True)


if __name__ == "__main__":
    main(sys.argv[1:])
