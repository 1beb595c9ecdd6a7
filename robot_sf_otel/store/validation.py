"""Checks of what a producer hands over; a message names the field that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")


def one_of(field: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse a value that is none of a few.

    Raises:
        ValueError: It is none of them.
    """
    if value not in allowed:
        raise ValueError(f"{field}: {value!r} is none of {', '.join(allowed)}")


def valid(field: str, value: object, kind: type[T]) -> T:
    """Return `value` as a record type.

    Raises:
        ValueError: It is not valid; the message names the field, such as `progress.done`.
    """
    try:
        # A record that exists was not checked when it was made: take it apart and check it too.
        return msgspec.convert(msgspec.to_builtins(value), kind)
    except (msgspec.ValidationError, TypeError) as error:
        text = str(error).replace("`$", f"`{field}")
        where = "" if field in text else f"{field}: "
        raise ValueError(f"{where}{text}") from None
