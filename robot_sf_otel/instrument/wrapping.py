"""Decoration: a plain or async function that begins something, runs, and ends it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


class Handle(Protocol):
    """What was begun: a step or a run."""

    def end(self, error: BaseException | None) -> None:
        """End it as the exception that left the function says."""
        ...


def wrap(begin: Callable[[], Handle], function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` so that each call begins and ends something; the signature stays.

    What the function returns or raises passes through unchanged.
    """
    wrapper = _async_wrapper if inspect.iscoroutinefunction(function) else _wrapper
    return cast("Callable[P, R]", wrapper(begin, cast("Callable[..., Any]", function)))


def is_generator(function: Callable[..., Any]) -> bool:
    """Return whether calling `function` does no work yet: what it wraps would end at once."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _wrapper(begin: Callable[[], Handle], function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any signature passes through
        handle = begin()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            handle.end(error)
            raise
        handle.end(None)
        return result

    return wrapper


def _async_wrapper(begin: Callable[[], Handle], function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any signature passes
        handle = begin()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            handle.end(error)
            raise
        handle.end(None)
        return result

    return wrapper
