"""OpenTelemetry providers: those that exist are joined, otherwise ours are made and set."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import metrics, trace

from robot_sf_otel import environment_variables as env
from robot_sf_otel import guard, semconv

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import Tracer, TracerProvider

EXIT_SECONDS: Final = 2.5
"""How long the end of the process waits for what still has to go out, all waits together."""


@dataclass(slots=True)
class Providers:
    """The providers in use, and what of them is ours to flush and shut down."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    owned: list[Any] = field(default_factory=list[Any])
    patience: float = EXIT_SECONDS
    """Seconds that are left to wait; none once a Collector has not answered in time."""

    def flush(self) -> None:
        """Send what waits, for at most 2.5 s."""
        self._each("force_flush")

    def shutdown(self) -> None:
        """Shut down what is ours, for at most 2.5 s; a wait in vain before is not repeated."""
        self._each("shutdown")

    def _each(self, method: str) -> None:
        if not self.owned:
            return

        def work() -> None:
            for provider in self.owned:
                with guard.shielded(f"OpenTelemetry {method}"):
                    getattr(provider, method)()

        # The SDK's own deadlines are per exporter and can add up to a minute.
        thread = threading.Thread(target=work, name=f"robot-sf-otel-{method}", daemon=True)
        thread.start()
        thread.join(self.patience)
        if thread.is_alive():  # `shutdown()` and the end of the process must not both wait for it
            self.patience = 0.0


def obtain(
    tracer_provider: TracerProvider | None,
    meter_provider: MeterProvider | None,
    environ: Mapping[str, str],
) -> Providers:
    """Return the given providers, else the global ones that exist, else new ones, set globally."""
    owned: list[Any] = []
    if tracer_provider is None:
        existing = trace.get_tracer_provider()
        if isinstance(existing, trace.ProxyTracerProvider):
            existing = _new_tracer_provider(environ)
            trace.set_tracer_provider(existing)
            owned.append(existing)
        tracer_provider = existing
    if meter_provider is None:
        meters = metrics.get_meter_provider()
        if type(meters).__name__ == "_ProxyMeterProvider":  # it has no public name
            meters = _new_meter_provider(environ)
            metrics.set_meter_provider(meters)
            owned.append(meters)
        meter_provider = meters
    return Providers(tracer_provider, meter_provider, owned)


def tracer(provider: TracerProvider, version: str) -> Tracer:
    """Return our tracer, whose ids never come from the global random generator.

    The SDK draws ids from `random`, which changes seeded experiments; the tracer is ours alone, so
    another generator in it changes nothing for the application.
    """
    made: Any = provider.get_tracer(semconv.SCOPE, version)
    if hasattr(made, "id_generator"):
        made.id_generator = UrandomIds()
    return cast("Tracer", made)


class UrandomIds:
    """Span and trace ids from the operating system; 1 µs each."""

    def generate_span_id(self) -> int:
        """Return 64 random bits, not all zero."""
        return int.from_bytes(os.urandom(8), "big") or 1

    def generate_trace_id(self) -> int:
        """Return 128 random bits, not all zero."""
        return int.from_bytes(os.urandom(16), "big") or 1

    def is_trace_id_random(self) -> bool:
        """Return that all bits are random, as W3C trace context level 2 asks."""
        return True


def _resource(environ: Mapping[str, str]) -> Resource:
    from opentelemetry.sdk.resources import Resource

    named = environ.get(env.OTEL_SERVICE_NAME) or "service.name=" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({} if named else {semconv.SERVICE_NAME_KEY: semconv.SERVICE_NAME})


def _new_tracer_provider(environ: Mapping[str, str]) -> TracerProvider:
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ids: Any = UrandomIds()
    resource = _resource(environ)
    try:
        provider = TracerProvider(id_generator=ids, resource=resource, shutdown_on_exit=False)
    except ValueError as error:  # OTEL_SPAN_*_LIMIT that is no number
        guard.warn(f"an OTEL_*_LIMIT variable is ignored: {error}")
        unlimited = SpanLimits(*[SpanLimits.UNSET] * 7)
        provider = TracerProvider(
            id_generator=ids, resource=resource, shutdown_on_exit=False, span_limits=unlimited
        )
    names = _exporter_names(
        environ, env.OTEL_TRACES_EXPORTER, env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
    )
    for exporter in _exporters("opentelemetry_traces_exporter", names, environ):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _new_meter_provider(environ: Mapping[str, str]) -> MeterProvider:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import (
        PeriodicExportingMetricReader,
    )

    names = _exporter_names(
        environ, env.OTEL_METRICS_EXPORTER, env.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT
    )
    readers = [
        PeriodicExportingMetricReader(exporter)
        for exporter in _exporters("opentelemetry_metrics_exporter", names, environ)
    ]
    return MeterProvider(readers, resource=_resource(environ), shutdown_on_exit=False)


def _own_random() -> None:
    """Give OTLP's retries a generator of their own: their jitter draws from the global one."""
    own = random.Random(os.urandom(16))  # noqa: S311 - jitter, no secret
    for name, module in list(sys.modules.items()):
        exporter = name.startswith("opentelemetry.exporter.")
        if exporter and getattr(module, "random", None) is random:
            module.random = own  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]


def _exporter_names(environ: Mapping[str, str], variable: str, endpoint: str) -> list[str]:
    """Return the exporters that the environment asks for; an endpoint implies `otlp`."""
    given = [name.strip() for name in environ.get(variable, "").split(",") if name.strip()]
    if not given and (environ.get(env.OTEL_EXPORTER_OTLP_ENDPOINT) or environ.get(endpoint)):
        given = ["otlp"]
    # The recorder writes the run's record already; the exporter of the same files would be a
    # second record of the same run.
    return [name for name in given if name not in ("none", "run_manifest")]


def _exporters(group: str, names: list[str], environ: Mapping[str, str]) -> list[Any]:
    made: list[Any] = []
    for name in names:
        wanted = name
        if name == "otlp":
            protocol = environ.get(env.OTEL_EXPORTER_OTLP_PROTOCOL, "grpc")
            wanted = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
        found: list[Callable[[], Any]] = []
        try:
            found = [point.load() for point in entry_points(group=group, name=wanted)]
            made.extend(make() for make in found[:1])
            _own_random()
        except Exception as error:  # noqa: BLE001 - an exporter of a third party
            guard.warn(f"the exporter {name!r} could not be made: {error}")
            continue
        if not found:
            remedy = "pip install 'robot-sf-otel[otlp]'" if name == "otlp" else "install it"
            guard.warn(f"no exporter {name!r} is installed, so nothing goes there: {remedy}")
    return made
