"""Replaying against an endpoint that takes, refuses, hesitates, or is not there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from robot_sf_otel.interop import batches
from robot_sf_otel.interop.batches import SIGNALS, Signal
from robot_sf_otel.interop.ledger import Ledger
from robot_sf_otel.interop.otlp_proto import rejected
from robot_sf_otel.interop.replay import Delivery, Pace, Replay, Result, as_json, told
from robot_sf_otel.interop.transport import (
    Answer,
    BadEndpoint,
    Certificates,
    certificates_of,
    connect,
    headers_of,
    retry_after,
)
from robot_sf_otel.redaction import Redactor
from robot_sf_otel.redaction.outgoing import Outgoing
from tests.data import sample_runs

if TYPE_CHECKING:
    from pathlib import Path

TAKEN = Answer("taken")


def take(*_: object) -> Answer:
    return TAKEN


def hesitate(*_: object) -> Answer:
    return Answer("later", reason="UNAVAILABLE")


class Endpoint:
    """An endpoint that answers as it is told, and a clock that only waiting moves."""

    def __init__(self, answer: Callable[[Signal, int], Answer] = take) -> None:
        self._answer = answer
        self.bodies: list[tuple[Signal, bytes]] = []
        self.waited: list[float] = []
        self.now = 0.0
        self.closed = False

    def send(self, signal: Signal, body: bytes) -> Answer:
        self.bodies.append((signal, body))
        return self._answer(signal, len(self.bodies))

    def close(self) -> None:
        self.closed = True

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds

    def count(self, signal: Signal) -> int:
        return sum(one == signal for one, _ in self.bodies)

    def span_ids(self) -> list[str]:
        return [
            span.span_id.hex()
            for signal, body in self.bodies
            if signal == "traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def replay(
    endpoint: Endpoint,
    *runs: Path,
    again: bool = False,
    rate: float | None = None,
    ledger: str = "http://c:4317",
) -> Result:
    def clock() -> float:
        return endpoint.now

    ledgers: dict[Path, Ledger] = {}

    def ledger_of(tracker: Path) -> Ledger:
        return ledgers.setdefault(tracker, Ledger(tracker, ledger, private=False))

    replaying = Replay(
        Delivery(endpoint, 60.0, clock, endpoint.wait),
        Outgoing(Redactor()),
        "1.2.3",
        signals=SIGNALS,
        pace=Pace(rate, clock, endpoint.wait),
        ledger_of=ledger_of,
        again=again,
    )
    result = replaying.send((run, True) for run in runs)
    for one in ledgers.values():
        one.close()
    return result


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run with samples, a finding and four steps."""
    return sample_runs.healthy().write(tmp_path)


def test_all_signals_go_out_and_what_was_accepted_is_told(run_dir: Path) -> None:
    endpoint = Endpoint()
    result = replay(endpoint, run_dir)

    assert result.is_whole
    assert result.signals["traces"].accepted == 5
    assert [endpoint.count(signal) for signal in SIGNALS] == [1, 2, 1]
    assert next(told(result)) == "traces: 5 accepted"
    assert as_json(result)["complete"] is True


def test_what_was_accepted_is_not_sent_twice(run_dir: Path) -> None:
    replay(Endpoint(), run_dir)
    endpoint = Endpoint()
    result = replay(endpoint, run_dir)

    assert endpoint.bodies == []
    assert result.is_whole
    assert (result.signals["traces"].accepted, result.signals["traces"].before) == (0, 5)
    assert "traces: 0 accepted, 5 accepted before" in list(told(result))


def test_asked_for_again_the_same_bytes_go_out(run_dir: Path) -> None:
    first, second = Endpoint(), Endpoint()
    replay(first, run_dir)
    replay(second, run_dir, again=True)

    assert sorted(second.bodies) == sorted(first.bodies)


def test_another_endpoint_gets_everything(run_dir: Path) -> None:
    replay(Endpoint(), run_dir)
    endpoint = Endpoint()
    replay(endpoint, run_dir, ledger="http://other:4317")

    assert endpoint.count("traces") == 1


def test_a_run_that_went_on_meanwhile_is_sent_anew(run_dir: Path) -> None:
    replay(Endpoint(), run_dir)
    with (run_dir / "telemetry.jsonl").open("ab") as file:
        file.write(b'{"timestamp_ms":1767225700000}\n')
    endpoint = Endpoint()
    replay(endpoint, run_dir)

    assert endpoint.count("metrics") == 2


