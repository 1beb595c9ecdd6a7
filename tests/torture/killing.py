"""One kill: a pipeline is started, killed at a moment that a seed decides, and its record checked.

Kills nothing but what it started: the pipeline, the pipeline's child and the pipeline's watchdog.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from robot_sf_otel.manifest.schema import TERMINAL_RUN
from robot_sf_otel.store.history import find_runs, list_records, resolve_run
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.lock import read_owner
from robot_sf_otel.store.reader import UnreadableRun, load_run
from robot_sf_otel.store.recovery import has_ended, recover_runs
from robot_sf_otel.store.telemetry import last_snapshot
from tests.torture import model, victim
from tests.torture.model import Told

if TYPE_CHECKING:
    from pathlib import Path

Whom = Literal["owner", "group", "watchdog too", "child"]
Moment = Literal["start", "time", "call", "end", "manifest", "file call"]

DEADLINE: Final = 60.0
"""Seconds after which what did not happen is taken as not happening."""
UNWATCHED_SECONDS: Final = 3.0
"""How long a run is given whose watchdog may never have been started."""
AT_ONCE: Final = 4
_POLL_SECONDS: Final = 0.02
_START_SECONDS: Final = 0.12
"""How long opening a run takes."""
_LENGTH_SECONDS: Final = 0.6
"""How long the pipeline runs at the least."""
_END_SECONDS: Final = 0.006
"""How long closing a run takes at the least."""
_CALLS: Final = 44
_FILE_CALLS: Final = 100
_CHILD_CALLS: Final = 10
_SECRET: Final = ("ROBOT_SF_", "OTEL_", "COVERAGE_", "COV_")
_WEIGHTS: Final[dict[Whom, int]] = {"owner": 5, "group": 2, "watchdog too": 2, "child": 1}


@dataclass(frozen=True, slots=True)
class Case:
    """Who is killed when; all of it follows from the seed."""

    seed: int
    whom: Whom
    moment: Moment
    share: float
    delay: float
    fatal: str | None

    @classmethod
    def of(cls, seed: int) -> Case:
        """Draw a case."""
        draw = random.Random(seed)  # noqa: S311 - no secret
        (whom,) = draw.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        moment: Moment = draw.choice(get_args(Moment)) if whom != "child" else "call"
        fatal = None
        if moment == "file call":
            # Half of them among the first: opening a run is a call after the other.
            number = draw.randint(1, draw.choice((20, _FILE_CALLS)))
            fatal = f"{number}:{draw.choice(('before', 'after', 'torn'))}"
        return cls(seed, whom, moment, draw.random(), draw.uniform(0, 0.003), fatal)


@dataclass(slots=True)
class Result:
    """What came of a kill.

    Attributes:
        case: The case.
        problems: What is wrong; empty where all holds.
        events: Events and samples that had to be on disk.
        closed_by: Who wrote the end, `nothing` where the kill came before the run's start.
        seconds: From the kill to the closed record.
        looks: How often readers looked meanwhile.
        hit: Whether the kill met a run that was being opened, was live or was being closed, or a
            child process that had a step under way.
    """

    case: Case
    problems: list[str] = field(default_factory=list[str])
    events: int = 0
    closed_by: str = "nothing"
    seconds: float | None = None
    looks: int = 0
    hit: bool = False


def kill_many(seeds: Iterable[int], folder: Path, at_once: int = AT_ONCE) -> Iterator[Result]:
    """Yield the result of each seed's case; several pipelines run side by side."""

    def one(seed: int) -> Result:
        place = folder / str(seed)
        place.mkdir(parents=True)
        return Kill(Case.of(seed), place).result()

    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(one, seeds)


