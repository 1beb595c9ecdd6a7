"""The exporters that OpenTelemetry's variables ask for, found by entry point."""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, Literal

from robot_sf_otel import environment_variables as env
from robot_sf_otel import guard

if TYPE_CHECKING:
    from robot_sf_otel.interop.transport import Protocol_

Signal = Literal["traces", "metrics", "logs"]

_VARIABLES: Final[Mapping[Signal, tuple[str, str, str]]] = {
    "traces": (
        env.OTEL_TRACES_EXPORTER,
        env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    ),
    "metrics": (
        env.OTEL_METRICS_EXPORTER,
        env.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    ),
    "logs": (
        env.OTEL_LOGS_EXPORTER,
        env.OTEL_EXPORTER_OTLP_LOGS_ENDPOINT,
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
    ),
}


GRPC: Final[Protocol_] = "grpc"
HTTP: Final[Protocol_] = "http/protobuf"


def wire_protocol(environ: Mapping[str, str], *variables: str) -> tuple[Protocol_, str | None]:
    """Return `grpc` or `http/protobuf` by the first variable that has a value, else `grpc`.

    An empty value counts as none, as OpenTelemetry has it.

    Returns:
        The protocol, and what is wrong with the variable's value.
    """
    for variable in variables:
        given = environ.get(variable, "").strip()
        if given:
            instead = HTTP if given.startswith("http/") else GRPC
            if given == instead:
                return instead, None
            wrong = f"{variable}={given!r} is neither {GRPC} nor {HTTP}; {instead} is used"
            return instead, wrong
    return GRPC, None


def wrong_timeouts(signal: Signal, environ: Mapping[str, str]) -> dict[str, str | None]:
    """Return the timeouts of OTLP that the SDK cannot take, each with what is wrong with it.

    Returns:
        By variable; an empty one counts as unset, and None is wrong with it.
    """
    found: dict[str, str | None] = {}
    for variable in (
        f"OTEL_EXPORTER_OTLP_{signal.upper()}_TIMEOUT",
        env.OTEL_EXPORTER_OTLP_TIMEOUT,
    ):
        given = environ.get(variable)
        if given is None:
            continue
        if not given.strip():
            found[variable] = None
        elif not _is_time(given):
            found[variable] = (
                f"{variable}={given!r} is no number of seconds above 0; it counts as unset"
            )
    return found


def _is_time(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def _made_without(variables: Iterable[str], make: Callable[[], Any]) -> Any:  # noqa: ANN401 - an exporter of any signal
    """Make an exporter as if variables were unset: it reads them even where it is told a value."""
    held = {name: os.environ.pop(name) for name in variables if name in os.environ}
    try:
        return make()
    finally:
        os.environ.update(held)


def asked_for(signal: Signal, environ: Mapping[str, str]) -> list[str]:
    """Return the names of the exporters of a signal that the environment asks for."""
    variable, endpoint, _ = _VARIABLES[signal]
    return _names(environ, variable, endpoint)


def exporters_of(signal: Signal, environ: Mapping[str, str]) -> list[Any]:
    """Return the exporters of a signal; one that cannot be made is named in a warning."""
    protocol_variable = _VARIABLES[signal][2]
    made: list[Any] = []
    for name in asked_for(signal, environ):
        wanted = name
        timeouts = wrong_timeouts(signal, environ) if name.startswith("otlp") else {}
        for problem in filter(None, timeouts.values()):
            guard.warn_once(problem, problem)
        if name == "otlp":
            protocol, wrong = wire_protocol(
                environ, protocol_variable, env.OTEL_EXPORTER_OTLP_PROTOCOL
            )
            if wrong is not None:
                guard.warn_once(wrong, wrong)
            wanted = "otlp_proto_grpc" if protocol == GRPC else "otlp_proto_http"
        found: list[Callable[[], Any]] = []
        try:
            group = f"opentelemetry_{signal}_exporter"
            found = [point.load() for point in entry_points(group=group, name=wanted)]
            made.extend(
                _KINDS[signal](partial(_made_without, timeouts, make)) for make in found[:1]
            )
            _own_random()
        except Exception as error:  # noqa: BLE001 - an exporter of a third party
            guard.warn(f"the exporter {name!r} could not be made: {error}")
            continue
        if not found:
            remedy = "pip install 'robot-sf-otel[otlp]'" if name == "otlp" else "install it"
            guard.warn_once(
                f"exporter:{name}",
                f"no exporter {name!r} is installed, so nothing goes there: {remedy}",
            )
    return made


class PerProcess:
    """An exporter that a forked child makes anew: connections belong to the process that made them.

    What a parent and its child write to one connection would be mixed up.

    Args:
        make: Makes the exporter.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._pid = os.getpid()
        self._exporter = make()
        self._inherited: list[Any] = []

    def export(self, *batch: Any, **settings: Any) -> Any:  # noqa: ANN401 - as the signal's own
        """Export with the exporter of this process."""
        if self._pid != os.getpid():
            self._inherited.append(self._exporter)  # never closed here: it is the parent's
            self._pid, self._exporter = os.getpid(), self._make()
        return self._exporter.export(*batch, **settings)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the exporter's
        """Return the exporter's own attribute."""
        return getattr(self._exporter, name)


class OfOneProcess(PerProcess):
    """An exporter of metrics, which sends nothing in a forked child.

    The child inherits the sums and counts of its parent, and would report them as its own.
    """

    def export(self, *batch: Any, **settings: Any) -> Any:  # noqa: ANN401 - as the signal's own
        """Export in the process that made the exporter; pretend to in its forked children."""
        if self._pid != os.getpid():
            from opentelemetry.sdk.metrics.export import MetricExportResult

            return MetricExportResult.SUCCESS
        return self._exporter.export(*batch, **settings)


_KINDS: Final[Mapping[Signal, type[PerProcess]]] = {
    "traces": PerProcess,
    "metrics": OfOneProcess,
    "logs": PerProcess,
}


def _own_random() -> None:
    """Give OTLP's retries a generator of their own: their jitter draws from the global one."""
    own = random.Random(os.urandom(16))  # noqa: S311 - jitter, no secret
    for name, module in list(sys.modules.items()):
        exporter = name.startswith("opentelemetry.exporter.")
        if exporter and getattr(module, "random", None) is random:
            module.random = own  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]


def _names(environ: Mapping[str, str], variable: str, endpoint: str) -> list[str]:
    """Return the exporters that the environment asks for; an endpoint implies `otlp`."""
    given = [name.strip() for name in environ.get(variable, "").split(",") if name.strip()]
    if not given and (environ.get(env.OTEL_EXPORTER_OTLP_ENDPOINT) or environ.get(endpoint)):
        given = ["otlp"]
    # The recorder writes the run's record already; the exporter of the same files would be a
    # second record of the same run.
    return [name for name in given if name not in ("none", "run_manifest")]
