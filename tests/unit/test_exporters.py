"""Exporters by OpenTelemetry's variables, and what becomes of them in forked children."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from robot_sf_otel import exporters
from robot_sf_otel.exporters import (
    OfOneProcess,
    PerProcess,
    Signal,
    asked_for,
    exporters_of,
    wire_protocol,
    wrong_timeouts,
)


class Exporter:
    def __init__(self) -> None:
        self.exported: list[Any] = []
        self._preferred_temporality = {"a": "b"}

    def export(self, batch: Any, **settings: Any) -> str:  # noqa: ANN401 - any signal's
        self.exported.append(batch)
        return "sent"


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_every_signal_goes_to_the_endpoint_unless_it_is_told_otherwise(signal: Signal) -> None:
    everything = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}
    assert asked_for(signal, everything) == ["otlp"]
    own = {f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT": "http://x"}
    assert asked_for(signal, own) == ["otlp"]
    assert asked_for(signal, {**everything, f"OTEL_{signal.upper()}_EXPORTER": "none"}) == []
    assert asked_for(signal, {}) == []


def test_unknown_protocol_is_named_with_what_is_used_instead() -> None:
    variable = "OTEL_EXPORTER_OTLP_PROTOCOL"
    assert wire_protocol({variable: "http/json"}, variable) == (
        "http/protobuf",
        f"{variable}='http/json' is neither grpc nor http/protobuf; http/protobuf is used",
    )
    assert wire_protocol({variable: "pigeon"}, variable)[0] == "grpc"
    assert wire_protocol({variable: "http/protobuf"}, "OTHER", variable) == ("http/protobuf", None)


@pytest.mark.parametrize("given", ["abc", "-1", "0", "nan", "inf"])
def test_a_timeout_that_is_none_is_named(given: str) -> None:
    environ = {"OTEL_EXPORTER_OTLP_TIMEOUT": given, "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "2.5"}

    assert wrong_timeouts("logs", environ) == {
        "OTEL_EXPORTER_OTLP_TIMEOUT": f"OTEL_EXPORTER_OTLP_TIMEOUT={given!r} is no number of "
        "seconds above 0; it counts as unset"
    }
    assert wrong_timeouts("logs", {"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": " "}) == {
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": None
    }
    assert wrong_timeouts("logs", {}) == {}


@pytest.mark.parametrize("variable", ["TIMEOUT", "TRACES_TIMEOUT"])
def test_an_exporter_is_made_without_a_wrong_timeout(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    variable = f"OTEL_EXPORTER_OTLP_{variable}"
    warnings: list[str] = []

    def warn_once(_: str, message: str) -> bool:
        warnings.append(message)
        return True

    monkeypatch.setattr("robot_sf_otel.guard.warn_once", warn_once)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(variable, "abc")
    (exporter,) = exporters_of("traces", os.environ)
    exporter.shutdown()

    assert [text.partition(" ")[0] for text in warnings] == [f"{variable}='abc'"]
    assert os.environ[variable] == "abc"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "otlp_proto_grpc"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "otlp_proto_http"),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc",
            },
            "otlp_proto_grpc",
        ),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": " "},
            "otlp_proto_grpc",
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": " grpc "}, "otlp_proto_grpc"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "otlp_proto_http"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "pigeon"}, "otlp_proto_grpc"),
    ],
    ids=["default", "for-all", "for-logs", "empty", "spaces", "json", "unknown"],
)
def test_protocol_of_a_signal_beats_that_of_all(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: str
) -> None:
    asked: list[tuple[str, str]] = []

    def points(*, group: str, name: str) -> list[SimpleNamespace]:
        asked.append((group, name))
        return [SimpleNamespace(load=lambda: Exporter)]

    monkeypatch.setattr(exporters, "entry_points", points)
    (made,) = exporters_of("logs", {**environ, "OTEL_LOGS_EXPORTER": "otlp"})
    assert asked == [("opentelemetry_logs_exporter", expected)]
    assert made.export("batch") == "sent"


def test_forked_child_makes_an_exporter_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Exporter] = []

    def make() -> Exporter:
        made.append(Exporter())
        return made[-1]

    exporter = PerProcess(make)
    exporter.export(["parent"])
    exporter.export(["parent"])
    monkeypatch.setattr("os.getpid", lambda: -1)
    exporter.export(["child"])
    exporter.export(["child"])
    assert [one.exported for one in made] == [[["parent"]] * 2, [["child"]] * 2]
    assert exporter._preferred_temporality == {"a": "b"}


def test_metrics_of_a_parent_are_not_sent_by_its_forked_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Exporter()
    exporter = OfOneProcess(lambda: made)
    assert exporter.export("parent", timeout_millis=1) == "sent"
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert exporter.export("child").name == "SUCCESS"
    assert made.exported == ["parent"]
