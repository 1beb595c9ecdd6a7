"""The checks of `doctor`: each looks at one thing and fails alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final, TextIO

from robot_sf_otel import config
from robot_sf_otel import environment_variables as env
from robot_sf_otel.cli import checks_disk, checks_machine
from robot_sf_otel.cli.check import Check
from robot_sf_otel.manifest.formats import number

_LEAST_PYTHON: Final = (3, 11)
_LEAST_OTEL: Final = (1, 44)
_PACKAGES: Final = (
    "robot-sf-otel",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-semantic-conventions",
    "msgspec",
    "loguru",
    "typer",
    "rich",
)
_REINSTALL: Final = "pip install --force-reinstall robot-sf-otel"
_CONNECT_SECONDS: Final = 1.0
_LOOK_UP_SECONDS: Final = 3.0
"""To look a name up and to connect."""


def run_checks(roots: Sequence[Path], environ: Mapping[str, str], stderr: TextIO) -> list[Check]:
    """Return the results of all checks; one that crashes is a warning of its own.

    Args:
        roots: Artifact roots.
        environ: The environment.
        stderr: Where a run would show its progress.
    """
    suites: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("Python", _python),
        ("packages", _packages),
        ("working directory", _working_directory),
        ("settings", lambda: _settings(environ)),
        *((f"artifact root {root}", lambda root=root: _disk(root)) for root in roots),
        ("CPU and memory", checks_machine.limits),
        ("sensors", checks_machine.sensors),
        ("GPU", lambda: checks_machine.gpu(environ)),
        ("OTLP", lambda: _otlp(environ)),
        ("TensorBoard", _tensorboard),
        ("terminal", lambda: _terminal(stderr, environ)),
        ("killed runs", _killed_runs),
        ("watchdog", lambda: _watchdog(environ)),
        ("clock", _clock),
    ]
    found: list[Check] = []
    for name, suite in suites:
        try:
            found.extend(suite())
        except Exception as error:  # noqa: BLE001 - one check must not hide the others
            text = f"the check itself failed: {type(error).__name__}: {error}"
            found.append(Check(name, "warning", text))
    return found


def _python() -> Iterator[Check]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    detail = f"{version} on {sys.platform}, {sys.executable}"
    if sys.version_info >= _LEAST_PYTHON:
        yield Check("Python", "ok", detail)
    else:
        yield Check("Python", "problem", detail, "install Python 3.11 or later")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _packages() -> Iterator[Check]:
    versions = {name: _version(name) for name in _PACKAGES}
    if missing := [name for name, version in versions.items() if version is None]:
        yield Check("packages", "problem", f"missing: {', '.join(missing)}", _REINSTALL)
    else:
        shown = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield Check("packages", "ok", shown)
    sdk = versions["opentelemetry-sdk"]
    if sdk is not None and tuple(int(part) for part in sdk.split(".")[:2]) < _LEAST_OTEL:
        yield Check(
            "OpenTelemetry",
            "problem",
            f"SDK {sdk} is older than 1.44",
            "pip install -U opentelemetry-api opentelemetry-sdk",
        )
    recorders = metadata.entry_points(group="robot_sf_otel_recorder")
    if recorders:
        yield Check("recorder", "ok", ", ".join(point.name for point in recorders))
    else:
        yield Check("recorder", "problem", "no recorder is installed", _REINSTALL)


def _working_directory() -> Iterator[Check]:
    try:
        Path.cwd()
    except OSError as error:
        detail = f"unavailable ({error.strerror}): relative paths lead nowhere"
        yield Check("working directory", "problem", detail, "cd to a folder that exists")


def _settings(environ: Mapping[str, str]) -> Iterator[Check]:
    ignored: list[str] = []
    settled = config.resolve(config.Arguments(), environ, ignored.append)
    switched = config.switched(environ, ignored.append)
    for text in ignored:
        yield Check("settings", "warning", text, "correct the variable or unset it")
    detail = f"interval {number(settled.interval)} s, console {settled.console}"
    if switched is False:
        name = env.ENABLED if environ.get(env.ENABLED) else env.OTEL_SDK_DISABLED
        yield Check(
            "settings",
            "warning",
            f"telemetry is switched off by {name}={environ.get(name)}: nothing is recorded",
            f"unset {name}",
        )
    elif switched:
        yield Check("settings", "ok", f"switched on by the environment; {detail}")
    else:
        yield Check("settings", "ok", f"on where the code calls configure(); {detail}")


def _disk(root: Path) -> Iterator[Check]:
    for name, state, detail, remedy in checks_disk.examine(root):
        yield Check(name, state, detail, remedy)


def _otlp(environ: Mapping[str, str]) -> Iterator[Check]:
    version = _version("opentelemetry-exporter-otlp")
    names = (
        env.OTEL_EXPORTER_OTLP_ENDPOINT,
        env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
        env.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
    )
    endpoints = {environ[name] for name in names if environ.get(name)}
    if version is None:
        remedy = "pip install 'robot-sf-otel[otlp]'"
        if endpoints:
            detail = "an endpoint is set, but the exporter is not installed: nothing is sent"
            yield Check("OTLP", "warning", detail, remedy)
        else:
            detail = "not installed, and no endpoint is set. Recording needs no network"
            yield Check("OTLP", "info", detail, f"to send telemetry somewhere: {remedy}")
        return
    if not endpoints:
        detail = f"exporter {version}; off: no endpoint is set. Recording needs no network"
        yield Check("OTLP", "ok", detail)
    for endpoint in sorted(endpoints):
        yield _reach(endpoint)


def _tensorboard() -> Iterator[Check]:
    version = _version("tensorboardX")
    if version is None:
        remedy = "pip install 'robot-sf-otel[tensorboard]'"
        yield Check("TensorBoard", "info", "tensorboardX is not installed", remedy)
        return
    yield Check("TensorBoard", "ok", f"event files by tensorboardX {version}")


def _reach(endpoint: str) -> Check:
    from urllib.parse import urlsplit

    # Credentials in an address are nobody's business.
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
        host, port = parts.hostname or "localhost", parts.port or 4317
    except ValueError as error:
        return Check("OTLP", "warning", f"the endpoint is no address: {error}", "correct it")
    unanswered = _attempt(host, port)
    if unanswered is not None:
        why = f"nobody answers at {host}:{port}: {unanswered}"
        detail = f"{why}; runs are recorded on disk all the same, and `replay` sends them later"
        remedy = "start the Collector, correct the endpoint, or unset it where there is no network"
        return Check("OTLP", "warning", detail, remedy)
    return Check("OTLP", "ok", f"{host}:{port} answers")


def _attempt(host: str, port: int) -> str | None:
    """Return why nobody can be reached, None where somebody can.

    In a thread that is left behind: looking a name up has no time limit, and takes half a minute
    where the network is gone but not the name server's address.
    """
    import socket
    import threading

    outcome: list[str | None] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), _CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            outcome.append(str(error))
        else:
            outcome.append(None)

    thread = threading.Thread(target=connect, name="doctor", daemon=True)
    thread.start()
    thread.join(_LOOK_UP_SECONDS)
    return outcome[0] if outcome else "its name was not resolved in time"


def _terminal(stderr: TextIO, environ: Mapping[str, str]) -> Iterator[Check]:
    from robot_sf_otel.report.terminal import Terminal

    terminal = Terminal.of(stderr, environ)
    if terminal is None:
        detail = "stderr is no capable terminal: progress comes as lines"
        yield Check("terminal", "info", detail, "for a live bar: run it on a terminal")
        return
    columns, lines = terminal.size()
    traits = ["colour" if terminal.colour else "no colour (NO_COLOR)"]
    traits.append("Unicode" if terminal.unicode else f"no Unicode ({stderr.encoding})")
    detail = f"{columns}x{lines}, {', '.join(traits)}: progress is a live bar"
    remedy = None if terminal.unicode else "for Unicode: export LANG=C.UTF-8"
    yield Check("terminal", "ok", detail, remedy)


def _killed_runs() -> Iterator[Check]:
    from robot_sf_otel.store.identity import process_identity

    me = process_identity()
    if me.boot_id is None or me.start_time is None:
        detail = "processes cannot be told apart here: a killed run is noticed by its age alone"
        yield Check("killed runs", "warning", detail, "mount /proc")
        return
    detail = "recognised by boot id and start time: whoever reads one is told that it is dead"
    yield Check("killed runs", "ok", detail)


def _watchdog(environ: Mapping[str, str]) -> Iterator[Check]:
    without = "a killed run is closed by whoever reads it next, or by `robot-sf-otel recover`"
    settled = config.resolve(config.Arguments(), environ, lambda _: None)
    if not settled.watchdog:
        yield Check("watchdog", "info", f"switched off: {without}", f"unset {env.WATCHDOG}")
    elif os.getpid() == 1:
        detail = f"the first process of a container gets none, all others end with it: {without}"
        yield Check("watchdog", "info", detail, "start the container with an init (--init)")
    elif not os.access("/bin/sh", os.X_OK):
        yield Check("watchdog", "warning", f"needs /bin/sh: {without}", "install a shell")
    else:
        yield Check("watchdog", "ok", "closes the record of a killed run at once")


def _clock() -> Iterator[Check]:
    import time

    resolution = time.get_clock_info("monotonic").resolution
    year = time.gmtime().tm_year
    if year < 2025:  # noqa: PLR2004 - before this package was written
        yield Check("clock", "warning", f"it says that this is {year}", "set the machine's clock")
        return
    yield Check("clock", "ok", f"monotonic to {number(resolution * 1e9)} ns")
