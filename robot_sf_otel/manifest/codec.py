"""Between records and bytes: journal lines, JSON documents, and values that JSON can hold.

Encoding never fails on a value that a user handed over (`jsonable`); decoding never raises on a
line that somebody damaged (`decode_event` returns None), because one bad line must not hide a run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import Any, Final, SupportsFloat, TypeVar, cast

import msgspec

from robot_sf_otel.manifest.events import Event, rfc3339
from robot_sf_otel.manifest.schema import SCHEMA_VERSION, MetricValue, TelemetrySnapshot

T = TypeVar("T")

MAX_DEPTH: Final = 8
"""Nesting of parameters beyond which a value is recorded as its repr."""
MAX_TEXT: Final = 10_000
"""Characters kept of one recorded string; what was cut is said at its end."""
_ACTING: Final = re.compile(
    rb"\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]"
)
"""Control characters beyond ASCII and marks that reorder text, in UTF-8."""


def _plain(value: object) -> object:
    """Return what the encoder does not know as what it does: NumPy's numbers have `item()`."""
    item = getattr(value, "item", None)
    return item() if callable(item) else repr(value)


_encoder: Final = msgspec.json.Encoder(enc_hook=_plain)
_event_decoder: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)
_raw_decoder: Final = msgspec.json.Decoder(dict[str, Any])
_snapshot_decoder: Final = msgspec.json.Decoder(TelemetrySnapshot)


def encode_event(event: Event) -> bytes:
    """Return the journal line of an event, newline included."""
    head = f'{{"schema_version":{SCHEMA_VERSION},"time":"{rfc3339(event.time_unix_nano)}",'
    try:
        body = _encoder.encode(event)
    except UnicodeEncodeError:  # a lone surrogate, of a file name that is no UTF-8
        body = _encoder.encode(jsonable(msgspec.to_builtins(event, enc_hook=_plain)))
    return head.encode() + body[1:] + b"\n"


def decode_event(line: bytes) -> Event | None:
    """Return the event of a journal line, or None where the line is torn, foreign or unknown."""
    try:
        return _event_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def decode_raw(line: bytes) -> dict[str, Any] | None:
    """Return a line as a plain dict with all its fields, or None where it is no JSON object."""
    try:
        return _raw_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def encode_snapshot(snapshot: TelemetrySnapshot) -> bytes:
    """Return the line of a telemetry sample, newline included; null fields are left out."""
    return _encoder.encode(snapshot) + b"\n"


def decode_snapshot(line: bytes) -> TelemetrySnapshot | None:
    """Return the sample of a line, or None where the line is torn or foreign."""
    try:
        return _snapshot_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def encode_document(value: object) -> bytes:
    """Return a record as JSON for a file that people open: indented by two spaces."""
    try:
        encoded = _encoder.encode(value)
    except UnicodeEncodeError:  # as above: a folder that was named by a foreign system
        encoded = _encoder.encode(jsonable(msgspec.to_builtins(value, enc_hook=_plain)))
    document = msgspec.json.format(encoded, indent=2) + b"\n"
    # JSON need not escape these, but the document may be read on a terminal.
    return document if document.isascii() else _ACTING.sub(_escaped, document)


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(found[0].decode())


def decode_document(data: bytes, type_: type[T]) -> T:
    """Decode and validate a JSON document.

    Raises:
        msgspec.ValidationError: A field has the wrong type; the message names its path.
        msgspec.DecodeError: The bytes are no JSON.
    """
    return msgspec.json.decode(data, type=type_)


def clip(text: str, limit: int = MAX_TEXT) -> str:
    """Return `text` cut to `limit` characters, saying how many were left out."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more)"


def metric_value(value: object) -> MetricValue:
    """Return a metric as JSON holds it.

    Raises:
        TypeError: The value is no number.
        ValueError: The value does not convert to a float.
    """
    number = float(cast("SupportsFloat", value))  # numpy scalars and tensors have __float__
    return number if math.isfinite(number) else _non_finite(number)


def _non_finite(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def jsonable(value: object, depth: int = 0) -> Any:  # noqa: ANN401, PLR0911 - any JSON; a table of types
    """Return `value` as JSON can hold it: what it cannot is recorded as its `repr`, clipped.

    NaN and infinities become strings, sets sorted lists, paths strings. Never raises.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _non_finite(value)
    if isinstance(value, str):
        return clip(str(value))
    if isinstance(value, PurePath):
        return clip(str(value))
    if depth < MAX_DEPTH:
        return _container(value, depth + 1)
    return _repr(value)


def _container(value: object, depth: int) -> Any:  # noqa: ANN401 - any JSON
    """Return a collection as JSON; one that breaks while it is walked, as its repr."""
    try:
        if isinstance(value, Mapping):
            table = cast("Mapping[Any, Any]", value)
            return {clip(str(key), 200): jsonable(table[key], depth) for key in table}
        if isinstance(value, AbstractSet):
            members = cast("AbstractSet[Any]", value)
            return sorted((jsonable(item, depth) for item in members), key=repr)
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            return [jsonable(item, depth) for item in cast("Sequence[Any]", value)]
    except Exception:  # noqa: BLE001, S110 - a user's container may raise anything
        pass
    return _repr(cast("object", value))


def _repr(value: object) -> str:
    try:
        return clip(repr(value), 1000)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"<{type(value).__name__}: repr failed with {type(error).__name__}>"
