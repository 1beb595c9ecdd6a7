"""How a step or run ended, from the exception that left it: status, OTel result, error."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from types import TracebackType

    from robot_sf_otel.manifest.schema import ErrorInfo
    from robot_sf_otel.semconv import Result

MAX_STACKTRACE: Final = 32_000
"""Characters of a traceback that are kept: its end, where the cause is."""

TIMED_OUT: Final = "_robot_sf_otel_timed_out"
"""Mark on a TimeoutExpired that our own `s.run(timeout=)` raised."""

_HERE: Final = str(Path(__file__).parent)
_CANCELLED: Final = (
    KeyboardInterrupt,
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
    GeneratorExit,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a step or run in the words of the manifest and of the span."""

    status: Literal["completed", "failed", "cancelled", "skipped"]
    result: Result
    error: ErrorInfo | None = None
    reason: str | None = None


COMPLETED: Final = Outcome("completed", "success")
SKIPPED: Final = Outcome("skipped", "skip")


def of_exception(error: BaseException | None, redact: Callable[[str], str]) -> Outcome:
    """Classify what left a `with` block or function.

    Ctrl-C and cancellation are `cancelled`, `SystemExit(0)` is completed, anything else failed;
    `timeout` arises only from a child process that `s.run(timeout=)` ended.
    """
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return COMPLETED
    if isinstance(error, _CANCELLED):
        return Outcome("cancelled", "cancellation", reason=type(error).__name__)
    try:
        info = describe(error, redact)
        return Outcome("failed", _result(error), info, f"{info.type}: {info.message}".rstrip(": "))
    except Exception:  # noqa: BLE001 - an exception of the application may do anything when asked
        return Outcome("failed", "failure", reason=type(error).__name__)


def _result(error: BaseException) -> Result:
    # Not getattr: an exception of the application may have a __getattr__ that raises.
    if error.__dict__.get(TIMED_OUT):
        return "timeout"
    killed = isinstance(error, subprocess.CalledProcessError) and error.returncode < 0
    return "error" if killed else "failure"


def describe(error: BaseException, redact: Callable[[str], str]) -> ErrorInfo:
    """Return type, message and traceback of an exception, without the frames of this package."""
    from robot_sf_otel.manifest.codec import clip
    from robot_sf_otel.manifest.schema import ErrorInfo

    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may raise anything
        message = f"<str() failed with {type(broken).__name__}>"
    try:
        lines = traceback.format_exception(
            type(error), error, own_frames_skipped(error.__traceback__)
        )
        stack = "".join(lines)[-MAX_STACKTRACE:]
    except Exception:  # noqa: BLE001 - formatting runs the user's __str__ and __repr__
        stack = None
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _qualified(kind)
    return ErrorInfo(
        type=name,
        message=clip(redact(message)),
        stacktrace=redact(stack) if stack else None,
        exit_code=_exit_code(error),
    )


def _qualified(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _exit_code(error: BaseException) -> int | None:
    if isinstance(error, subprocess.CalledProcessError):
        return error.returncode
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return None


def own_frames_skipped(tb: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame that is not of this package's wrappers."""
    first = tb
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_HERE):
        tb = tb.tb_next
    return tb or first
