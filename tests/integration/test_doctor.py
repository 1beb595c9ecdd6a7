"""`doctor` where something really is missing: psutil, permission, network, a GPU.

Each time it says what works all the same and what to do; and a run is recorded all the same, but
where nothing may be written.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
MAIN = "from robot_sf_otel.cli.main import main; main()"
PIPELINE = """
import robot_sf_otel as r

r.configure(interval=0.1)
with r.pipeline("small"), r.step("work"):
    sum(range(100_000))
"""

pytestmark = pytest.mark.integration


def doctor(
    directory: Path,
    *,
    prefix: tuple[str, ...] = (),
    python: tuple[str, ...] = (sys.executable,),
    env: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Its exit code, and what it found by name."""
    done = subprocess.run(
        [*prefix, *python, "-c", MAIN, "doctor", "--format", "json"],
        cwd=directory,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"] is (done.returncode == 0)
    return done.returncode, {check["name"]: check for check in answer["checks"]}


def records_a_run(
    directory: Path,
    prefix: tuple[str, ...] = (),
    python: tuple[str, ...] = (sys.executable,),
) -> dict[str, Any]:
    """The manifest of a small run there."""
    subprocess.run(
        [*prefix, *python, "-c", PIPELINE],
        cwd=directory,
        capture_output=True,
        timeout=120,
        check=True,
    )
    (manifest,) = directory.glob("output/run-tracker/*/manifest.json")
    record: dict[str, Any] = json.loads(manifest.read_bytes())
    return record


@pytest.fixture(name="no_psutil")
def python_without_psutil(tmp_path: Path) -> tuple[str, ...]:
    """An interpreter that has every package of this one but psutil."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            if not entry.name.startswith(("psutil", "__")):
                (packages / entry.name).symlink_to(entry)
    start = tmp_path / "python-without-psutil"
    paths = os.pathsep.join(map(str, (packages, ROOT, ROOT / "exporters")))
    start.write_text(f"#!/bin/sh\nPYTHONPATH='{paths}' exec '{sys.executable}' -S \"$@\"\n")
    start.chmod(0o755)
    return (str(start),)


def test_without_psutil_linux_reads_everything_all_the_same(
    no_psutil: tuple[str, ...], tmp_path: Path
) -> None:
    if sys.platform != "linux":
        pytest.skip("elsewhere psutil is what reads the machine")
    code, found = doctor(tmp_path, python=no_psutil)

    assert code == 0
    assert found["psutil"]["state"] == "info"
    assert found["psutil"]["remedy"] == "pip install psutil"

    telemetry = records_a_run(tmp_path, python=no_psutil)["telemetry"]
    for name in ("memory_rss_mb", "memory_available_mb", "thread_count", "process_count"):
        assert telemetry[name]["maximum"] > 0, name


def test_without_permission_to_write_nothing_can_work_and_it_says_where_to_go(
    tmp_path: Path,
) -> None:
    place = tmp_path / "readonly"
    place.mkdir(mode=0o555)
    prefix = obeying_permissions()
    code, found = doctor(place, prefix=prefix)

    assert code == 1
    assert found["artifact root"]["state"] == "problem"
    assert "Permission denied" in found["artifact root"]["detail"]
    assert "ROBOT_SF_ARTIFACT_ROOT" in found["artifact root"]["remedy"]
    assert found["Python"]["state"] == "ok"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code, found = doctor(place, prefix=prefix, env={"ROBOT_SF_ARTIFACT_ROOT": str(elsewhere)})
    assert code == 0
    assert found["artifact root"]["state"] == "ok"


def obeying_permissions() -> tuple[str, ...]:
    """A command prefix for a process that may not write where the permissions forbid it."""
    if os.geteuid():
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv to take that away")
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


def no_network() -> tuple[str, ...]:
    """A command prefix for a network namespace with nothing in it, not even a loopback."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("needs unshare of Linux")
    prefix = ("unshare", "--net", *(("--map-root-user",) if os.geteuid() else ()))
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no network namespaces")
    return prefix


def test_without_a_network_everything_works_but_sending(tmp_path: Path) -> None:
    prefix = no_network()
    code, found = doctor(tmp_path, prefix=prefix)
    assert code == 0
    assert "Recording needs no network" in found["OTLP"]["detail"]

    code, found = doctor(
        tmp_path,
        prefix=prefix,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example:4317"},
    )
    assert code == 0
    assert found["OTLP"]["state"] == "warning"
    assert "nobody answers at collector.example:4317" in found["OTLP"]["detail"]
    assert "recorded on disk all the same" in found["OTLP"]["detail"]
    assert "where there is no network" in found["OTLP"]["remedy"]

    assert records_a_run(tmp_path, prefix=prefix)["status"] == "completed"


@pytest.fixture(name="port")
def full_queue() -> Iterator[int]:
    """A port that takes no more connections and refuses none: whoever connects waits."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting: list[socket.socket] = []
        try:
            for _ in range(8):
                client = socket.socket()
                waiting.append(client)
                client.settimeout(0.2)
                try:
                    client.connect(listening.getsockname())
                except TimeoutError:
                    break
            yield int(listening.getsockname()[1])
        finally:
            for client in waiting:
                client.close()


def test_an_endpoint_that_never_answers_is_given_up_and_named(port: int, tmp_path: Path) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    code, found = doctor(tmp_path, env=endpoint)

    assert code == 0
    assert found["OTLP"]["state"] == "warning"
    assert "timed out" in found["OTLP"]["detail"]


def test_an_endpoint_that_refuses_is_named(tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else gets it meanwhile
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        _, found = doctor(tmp_path, env=endpoint)

    assert found["OTLP"]["state"] == "warning"
    assert "refused" in found["OTLP"]["detail"]


def test_without_a_driver_the_gpu_alone_is_missing_and_no_package_is_blamed(
    tmp_path: Path,
) -> None:
    code, found = doctor(tmp_path)
    gpu = found["GPU (NVML)"]
    if gpu["state"] == "ok":
        pytest.skip("this machine has an NVIDIA GPU")

    assert code == 0
    assert gpu["state"] == "info"
    assert "everything else is recorded" in gpu["detail"]
    assert "nvidia-ml-py" not in gpu["detail"]
    assert "driver" in gpu["remedy"] or "nvidia-smi" in gpu["remedy"]


def test_a_file_system_in_memory_is_told_to_forget(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        pytest.skip("this machine has no writable /dev/shm")
    _, found = doctor(tmp_path, env={"ROBOT_SF_ARTIFACT_ROOT": str(memory / "never-made")})

    assert found["artifact root"]["state"] == "ok"
    assert "gone when the machine restarts" in found["file system"]["detail"]
    assert not (memory / "never-made").exists()
