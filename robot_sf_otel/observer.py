"""The monitor's work: samples of every live run, derived files, console; SIGTERM ends runs."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel import guard
from robot_sf_otel.artifact_digests import ArtifactDigests
from robot_sf_otel.diagnosis import LiveDiagnosis
from robot_sf_otel.forecast import Forecast, JoinedForecast
from robot_sf_otel.instrument import child_process, context
from robot_sf_otel.instrument.outcome import Outcome
from robot_sf_otel.manifest.events import TelemetryFault
from robot_sf_otel.manifest.schema import SelfCost
from robot_sf_otel.on_finish import start_on_finish
from robot_sf_otel.outward import Outward
from robot_sf_otel.run_history import RunHistory
from robot_sf_otel.signals import SIGNUM, Termination
from robot_sf_otel.system_metrics.monitor import Monitor
from robot_sf_otel.system_metrics.points import machine_points
from robot_sf_otel.watchdog.starting import Watchdog

if TYPE_CHECKING:
    from robot_sf_otel.config import Config
    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.instrument.runtime import Console
    from robot_sf_otel.manifest.schema import Eta, TelemetrySnapshot
    from robot_sf_otel.run_logs import RunLogs
    from robot_sf_otel.system_metrics.points import Points
    from robot_sf_otel.system_metrics.reading import MachineReading
    from robot_sf_otel.system_metrics.sensors import SystemSensors

CONCLUDE_SECONDS: Final = 3.0
"""How long SIGTERM waits for another thread that is closing the same run."""
FAULT_SECONDS: Final = 60.0
"""Shortest time between two reports of faults. What waits for a full disk is kept in memory, and a
report each sample would take the place of the pipeline's own events there."""
FACTS_SECONDS: Final = 1.0
"""How long the end of a run waits for the facts of its environment."""
UNWRITTEN_RUNS: Final = 100
"""How many runs whose end could not be written are kept to try again."""

Facts = Callable[[], Mapping[str, Mapping[str, Any]]]


@dataclass(slots=True)
class _Watched:
    """What watches one run that this process owns.

    Attributes:
        forecast: Its ETA.
        diagnosis: The rules.
        history: Tells both of earlier runs.
        spent_before: CPU seconds and missed samples of telemetry when it opened.
        facts: The thread that gathers the facts of its environment.
    """

    forecast: Forecast
    diagnosis: LiveDiagnosis
    history: RunHistory
    spent_before: tuple[float, int]
    facts: threading.Thread | None = None


