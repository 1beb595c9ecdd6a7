"""OpenTelemetry providers: those that exist are joined, otherwise ours are made and set."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import _logs, metrics, trace

from robot_sf_otel import guard, semconv
from robot_sf_otel.exporters import asked_for, exporters_of

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

    from robot_sf_otel.redaction.outgoing import Outgoing

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
    logger_provider: LoggerProvider | None = None
    """None where nobody wants events."""

    def renew_meters(self, environ: Mapping[str, str], outgoing: Outgoing) -> MeterProvider | None:
        """In a forked child: take a meter provider that counts from zero, if it exports anything.

        Returns:
            The new provider; None where the old one is the application's or exports nothing.
        """
        if not any(one is self.meter_provider for one in self.owned) or not asked_for(
            "metrics", environ
        ):
            return None
        made = _new_meter_provider(environ, outgoing)
        self.owned = [made if one is self.meter_provider else one for one in self.owned]
        self.meter_provider = made
        return made

    def flush(self) -> None:
        """Send what waits, for at most 2.5 s."""
        self._each("force_flush")

    def shutdown(self) -> None:
        """Shut down what is ours, for at most 2.5 s; a wait in vain before is not repeated."""
        self._each("shutdown")

    def _each(self, method: str) -> None:
        if not self.owned:
            return

        def work(provider: Any) -> None:  # noqa: ANN401 - the SDK's classes
            with guard.shielded(f"OpenTelemetry {method}"):
                getattr(provider, method)()

        # The SDK's own deadlines are per exporter and can add up to a minute. One thread each: a
        # signal that nobody takes must not hold up the others.
        threads = [
            threading.Thread(target=work, args=(one,), name=f"robot-sf-otel-{method}", daemon=True)
            for one in self.owned
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + self.patience
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            self.patience = 0.0  # `shutdown()` and the end of the process must not both wait


def obtain(
    tracer_provider: TracerProvider | None,
    meter_provider: MeterProvider | None,
    environ: Mapping[str, str],
    outgoing: Outgoing,
) -> Providers:
    """Return the given providers, else the global ones that exist, else new ones, set globally.

    Args:
        tracer_provider: The application's, if it names one.
        meter_provider: The same for metrics.
        environ: OpenTelemetry's variables.
        outgoing: Decides what the resource of new ones tells.
    """
    owned: list[Any] = []
    if tracer_provider is None:
        existing = trace.get_tracer_provider()
        if isinstance(existing, trace.ProxyTracerProvider):
            existing = _new_tracer_provider(environ, outgoing)
            trace.set_tracer_provider(existing)
            owned.append(existing)
        tracer_provider = existing
    if meter_provider is None:
        meters = metrics.get_meter_provider()
        if type(meters).__name__ == "_ProxyMeterProvider":  # it has no public name
            meters = _new_meter_provider(environ, outgoing)
            metrics.set_meter_provider(meters)
            owned.append(meters)
        meter_provider = meters
    loggers = _obtain_loggers(environ, outgoing, owned)
    return Providers(tracer_provider, meter_provider, owned, logger_provider=loggers)


def _obtain_loggers(
    environ: Mapping[str, str], outgoing: Outgoing, owned: list[Any]
) -> LoggerProvider | None:
    """Return the global logger provider, a new one where events go somewhere, else None."""
    existing = _logs.get_logger_provider()
    if type(existing).__name__ != "ProxyLoggerProvider":  # it has no public name
        return existing
    made = _new_logger_provider(environ, outgoing)
    if made is not None:
        _logs.set_logger_provider(made)
        owned.append(made)
    return made


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


def _new_tracer_provider(environ: Mapping[str, str], outgoing: Outgoing) -> TracerProvider:
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from robot_sf_otel.process_resource import process_resource

    ids: Any = UrandomIds()
    resource = process_resource(environ, outgoing)
    try:
        provider = TracerProvider(id_generator=ids, resource=resource, shutdown_on_exit=False)
    except ValueError as error:  # OTEL_SPAN_*_LIMIT that is no number
        guard.warn(f"an OTEL_*_LIMIT variable is ignored: {error}")
        unlimited = SpanLimits(*[SpanLimits.UNSET] * 7)
        provider = TracerProvider(
            id_generator=ids, resource=resource, shutdown_on_exit=False, span_limits=unlimited
        )
    for exporter in exporters_of("traces", environ):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _new_meter_provider(environ: Mapping[str, str], outgoing: Outgoing) -> MeterProvider:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    from robot_sf_otel.process_resource import process_resource

    readers = [
        PeriodicExportingMetricReader(exporter) for exporter in exporters_of("metrics", environ)
    ]
    return MeterProvider(
        readers, resource=process_resource(environ, outgoing), shutdown_on_exit=False
    )


def _new_logger_provider(environ: Mapping[str, str], outgoing: Outgoing) -> LoggerProvider | None:
    """Return a provider whose queues are bounded; None where no exporter is asked for."""
    made = exporters_of("logs", environ)
    if not made:
        return None
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    from robot_sf_otel.process_resource import process_resource

    provider = LoggerProvider(process_resource(environ, outgoing), shutdown_on_exit=False)
    for exporter in made:
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    return provider