def test_a_replay_that_was_cut_off_goes_on_where_it_was(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BYTES", 1)

    def fail(_: Signal, number: int) -> Answer:
        return TAKEN if number <= 3 else Answer("later", reason="UNAVAILABLE: gone")

    broken = Endpoint(fail)
    result = replay(broken, run_dir)
    assert not result.is_whole
    assert result.stopped == "UNAVAILABLE: gone"
    assert result.signals["logs"].unsent == 6
    endpoint = Endpoint()
    rest = replay(endpoint, run_dir)

    accepted = result.signals["traces"].accepted
    assert 0 < accepted < 5
    assert rest.is_whole
    assert (rest.signals["traces"].before, rest.signals["traces"].accepted) == (
        accepted,
        5 - accepted,
    )
    assert len({*endpoint.span_ids()}) == 5 - accepted


def test_a_busy_endpoint_is_asked_again_after_the_time_that_it_names(run_dir: Path) -> None:
    def busy(_: Signal, number: int) -> Answer:
        return Answer("later", reason="HTTP 429", after=7.0) if number == 1 else TAKEN

    endpoint = Endpoint(busy)
    assert replay(endpoint, run_dir).is_whole
    assert 7.0 in endpoint.waited


def interrupt(endpoint: Endpoint, run_dir: Path) -> None:
    """Replay a run, and press Ctrl-C when it is on its way; time is real."""

    def interrupted() -> Iterator[tuple[Path, bool]]:
        yield run_dir, False
        raise KeyboardInterrupt

    replaying = Replay(
        Delivery(endpoint, 60.0, time.monotonic),
        Outgoing(Redactor()),
        "1.0",
        signals=["traces"],
        pace=Pace(None, time.monotonic, endpoint.wait),
        ledger_of=lambda tracker: Ledger(tracker, "http://c:4317", private=False),
    )
    with pytest.raises(KeyboardInterrupt):
        replaying.send(interrupted())


def test_ctrl_c_waits_for_no_endpoint(run_dir: Path) -> None:
    asked = threading.Event()

    def away(*_: object) -> Answer:
        asked.set()
        return Answer("later", reason="UNAVAILABLE", after=30.0)

    endpoint = Endpoint(away)
    began = time.monotonic()
    interrupt(endpoint, run_dir)

    assert asked.is_set()
    assert endpoint.closed
    assert time.monotonic() - began < 25  # it would have been asked again after 30 s


def test_ctrl_c_waits_for_no_answer(run_dir: Path) -> None:
    over = threading.Event()
    asked: list[threading.Thread] = []
    answered: list[str] = []

    def hang(*_: object) -> Answer:
        asked.append(threading.current_thread())
        over.wait(10.0)
        answered.append("late")
        return TAKEN

    endpoint = Endpoint(hang)
    interrupt(endpoint, run_dir)

    assert answered == []
    assert all(thread.daemon for thread in asked), "nor does the end of the program"
    over.set()


def test_the_pauses_grow_and_patience_ends(run_dir: Path) -> None:
    endpoint = Endpoint(hesitate)
    delivery = Delivery(endpoint, 60.0, lambda: endpoint.now, endpoint.wait)
    with pytest.raises(Exception, match="UNAVAILABLE"):
        delivery.deliver("traces", b"")

    assert 0.25 <= endpoint.waited[0] <= 0.5
    assert max(endpoint.waited) > 5
    assert sum(endpoint.waited) < 60


def test_what_is_refused_is_counted_with_the_reason_and_the_rest_goes_on(run_dir: Path) -> None:
    def refuse(signal: Signal, _: int) -> Answer:
        return Answer("refused", reason="out of order") if signal == "metrics" else TAKEN

    result = replay(Endpoint(refuse), run_dir)

    assert not result.is_whole
    assert result.stopped is None
    assert result.signals["metrics"].accepted == 0
    assert result.signals["logs"].is_whole
    assert list(result.reasons) == ["out of order"]


def test_a_partial_success_is_no_success(run_dir: Path) -> None:
    def partly(signal: Signal, _: int) -> Answer:
        return Answer("taken", rejected=2, reason="too old") if signal == "traces" else TAKEN

    result = replay(Endpoint(partly), run_dir)
    assert (result.signals["traces"].accepted, result.signals["traces"].refused) == (3, 2)
    endpoint = Endpoint()
    replay(endpoint, run_dir)

    assert endpoint.count("traces") == 1


def test_a_signal_that_the_endpoint_does_not_know_is_tried_a_few_times_at_most(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BYTES", 1)

    def only_logs(signal: Signal, _: int) -> Answer:
        return TAKEN if signal == "logs" else Answer("not here", reason="UNIMPLEMENTED")

    endpoint = Endpoint(only_logs)
    result = replay(endpoint, *[run_dir] * 5)

    assert endpoint.count("traces") < 10
    assert result.signals["traces"].refused == 25
    assert result.signals["logs"].accepted


def test_a_directory_without_a_run_does_not_stop_the_others(tmp_path: Path, run_dir: Path) -> None:
    (tmp_path / "run-tracker" / "empty").mkdir()
    endpoint = Endpoint()
    result = replay(endpoint, run_dir, tmp_path / "run-tracker" / "empty")

    assert endpoint.count("traces") == 1
    assert not result.is_whole


def test_the_rate_is_kept(run_dir: Path) -> None:
    endpoint = Endpoint()
    replay(endpoint, run_dir, rate=1.0)

    assert endpoint.now >= 5


def test_a_damaged_ledger_is_read_as_far_as_it_goes(tmp_path: Path, run_dir: Path) -> None:
    replay(Endpoint(), run_dir)
    (path,) = (tmp_path / "run-tracker" / ".replay").iterdir()
    path.write_bytes(b"\xff\xfe\n{}\n" + path.read_bytes() + b'{"run":')
    endpoint = Endpoint()
    replay(endpoint, run_dir)

    assert endpoint.bodies == []


@pytest.mark.parametrize(
    "endpoint", ["", "://", "ftp://host", "http://", "http://host:port", "http://[::1"]
)
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(BadEndpoint, match="is no endpoint"):
        connect(endpoint, "grpc", {})


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_endpoint_that_is_not_there_may_be_tried_later(protocol: Any) -> None:  # noqa: ANN401 - one of two
    transport = connect("http://127.0.0.1:9", protocol, {})
    answer = transport.send("traces", b"")
    transport.close()

    assert answer.kind == "later"
    assert answer.reason


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    environ = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "none.pem")}
    with pytest.raises(BadEndpoint, match=r"CERTIFICATE names .*none\.pem', which cannot be read"):
        connect("https://localhost:4317", "grpc", environ)


