"""One request to an OTLP endpoint, over gRPC or HTTP, and what its answer means.

Source: the OTLP specification 1.x, "Failures", "OTLP/gRPC Response" and "OTLP/HTTP Response".
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib import import_module
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from robot_sf_otel.interop.batches import Signal

EXTRA: Final = "OTLP needs the extra `otlp`: pip install 'robot-sf-otel[otlp]'"
REQUEST_SECONDS: Final = 30.0
"""Longest wait for one answer."""
_LATER_HTTP: Final = frozenset({429, 502, 503, 504})
_NOT_HERE_HTTP: Final = frozenset({404, 405, 501})
_LATER_GRPC: Final = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
)
_OK: Final = 200
_MOST: Final = 200
"""Characters of a reason that are shown."""
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
"""Name of a header: RFC 9110, 5.6.2."""
_HEADERS: Final = "OTEL_EXPORTER_OTLP_HEADERS"
_CERTIFICATE: Final = "OTEL_EXPORTER_OTLP_CERTIFICATE"
_CLIENT_CERTIFICATE: Final = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"
_CLIENT_KEY: Final = "OTEL_EXPORTER_OTLP_CLIENT_KEY"

Protocol_ = Literal["grpc", "http/protobuf"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request."""

    kind: Literal["taken", "refused", "later", "not here"]
    """`later` may be tried again, `not here` means that the endpoint takes nothing of the kind."""
    rejected: int = 0
    """Items that were refused although the request was taken."""
    reason: str = ""
    after: float | None = None
    """Seconds that the endpoint asks to wait."""


class Transport(Protocol):
    """Sends encoded requests; may be used by several threads."""

    def send(self, signal: Signal, body: bytes) -> Answer:
        """Send one request. Never raises for what the network or the endpoint does."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class BadEndpoint(ValueError):  # noqa: N818 - a mistake of the user, not of the caller
    """An endpoint that is no URL, or what a variable says of it is wrong; the message says why."""


class Missing(ImportError):  # noqa: N818 - the remedy is in the message
    """What OTLP needs is not installed."""


def connect(endpoint: str, protocol: Protocol_, environ: Mapping[str, str]) -> Transport:
    """Return a transport; nothing is sent yet.

    Args:
        endpoint: URL; `http` is in the clear, `https` encrypted. For gRPC `host:port` will do.
        protocol: `grpc` or `http/protobuf`.
        environ: `OTEL_EXPORTER_OTLP_HEADERS`, `…_CERTIFICATE`, `…_CLIENT_CERTIFICATE`,
            `…_CLIENT_KEY` and `…_COMPRESSION` count.

    Raises:
        BadEndpoint: The endpoint is no URL, or a header or a certificate cannot be sent.
        Missing: The extra is not installed.
    """
    wrong = f"{endpoint!r} is no endpoint: give a URL such as http://localhost:4317"
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        port = parts.port
    except ValueError:
        raise BadEndpoint(wrong) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadEndpoint(wrong)
    headers = headers_of(environ)
    _check_headers(headers, "ascii" if protocol == "grpc" else "latin-1")
    certificates = certificates_of(environ) if parts.scheme == "https" else None
    gzip = environ.get("OTEL_EXPORTER_OTLP_COMPRESSION", "").lower() == "gzip"
    try:
        if protocol == "grpc":
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            return _Grpc(f"{host}:{port or 4317}", certificates, headers, gzip=gzip)
        base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        return _Http(base, certificates or Certificates(), headers, gzip=gzip)
    except ImportError as missing:
        raise Missing(EXTRA) from missing


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files by which both ends of an encrypted connection know each other."""

    trusted: Path | None = None
    """Of those who may sign the endpoint's; None is those of the system."""
    own: tuple[Path, Path] | None = None
    """What is shown to an endpoint that asks who it is, and the key to it."""


def certificates_of(environ: Mapping[str, str]) -> Certificates:
    """Return the certificates that the environment names.

    Raises:
        BadEndpoint: One cannot be read, or a key has no certificate.
    """
    trusted = _readable(environ, _CERTIFICATE)
    own, key = _readable(environ, _CLIENT_CERTIFICATE), _readable(environ, _CLIENT_KEY)
    if own is None and key is not None:
        raise BadEndpoint(f"{_CLIENT_KEY} needs {_CLIENT_CERTIFICATE}: name the certificate, too")
    return Certificates(trusted, None if own is None else (own, key or own))


def _readable(environ: Mapping[str, str], variable: str) -> Path | None:
    name = environ.get(variable)
    if not name:
        return None
    try:
        with (path := Path(name)).open("rb"):
            return path
    except OSError:
        raise BadEndpoint(f"{variable} names {name!r}, which cannot be read") from None


def _check_headers(headers: Mapping[str, str], charset: Literal["ascii", "latin-1"]) -> None:
    """Ask whether headers can be sent; a value is not shown, for it may be a password.

    Raises:
        BadEndpoint: One cannot.
    """
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise BadEndpoint(
                f"{_HEADERS}: {name!r} is no name of a header: use letters and dashes"
            )
        text = value.encode(charset, "replace").decode(charset)
        if text != value or not value.isprintable():
            raise BadEndpoint(
                f"{_HEADERS}: the value of {name!r} has characters that no header can hold: "
                "give it in ASCII"
            )