class Readers:
    """Everybody who looks at runs while they are killed: nothing may raise or change its mind."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ended: str | None = None
        self.looks = 0
        self.problems: list[str] = []

    def look(self) -> None:
        """Do what `list` and `status` do."""
        self.looks += 1
        for record in list_records([self._root]):
            if record.trace_id is not None:  # else its start is not in the journal yet
                self._saw(record.status, "list")
        for run_dir in find_runs([self._root]):
            resolve_run([self._root], run_dir.name)
            try:
                self._saw(load_run(run_dir).status, "status")
            except UnreadableRun:
                if self._ended is not None:
                    self.problems.append("a run that has ended could not be read")
            last_snapshot(RunPaths(run_dir).telemetry)

    def _saw(self, status: str, who: str) -> None:
        if self._ended is not None and status != self._ended:
            self.problems.append(f"{who} said {status} after the run had been {self._ended}")
        if status in TERMINAL_RUN:
            self._ended = status


class Kill:
    """One pipeline, started and killed in a folder of its own."""

    def __init__(self, case: Case, folder: Path) -> None:
        """Start nothing yet."""
        self._case = case
        self._folder = folder
        self._root = folder / "output"
        self._readers = Readers(self._root)
        self._killed_at: float | None = None
        self._result = Result(case)
        self._due: float | None = None

    def result(self) -> Result:
        """Start it, kill it, check it; what goes wrong here is a problem as well."""
        try:
            self._play()
        except Exception as error:  # noqa: BLE001 - a reader that raises is what is looked for
            self._result.problems.append(f"{type(error).__name__}: {error}")
        self._result.problems += self._readers.problems
        self._result.looks = self._readers.looks
        return self._result

    def _play(self) -> None:
        reading, writing = os.pipe()
        with (self._folder / "stderr.txt").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, victim.__file__, str(self._case.seed), str(writing)]
                + ([self._case.fatal] if self._case.fatal else []),
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[writing],
                start_new_session=True,
            )
        os.close(writing)
        self._told = Told(process.pid)
        self._process = process
        try:
            self._listen(reading)
            self._settle()
        finally:
            os.close(reading)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said = (self._folder / "stderr.txt").read_text(errors="replace")
        if "Traceback" in said:
            self._result.problems.append(f"it said: {said[-500:]}")

    def _environment(self) -> dict[str, str]:
        # Without coverage: most of what it would measure is killed anyway, and starting is slower.
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_SECRET)}
        return {**kept, "ROBOT_SF_OTEL_CONSOLE": "off", "ROBOT_SF_OTEL_INTERVAL": "0.1"}

    # -- while it runs ----------------------------------------------------------------------------

    def _listen(self, fd: int) -> None:
        """Take in what is said until nobody is left who could speak; kill when it is time."""
        began = time.monotonic()
        rest = b""
        while time.monotonic() - began < DEADLINE:
            until = _POLL_SECONDS if self._due is None else self._due - time.monotonic()
            ready, _, _ = select.select([fd], [], [], min(max(until, 0), _POLL_SECONDS))
            if self._due is not None and time.monotonic() >= self._due:
                self._kill()
            if not ready:
                if self._due is None:
                    self._readers.look()
                continue
            chunk = os.read(fd, 65536)
            if not chunk:
                self._note_end()
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._react(self._told.take(line))
        self._result.problems.append("it did not end")

    def _react(self, said: dict[str, Any]) -> None:
        """Decide whether what was said is the moment; time is counted from there."""
        if self._killed_at is not None or self._due is not None:
            return
        told, case = self._told, self._case
        if case.whom == "child":
            of_child = told.child is not None and said["pid"] == told.child
            calls = len(told.of((told.child or 0, "main")).done)
            if of_child and calls >= case.share * _CHILD_CALLS:
                self._due = time.monotonic() + case.delay
            return
        if case.moment == "start" and ["run_started", "torture"] in said.get("about", []):
            self._due = time.monotonic() + case.share * _START_SECONDS
        elif case.moment == "time" and "watchdog" in said:
            self._due = time.monotonic() + case.share * _LENGTH_SECONDS
        elif case.moment == "call" and told.calls >= case.share * _CALLS:
            self._due = time.monotonic() + case.delay
        elif case.moment == "end" and ["run_finished", "completed"] in said.get("about", []):
            self._due = time.monotonic() + case.share * _END_SECONDS
        elif case.moment == "manifest" and said.get("deriving") and told.derived > case.share * 4:
            self._due = time.monotonic() + case.delay

    def _kill(self) -> None:
        """Kill whom the case names; a process that has ended by itself meanwhile is left alone."""
        self._due = None
        if self._killed_at is not None:
            return
        self._killed_at = time.time()
        match self._case.whom:
            case "child":
                if self._told.child is not None and self._told.joined is None:
                    _kill(self._told.child)
            case "group":
                os.killpg(self._process.pid, signal.SIGKILL)
            case "watchdog too":
                self._kill_watchdog()
                self._process.kill()
            case "owner":
                self._process.kill()

    def _kill_watchdog(self) -> None:
        # Its pid is the pipeline's to tell, and may be another process's once the run was closed.
        if self._told.watchdog is not None and not self._is_closing():
            _kill(self._told.watchdog)

    def _is_closing(self) -> bool:
        lane = self._told.of((self._told.owner, "main"))
        return self._told.finished or ("run_finished", "completed") in lane.about

    def _note_end(self) -> None:
        """Nobody is left: it ended, or killed itself."""
        if self._killed_at is None:
            self._killed_at = time.time()

    # -- afterwards -------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Wait until the record is closed, and check it."""
        runs = find_runs([self._root])
        run_dir = runs[0] if runs else None
        self._result.events = self._told.promised
        self._result.hit = self._has_hit()
        if run_dir is None or not _has_start(run_dir):
            self._readers.look()
            if self._told.promised:
                self._result.problems.append("nothing is there of what was reported")
            return
        self._result.closed_by = self._closed_by(run_dir)
        self._process.wait(DEADLINE)
        self._readers.look()
        child_killed = self._case.whom == "child"
        self._result.problems += model.lost_events(run_dir, self._told)
        self._result.problems += model.lost_samples(run_dir, self._told)
        self._result.problems += model.wrong_record(run_dir, self._told, child_killed=child_killed)
        if child_killed and not self._told.finished:
            self._result.problems.append("the pipeline did not survive its child")
        self._folder.joinpath("checked").touch()

    def _has_hit(self) -> bool:
        if self._case.whom == "child":
            return self._told.joined == -signal.SIGKILL
        killed = self._process.wait(DEADLINE) == -signal.SIGKILL
        return killed and self._told.opening and not self._told.finished

    def _closed_by(self, run_dir: Path) -> str:
        """Wait for whoever closes the record, and return who did."""
        # Without a word of it the watchdog may never have been started, and is not waited for.
        watched = self._told.started and not self._watchdog_was_killed
        deadline = time.monotonic() + (DEADLINE if watched else UNWATCHED_SECONDS)
        while time.monotonic() < deadline:
            self._readers.look()
            if _is_closed(run_dir):
                return self._ended_by(run_dir)
            if self._watchdog_was_killed and self._process.poll() is not None:
                break
            time.sleep(_POLL_SECONDS)
        else:
            if watched:
                self._result.problems.append(f"nobody closed it within {DEADLINE:.0f} s")
        self._process.wait(DEADLINE)
        if read_owner(RunPaths(run_dir).lock) is None:
            return "nothing"  # killed before it had said who it is; see `UNOWNED_SECONDS`
        if load_run(run_dir).status not in TERMINAL_RUN:
            self._result.problems.append("readers take the dead run for a live one")
        outcomes = list(recover_runs([run_dir], time.time_ns()))
        if not has_ended(run_dir):
            self._result.problems.append(f"recover did not close it: {outcomes}")
        return "recover"

    @property
    def _watchdog_was_killed(self) -> bool:
        return self._case.whom == "watchdog too" and self._told.watchdog is not None

    def _ended_by(self, run_dir: Path) -> str:
        if model.ends_of(run_dir)[0] == "run_finished":
            return "pipeline"
        assert self._killed_at is not None
        closed = RunPaths(run_dir).markdown.stat().st_mtime
        self._result.seconds = max(0.0, closed - self._killed_at)
        return "watchdog"


def _has_start(run_dir: Path) -> bool:
    return any(kind == "run_started" for kind, _ in model.on_disk(RunPaths(run_dir).journal))


def _is_closed(run_dir: Path) -> bool:
    """Whether the end is in the journal, and the derived files tell of it."""
    if not has_ended(run_dir):
        return False
    paths = RunPaths(run_dir)
    try:
        last = max(path.stat().st_mtime_ns for path in (paths.record, paths.markdown))
        return last >= paths.journal.stat().st_mtime_ns and paths.markdown.exists()
    except OSError:
        return False


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
