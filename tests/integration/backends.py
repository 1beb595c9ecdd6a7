"""The real programs at the other end: an OpenTelemetry Collector and Prometheus, on loopback.

`.ci/backends` makes them; a test that needs one that is not there skips and says so.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

ROOT: Final = Path(__file__).parents[2]
CONFIG: Final = ROOT / "collector-config"
PATIENCE: Final = 60.0
"""Seconds for something to happen that happens within one on an idle machine."""
T = TypeVar("T")


@cache
def place() -> Path:
    """Return the folder of the programs, whether or not they are there."""
    command = [str(ROOT / ".ci" / "backends"), "--where"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    return Path(found.stdout.strip())


def program(name: str) -> Path:
    """Return where a program is; skip the test where it is not here."""
    path = place() / name
    if not path.exists():
        pytest.skip(f"{name} is not here: run .ci/backends, which makes it")
    return path


def free_ports(number: int) -> list[int]:
    """Return ports of this machine that nobody has at this moment."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [server.getsockname()[1] for server in taken]
    for server in taken:
        server.close()
    return ports


def until(ask: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """Ask in turns until there is an answer that is neither None nor empty; fail after a while."""
    deadline = time.monotonic() + patience
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(0.05)


def fetch(url: str, body: bytes | None = None, content: str | None = None) -> bytes:
    """Return what a server of this test answers; raises OSError where it does not answer 200.

    Args:
        url: On this machine.
        body: Posted, if given.
        content: Its media type; that of a form by default.
    """
    headers = {} if content is None else {"Content-Type": content}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - http, made here
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - http, made here
        return bytes(answer.read())


_ASK: Final = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)"


class Server:
    """A program that answers on a port of this machine, and that a test may kill and start again.

    Args:
        command: Its command line.
        ready: A URL that answers 200 once it is ready.
        log: What it says goes here.
        environ: Variables that it gets besides those of the test.
        prefix: What its command line begins with: another network, for example.
    """

    def __init__(
        self,
        command: list[str],
        ready: str,
        log: Path,
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self._command = [*prefix, *command]
        self._prefix = prefix
        self._ready = ready
        self.log = log
        self._environ = environ or {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environ},
            )
        until(self._answers, f"{self._command[0]} to be ready, see {self.log}")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"{self._command[0]} ended:\n{self.log.read_text()[-4000:]}")
        with suppress(OSError):
            if self._prefix:  # only there it can be reached
                asked = [*self._prefix, sys.executable, "-c", _ASK, self._ready]
                return subprocess.run(asked, check=False, capture_output=True).returncode == 0
            fetch(self._ready)
            return True
        return False

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order: what it holds goes out first."""
        self._end(signal.SIGTERM)

    def _end(self, signum: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(signum)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)
            pytest.fail(f"{self._command[0]} did not end by signal {signum}")
        self._process = None


class Collector(Server):
    """A Collector that writes what it gets to a file, or does what another configuration says."""

    def __init__(
        self,
        folder: Path,
        configuration: Path | None = None,
        environ: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.grpc_port, self.http_port, self.health_port, own, queued = free_ports(5)
        self.output = folder / "otlp.jsonl"
        """OTLP JSON lines, all signals in one file."""
        self._folder = folder
        if configuration is None:
            configuration = folder / "collector.yaml"
            configuration.write_text(to_file())
        ports = {
            "OTLP_GRPC": f"127.0.0.1:{self.grpc_port}",
            "OTLP_HTTP": f"127.0.0.1:{self.http_port}",
            "HEALTH": f"127.0.0.1:{self.health_port}",
            "OWN_METRICS_PORT": str(own),
            "QUEUED": f"127.0.0.1:{queued}",  # of collector-config/gateway.yaml
            "OUTPUT": str(self.output),
            "ARCHIVE": str(self.output),  # what collector-config/gateway.yaml calls it
        }
        super().__init__(
            [str(program("otelcol")), "--config", str(configuration)],
            f"http://127.0.0.1:{self.health_port}/",
            folder / "collector.log",
            {**ports, **(environ or {})},
            prefix,
        )

    @property
    def grpc(self) -> str:
        """The endpoint of OTLP over gRPC."""
        return f"http://127.0.0.1:{self.grpc_port}"

    @property
    def http(self) -> str:
        """The endpoint of OTLP over HTTP, without the path of a signal."""
        return f"http://127.0.0.1:{self.http_port}"

    def send_gauge(self, name: str, moments: Mapping[str, float]) -> None:
        """Send it a request with points of a gauge, each told apart by the label `which`.

        Args:
            name: Of the gauge.
            moments: Unix time of each point in seconds.
        """
        points = [
            {
                "timeUnixNano": str(int(moment * 1_000_000_000)),
                "asDouble": 1.0,
                "attributes": [{"key": "which", "value": {"stringValue": which}}],
            }
            for which, moment in moments.items()
        ]
        metrics = [{"name": name, "gauge": {"dataPoints": points}}]
        body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}
        fetch(f"{self.http}/v1/metrics", json.dumps(body).encode(), "application/json")

    def lines(self) -> list[dict[str, Any]]:
        """Return what is in its file; a line that is being written is left out."""
        if not self.output.exists():
            return []
        whole = self.output.read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def spans(self) -> list[dict[str, Any]]:
        """Return the spans in its file, each as OTLP JSON has it."""
        return [
            span
            for line in self.lines()
            for resource in line.get("resourceSpans", ())
            for scope in resource.get("scopeSpans", ())
            for span in scope.get("spans", ())
        ]

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics in its file, each export of them."""
        return [
            metric
            for line in self.lines()
            for resource in line.get("resourceMetrics", ())
            for scope in resource.get("scopeMetrics", ())
            for metric in scope.get("metrics", ())
        ]


