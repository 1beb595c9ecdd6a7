"""Collectors that a test can do without: none there, one that never answers, one that refuses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, cast


@contextmanager
def nobody() -> Generator[int]:
    """Yield a port of this machine on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, so that nobody else gets it; not listening
        yield taken.getsockname()[1]


@contextmanager
def silent() -> Generator[int]:
    """Yield the port of a server that accepts every connection and never answers."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:  # closed: the test is over
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    """Answers a request, and says nothing on stderr."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@contextmanager
def serving(handler: type[Handler]) -> Generator[int]:
    """Yield the port of an HTTP server of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def answering(*statuses: int, then: int = 200) -> Generator[tuple[int, list[int]]]:
    """Yield the port of a server, and what it has answered so far.

    Args:
        statuses: Of the first answers, one each.
        then: Of all that follow.
    """
    left = list(statuses)
    given: list[int] = []

    class Answer(Handler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            given.append(left.pop(0) if left else then)
            self.send_response(given[-1])
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Answer) as port:
        yield port, given


@contextmanager
def failing_http() -> Generator[int]:
    """Yield the port of a server that answers 500 to everything."""
    with answering(then=500) as (port, _):
        yield port


@contextmanager
def failing_grpc() -> Generator[int]:
    """Yield the port of a server that answers UNAVAILABLE to everything."""
    import grpc

    rpc = cast("Any", grpc)  # it has no types

    def refuse(_request: bytes, context: Any) -> None:  # noqa: ANN401 - grpc's
        context.abort(rpc.StatusCode.UNAVAILABLE, "not today")

    def service(_self: object, _details: object) -> object:
        return rpc.unary_unary_rpc_method_handler(refuse)

    handler = type("Refuse", (rpc.GenericRpcHandler,), {"service": service})
    server = rpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handler(),))
    port = int(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    yield port
    server.stop(None)


COLLECTORS: Final[dict[str, tuple[str, Callable[[], Any]]]] = {
    "http-nobody": ("http/protobuf", nobody),
    "http-silent": ("http/protobuf", silent),
    "http-500": ("http/protobuf", failing_http),
    "grpc-nobody": ("grpc", nobody),
    "grpc-silent": ("grpc", silent),
    "grpc-unavailable": ("grpc", failing_grpc),
}
"""Protocol and server of each by a name for people."""
