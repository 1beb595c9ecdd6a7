"""Checks of what a producer hands over; a message names the field that is wrong."""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec
from msgspec import inspect

T = TypeVar("T")


def one_of(field: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse a value that is none of a few.

    Raises:
        ValueError: It is none of them.
    """
    if value not in allowed:
        raise ValueError(f"{field}: {value!r} is none of {', '.join(allowed)}")


def required(field: str, table: Mapping[str, object], names: Sequence[str]) -> None:
    """Refuse a table in which something is missing, or unknown.

    Raises:
        ValueError: It is; the message names it, such as `evidence.metric`.
    """
    for name in names:
        if table.get(name) is None:
            raise ValueError(f"{field}.{name}: is missing")


def not_negative(field: str, value: float | None) -> None:
    """Refuse a number below 0, and NaN.

    Raises:
        ValueError: It is one.
    """
    if value is not None and not value >= 0:
        raise ValueError(f"{field}: {value!r} must not be negative")


def valid(field: str, value: object, kind: type[T]) -> T:
    """Return `value` as a record type.

    Raises:
        ValueError: It is not valid; the message names the field, such as `progress.done`.
    """
    try:
        # A record that exists was not checked when it was made: take it apart and check it too.
        record = msgspec.convert(msgspec.to_builtins(value), kind)
    except (msgspec.ValidationError, TypeError) as error:
        text = str(error).replace("`$", f"`{field}")
        where = "" if field in text else f"{field}: "
        raise ValueError(f"{where}{text}") from None
    for wrong in _out_of_range(field, record, _type_of(cast("Hashable", kind))):
        raise ValueError(wrong)
    return record


@functools.cache
def _type_of(kind: Hashable) -> inspect.Type:
    return inspect.type_info(kind)


def _out_of_range(field: str, value: object, kind: inspect.Type) -> Iterator[str]:
    """Return what is wrong with numbers that lie outside the range that the schema gives them."""
    match kind:
        case inspect.Metadata() if isinstance(value, int | float):
            limits = cast("Any", kind).extra_json_schema
            if (problem := _problem(value, limits or {})) is not None:
                yield f"{field}: {value!r} {problem}"
        case inspect.UnionType():
            for one in kind.types:
                yield from _out_of_range(field, value, one)
        case inspect.ListType() if isinstance(value, list):
            for index, item in enumerate(cast("list[object]", value)):
                yield from _out_of_range(f"{field}[{index}]", item, kind.item_type)
        case inspect.StructType() if isinstance(value, kind.cls):
            for entry in kind.fields:
                name = f"{field}.{entry.encode_name}"
                yield from _out_of_range(name, getattr(value, entry.name), entry.type)
        case _:
            pass


def _problem(value: float, limits: Mapping[str, float]) -> str | None:
    low, high = limits.get("minimum", -math.inf), limits.get("maximum", math.inf)
    if low <= value <= high or math.isnan(value):  # NaN is written as null: unknown
        return None
    return "must not be negative" if high == math.inf else f"must lie in [{low}, {high}]"