class RunObserver:
    """What watches the live runs of this process: one monitor thread for all of them."""

    def __init__(
        self,
        config: Config,
        sensors: SystemSensors,
        console: Console,
        facts: Facts,
        flush: Callable[[], None],
    ) -> None:
        """Watch nothing yet.

        Args:
            config: The settled configuration.
            sensors: What is read at each sample.
            console: What is drawn at each sample.
            facts: Gathers host, runtime and VCS facts; may take seconds.
            flush: Sends what waits for OTLP, before a signal ends the process.
        """
        self._config = config
        self._sensors = sensors
        self._console = console
        self._facts = facts
        self._watched: dict[str, _Watched] = {}
        self._joined: dict[str, JoinedForecast] = {}
        self._other_cpu_seconds = 0.0
        self.outward = Outward(self._eta_as_of, flush)
        self._past = (0.0, 0)
        self._shown: tuple[MachineReading, Points] | None = None
        self._faults_due = 0.0
        self.logs: RunLogs | None = None
        self._digests: dict[str, ArtifactDigests] = {}
        self._unwritten: deque[LiveRun] = deque(maxlen=UNWRITTEN_RUNS)
        self._starting = threading.Lock()
        self._opening = threading.RLock()
        self._monitor = self._new_monitor()
        self._termination = Termination(self._wake, _note_interruption)
        self._watchdog = Watchdog(config)

    def _new_monitor(self) -> Monitor:
        return Monitor(self._config.interval, self._tick, self._on_signal, self._keep_up)

    def _wake(self, signum: int) -> bool:
        self._monitor.wake(signum)
        return self._monitor.running

    @contextmanager
    def opening(self) -> Generator[None]:
        """Let SIGTERM wait while a run is opened: from its first byte on somebody closes it."""
        with self._opening:
            self._start()
            try:
                yield
            finally:
                if not context.process.live_runs:  # it could not be opened
                    self.stop()

    def _start(self) -> None:
        with guard.shielded("monitor start"), self._starting:
            self._sensors.start()
            self._monitor.start()
            # Only with a thread that closes the record; without one SIGTERM stays as it is.
            self._termination.install(self._monitor.wakeup_fd)

    def run_opened(self, run: LiveRun) -> None:
        """Take the first sample of a run and watch it from now on."""
        if self.logs is not None:
            with guard.shielded("log.txt"):
                self.logs.opened(run)
        self._digests[run.run_id] = ArtifactDigests(run)
        watched = self._watched[run.run_id] = self._watch(run)
        self.outward.run_opened(run)
        self._start()
        self._sample(run)
        with guard.shielded("watchdog"):  # before the facts: their thread would slow its start
            pid = self._watchdog.run_opened(run.run_dir)
            if pid is not None:
                self._sensors.ignore(pid)
        with guard.shielded("facts"):
            watched.facts = self._aside("facts", functools.partial(self._gather, run))
        with guard.shielded("history"):  # nobody waits for it
            watched.history.learn(run.name)

    def run_joined(self, run: LiveRun) -> None:
        """Take the log lines of this child process into those of its run."""
        if self.logs is not None:
            with guard.shielded("log.txt"):
                self.logs.opened(run)

    def run_left(self, run: LiveRun) -> None:
        """Take the log lines of this process no longer."""
        if self.logs is not None:
            with guard.shielded("log.txt"):
                self.logs.closed(run)

    def _watch(self, run: LiveRun) -> _Watched:
        forecast = Forecast(run)
        diagnosis = LiveDiagnosis(run, self._config, functools.partial(self._aside, "rules"))
        history = RunHistory(
            run, functools.partial(self._aside, "history"), (forecast.learn, diagnosis.learn)
        )
        return _Watched(forecast, diagnosis, history, self._spent())

    def run_closing(self, run: LiveRun) -> None:
        """Take the last sample of a run; its facts are in when this returns, if they can be."""
        watched = self._watched.get(run.run_id)
        thread = watched.facts if watched is not None else None
        deadline = time.monotonic() + FACTS_SECONDS
        # In short turns: a signal that comes meanwhile must not wait for them.
        while thread is not None and thread.is_alive() and run.interrupted_by is None:
            thread.join(0.02)
            if time.monotonic() >= deadline:
                break
        digests = self._digests.pop(run.run_id, None)
        if digests is not None:
            with guard.shielded("artifacts"), self._billed():
                digests.finish(lambda: run.interrupted_by is not None)
        self._sample(run, last=True)
        if watched is not None:
            with guard.shielded("diagnosis"), self._billed():
                watched.diagnosis.finish(self.cost(run))
        with self._billed():
            self.outward.kept_up(run, last=True)

    def run_closed(self, run: LiveRun, outcome: Outcome) -> None:
        """Let go of a run; without live runs the thread ends and SIGTERM is given back."""
        self._let_watchdog_go(run)
        self._watched.pop(run.run_id, None)
        self._digests.pop(run.run_id, None)
        self.run_left(run)
        self.outward.run_closed(run, outcome)
        if self._config.on_finish:
            with guard.shielded("on_finish"):
                start_on_finish(self._config.on_finish, run.run_dir, outcome.status)
        if threading.current_thread().name == "robot-sf-otel-monitor":
            return
        with self._starting:  # a run of another thread may be opening now
            if not context.process.live_runs:
                self.stop()

    def eta_seconds(self, run: LiveRun) -> float | None:
        """Return the seconds to the end of a run as of a step's start or end, None if unknown."""
        with guard.shielded("ETA"):
            return self._forecast(run).at_boundary()
        return None

    def _eta_as_of(self, run: LiveRun, now: float) -> Eta | None:
        watched = self._watched.get(run.run_id)
        return None if watched is None else watched.forecast.as_of(now)

    def _forecast(self, run: LiveRun) -> Forecast | JoinedForecast:
        if (watched := self._watched.get(run.run_id)) is not None:
            return watched.forecast
        return self._joined.setdefault(run.run_id, JoinedForecast(run))

    def _let_watchdog_go(self, run: LiveRun) -> None:
        """End the watchdog of a run, unless the end of the run still has to be written."""
        with guard.shielded("watchdog"):
            if run.recorder.is_open():
                self._unwritten.append(run)
            else:
                self._watchdog.run_closed(run.run_dir)

    def write_ends(self) -> None:
        """Try once more to write the ends of runs that could not be written."""
        while self._unwritten:
            run = self._unwritten.popleft()
            with guard.shielded("run end"):
                run.recorder.close()
                if not run.recorder.is_open():
                    self._watchdog.run_closed(run.run_dir)

    def step_began(self) -> None:
        """Start the thread in a child process, whose progress has to be written."""
        self.outward.step_began()
        if self.logs is not None:
            with guard.shielded("log.txt"):
                self.logs.follow()
        if not self._monitor.running:
            with guard.shielded("monitor start"):
                self._monitor.start()

    def cost(self, run: LiveRun) -> SelfCost:
        """Return what the monitor and the capture cost so far."""
        elapsed = run.elapsed_here()
        cpu_now, missed_now = self._spent()
        watched = self._watched.get(run.run_id)
        cpu_before, missed_before = (0.0, 0) if watched is None else watched.spent_before
        cpu = max(0.0, cpu_now - cpu_before) + run.capture_cpu_seconds
        return SelfCost(
            cpu_seconds=cpu,
            share_of_run=cpu / elapsed if elapsed > 0 else None,
            samples_taken=run.telemetry.taken,
            samples_missed=max(0, missed_now - missed_before),
            interval_seconds=self._monitor.pace.interval,
            longest_sample_seconds=self._monitor.longest_tick_seconds,
        )

    def _spent(self) -> tuple[float, int]:
        """Return the CPU seconds and the missed samples of this process's telemetry so far."""
        cpu = self._monitor.cpu_seconds + self._sensors.cpu_seconds + self._other_cpu_seconds
        return self._past[0] + cpu, self._past[1] + self._monitor.ticks_missed

    def readings(self) -> Points:
        """Return the points of the last reading for the instruments, and those of the runs."""
        return self._machine() | self.outward.points()

    def _machine(self) -> Points:
        last = self._sensors.last
        if last is None:
            return {}
        # Every instrument of every reader asks: worked out once for each reading.
        if self._shown is None or self._shown[0] is not last[1]:
            self._shown = last[1], machine_points(*last)
        return self._shown[1]

    def after_fork_in_child(self) -> SystemSensors:
        """Forget the parent's thread, pipe and signal handler: this process has none of them.

        Returns:
            Sensors of this process; those that were inherited read the parent's.
        """
        self._monitor.abandon()
        with guard.shielded("signal handler"):
            self._termination.restore()
        self.outward.forget()
        self._watched.clear()
        self._joined.clear()
        self._digests.clear()
        self._unwritten.clear()
        if self.logs is not None:
            self.logs.after_fork_in_child()
        self._starting, self._opening = threading.Lock(), threading.RLock()
        self._monitor = self._new_monitor()
        self._termination = Termination(self._wake, _note_interruption)
        self._sensors = type(self._sensors)(self._config.interval)
        return self._sensors

    def stop(self) -> None:
        """Give SIGTERM back and end the thread; where the former fails, somebody must obey it."""
        self._sensors.rest()
        with guard.shielded("signal handler"):
            self._termination.restore()
        if self._termination.installed:
            return
        self._monitor.stop()
        self._past = (
            self._past[0] + self._monitor.cpu_seconds,
            self._past[1] + self._monitor.ticks_missed,
        )
        self._monitor = self._new_monitor()

    def close(self) -> None:
        """Stop for good, and give all descriptors back."""
        self.stop()
        self.write_ends()
        if not self._termination.installed:
            self._monitor.abandon()
        self._sensors.close()

    def _gather(self, run: LiveRun) -> None:
        run.add_facts(self._facts())

    def _aside(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Do in a thread of its own what may take seconds, or hang."""

        def do() -> None:
            with guard.shielded(name), self._billed():
                work()

        thread = threading.Thread(target=do, name=f"robot-sf-otel-{name}", daemon=True)
        thread.start()
        return thread

    @contextmanager
    def _billed(self) -> Generator[None]:
        """Count what telemetry does outside its own thread as its cost."""
        began = time.thread_time()
        try:
            yield
        finally:
            self._other_cpu_seconds += time.thread_time() - began

    def _sample(self, run: LiveRun, *, last: bool = False) -> None:
        with guard.shielded("sample"), self._billed():
            run.telemetry.sample(self._read(), last=last)

    def _read(self) -> TelemetrySnapshot:
        reading = self._sensors.read()
        slow = self._monitor.pace.note()
        if slow is not None:
            reading.notes = slow if reading.notes is None else f"{slow}; {reading.notes}"
        return reading

    def _tick(self) -> None:
        """Take a sample for each run of this process; tell those of others how far it is."""
        reading = None
        for run in list(context.process.live_runs):
            with guard.shielded("sample"):
                if not run.owner:
                    run.telemetry.report()
                    continue
                if reading is None:
                    reading = self._read()
                run.telemetry.sample(reading)
        self.outward.sampled()

    def _keep_up(self) -> None:
        """Write what may wait, at most for 1 % of the time, and draw what is seen."""
        if self.logs is not None:
            with guard.shielded("log.txt"):
                self.logs.look_after()
        for run in list(context.process.live_runs):
            watched = self._watched.get(run.run_id)
            eta = None
            with guard.shielded("ETA"):
                if watched is not None:
                    watched.history.keep_up()
                eta = self._forecast(run).within()
            if watched is None:
                run.recorder.refresh(SelfCost())
            else:
                self._report_faults(run)
                cost = self.cost(run)
                run.recorder.refresh(cost)
                with guard.shielded("diagnosis"):
                    watched.diagnosis.keep_up(cost)
                self.outward.kept_up(run)
                with guard.shielded("artifacts"):
                    self._keep_digests(run)
            self._console.tick(run.steps.views(), eta, run.elapsed())

    def _report_faults(self, run: LiveRun) -> None:
        now = time.monotonic()
        if now < self._faults_due:
            return  # guard counts them; the end of the run reports what is left
        for where, message, count in guard.drain():
            self._faults_due = now + FAULT_SECONDS
            run.record(TelemetryFault(where=where, message=message, count=count, **run.ids()))

    def _keep_digests(self, run: LiveRun) -> None:
        """Let a thread of its own read the artifacts that are new."""
        digests = self._digests.get(run.run_id)
        if digests is not None and digests.has_work():
            self._aside("artifacts", digests.work)

    def _on_signal(self, signum: int) -> None:
        if not self._termination.is_default or signum != SIGNUM:
            return
        _note_interruption("SIGTERM")
        # Held until the process is gone: the pipeline could open its next run meanwhile.
        held = self._opening.acquire(timeout=CONCLUDE_SECONDS)
        for run in list(context.process.live_runs):
            if run.owner:
                with guard.shielded("run end"):
                    run.conclude(Outcome("cancelled", "cancellation", reason="SIGTERM"))
                    run.wait_concluded(CONCLUDE_SECONDS)
        with suppress(Exception):
            self.outward.send()
        # Last: the pipeline goes on when its child has ended, and could end this process first.
        child_process.forward(signum)
        self._termination.die()
        if held:
            self._opening.release()


def _note_interruption(name: str) -> None:
    for run in context.process.live_runs:
        run.interrupted_by = name
