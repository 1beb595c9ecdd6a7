"""Numbers and outside text for people: durations, rates, sizes, counts, telemetry fields, names.

Unknown (None, NaN, infinite) is `--` everywhere, never 0. Memory is MiB as in the records.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from robot_sf_otel.manifest.schema import FieldSummary

UNKNOWN: Final = "--"
"""What stands where a value is not known."""

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_KIBI: Final = 1024
_SMALL: Final = 10
_MEDIUM: Final = 100
_THOUSAND: Final = 1000
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _finite(value: float) -> bool:
    """Return whether a number can be shown; a damaged record may hold one with 400 digits."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_known(value: float | None) -> bool:
    """Return whether a number can be shown: it is there and finite."""
    return value is not None and _finite(value)


def duration(seconds: float | None) -> str:
    """Format seconds as `850 ms`, `4.2 s`, `2m 03s`, `1h 04m` or `2d 03h`."""
    if seconds is None or not _finite(seconds):
        return UNKNOWN
    seconds = max(0.0, seconds)
    if seconds < 0.0095:  # noqa: PLR2004 - what rounds to two digits of milliseconds
        return f"{seconds * 1000:.1f} ms" if seconds > 0 else "0 ms"
    if seconds < 0.9995:  # noqa: PLR2004 - what does not round to 1000 ms
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:  # noqa: PLR2004 - what does not round to 60.0 s
        return f"{seconds:.1f} s"
    return _long(seconds)


def coarse_duration(seconds: float | None) -> str:
    """Format seconds as the console's ETA has it: `45s`, `11m`, `1h 04m`, `2d 03h`."""
    if seconds is None or not _finite(seconds):
        return UNKNOWN
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m"
    return _long(whole)


def _long(seconds: float) -> str:
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02d}h"


def number(value: float | None) -> str:
    """Format a count or a reading with three significant digits: `12`, `1,250`, `0.0312`."""
    if value is None or not _finite(value):
        return UNKNOWN
    size = abs(value)
    if value == int(value) or size >= _THOUSAND:
        return f"{value:,.0f}" if size < 10**15 else f"{value:.3g}"
    if size >= _MEDIUM:
        return f"{value:.0f}"
    if size >= _SMALL:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 else f"{value:.3g}"


def rate(per_second: float | None, unit: str = "") -> str:
    """Format a rate as `3.20 episodes/s`, slow ones by the minute or the hour."""
    if per_second is None or not _finite(per_second):
        return UNKNOWN
    name = f" {unit}" if unit else ""
    if per_second == 0 or per_second >= 0.1:  # noqa: PLR2004 - six a minute
        return f"{number(per_second)}{name}/s"
    if per_second * _MINUTE >= 0.1:  # noqa: PLR2004 - six an hour
        return f"{number(per_second * _MINUTE)}{name}/min"
    return f"{number(per_second * _HOUR)}{name}/h"


def progress(done: float, total: float | None, unit: str) -> str:
    """Format progress as `120/500 episodes` or `120 episodes`; `--` where nothing was reported."""
    if total is None:
        return f"{number(done)} {unit}" if done else UNKNOWN
    return f"{number(done)}/{number(total)} {unit}"


def fraction(done: float, total: float | None) -> float | None:
    """Return the part that is done, in [0, 1], or None where no total is known."""
    if total is None or not _finite(total) or total <= 0 or not _finite(done):
        return None
    return min(1.0, max(0.0, done / total))


def size(size_bytes: float | None) -> str:
    """Format bytes as `512 B`, `1.3 KiB`, `266 MiB`."""
    if size_bytes is None or not _finite(size_bytes):
        return UNKNOWN
    value = float(size_bytes)
    if value < _KIBI:
        return f"{value:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        value /= _KIBI
        if value < _KIBI - 0.5:
            return f"{number(value)} {unit}"
    return f"{number(value / _KIBI)} TiB"


def mebibytes(value: float | None) -> str:
    """Format MiB as `266 MiB` or `1.30 GiB`."""
    return UNKNOWN if value is None else size(value * _KIBI * _KIBI)


def joules(value: float | None) -> str:
    """Format energy as `42 J`, `1.25 kJ` or `3.4 MJ`."""
    if value is None or not _finite(value):
        return UNKNOWN
    scaled, prefix = value, ""
    for larger in ("k", "M", "G"):
        if abs(scaled) < _THOUSAND:
            break
        scaled, prefix = scaled / _THOUSAND, larger
    return f"{number(scaled)} {prefix}J"


