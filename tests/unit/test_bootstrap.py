from __future__ import annotations

import contextvars
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from robot_sf_otel import bootstrap, configure, current_run, pipeline, shutdown, step
from robot_sf_otel import environment_variables as env
from robot_sf_otel.instrument import context
from robot_sf_otel.providers import UrandomIds, obtain
from robot_sf_otel.redaction import Outgoing, Redactor
from robot_sf_otel.store.history import find_runs
from robot_sf_otel.store.reader import load_run
from tests.unit.warned import warnings_said

if TYPE_CHECKING:
    from robot_sf_otel.instrument.pipeline import RunHandle
    from robot_sf_otel.manifest.schema import PipelineRunRecord


@pytest.fixture(autouse=True)
def switched_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin and end each test with telemetry off."""
    monkeypatch.setenv(env.CONSOLE, "off")
    shutdown()
    yield
    shutdown()


@pytest.fixture
def said() -> Iterator[list[str]]:
    with warnings_said() as messages:
        yield messages


def records(root: str = "output") -> list[PipelineRunRecord]:
    return [load_run(run_dir).record for run_dir in sorted(find_runs([Path(root)]))]


def record_one(name: str = "p") -> None:
    with pipeline(name), step("train"):
        pass


def test_without_configure_nothing_is_recorded(tmp_path: Path, said: list[str]) -> None:
    record_one()
    with pipeline("p") as run:
        assert run.run_id is None
        assert current_run().run_id is None
    assert list(tmp_path.iterdir()) == []
    assert said == []


def test_configure_switches_on(said: list[str]) -> None:
    configure()
    record_one()
    assert [record.pipeline for record in records()] == ["p"]
    assert said == []


def test_environment_switches_on_without_configure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(env.ENABLED, "true")
    record_one()
    assert [record.pipeline for record in records()] == ["p"]


@pytest.mark.parametrize(
    ("name", "value"), [(env.ENABLED, "false"), (env.OTEL_SDK_DISABLED, "true")]
)
def test_environment_switches_off_whatever_the_code_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv(env.RUN_DIR, str(tmp_path / "parent"))
    configure()
    record_one()
    assert list(tmp_path.iterdir()) == []
    assert said == []


def test_configuring_again_with_the_same_values_says_nothing(
    tmp_path: Path, said: list[str]
) -> None:
    tracers = TracerProvider(shutdown_on_exit=False)
    for _ in range(2):
        configure(artifact_root="output", interval=1, tracer_provider=tracers)
    configure()
    configure(artifact_root=tmp_path / "output")
    assert said == []


@pytest.mark.parametrize(
    "again",
    [{"artifact_root": "elsewhere"}, {"interval": 5.0}, {"gpu": "off"}, {"run_name": "x"}],
    ids=lambda again: next(iter(again)),
)
def test_configuring_again_with_another_value_warns_and_changes_nothing(
    said: list[str], again: dict[str, Any]
) -> None:
    configure()
    settled = bootstrap._installed.config
    configure(**again)
    (warning,) = said
    assert f"another {next(iter(again))};" in warning
    assert "shutdown()" in warning
    assert bootstrap._installed.config is settled
    record_one()
    assert len(records()) == 1


def test_configuring_again_with_another_provider_warns(said: list[str]) -> None:
    configure()
    configure(
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        meter_provider=MeterProvider(shutdown_on_exit=False),
    )
    (warning,) = said
    assert "another tracer_provider, meter_provider;" in warning


def test_configuring_after_shutdown_takes_other_values(said: list[str]) -> None:
    configure(artifact_root="first")
    record_one("one")
    shutdown()
    configure(artifact_root="second")
    record_one("two")
    assert said == []
    assert [record.pipeline for record in records("first")] == ["one"]
    assert [record.pipeline for record in records("second")] == ["two"]


def test_shutdown_switches_off(said: list[str]) -> None:
    configure()
    shutdown()
    record_one()
    assert records() == []
    assert said == []


@pytest.mark.parametrize("in_step", [False, True])
def test_shutdown_closes_a_live_run(in_step: bool) -> None:  # noqa: FBT001 - a table
    def leave_open() -> RunHandle:
        run = pipeline("p").start()
        if in_step:
            step("train").__enter__()
        return run

    configure()
    run = contextvars.copy_context().run(leave_open)
    shutdown()
    (record,) = records()
    assert (record.status, record.status_reason) == (
        "cancelled",
        "shutdown() was called during the run",
    )
    assert [entry.status for entry in record.steps] == ["cancelled"] * in_step
    assert context.process.live_runs == []
    run.finish()
    assert records()[0].status == "cancelled"


def test_step_that_outlives_shutdown_ends_quietly(said: list[str]) -> None:
    configure()
    with pipeline("p"), step("train") as this:
        shutdown()
        this.advance()
        this.log_metric("x", 1)
        this.log_artifact(__file__)
    assert said == []
    assert records()[0].artifacts == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (env.ENABLED, "perhaps"),
        (env.OTEL_SDK_DISABLED, "maybe"),
        (env.INTERVAL, "0.01"),
        (env.GPU, "cuda:0"),
        (env.WATCHDOG, "maybe"),
        (env.RULES, "/there/is/none"),
        (env.REDACT, "("),
        (env.CONSOLE, "loud"),
    ],
)
def test_bad_variable_is_named_with_its_value_in_one_warning(
    monkeypatch: pytest.MonkeyPatch, said: list[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    configure(console=None if name == env.CONSOLE else "off")
    record_one()
    (warning,) = said
    assert f"{name}={value!r}" in warning
    assert len(records()) == 1


def test_artifact_root_is_settled_when_telemetry_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    record_one()
    assert len(records(str(tmp_path / "output"))) == 1
    assert list(Path.cwd().iterdir()) == []


def test_given_run_name_is_the_directory_and_counts_up() -> None:
    configure(run_name="night")
    for _ in range(3):
        record_one()
    assert sorted(run_dir.name for run_dir in find_runs([Path("output")])) == [
        "night",
        "night-2",
        "night-3",
    ]


@pytest.mark.parametrize("name", ["../escape", "a/b", ".hidden", "x" * 300])
def test_run_name_that_no_directory_can_have_warns_and_a_generated_one_is_taken(
    tmp_path: Path, said: list[str], name: str
) -> None:
    configure(run_name=name)
    record_one()
    (warning,) = said
    assert "run name" in warning
    assert len(records()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_secrets_are_masked_before_anything_is_written(tmp_path: Path) -> None:
    configure(redact="plate")
    secrets = {"api_key": "hunter2hunter2", "number_plate": "AB-CD 12", "num_memory_tokens": 8}
    with pipeline("p", params={"nested": secrets}), step("train"):
        current_run().log_params({"password": "hunter2hunter2"})
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"hunter2" not in everything
    assert b"AB-CD" not in everything
    (record,) = records()
    assert record.params == {
        "nested": {
            "api_key": "[redacted]",
            "number_plate": "[redacted]",
            "num_memory_tokens": 8,
        },
        "password": "[redacted]",
    }


def test_package_without_an_installed_recorder_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    def nothing(**_: object) -> tuple[()]:
        return ()

    monkeypatch.setattr("importlib.metadata.entry_points", nothing)
    configure()
    record_one()
    (warning,) = said
    assert "reinstall robot-sf-otel" in warning


def test_nothing_is_switched_on_while_a_spawned_child_imports_its_main_module(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from multiprocessing import process

    monkeypatch.setattr(process.current_process(), "_inheriting", True, raising=False)
    monkeypatch.setenv(env.ENABLED, "true")
    configure()
    record_one()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(process.current_process(), "_inheriting", False, raising=False)
    record_one()
    assert len(records()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_switching_on_and_off_leaves_no_descriptor_and_no_thread_behind() -> None:
    def left() -> tuple[int, set[str]]:
        names = {t.name for t in threading.enumerate() if t.name.startswith("robot-sf-otel")}
        return len(os.listdir("/proc/self/fd")), names  # noqa: PTH208 - a count

    def once() -> None:
        configure()
        record_one()
        shutdown()

    once()
    before = left()
    for _ in range(3):
        once()
    assert left() == before
    assert before[1] == set()


def test_host_runtime_and_version_control_are_in_the_record() -> None:
    configure()
    record_one()
    (record,) = records()
    assert record.host
    assert record.runtime
    assert record.self_cost.samples_taken >= 2, "one at the start and one at the end"


def test_ids_come_from_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = UrandomIds()
    assert len({ids.generate_span_id() for _ in range(100)}) == 100
    assert ids.generate_trace_id() < 2**128
    assert ids.generate_span_id() < 2**64
    monkeypatch.setattr("os.urandom", bytes)
    assert ids.generate_span_id() == ids.generate_trace_id() == 1, "0 is no valid id"
    assert ids.is_trace_id_random()


def test_given_providers_are_never_ours_to_shut_down() -> None:
    tracers = TracerProvider(shutdown_on_exit=False)
    meters = MeterProvider(shutdown_on_exit=False)
    obtained = obtain(tracers, meters, {}, Outgoing(Redactor()))
    assert (obtained.tracer_provider, obtained.meter_provider) == (tracers, meters)
    assert obtained.owned == []


def test_provider_that_hangs_delays_the_end_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    from robot_sf_otel import providers

    release = threading.Event()

    class Hangs:
        def shutdown(self) -> None:
            release.wait()

    class Fails:
        def shutdown(self) -> None:
            raise OSError("no route to host")

    monkeypatch.setattr(providers, "EXIT_SECONDS", 0.01)
    tracers: Any = TracerProvider(shutdown_on_exit=False)
    meters: Any = MeterProvider(shutdown_on_exit=False)
    with warnings_said() as said:
        providers.Providers(tracers, meters, [Fails(), Hangs()]).shutdown()
        assert "OpenTelemetry shutdown failed" in said[0]
    release.set()


def test_bad_limit_of_opentelemetry_warns_and_falls_back(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    from robot_sf_otel import providers

    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")
    provider = providers._new_tracer_provider({}, Outgoing(Redactor()))
    assert isinstance(provider, TracerProvider)
    (warning,) = said
    assert "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" in warning
    provider.shutdown()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, []),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "run_manifest"}, []),
    ],
    ids=str,
)
def test_exporters_are_those_that_the_environment_names(
    environ: dict[str, str], expected: list[str]
) -> None:
    from robot_sf_otel.exporters import _names

    found = _names(environ, env.OTEL_TRACES_EXPORTER, env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)
    assert found == expected
