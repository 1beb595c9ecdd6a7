"""Other packages that read the sensors, where they are installed: one sample of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

PSUTIL: Final = "psutil: children, oneshot"
OTEL: Final = "OTel system-metrics instrumentation, own process"
MLFLOW: Final = "MLflow system metrics, host only"
NEEDS: Final = {
    OTEL: "opentelemetry-instrumentation-system-metrics",
    MLFLOW: "mlflow-skinny",
}
"""What to install for those that need it."""
_MODULES: Final = {
    OTEL: "opentelemetry.instrumentation.system_metrics",
    MLFLOW: "mlflow.system_metrics.metrics",
}


def missing() -> list[str]:
    """Return the names of those that are not installed."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # looking for it imports it
    return [name for name, module in _MODULES.items() if not _installed(module)]


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package above it
        return False


@contextmanager
def samplers() -> Generator[dict[str, Callable[[], object]]]:
    """Set up what is installed; each callable takes one sample of all that the package reads."""
    found: dict[str, Callable[[], object]] = {PSUTIL: _psutil()}
    absent = missing()
    if MLFLOW not in absent:
        found[MLFLOW] = _mlflow()
    if OTEL in absent:
        yield found
        return
    with _otel() as collect:
        yield {**found, OTEL: collect}


def _psutil() -> Callable[[], None]:
    import psutil

    own = psutil.Process()

    def sample() -> None:
        for process in [own, *own.children(recursive=True)]:
            with process.oneshot():
                process.cpu_times()
                process.memory_info()
                process.num_threads()

    return sample


@contextmanager
def _otel() -> Generator[Callable[[], object]]:
    """Collect the default instruments through a provider and reader of the SDK."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrumentor: Any = import_module(_MODULES[OTEL]).SystemMetricsInstrumentor()
    instrumentor.instrument(meter_provider=provider)
    try:
        yield reader.get_metrics_data
    finally:
        instrumentor.uninstrument()
        provider.shutdown()


def _mlflow() -> Callable[[], object]:
    """Do what its monitor does at each interval, one sample to a log, up to the logging."""
    monitors: list[Any] = [
        getattr(import_module(f"{_MODULES[MLFLOW]}.{module}"), name)()
        for module, name in (
            ("cpu_monitor", "CPUMonitor"),
            ("disk_monitor", "DiskMonitor"),
            ("network_monitor", "NetworkMonitor"),
        )
    ]

    def sample() -> dict[str, float]:
        metrics: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            metrics.update(monitor.aggregate_metrics())
            monitor.clear_metrics()
        return metrics

    return sample
