"""OpenTelemetry instrumentation for long multi-step training pipelines: the public names.

Nothing is imported until a name is used, and nothing is switched on until `configure()` or the
environment says so.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robot_sf_otel.bootstrap import configure, shutdown
    from robot_sf_otel.instrument.child_process import child_env
    from robot_sf_otel.instrument.context import current_run, current_step
    from robot_sf_otel.instrument.pipeline import pipeline
    from robot_sf_otel.instrument.progress import track
    from robot_sf_otel.instrument.step import step

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "child_env",
    "configure",
    "current_run",
    "current_step",
    "pipeline",
    "shutdown",
    "step",
    "track",
]

_HOME = {
    "child_env": "robot_sf_otel.instrument.child_process",
    "configure": "robot_sf_otel.bootstrap",
    "current_run": "robot_sf_otel.instrument.context",
    "current_step": "robot_sf_otel.instrument.context",
    "pipeline": "robot_sf_otel.instrument.pipeline",
    "shutdown": "robot_sf_otel.bootstrap",
    "step": "robot_sf_otel.instrument.step",
    "track": "robot_sf_otel.instrument.progress",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type of the name asked for
    """Import a public name when it is first used.

    Raises:
        AttributeError: There is no such name.
    """
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    # Capture never imports bootstrap: it is told here how to switch on when the environment asks.
    import_module("robot_sf_otel.instrument.context").set_activator(_activate)
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def _activate() -> None:
    import_module("robot_sf_otel.bootstrap").configure()
