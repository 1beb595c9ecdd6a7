"""`configure()` and `shutdown()`: put the parts together, and take them apart again."""

from __future__ import annotations

import atexit
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_sf_otel import environment_variables as env
from robot_sf_otel import guard, semconv
from robot_sf_otel.config import Arguments, Config, exception_signal, resolve, switched
from robot_sf_otel.instrument import context

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from robot_sf_otel.instrument.runtime import Events, Recorder, Runtime
    from robot_sf_otel.observer import RunObserver
    from robot_sf_otel.providers import Providers
    from robot_sf_otel.redaction import Outgoing, Redactor
    from robot_sf_otel.semconv.spans import Value
    from robot_sf_otel.system_metrics.instruments import RunOutcomes
    from robot_sf_otel.system_metrics.points import Points

RECORDERS = "robot_sf_otel_recorder"
"""Entry-point group of recorders; the one named `manifest` writes the canonical files."""


class _Installed:
    """What `configure()` put in place in this process."""

    def __init__(self) -> None:
        self.config: Config | None = None
        self.given: tuple[object, object] = (None, None)
        self.providers: Providers | None = None
        self.observer: RunObserver | None = None
        self.metered: MeterProvider | None = None
        self.outcomes: RunOutcomes | None = None
        self.outgoing: Outgoing | None = None
        self.hooked = False


_installed = _Installed()


