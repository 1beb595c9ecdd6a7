"""Our sink of Loguru: it stays while a run is live, whatever the application does with its own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel import guard

if TYPE_CHECKING:
    from robot_sf_otel.run_logs import RunLogs


class LoguruSink:
    """A sink of Loguru that `logger.remove()` does not take away while it is attached.

    What an application removes there are its own sinks; this one belongs to the run. Pickled or
    copied with the logger it becomes one that does nothing.

    Loguru calls `stop` under the lock that `add` takes, and has no public way to stay. So the
    handler that it made for us is put back where it was. Should another version of Loguru have it
    elsewhere, the sink is added anew when a step begins, or at the next sample.
    """

    def __init__(self, logs: RunLogs | None = None) -> None:
        self._logs = logs
        self._core: Any = None
        self._mine: tuple[int, Any] | None = None
        """Our number and Loguru's handler for it: together, `stop` may come in any thread."""
        self._as_of: dict[int, Any] = {}

    def __reduce__(self) -> tuple[type[LoguruSink], tuple[()]]:
        """Return what another process, or a copy of the logger, gets."""
        return LoguruSink, ()

    @property
    def settled(self) -> bool:
        """Whether it is attached and no sink came or went: Loguru makes a new dictionary then."""
        return self._mine is not None and _handlers(self._core) is self._as_of

    def attach(self) -> None:
        """Be a sink, at the lowest level that the application looks at anywhere."""
        from loguru import logger

        self._core = getattr(logger, "_core", None)
        if self._mine is not None and self._stays(*self._mine):
            return
        self._as_of = _handlers(self._core)
        number = logger.add(
            self,
            level=_lowest(self._as_of),
            format="{message}",
            colorize=False,
            backtrace=False,
            diagnose=False,  # it would write the values of variables
            catch=True,
        )
        self._mine = number, _handlers(self._core).get(number)

    def _stays(self, number: int, handler: Any) -> bool:  # noqa: ANN401 - of a private class
        """Take the level of the sinks that there are now; return False where ours is gone."""
        lock = getattr(self._core, "lock", None)
        if lock is None:
            return True  # another version: `stop` hears of it
        if not lock.acquire(blocking=False):
            return True  # sinks come or go just now, which may take seconds: the next time
        try:
            self._as_of = handlers = _handlers(self._core)
            level = _lowest({i: each for i, each in handlers.items() if i != number})
            if number in handlers and handler.levelno != level:
                _set_level(self._core, handler, level)
            return number in handlers
        finally:
            lock.release()

    def detach(self) -> None:
        """Leave no trace."""
        mine, self._mine = self._mine, None  # so that it is not put back
        if mine is not None:
            from loguru import logger

            try:
                logger.remove(mine[0])
            except ValueError:  # the application has removed it
                return

    def write(self, message: Any) -> None:  # noqa: ANN401 - a str with a record, of a private class
        """Take a formatted message from Loguru."""
        if self._logs is None:
            return
        record: dict[str, Any] = message.record
        self._logs.write(
            record["time"].timestamp(),
            record["level"].name,
            f"{record['name']}:{record['line']}",
            str(message).rstrip("\n"),
            record["message"],
            by_loguru=True,
        )

    def stop(self) -> None:
        """Hear from Loguru that it was removed. By the application: then go on.

        Loguru holds its lock: nothing here may log, wait, or call it. Which levels the sinks will
        have that the application adds now is not known yet: INFO until `attach` sees them.
        """
        if self._mine is None:
            return
        number, handler = self._mine
        try:
            if handler._stopped:  # noqa: SLF001 - the class's docstring has the reason
                handler._stopped = False  # noqa: SLF001 - as above
                self._core.handlers = {**self._core.handlers, number: handler}
                _set_level(self._core, handler, logging.INFO)
                return
        except Exception as error:  # noqa: BLE001 - `logger.remove()` is the application's call
            guard.count("log.txt", error)
        self._mine = None


_UNKNOWN: Final[dict[int, Any]] = {}


def _handlers(core: Any) -> dict[int, Any]:  # noqa: ANN401 - of a private class
    """Return Loguru's handlers by number, `_UNKNOWN` where this version has them elsewhere."""
    handlers: dict[int, Any] = getattr(core, "handlers", _UNKNOWN)
    return handlers


def _lowest(handlers: dict[int, Any]) -> int:
    return int(min((handler.levelno for handler in handlers.values()), default=logging.INFO))


def _set_level(core: Any, handler: Any, level: int) -> None:  # noqa: ANN401 - as above
    """Let a handler take lines from a level on. Under Loguru's lock."""
    handler._levelno = level  # noqa: SLF001 - a second handler would write lines twice
    core.min_level = min((each.levelno for each in core.handlers.values()), default=float("inf"))