def test_a_key_without_a_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("")
    environ = {"OTEL_EXPORTER_OTLP_CLIENT_KEY": str(tmp_path / "key.pem")}
    with pytest.raises(BadEndpoint, match=r"CLIENT_KEY needs OTEL_\w+_CLIENT_CERTIFICATE"):
        connect("https://localhost:4317", "grpc", environ)


def test_a_certificate_may_hold_its_key(tmp_path: Path) -> None:
    (both := tmp_path / "both.pem").write_text("")
    environ = {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(both)}

    assert certificates_of(environ) == Certificates(own=(both, both))


def certificates(folder: Path) -> dict[str, str]:
    """Return variables that name files, each with its own name in it."""
    made: dict[str, str] = {}
    for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
        (path := folder / name).write_text(name)
        made[f"OTEL_EXPORTER_OTLP_{name}"] = str(path)
    return made


def test_certificates_of_the_variables_count_over_http_whatever_requests_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, Any] = {}

    def send(*_: object, **settings: Any) -> None:  # noqa: ANN401 - of requests
        sent.update(settings)
        raise requests.ConnectionError

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", send)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    environ = certificates(tmp_path)
    connect("https://localhost:4318", "http/protobuf", environ).send("traces", b"")

    trusted, own, key = environ.values()
    assert (sent["verify"], sent["cert"]) == (trusted, (own, key))


def test_certificates_of_the_variables_count_over_grpc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[bytes | None, ...]] = []
    make = grpc.ssl_channel_credentials

    def credentials(*files: bytes | None) -> object:
        given.append(files)
        return make()

    monkeypatch.setattr(grpc, "ssl_channel_credentials", credentials)
    connect("https://localhost:4317", "grpc", certificates(tmp_path)).close()
    connect("https://localhost:4317", "grpc", {}).close()

    assert given == [(b"CERTIFICATE", b"CLIENT_KEY", b"CLIENT_CERTIFICATE"), (None, None, None)]


@pytest.mark.parametrize(
    ("protocol", "headers", "wrong"),
    [
        ("http/protobuf", "k=%E2%82%AC", "value of 'k' has characters"),
        ("http/protobuf", "k=a%0Ab", "value of 'k' has characters"),
        ("grpc", "k=caf%C3%A9", "value of 'k' has characters"),
        ("grpc", "a%20b=c", "'a b' is no name of a header"),
    ],
)
def test_headers_that_cannot_be_sent_are_named(protocol: Any, headers: str, wrong: str) -> None:  # noqa: ANN401 - one of two
    with pytest.raises(BadEndpoint, match=f"OTEL_EXPORTER_OTLP_HEADERS: .*{wrong}"):
        connect("http://127.0.0.1:9", protocol, {"OTEL_EXPORTER_OTLP_HEADERS": headers})


def test_a_password_that_cannot_be_sent_is_refused() -> None:
    transport = connect("http://me:%E2%82%AC@127.0.0.1:9", "http/protobuf", {})
    answer = transport.send("traces", b"")
    transport.close()

    assert answer.kind == "refused"


def test_headers_come_from_the_environment() -> None:
    told = headers_of({"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20x, a = b ,=c,d"})

    assert told == {"authorization": "Bearer x", "a": "b"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("", None), ("soon", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}) == seconds


def test_an_answer_that_is_no_message_refuses_nothing() -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 3
    answer.partial_success.error_message = "too old"

    assert rejected("traces", answer.SerializeToString()) == (3, "too old")
    assert rejected("traces", b"\xff\xff") == (0, "")