def headers_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that the environment asks for, as W3C Baggage has them."""
    made: dict[str, str] = {}
    for pair in environ.get(_HEADERS, "").split(","):
        name, sign, value = pair.partition("=")
        if sign and name.strip():
            made[unquote(name.strip()).lower()] = unquote(value.strip())
    return made


class _Grpc:
    """OTLP over gRPC."""

    def __init__(
        self,
        target: str,
        certificates: Certificates | None,
        headers: Mapping[str, str],
        *,
        gzip: bool,
    ) -> None:
        # It reports forks and idle connections on stderr otherwise.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        self._grpc: Any = import_module("grpc")
        from robot_sf_otel.interop import otlp_proto

        self._messages = otlp_proto
        squeeze = self._grpc.Compression.Gzip if gzip else self._grpc.Compression.NoCompression
        if certificates is not None:
            trusted = certificates.trusted.read_bytes() if certificates.trusted else None
            own, key = [path.read_bytes() for path in certificates.own or ()] or (None, None)
            credentials = self._grpc.ssl_channel_credentials(trusted, key, own)
            self._channel = self._grpc.secure_channel(target, credentials, compression=squeeze)
        else:
            self._channel = self._grpc.insecure_channel(target, compression=squeeze)
        self._metadata = tuple(headers.items())
        self._calls = {
            signal: self._channel.unary_unary(method)
            for signal, method in otlp_proto.METHODS.items()
        }

    def send(self, signal: Signal, body: bytes) -> Answer:
        try:
            answer = self._calls[signal](body, timeout=REQUEST_SECONDS, metadata=self._metadata)
        except self._grpc.RpcError as error:
            return self._failed(error)
        count, reason = self._messages.rejected(signal, answer)
        return Answer("taken", rejected=count, reason=reason[:_MOST])

    def _failed(self, error: Any) -> Answer:  # noqa: ANN401 - grpc has no types
        name = str(error.code().name)
        reason = f"{name}: {error.details() or ''}".rstrip(": ")[:_MOST]
        after = _retry_info(error)
        if name in _LATER_GRPC or (name == "RESOURCE_EXHAUSTED" and after is not None):
            return Answer("later", reason=reason, after=after)
        return Answer("not here" if name == "UNIMPLEMENTED" else "refused", reason=reason)

    def close(self) -> None:
        self._channel.close()


def _retry_info(error: Any) -> float | None:  # noqa: ANN401 - grpc has no types
    """Return how long an error's details ask to wait, in seconds."""
    details: Any = import_module("google.rpc.error_details_pb2")  # they have no types
    status: Any = import_module("google.rpc.status_pb2")
    for name, value in error.trailing_metadata() or ():
        if name != "grpc-status-details-bin":
            continue
        try:
            for detail in status.Status.FromString(value).details:
                info = details.RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.ToTimedelta().total_seconds())
        except Exception:  # noqa: BLE001 - a hint that cannot be read is none
            return None
    return None


class _Http:
    """OTLP over HTTP, as protobuf."""

    def __init__(
        self, base: str, certificates: Certificates, headers: Mapping[str, str], *, gzip: bool
    ) -> None:
        self._requests: Any = import_module("requests")
        from robot_sf_otel.interop import otlp_proto

        self._messages = otlp_proto
        self._base = base
        self._gzip = gzip
        self._session: Any = self._requests.Session()
        self._session.headers.update(
            {"User-Agent": "robot-sf-otel", **headers}
            | {"Content-Type": "application/x-protobuf"}
            | ({"Content-Encoding": "gzip"} if gzip else {})
        )
        # Of each request, not of the session: REQUESTS_CA_BUNDLE beats that one.
        self._verify = str(certificates.trusted) if certificates.trusted else True
        self._session.cert = tuple(map(str, certificates.own)) if certificates.own else None

    def send(self, signal: Signal, body: bytes) -> Answer:
        if self._gzip:
            import gzip

            body = gzip.compress(body, 1)
        try:
            answer = self._session.post(
                f"{self._base}/v1/{signal}",
                data=body,
                timeout=REQUEST_SECONDS,
                verify=self._verify,
                allow_redirects=False,
            )
        except UnicodeError as error:  # a name or password in the URL
            return Answer("refused", reason=f"{type(error).__name__}: {error}"[:_MOST])
        except OSError as error:  # those of requests are some, too
            return Answer("later", reason=f"{type(error).__name__}: {error}"[:_MOST])
        if answer.status_code == _OK:
            count, reason = self._messages.rejected(signal, answer.content)
            return Answer("taken", rejected=count, reason=reason[:_MOST])
        reason = f"HTTP {answer.status_code} {answer.reason}"[:_MOST]
        if answer.status_code in _LATER_HTTP:
            return Answer("later", reason=reason, after=retry_after(answer.headers))
        kind: Any = "not here" if answer.status_code in _NOT_HERE_HTTP else "refused"
        return Answer(kind, reason=reason)

    def close(self) -> None:
        self._session.close()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `Retry-After` asks for, which may be a date."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time()) if text else None
    except ValueError:
        return None
