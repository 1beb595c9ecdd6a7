"""What the package said through Loguru while a test ran."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from loguru import logger

from robot_sf_otel import guard

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def warnings_said() -> Generator[list[str]]:
    """Collect warnings; what was said before the block may be said again in it."""
    said: list[str] = []
    guard.reset()
    sink = logger.add(
        lambda message: said.append(str(message)), level="WARNING", format="{message}"
    )
    try:
        yield said
    finally:
        logger.remove(sink)
        guard.reset()
