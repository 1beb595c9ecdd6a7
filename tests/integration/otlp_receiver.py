"""A receiver of OTLP over gRPC and HTTP that keeps all it gets, as bytes and as messages."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Generator, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, cast

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.integration.collectors import Handler, serving

MESSAGES: Final[dict[str, tuple[Any, Any]]] = {
    "traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}
PROTOCOLS: Final = ("grpc", "http/protobuf")


class Item(NamedTuple):
    """A span, a point of a metric or a log record, with the resource that it came from."""

    resource: Mapping[str, object]
    name: str
    attributes: Mapping[str, object]
    message: Any


class Received:
    """All that came in so far."""

    def __init__(self) -> None:
        self.raw: list[tuple[str, bytes]] = []
        self.came = threading.Condition()

    def take(self, signal: str, body: bytes) -> None:
        with self.came:
            self.raw.append((signal, body))
            self.came.notify_all()

    def wait_for(self, what: Any, seconds: float = 60.0) -> Any:  # noqa: ANN401 - what it returns
        """Wait until a function of this object returns something true, and return that."""
        with self.came:
            assert self.came.wait_for(lambda: what(self), seconds), "it did not come"
            return what(self)

    @property
    def bytes(self) -> bytes:
        """Everything in one piece."""
        return b"\n".join(body for _, body in self.raw)

    @property
    def spans(self) -> list[Item]:
        return [
            Item(of, span.name, values(span.attributes), span)
            for of, scope in self._scopes("traces", "resource_spans", "scope_spans")
            for span in scope.spans
        ]

    @property
    def logs(self) -> list[Item]:
        return [
            Item(of, record.event_name, values(record.attributes), record)
            for of, scope in self._scopes("logs", "resource_logs", "scope_logs")
            for record in scope.log_records
        ]

    @property
    def points(self) -> list[Item]:
        """Every point of every export, in the order in which they came."""
        return [
            Item(of, metric.name, values(point.attributes), point)
            for of, scope in self._scopes("metrics", "resource_metrics", "scope_metrics")
            for metric in scope.metrics
            for point in getattr(metric, metric.WhichOneof("data")).data_points
        ]

    def last(self, name: str, **attributes: object) -> Any:  # noqa: ANN401 - a number, mostly
        """Return the last value of the only series of a metric that has these attributes.

        Dots in names of attributes are written as two underscores.
        """
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        found: dict[tuple[object, ...], object] = {}
        for item in self.points:
            if item.name == name and wanted.items() <= item.attributes.items():
                which = (*sorted(item.attributes.items()), str(item.resource))
                found[which] = value_of(item.message)
        assert len(found) == 1, (name, found)
        return next(iter(found.values()))

    def _scopes(self, signal: str, resources: str, scopes: str) -> Iterator[tuple[Any, Any]]:
        for kind, body in list(self.raw):
            if kind == signal:
                request = MESSAGES[signal][0].FromString(body)
                for one in getattr(request, resources):
                    of = values(one.resource.attributes)
                    yield from ((of, scope) for scope in getattr(one, scopes))


def values(attributes: Any) -> dict[str, object]:  # noqa: ANN401 - KeyValues
    """Return attributes as plain values."""
    return {pair.key: _plain(pair.value) for pair in attributes}


def _plain(value: Any) -> object:  # noqa: ANN401 - an AnyValue
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_plain(item) for item in value.array_value.values)
    return getattr(value, kind) if kind else None


def value_of(point: Any) -> object:  # noqa: ANN401 - a data point
    """Return the number of a point; of a histogram the count."""
    if hasattr(point, "bucket_counts"):
        return point.count
    return getattr(point, point.WhichOneof("value"))


@contextmanager
def receiving(protocol: str) -> Generator[tuple[Received, dict[str, str]]]:
    """Yield what came in, and the variables that send it here."""
    serve = _grpc if protocol == "grpc" else _http
    received = Received()
    with serve(received) as port:
        yield (
            received,
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            },
        )


@contextmanager
def _http(received: Received) -> Generator[int]:
    class Take(Handler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # noqa: N802 - what http.server calls
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.take(self.path.rpartition("/")[2], body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Take) as port:
        yield port


@contextmanager
def _grpc(received: Received) -> Generator[int]:
    import grpc

    rpc = cast("Any", grpc)  # it has no types

    def service(_self: object, details: Any) -> object:  # noqa: ANN401 - grpc's
        signal = {"Trace": "traces", "Metri": "metrics", "LogsS": "logs"}[
            details.method.split("/")[1].rpartition(".")[2][:5]
        ]

        def take(body: bytes, _context: object) -> bytes:
            received.take(signal, body)
            answer: bytes = MESSAGES[signal][1]().SerializeToString()
            return answer

        return rpc.unary_unary_rpc_method_handler(take)

    handler = type("Take", (rpc.GenericRpcHandler,), {"service": service})
    server = rpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((handler(),))
    port = int(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    yield port
    server.stop(None)
