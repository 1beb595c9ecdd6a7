"""What of an attribute may leave the machine: no secrets, and in private neither paths nor words.

The record on disk is not asked: it keeps commands, paths and parameters, with secrets masked.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from robot_sf_otel.redaction.redactor import Redactor
    from robot_sf_otel.semconv.spans import Value

HIDDEN_PATH: Final = "[path]"
_URL: Final = ".url.full"
_SCENARIO: Final = "robot_sf.run.scenario"
_REMEMBERED: Final = 300
"""Characters of a text up to which what became of it is remembered."""
_ARGUMENTS: Final = "process.command_args"
_IDS: Final = frozenset({"cicd.pipeline.task.run.id", "robot_sf.run.trace_id"})
"""Different each time: kept out of the cache."""

PRIVATE_NAMES: Final = frozenset(
    {
        *("process.command", "process.command_args", "process.command_line", "process.title"),
        *("process.executable.path", "process.working_directory", "process.owner"),
        *("process.user.name", "process.real_user.name", "process.saved_user.name"),
        *("user.name", "user.full_name", "user.email", "user.id", "user.hash", "enduser.id"),
        *("exception.message", "exception.stacktrace", "error.message"),
        *("file.path", "file.directory", "log.file.path", "log.file.path_resolved"),
        "vcs.repository.url.full",
    }
)
"""Attributes that do not leave the machine in private."""
PRIVATE_PREFIXES: Final = (
    *("code.", "process.environment_variable."),
    *("robot_sf.run.param", "robot_sf.run.seed", "robot_sf.run.argv", "robot_sf.run.cwd"),
    "robot_sf.run.initiator",
)
"""What the names of further such attributes begin with."""

_QUOTED: Final = r"(?<={0})(?=/\w|~|file:|[A-Za-z]:[\\/])[^{0}\n]+(?={0})"
_START: Final = (
    r"file:/{1,3}|(?<![\w./\\~$-])(?:~[\w.-]*/|\.{1,2}/|/(?=[\w.@+-]+/?[\w.@+-]))"
    r"|(?<!\w)[A-Za-z]:[\\/](?!/)|(?<![\w\\])\\\\(?=\w)"
)
_PATH: Final = re.compile(
    rf"{_QUOTED.format(chr(39))}|{_QUOTED.format(chr(34))}|(?:{_START})[^\s\"'`<>|:;,()\[\]{{}}]*"
)
"""Absolute and relative-to-home paths in text, on POSIX and Windows, and `file:` URLs."""


class Outgoing:
    """Decides what of attributes and texts may leave the machine.

    Args:
        redact: Masks secrets, whatever is asked for.
        private: Whether commands, paths, parameters, messages of exceptions, source locations and
            names of users are left out too.
    """

    def __init__(self, redact: Redactor, *, private: bool = False) -> None:
        self.private = private
        self._redact = redact
        self._remembered = functools.lru_cache(maxsize=4096)(self._clean)

    def attributes(self, attributes: Mapping[str, Value]) -> dict[str, Value]:
        """Return the attributes that may leave, secrets masked."""
        return {
            name: self.value(name, value)
            for name, value in attributes.items()
            if not (self.private and is_private(name, value))
        }

    def value(self, name: str, value: Value) -> Value:
        """Return the value of an attribute that may leave."""
        if isinstance(value, str):
            return value if name in _IDS else self._cleaned(name, value)
        if isinstance(value, Sequence):
            items = [item for item in cast("Sequence[object]", value) if isinstance(item, str)]
            if len(items) < len(value):  # numbers: of a resource that somebody else describes
                return value
            if name == _ARGUMENTS:
                return self._redact.argv(items)
            return [self._cleaned(name, item) for item in items]
        return value

    def text(self, text: str) -> str:
        """Return text as it may leave."""
        return self._cleaned("", text)

    def body(self, event: str, text: str) -> str:
        """Return the text of a log record; that of an exception is its message."""
        return self.detail(text, event) if event == "exception" else self.text(text)

    def detail(self, text: str, kind: str) -> str:
        """Return what is said of an error: all of it, or in private only its kind."""
        return kind if self.private else self.text(text)

    def _cleaned(self, name: str, value: str) -> str:
        # Names come again with every step; a traceback does not, and is long.
        long = len(value) > _REMEMBERED
        return self._clean(name, value) if long else self._remembered(name, value)

    def _clean(self, name: str, value: str) -> str:
        masked = str(self._redact.value(name, value)) if name else self._redact.text(value)
        if not self.private:
            return masked
        if name.endswith(_URL) and masked.startswith("file:"):
            return f"file:{masked.rstrip('/').rpartition('/')[2]}"
        return without_paths(masked)


def is_private(name: str, value: Value) -> bool:
    """Return whether an attribute does not leave the machine in private."""
    if name in PRIVATE_NAMES or name.startswith(PRIVATE_PREFIXES):
        return True
    # A scenario is an identifier, or the path of a file, which need not be absolute.
    return name == _SCENARIO and isinstance(value, str) and ("/" in value or "\\" in value)


def without_paths(text: str) -> str:
    """Return text without absolute and home-relative paths and `file:` URLs."""
    return _PATH.sub(HIDDEN_PATH, text)
