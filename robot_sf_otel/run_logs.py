"""The run's log lines: what Loguru and `logging` are told goes to log.txt of the run too.

Nothing that the application set up is changed. For Loguru there is one more sink. For `logging`
there is a logger above the root logger, where every record that propagates arrives: the root
logger's own handlers and level stay as they are, so that `logging.basicConfig()` still does what it
would, and `dictConfig()` takes nothing away from us.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from robot_sf_otel import guard
from robot_sf_otel.instrument import context
from robot_sf_otel.loguru_sink import LoguruSink
from robot_sf_otel.manifest.formats import one_line
from robot_sf_otel.store.log_file import LONGEST, LineClock, LogFile, entry_text

if TYPE_CHECKING:
    from robot_sf_otel.instrument.live_run import LiveRun

_SAME: Final = 1e-5
"""Seconds by which two clocks that were read one after the other may seem to run backwards."""
_MAX_STEP: Final = 80
_UNSURE: Final = 4096
"""Characters before a cut in which half a secret may stand."""


class _Seen(threading.local):
    """What this thread wrote last, by whom, and when: a message that is passed on comes twice."""

    message = ""
    time = 0.0
    by_loguru = False


class RunLogs:
    """Takes the log lines of this process while runs of it are live.

    Args:
        redact: Masks what looks like a secret.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._files: dict[int, tuple[LiveRun, LogFile, str]] = {}
        self._clock = LineClock()
        self._seen = _Seen()
        self._tap = _LoggingTap(self)
        self._sink = LoguruSink(self)
        self._changing = threading.Lock()

    def opened(self, run: LiveRun) -> None:
        """Take lines for a run from now on."""
        span = run.ids()["span_id"]
        self._files = {**self._files, id(run): (run, LogFile(run.run_dir), span)}
        self.follow()

    def closed(self, run: LiveRun) -> None:
        """Take no more lines for a run; without runs the application's logging is as it was."""
        files = dict(self._files)
        found = files.pop(id(run), None)
        if found is None:
            return
        self._files = files
        _report(found[1])
        found[1].close()
        with self._changing:
            if not self._files:  # another thread may have opened a run
                self._tap.detach()
                self._sink.detach()

    def follow(self) -> None:
        """Go with what the application changed in its logging; a look where it changed nothing."""
        if self._files and not (self._tap.attached and self._sink.settled):
            with self._changing:
                if self._files:  # another thread may have ended the run
                    self._tap.attach()
                    self._sink.attach()

    def look_after(self) -> None:
        """Go with the application's logging, and report lost lines."""
        self.follow()
        for _, file, _ in self._files.values():
            _report(file)

    def after_fork_in_child(self) -> None:
        """Go on in a forked child: its lines are appended to those of the run."""
        self._changing = threading.Lock()

    def write(
        self, seconds: float, level: str, source: str, message: str, raw: str, *, by_loguru: bool
    ) -> None:
        """Append a line to the log of the run that the calling code belongs to. Never raises.

        Args:
            seconds: Unix time.
            level: Name of its level.
            source: Where it comes from.
            message: What is written, with the traceback.
            raw: The message alone: what another library passes on is the same.
            by_loguru: Whether Loguru or `logging` has it.
        """
        try:
            seen = self._seen
            apart = 0.0 if seen.by_loguru is by_loguru else -_SAME
            if seen.message == raw and seen.time - seconds > apart:
                return  # passed on, from one to the other, while this thread was at it
            run = self._run()
            found = self._files.get(id(run)) if run is not None else None
            if found is None:
                return
            seen.message, seen.time, seen.by_loguru = raw, seconds, by_loguru
            step = context.live_step(found[0])
            step_id, span = (step.step_id, step.span_id) if step is not None else ("", found[2])
            if len(step_id) > _MAX_STEP or not step_id.isascii() or not step_id.isprintable():
                step_id = one_line(step_id, _MAX_STEP)
            entry = entry_text(
                when=self._clock.text(seconds),
                level=level,
                step=step_id,
                span=span,
                source=source,
                message=self._masked(message),
            )
            found[1].append(entry)
        except Exception as error:  # noqa: BLE001 - a line of the log must not end the pipeline
            guard.count("log line", error)

    def _masked(self, message: str) -> str:
        """Return a message without secrets; of a long one only what is written is looked at.

        To mask megabytes would take the pipeline's time. The last of what is looked at is not
        written: a secret that the cut goes through cannot be told there.
        """
        if len(message) <= LONGEST:
            return self._redact(message)
        shown = self._redact(message[:LONGEST])[:-_UNSURE]
        return f"{shown}… ({len(message) - LONGEST + _UNSURE:,} more characters)"

    def _run(self) -> LiveRun | None:
        run = context.run_var.get()
        if run is not None and not run.ended:
            return run
        files = self._files
        return next(iter(files.values()))[0] if len(files) == 1 else None


def _report(file: LogFile) -> None:
    error = file.take_loss()
    # Without its folder no file of the run can be written: that is the record's to tell.
    if error is not None and not isinstance(error, FileNotFoundError):
        guard.storage_fault("log.txt", error)


class _Unseen(list[logging.Handler]):
    """Handlers that records find and `hasHandlers()` does not.

    Programs add their own handler only where that says there is none.
    """

    def __bool__(self) -> bool:
        """Return that nobody handles records here."""
        return False


class _LoggingTap(logging.Handler):
    """Takes the records of `logging`, at a logger above the root logger."""

    def __init__(self, logs: RunLogs) -> None:
        super().__init__()
        self._logs = logs
        self._above = logging.Logger("robot_sf_otel.above_root")  # noqa: LOG001 - not one of the tree: above it
        self._above.handlers = _Unseen([self])

    @property
    def attached(self) -> bool:
        """Whether something stands above the root logger."""
        return logging.root.parent is not None

    def attach(self) -> None:
        """Stand above the root logger, unless something else does."""
        if logging.root.parent is None:
            logging.root.parent = self._above

    def detach(self) -> None:
        """Leave no trace."""
        if logging.root.parent is self._above:
            logging.root.parent = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; where no handler of the application has it, it is printed as ever."""
        try:
            raw = record.getMessage()
            message = raw
            if record.exc_info and record.exc_info[0] is not None:
                message = f"{raw}\n{_plain.formatException(record.exc_info)}"
            if record.stack_info:
                message = f"{message}\n{record.stack_info}"
            source = f"{record.name}:{record.lineno}"
            self._logs.write(
                record.created, record.levelname, source, message, raw, by_loguru=False
            )
        except Exception as error:  # noqa: BLE001 - arguments that do not fit the message, say
            guard.count("log line", error)
        last_resort = logging.lastResort
        if (
            last_resort is not None
            and record.levelno >= last_resort.level
            and not _has_handlers(logging.getLogger(record.name))
        ):
            last_resort.handle(record)


_plain: Final = logging.Formatter()


def _has_handlers(logger: logging.Logger) -> bool:
    """Return whether a record of this logger goes to any handler of the application."""
    at: logging.Logger | None = logger
    while at is not None:
        if at.handlers:
            return True
        at = None if at is logging.root or not at.propagate else at.parent
    return False