def configure(
    *,
    artifact_root: str | Path | None = None,
    run_name: str | None = None,
    resume: str | Path | None = None,
    interval: float | None = None,
    gpu: str | None = None,
    console: str | None = None,
    watchdog: bool | None = None,
    on_finish: str | None = None,
    log: bool | None = None,
    rules: str | Path | None = None,
    redact: str | None = None,
    otlp_private: bool | None = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Switch telemetry on in this process. Never raises; a bad value warns and falls back.

    Each setting is taken from its argument, else from its environment variable, else from its
    default (see `environment_variables`). Calling it again changes nothing; with other values it
    warns, unless `shutdown()` came between.

    Args:
        artifact_root: Folder that holds `run-tracker/`; `output` by default.
        run_name: Directory name of the run instead of a generated one.
        resume: A run that was stopped: id, unique prefix, path or `latest`. The next run goes on
            with it; where that is not possible it warns, and a new run is started.
        interval: Seconds between telemetry samples, at least 0.1; 1.0 by default.
        gpu: `auto` reads the NVIDIA GPUs that the run may use, `off` reads none.
        console: Progress on stderr: `auto`, `lines` or `off`.
        watchdog: Whether a small process closes the record of a run that is killed; true by
            default.
        on_finish: Command run when a run has ended; gets the run directory and the status.
        log: Whether the log lines of Loguru and `logging` go to the run's `log.txt` too; true by
            default.
        rules: TOML file with thresholds of the recommendation rules.
        redact: Extra regular expression of names whose values are masked.
        otlp_private: Whether command lines, paths, parameters, messages of exceptions and names of
            users are left out of what leaves the machine; false by default.
        tracer_provider: Provider to use instead of the global one.
        meter_provider: Provider to use instead of the global one.
    """
    arguments = Arguments(
        artifact_root=artifact_root,
        run_name=run_name,
        resume=resume,
        interval=interval,
        gpu=gpu,
        console=console,
        watchdog=watchdog,
        on_finish=on_finish,
        log=log,
        rules=rules,
        redact=redact,
        otlp_private=otlp_private,
    )
    with guard.shielded("configure"):
        _configure(arguments, tracer_provider, meter_provider)


def _configure(
    arguments: Arguments,
    tracer_provider: TracerProvider | None,
    meter_provider: MeterProvider | None,
) -> None:
    if context.in_multiprocessing_bootstrap():
        return
    environ: Mapping[str, str] = {**os.environ, **context.inherited_by_process_state()}
    if switched(environ, guard.warn) is False:
        return
    config = _beside_inherited(resolve(arguments, environ, guard.warn))
    if context.process.runtime is not None:
        _compare(arguments, config, (tracer_provider, meter_provider))
        return
    from robot_sf_otel import __version__, providers
    from robot_sf_otel.instrument.runtime import Runtime
    from robot_sf_otel.redaction import Outgoing, Redactor

    for name in ("loguru", "multiprocessing.process", "robot_sf_otel.instrument.opening"):
        import_module(name)  # what a run needs: later it may be that no file can be opened
    redact = Redactor(config.redact)
    outgoing = Outgoing(redact, private=config.otlp_private)
    obtained = providers.obtain(tracer_provider, meter_provider, environ, outgoing)
    if _installed.providers is not None:
        obtained.owned = [*_installed.providers.owned, *obtained.owned]
    recorder = _recorder(config)
    runtime = Runtime(
        tracer=providers.tracer(obtained.tracer_provider, __version__),
        recorder=recorder,
        redact=redact,
        console=_console(config),
        process=_process_name(),
        outgoing=outgoing,
        events=_events(obtained, outgoing),
        exceptions=exception_signal(environ, guard.warn),
        resume=config.resume,
    )
    observer = _observe(runtime, config, obtained, redact)
    _installed.config = config
    _installed.given = (tracer_provider, meter_provider)
    _installed.providers = obtained
    _installed.observer = observer
    _installed.outgoing = outgoing
    context.process.runtime = runtime
    _hook()
    if config.run_dir is not None:
        _join(runtime, config.run_dir, environ.get(env.TRACEPARENT))


def _beside_inherited(config: Config) -> Config:
    """Let the artifact root of an inherited run directory win: there a linked run belongs too."""
    from robot_sf_otel.store.layout import TRACKER_DIR

    run_dir = config.run_dir
    if run_dir is None or run_dir.parent.name != TRACKER_DIR:
        return config
    return replace(config, artifact_root=run_dir.parent.parent)


def _compare(arguments: Arguments, config: Config, given: tuple[object, object]) -> None:
    """Warn where a second `configure()` asks for something else than the first."""
    settled = _installed.config
    differing = [
        name
        for name in Arguments.__slots__
        if getattr(arguments, name) is not None and getattr(config, name) != getattr(settled, name)
    ]
    names = ("tracer_provider", "meter_provider")
    pairs = zip(names, given, _installed.given, strict=True)
    differing += [name for name, new, old in pairs if new is not None and new is not old]
    if differing:
        guard.warn(
            f"configure() was called again with another {', '.join(differing)}; nothing is "
            "changed: call shutdown() first"
        )


def _recorder(config: Config) -> Recorder:
    from importlib.metadata import entry_points  # 30 ms, only when on

    found = {point.name: point for point in entry_points(group=RECORDERS)}
    point = found.get("manifest") or next(iter(found.values()), None)
    if point is None:
        msg = "no recorder is installed: reinstall robot-sf-otel"
        raise LookupError(msg)
    made: Recorder = point.load()(config)
    return made


def _console(config: Config) -> Any:  # noqa: ANN401 - the report layer's class
    from robot_sf_otel.report.console import ConsoleProgress

    # Several processes that draw bars on one terminal would overwrite each other.
    joined = config.run_dir is not None
    return ConsoleProgress("lines" if joined and config.console == "auto" else config.console)


def _events(obtained: Providers, outgoing: Outgoing) -> Events | None:
    from robot_sf_otel import __version__

    with guard.shielded("event log"):
        if obtained.logger_provider is not None:
            from robot_sf_otel.event_log import EventLog

            return EventLog(obtained.logger_provider, __version__, outgoing)
    return None


def _observe(
    runtime: Runtime, config: Config, obtained: Providers, redact: Redactor
) -> RunObserver:
    from robot_sf_otel.observer import RunObserver
    from robot_sf_otel.run_logs import RunLogs
    from robot_sf_otel.system_metrics import environment
    from robot_sf_otel.system_metrics.sensors import SystemSensors

    sensors = SystemSensors(config.interval, gpu=config.gpu == "auto", disk=config.artifact_root)
    try:
        directory = Path.cwd()
    except OSError:  # it was deleted under the process
        directory = Path("/")

    def facts() -> Mapping[str, Mapping[str, Any]]:
        return {
            "host": environment.host_facts(),
            "runtime": environment.runtime_facts(),
            "vcs": redact.mapping(environment.vcs_facts(directory)),
        }

    observer = RunObserver(config, sensors, runtime.console, facts, obtained.flush)
    if config.log:
        observer.logs = RunLogs(redact.text)
    runtime.sensors = sensors
    runtime.observer = observer
    with guard.shielded("instruments"):
        # Registered once a provider: the same instruments again would count everything twice.
        if _installed.metered is not obtained.meter_provider:
            _meter(obtained.meter_provider)
        observer.outward.outcomes = _installed.outcomes
    return observer


def _meter(provider: MeterProvider) -> None:
    from robot_sf_otel import __version__
    from robot_sf_otel.system_metrics import instruments

    _installed.metered = provider
    meter = provider.get_meter(semconv.SCOPE, __version__)
    instruments.register(meter, _readings, _outgoing)
    _installed.outcomes = instruments.RunOutcomes(meter, _outgoing)


def _meter_child() -> None:
    """Count from zero in a forked child that has steps."""
    runtime, obtained = context.process.runtime, _installed.providers
    if runtime is None or obtained is None or _installed.outgoing is None:
        return
    made = obtained.renew_meters(os.environ, _installed.outgoing)
    if made is not None and _installed.observer is not None:
        _meter(made)
        _installed.observer.outward.outcomes = _installed.outcomes


def _readings() -> Points:
    live = context.process.runtime is not None and _installed.observer is not None
    return _installed.observer.readings() if live and _installed.observer else {}


def _outgoing(attributes: Mapping[str, str]) -> Mapping[str, Value]:
    """Return the attributes of a point as they may leave the machine."""
    runtime = context.process.runtime
    return attributes if runtime is None else runtime.outgoing.attributes(attributes)


def _join(runtime: Runtime, run_dir: Path, traceparent: str | None) -> None:
    from robot_sf_otel.instrument.opening import join_run
    from robot_sf_otel.store import replaced

    if replaced.is_replaced(run_dir):
        replaced.close_replaced_run(run_dir, time.time_ns())
    joined = runtime.recorder.join_run(run_dir, runtime.clock.time_ns())
    if joined is None:
        guard.warn(f"{env.RUN_DIR}={str(run_dir)!r} holds no run; a new one is started instead")
        return
    recorder, state = joined
    if state.closed:
        runtime.linked_run_id = state.started.run_id
    else:
        run = join_run(runtime, recorder, state, traceparent)
        runtime.console.run_joined()
        if runtime.observer is not None:
            runtime.observer.run_joined(run)


def _process_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _hook() -> None:
    if _installed.hooked:
        return
    _installed.hooked = True
    atexit.register(_at_exit)
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _at_exit() -> None:
    """Close what is still open when the interpreter ends, as far as it is known how it ended."""
    error: BaseException | None = getattr(sys, "last_value", None)
    _close_runs(error, "the interpreter exited without finish()")
    with guard.shielded("exit"):
        if _installed.observer is not None:
            _installed.observer.stop()  # a signal that it deals with ends the process here
            _installed.observer.write_ends()
        if _installed.providers is not None:
            _installed.providers.shutdown()


def _close_runs(error: BaseException | None, reason: str) -> None:
    from robot_sf_otel.instrument.outcome import Outcome

    for run in list(context.process.live_runs):
        if not run.owner:
            run.leave()
        elif error is None:  # perhaps by sys.exit(3): how it went is not known here
            run.conclude(Outcome("cancelled", "cancellation", reason=reason))
        else:
            run.end(error)


def _after_fork_in_child() -> None:
    runtime = context.process.runtime
    if runtime is None:
        return
    with guard.shielded("fork"):
        context.process.generation += 1
        runtime.process = _process_name()
        runtime.console.silence()
        if _installed.observer is not None:
            runtime.sensors = _installed.observer.after_fork_in_child()
            _installed.observer.outward.in_child = _meter_child
        for run in context.process.live_runs:
            run.recorder.abandon()
            run.become_child(runtime.recorder.worker(run.run_dir, run.run_id))


def shutdown() -> None:
    """Close live runs and switch off; OpenTelemetry providers of the application go on.

    `configure()` switches on again, with other values if wanted. Never raises.
    """
    with guard.shielded("shutdown"):
        _close_runs(None, "shutdown() was called during the run")
        if _installed.observer is not None:
            _installed.observer.close()
        if _installed.providers is not None:
            _installed.providers.flush()
    context.process.live_runs.clear()
    context.process.runtime = None
    context.process.tried = False
    guard.reset()