def percent(value: float | None) -> str:
    """Format a percentage in [0, 100] as `42.5 %`."""
    return UNKNOWN if value is None or not _finite(value) else f"{number(value)} %"


def _mib_per_second(value: float | None) -> str:
    return UNKNOWN if value is None else f"{mebibytes(value)}/s"


TELEMETRY_FIELDS: Final[dict[str, tuple[str, Callable[[float | None], str]]]] = {
    "steps_per_sec": ("Throughput", rate),
    "fps": ("Frames per second", number),
    "cpu_percent_process": ("CPU of the run, of usable CPUs", percent),
    "cpu_cores_process": ("CPU of the run, cores", number),
    "cpu_percent_system": ("CPU of the host", percent),
    "memory_rss_mb": ("Memory of the run (RSS)", mebibytes),
    "memory_limit_mb": ("Memory limit", mebibytes),
    "memory_available_mb": ("Memory available", mebibytes),
    "swap_used_mb": ("Swap used", mebibytes),
    "disk_read_mb_s": ("Disk read", _mib_per_second),
    "disk_write_mb_s": ("Disk write", _mib_per_second),
    "disk_free_mb": ("Disk free", mebibytes),
    "process_count": ("Processes", number),
    "thread_count": ("Threads", number),
    "cpu_pressure": ("CPU pressure", percent),
    "io_pressure": ("I/O pressure", percent),
    "memory_pressure": ("Memory pressure", percent),
    "cpu_throttled_percent": ("CPU throttled", percent),
    "gpu_util_percent": ("GPU utilization", percent),
    "gpu_mem_used_mb": ("GPU memory", mebibytes),
}
"""Label and formatter of each telemetry field; the units are those of `TelemetrySnapshot`."""


PROGRESS_FIELDS: Final = frozenset({"progress_done", "progress_total"})
"""Telemetry fields whose statistics over a run say nothing."""


_NOT_MISSED: Final = frozenset({"steps_per_sec", "fps", "memory_limit_mb", "cpu_throttled_percent"})
"""Fields that are absent on a machine where nothing is missing: no progress, no limit, no quota."""


def unavailable(known: Collection[str]) -> str | None:
    """Return which readings a run does not have, in a line; None if none is missing.

    Args:
        known: The names of the fields that it has.
    """
    missing = [
        label
        for name, (label, _) in TELEMETRY_FIELDS.items()
        if name not in known and name not in _NOT_MISSED
    ]
    return f"Unavailable: {', '.join(missing)}." if missing else None


def telemetry_label(name: str) -> str:
    """Return what people call a telemetry field; an unknown one keeps its name."""
    return TELEMETRY_FIELDS[name][0] if name in TELEMETRY_FIELDS else name


def telemetry_value(name: str, value: float | None) -> str:
    """Format a reading of a telemetry field with its unit."""
    return TELEMETRY_FIELDS[name][1](value) if name in TELEMETRY_FIELDS else number(value)


def telemetry_figures(name: str, figures: FieldSummary) -> list[str]:
    """Return mean, 95th percentile and maximum of a telemetry field, each with its unit."""
    return [telemetry_value(name, one) for one in (figures.mean, figures.p95, figures.maximum)]


def one_line(text: str, limit: int | None = None) -> str:
    """Return outside text as one harmless line.

    Newlines and tabs become spaces; other control characters (terminal escapes), surrogates and
    marks that reorder text are dropped; what exceeds `limit` characters is cut with `…`.
    """
    plain = text.isascii() and text.isprintable()
    if not plain:
        text = "".join(
            " " if char.isspace() else char
            for char in text
            if char.isspace()
            or (unicodedata.category(char) not in {"Cc", "Cs"} and char not in _BIDI)
        )
    text = " ".join(text.split())
    if limit is not None and len(text) > limit:
        return text[: max(0, limit - 1)] + "…"
    return text


def block(text: str) -> str:
    """Return outside text of several lines without terminal escapes and reordering marks."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(
        line
        if line.isascii() and line.isprintable()
        else "".join(
            char
            for char in line.replace("\t", "    ")
            if unicodedata.category(char) not in {"Cc", "Cs"} and char not in _BIDI
        )
        for line in lines
    )
