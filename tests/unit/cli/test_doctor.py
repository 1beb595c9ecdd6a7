"""`doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import io
import json
import threading
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn

import pytest

from robot_sf_otel.cli import checks, checks_disk, checks_machine
from robot_sf_otel.cli.main import run_command
from robot_sf_otel.store import identity
from robot_sf_otel.system_metrics import nvml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from robot_sf_otel.cli.check import Check


def found(environ: Mapping[str, str] | None = None, root: str = "output") -> dict[str, Check]:
    results = checks.run_checks([Path(root)], environ or {}, io.StringIO())
    return {check.name: check for check in results}


def test_a_working_machine_has_no_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor"]) == 0

    out = capsys.readouterr().out
    assert "0 problems" in out
    for name in (
        "Python",
        "packages",
        "artifact root",
        "disk sync",
        "OTLP",
        "TensorBoard",
        "killed runs",
        "clock",
    ):
        assert name in out


def test_json_is_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", "--format", "json"]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert set(answer["checks"][0]) == {"name", "state", "detail", "remedy"}


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    found()

    assert list(tmp_path.iterdir()) == []


def test_every_trouble_has_a_remedy() -> None:
    for check in found({"ROBOT_SF_OTEL_INTERVAL": "x"}).values():
        assert check.state not in {"warning", "problem"} or check.remedy


def test_an_artifact_root_that_is_a_file_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "output").write_text("")

    assert run_command(["doctor"]) == 1
    assert "problem  artifact root" in capsys.readouterr().out


def test_an_artifact_root_that_cannot_be_written_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(**_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refused)

    check = found()["artifact root"]
    assert check.state == "problem"
    assert "Permission denied" in check.detail
    assert "ROBOT_SF_ARTIFACT_ROOT" in (check.remedy or "")


def test_little_space_slow_syncs_and_another_clock_are_warnings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def almost_full(_: object) -> SimpleNamespace:
        return SimpleNamespace(free=1000)

    monkeypatch.setattr("shutil.disk_usage", almost_full)
    monkeypatch.setattr(checks_disk, "_SLOW_SYNC", 0.0)
    monkeypatch.setattr("time.time", lambda: 0.0)
    results = found()

    assert results["free space"].state == "warning"
    assert results["disk sync"].state == "warning"
    assert results["clock of the disk"].state == "warning"


def test_a_file_system_without_locks_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> NoReturn:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refused)

    assert found()["locks"].state == "warning"


@pytest.mark.parametrize(
    ("environ", "state", "words"),
    [
        ({}, "ok", "on where the code calls configure()"),
        ({"ROBOT_SF_OTEL_ENABLED": "true"}, "ok", "switched on by the environment"),
        ({"ROBOT_SF_OTEL_ENABLED": "false"}, "warning", "ROBOT_SF_OTEL_ENABLED=false"),
        ({"OTEL_SDK_DISABLED": "true"}, "warning", "OTEL_SDK_DISABLED=true"),
    ],
)
def test_settings_say_whether_anything_is_recorded(
    environ: dict[str, str], state: str, words: str
) -> None:
    check = found(environ)["settings"]

    assert check.state == state
    assert words in check.detail


def test_a_bad_variable_is_named_with_its_value() -> None:
    results = checks.run_checks([], {"ROBOT_SF_OTEL_INTERVAL": "0.01"}, io.StringIO())

    warned = [check.detail for check in results if check.state == "warning"]
    assert any("ROBOT_SF_OTEL_INTERVAL='0.01'" in text for text in warned)


def test_a_missing_package_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in {"msgspec", "opentelemetry-exporter-otlp"}:
            raise metadata.PackageNotFoundError(name)
        return "1.20.0"

    monkeypatch.setattr("importlib.metadata.version", version)
    results = found({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"})

    assert results["packages"].state == "problem"
    assert results["OpenTelemetry"].state == "problem"
    assert results["OTLP"].detail.startswith("an endpoint is set, but")


def test_no_recorder_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**_: str) -> list[str]:
        return []

    monkeypatch.setattr("importlib.metadata.entry_points", none)

    assert found()["recorder"].state == "problem"


def test_a_collector_that_is_down_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refused(address: object, _: float) -> NoReturn:
        asked.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("socket.create_connection", refused)
    check = found({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:secret@collector:4318"})["OTLP"]

    assert asked == [("collector", 4318)]
    assert check.state == "warning"
    assert "secret" not in check.detail


def test_a_name_that_is_not_resolved_in_time_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()

    def hang(*_: object) -> NoReturn:
        answered.wait(60)
        raise OSError("too late")

    monkeypatch.setattr("socket.create_connection", hang)
    monkeypatch.setattr(checks, "_LOOK_UP_SECONDS", 0.01)
    check = found({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"})["OTLP"]
    answered.set()

    assert check.state == "warning"
    assert "not resolved in time" in check.detail


def test_an_endpoint_that_is_no_address_is_a_warning() -> None:
    check = found({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:notaport"})["OTLP"]

    assert check.state == "warning"


def test_a_check_that_crashes_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash() -> NoReturn:
        raise ZeroDivisionError

    monkeypatch.setattr(checks, "_clock", crash)
    results = found()

    assert "the check itself failed" in results["clock"].detail
    assert results["Python"].state == "ok"


def test_a_working_directory_that_is_gone_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert found()["working directory"].state == "problem"


def test_without_process_start_times_killed_runs_are_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(_: int) -> tuple[bool, int | None]:
        return True, None

    monkeypatch.setattr(identity, "_incarnation", unknown)
    assert found()["killed runs"].state == "warning"


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (OSError("libnvidia-ml.so.1: cannot open shared object file"), "info", "no NVIDIA driver"),
        (ImportError("No module named 'pynvml'"), "warning", "nvidia-ml-py is not installed"),
    ],
)
def test_what_is_missing_for_gpus_is_named_the_driver_first(
    monkeypatch: pytest.MonkeyPatch, error: Exception, state: str, words: str
) -> None:
    def fail() -> NoReturn:
        raise error

    monkeypatch.setattr(nvml, "load", fail)
    check = found()["GPU (NVML)"]

    assert check.state == state
    assert words in check.detail
    assert ("pip install" in (check.remedy or "")) == (state == "warning")


def test_a_driver_whose_library_a_container_lacks_is_no_missing_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail() -> NoReturn:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    monkeypatch.setattr(nvml, "load", fail)
    monkeypatch.setattr(checks_machine, "_NVIDIA_KERNEL_DRIVER", tmp_path)
    check = found()["GPU (NVML)"]

    assert check.state == "warning"
    assert "NVIDIA_DRIVER_CAPABILITIES" in (check.remedy or "")


@pytest.mark.parametrize(
    ("platform", "state", "words"),
    [("linux", "info", "nothing is lost"), ("darwin", "warning", "own process")],
)
def test_without_psutil_it_says_what_is_read_all_the_same(
    platform: str, state: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    check = checks_machine._without_psutil(ModuleNotFoundError("No module named 'psutil'"))

    assert check.state == state
    assert words in check.detail
    assert check.remedy == "pip install psutil"


def test_a_psutil_that_does_not_load_is_named_with_its_error() -> None:
    check = checks_machine._without_psutil(ImportError("undefined symbol: x"))

    assert "undefined symbol: x" in check.detail


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("tmpfs", "gone when the machine restarts"),
        ("overlay", "gone when it is removed"),
        ("nfs4", "of the network"),
    ],
)
def test_a_file_system_that_means_something_for_runs_is_explained(
    kind: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(_: Path) -> str:
        return kind

    monkeypatch.setattr(checks_disk, "file_system_of", of)
    check = found()["file system"]

    assert check.state == "info"
    assert words in check.detail
    assert check.remedy


def test_the_kind_of_a_file_system_is_that_of_the_last_mount_at_the_nearest_place(
    tmp_path: Path,
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"root / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\nnone {tmp_path} tmpfs rw 0 0\n",
        encoding="utf-8",
    )

    assert checks_disk.file_system_of(tmp_path, mounts) == "tmpfs"
    assert checks_disk.file_system_of(Path("/"), mounts) == "ext4"
    assert checks_disk.file_system_of(tmp_path, tmp_path / "none") is None


@pytest.mark.parametrize(
    ("environ", "pid", "shell", "state"),
    [
        ({}, 42, True, "ok"),
        ({"ROBOT_SF_OTEL_WATCHDOG": "false"}, 42, True, "info"),
        ({}, 1, True, "info"),
        ({}, 42, False, "warning"),
    ],
)
def test_where_there_is_no_watchdog_it_says_who_closes_a_killed_run(
    environ: dict[str, str],
    pid: int,
    shell: bool,  # noqa: FBT001 - a parameter of the test
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def access(*_: object) -> bool:
        return shell

    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: pid)
        patch.setattr("os.access", access)
        (check,) = checks._watchdog(environ)

    assert check.state == state
    assert state == "ok" or "robot-sf-otel recover" in check.detail