OTLP: Final = """\
  otlp:
    protocols:
      grpc: {endpoint: "${env:OTLP_GRPC}"}
      http: {endpoint: "${env:OTLP_HTTP}"}
"""


def to_file(receiver: str = OTLP) -> str:
    """Return the configuration of a Collector that writes all that one receiver gets to `OUTPUT`.

    Args:
        receiver: Its part of the configuration, indented.
    """
    name = receiver.partition(":")[0].strip()
    return f"""\
receivers:
{receiver}
exporters:
  file: {{path: "${{env:OUTPUT}}", append: true, flush_interval: 50ms}}
extensions:
  health_check: {{endpoint: "${{env:HEALTH}}"}}
service:
  extensions: [health_check]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [{name}], exporters: [file]}}
    metrics: {{receivers: [{name}], exporters: [file]}}
    logs: {{receivers: [{name}], exporters: [file]}}
"""


@contextmanager
def collector(
    folder: Path,
    configuration: Path | None = None,
    environ: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Generator[Collector]:
    """Run a Collector; without a configuration it writes all that it gets to `output`.

    Args:
        folder: Its configuration, its log and what it writes.
        configuration: Another one, which may use the variables `OTLP_GRPC`, `OTLP_HTTP`, `HEALTH`
            (each host:port), `OWN_METRICS_PORT` and `OUTPUT`.
        environ: Further variables of the configuration.
        prefix: What its command line begins with.
    """
    made = Collector(folder, configuration, environ, prefix)
    made.start()
    try:
        yield made
    finally:
        made.stop()


class Prometheus(Server):
    """A Prometheus that takes remote write; rules and scraping by its configuration."""

    def __init__(self, folder: Path, configuration: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        if configuration is None:
            configuration = folder / "prometheus.yml"
            configuration.write_text("global: {}\n")
        super().__init__(
            [
                str(program("prometheus")),
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--web.enable-remote-write-receiver",
                "--enable-feature=exemplar-storage",
            ],
            f"{self.url}/-/ready",
            folder / "prometheus.log",
        )

    @property
    def remote_write(self) -> str:
        """Where a Collector writes to."""
        return f"{self.url}/api/v1/write"

    def query(self, promql: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return the result of an instant query; one that Prometheus refuses fails the test.

        Args:
            promql: The query.
            at: Unix time in seconds; now by default.
        """
        fields = {"query": promql} | ({} if at is None else {"time": str(at)})
        body = urllib.parse.urlencode(fields).encode()
        try:
            data = json.loads(fetch(f"{self.url}/api/v1/query", body))["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{promql}: {error.read().decode()[:500]}")
        return list(data["result"]) if data["resultType"] in {"vector", "matrix"} else [data]

    def range(self, promql: str, start: float, end: float) -> list[dict[str, Any]]:
        """Return the series that a query has between two times, looked at each second.

        Args:
            promql: The query.
            start: Unix time in seconds.
            end: Likewise.
        """
        fields = {"query": promql, "start": str(start), "end": str(end), "step": "1"}
        try:
            body = urllib.parse.urlencode(fields).encode()
            answer = json.loads(fetch(f"{self.url}/api/v1/query_range", body))
        except urllib.error.HTTPError as error:
            pytest.fail(f"{promql}: {error.read().decode()[:500]}")
        return list(answer["data"]["result"])

    def names(self) -> set[str]:
        """Return the names of all metrics that it has."""
        return set(json.loads(fetch(f"{self.url}/api/v1/label/__name__/values"))["data"])


@contextmanager
def prometheus(folder: Path, configuration: Path | None = None) -> Generator[Prometheus]:
    """Run a Prometheus that takes remote write.

    Args:
        folder: Its data and its log.
        configuration: Its `prometheus.yml`; an empty one by default.
    """
    made = Prometheus(folder, configuration)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def prometheus_name(instrument: str, unit: str, kind: str) -> str:
    """Return what the Collector's remote write makes of an instrument's name.

    Source: the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".
    """
    suffix = {"s": "seconds", "By": "bytes", "W": "watts", "J": "joules", "Cel": "celsius"}
    name = re.sub(r"[^a-zA-Z0-9_:]", "_", instrument)
    parts = [name]
    if unit in suffix and not name.endswith(suffix[unit]):
        parts.append(suffix[unit])
    if unit.endswith("/s"):
        parts.append("per_second")
    if unit == "1" and kind == "gauge":
        parts.append("ratio")
    if kind == "counter":
        parts.append("total")
    return "_".join(parts)
