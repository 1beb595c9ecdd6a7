"""TensorBoard adapter: mirrors a recorded run into event files, after the fact or as it goes on.

Found by the command line through the entry point `tensorboard` of the group `robot_sf_otel_mirror`;
needs the extra `tensorboard` (tensorboardX, no torch).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robot_sf_otel_tensorboard.mirror import TensorBoardMirror

__all__ = ["TensorBoardMirror"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type of the attribute asked for
    """Import the mirror when it is first asked for: it needs tensorboardX."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module("robot_sf_otel_tensorboard.mirror"), name)
