"""The facts that are recorded with a run."""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import subprocess
import sys
import types
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.system_metrics import environment
from robot_sf_otel.system_metrics.environment import (
    container,
    cpu_model,
    environment_digest,
    host_facts,
    runtime_facts,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def fail(*args: object, **kwargs: object) -> None:
    raise OSError


def test_the_machine_is_described() -> None:
    facts = host_facts()

    assert facts["hostname"] == os.uname().nodename
    assert facts["architecture"] == platform.machine()
    assert facts["cpu_count"] == os.cpu_count()
    assert 0 < facts["usable_cpus"] <= facts["cpu_count"]
    assert facts["memory_total_mb"] > 100
    assert facts["os"]
    assert facts["kernel"]


def test_no_address_of_the_machine_is_recorded() -> None:
    for value in host_facts().values():
        for word in str(value).split():
            with pytest.raises(ValueError, match="does not appear"):
                ipaddress.ip_address(word if "." in word or ":" in word else "none")


def test_a_fact_that_cannot_be_found_out_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_cpu_model", fail)
    monkeypatch.setattr(environment, "boot_id", lambda: None)

    facts = host_facts()

    assert "cpu_model" not in facts
    assert "boot_id" not in facts
    assert "hostname" in facts


def test_a_system_without_a_release_file_has_its_plain_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "freedesktop_os_release", fail)

    assert host_facts()["os"] == os.uname().sysname


def test_a_mac_is_asked_for_its_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, stdout="Apple M4\n")

    def version() -> tuple[str, tuple[str, str, str], str]:
        return "15.1", ("", "", ""), "arm64"

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr(platform, "mac_ver", version)

    facts = host_facts()

    assert facts["cpu_model"] == "Apple M4"
    assert facts["os"] == "macOS 15.1"


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor\t: 0\nmodel\t\t: 85\nmodel name\t: Fast CPU @ 2GHz\n", "Fast CPU @ 2GHz"),
        ("processor\t: 0\nCPU part\t: 0xd0c\nModel\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
        ("processor\t: 0\nCPU part\t: 0xd0c\n", None),
        ("", None),
    ],
    ids=["x86", "board", "arm", "empty"],
)
def test_the_processor_has_a_name_where_the_kernel_tells_it(
    cpuinfo: str, model: str | None
) -> None:
    assert cpu_model(cpuinfo) == model


def with_docker_file(root: Path) -> None:
    (root / ".dockerenv").touch()


def with_podman_file(root: Path) -> None:
    (root / "run").mkdir()
    (root / "run" / ".containerenv").touch()


def without(root: Path) -> None:
    """Leave no mark."""


@pytest.mark.parametrize(
    ("prepare", "environ", "kind"),
    [
        (without, {}, None),
        (with_docker_file, {}, "docker"),
        (with_podman_file, {}, "podman"),
        (with_docker_file, {"KUBERNETES_SERVICE_HOST": "x"}, "kubernetes"),
        (without, {"APPTAINER_CONTAINER": "x.sif"}, "apptainer"),
        (without, {"container": "lxc"}, "lxc"),
    ],
    ids=["none", "docker", "podman", "kubernetes", "apptainer", "lxc"],
)
def test_containers_are_guessed(
    tmp_path: Path, prepare: Callable[[Path], None], environ: dict[str, str], kind: str | None
) -> None:
    prepare(tmp_path)

    assert container(tmp_path, environ) == kind


def test_the_interpreter_is_described() -> None:
    facts = runtime_facts()

    assert facts["python"] == platform.python_version()
    assert facts["implementation"] == platform.python_implementation()
    assert facts["executable"] == sys.executable
    assert len(facts["environment_digest"]) == 16


def test_versions_are_those_of_imported_libraries_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.PACKAGES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    home_made = types.ModuleType("torch")
    vars(home_made)["__version__"] = "2.9.0+home"
    version = types.ModuleType("torch.version")
    vars(version)["cuda"] = "12.8"
    monkeypatch.setitem(sys.modules, "torch", home_made)
    monkeypatch.setitem(sys.modules, "torch.version", version)

    packages = runtime_facts()["packages"]

    assert "opentelemetry-api" in packages
    assert "numpy" not in packages
    assert "numpy" not in sys.modules
    assert packages["torch-cuda"] == "12.8"
    assert packages["torch"]


def test_a_library_without_any_version_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "robot_sf", types.ModuleType("robot_sf"))

    assert "robot-sf" not in runtime_facts()["packages"]


def test_the_digest_changes_when_a_version_does(tmp_path: Path) -> None:
    (tmp_path / "numpy-2.0.dist-info").mkdir()
    before = environment_digest([str(tmp_path), "/nowhere"])
    assert before == environment_digest([str(tmp_path)])

    (tmp_path / "numpy-2.0.dist-info").rename(tmp_path / "numpy-2.1.dist-info")

    assert environment_digest([str(tmp_path)]) != before


def test_an_environment_with_nothing_installed_has_no_digest(tmp_path: Path) -> None:
    assert environment_digest([str(tmp_path)]) is None


def test_the_facts_fit_into_json() -> None:
    assert json.loads(json.dumps([host_facts(), runtime_facts()]))
