"""The configuration: argument > ROBOT_SF_OTEL_* > default; a bad value warns and falls back."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

from robot_sf_otel import environment_variables as env

T = TypeVar("T")
Warn = Callable[[str], None]

MINIMUM_INTERVAL: Final = 0.1
"""Seconds; sampling more often would cost the pipeline what it measures."""

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})

GpuMode = Literal["auto", "off"]
ExceptionSignal = Literal["spans", "logs", "logs/dup"]
ConsoleMode = Literal["auto", "lines", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What `configure()` settled on; paths are absolute, times in seconds."""

    artifact_root: Path
    run_dir: Path | None = None
    run_name: str | None = None
    resume: str | None = None
    interval: float = 1.0
    gpu: GpuMode = "auto"
    console: ConsoleMode = "auto"
    watchdog: bool = True
    on_finish: str | None = None
    log: bool = True
    rules: Path | None = None
    redact: str | None = None
    otlp_private: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the code passed to `configure()`; None means not given."""

    artifact_root: str | Path | None = None
    run_name: str | None = None
    resume: str | Path | None = None
    interval: float | None = None
    gpu: str | None = None
    console: str | None = None
    watchdog: bool | None = None
    on_finish: str | None = None
    log: bool | None = None
    rules: str | Path | None = None
    redact: str | None = None
    otlp_private: bool | None = None


def parse_bool(text: str) -> bool:
    """Read `true`/`false` as people write them.

    Raises:
        ValueError: It is neither.
    """
    lowered = text.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError("expected true or false")


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError("expected a number of seconds") from None
    if not math.isfinite(seconds) or seconds < MINIMUM_INTERVAL:
        raise ValueError(f"expected at least {MINIMUM_INTERVAL} seconds")
    return seconds


def _gpu_mode(text: str) -> GpuMode:
    match text.strip().lower():
        case "auto" | "off" as mode:
            return mode
        case _:
            raise ValueError("expected auto or off")


def _console_mode(text: str) -> ConsoleMode:
    match text.strip().lower():
        case "auto" | "lines" | "off" as mode:
            return mode
        case _:
            raise ValueError("expected auto, lines or off")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    return text


def _absolute(text: str) -> Path:
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ValueError("there is no such user") from None
    try:
        return path.absolute()
    except OSError:
        raise ValueError("the working directory was deleted: give an absolute path") from None


def _existing_file(text: str) -> Path:
    path = _absolute(text)
    if not path.is_file():
        raise ValueError("no such file")
    return path


def switched(environ: Mapping[str, str], warn: Warn) -> bool | None:
    """Return True or False where the environment decides, None where the code does.

    `ROBOT_SF_OTEL_ENABLED=false` and `OTEL_SDK_DISABLED=true` beat everything; an inherited run
    directory switches on.
    """
    if _flag(environ, env.OTEL_SDK_DISABLED, warn) is True:
        return False
    enabled = _flag(environ, env.ENABLED, warn)
    if enabled is not None:
        return enabled
    return True if environ.get(env.RUN_DIR) else None


def _flag(environ: Mapping[str, str], name: str, warn: Warn) -> bool | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        return parse_bool(text)
    except ValueError as error:
        warn(f"{name}={text!r} is ignored: {error}")
        return None


def exception_signal(environ: Mapping[str, str], warn: Warn) -> ExceptionSignal:
    """Return where exceptions are reported, as OpenTelemetry's variable says."""
    name = env.OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN
    match text := environ.get(name, "").strip():
        case "logs" | "logs/dup":
            return text
        case "":
            return "spans"
        case _:
            warn(f"{name}={text!r} is ignored: expected logs or logs/dup")
            return "spans"


def resolve(arguments: Arguments, environ: Mapping[str, str], warn: Warn) -> Config:
    """Settle every value; never raises for what a user or the environment supplied."""

    def pick(argument: object, label: str, name: str, parse: Callable[[str], T], default: T) -> T:
        for source, given in ((f"{label}=", argument), (f"{name}=", environ.get(name) or None)):
            if given is None:
                continue
            try:
                return parse(str(given))
            except ValueError as error:
                warn(f"{source}{given!r} is ignored: {error}; using {default!r}")
                return default
        return default

    given = arguments
    root = pick(given.artifact_root, "artifact_root", env.ARTIFACT_ROOT, _absolute, None)
    run_dir = environ.get(env.RUN_DIR)
    return Config(
        artifact_root=root or _absolute("output"),
        run_dir=Path(run_dir).absolute() if run_dir else None,
        run_name=pick(given.run_name, "run_name", env.RUN_NAME, str, "") or None,
        resume=str(given.resume) if given.resume else None,
        interval=pick(given.interval, "interval", env.INTERVAL, _interval, 1.0),
        gpu=pick(given.gpu, "gpu", env.GPU, _gpu_mode, "auto"),
        console=pick(given.console, "console", env.CONSOLE, _console_mode, "auto"),
        watchdog=pick(given.watchdog, "watchdog", env.WATCHDOG, parse_bool, True),  # noqa: FBT003 - a default, not a flag
        on_finish=pick(given.on_finish, "on_finish", env.ON_FINISH, str, "") or None,
        log=pick(given.log, "log", env.LOG, parse_bool, True),  # noqa: FBT003 - a default, not a flag
        rules=pick(given.rules, "rules", env.RULES, _existing_file, None),
        otlp_private=pick(given.otlp_private, "otlp_private", env.OTLP_PRIVATE, parse_bool, False),  # noqa: FBT003 - a default, not a flag
        redact=pick(given.redact, "redact", env.REDACT, _pattern, "") or None,
    )
