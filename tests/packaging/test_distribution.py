"""What the wheel and the sdist hold."""

from __future__ import annotations

import configparser
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist and the wheel that was built from it, as a release has them."""
    directory = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(built.glob("*.whl")))


@pytest.fixture(scope="module")
def sdist_names(built: Path) -> set[str]:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def _files(package: str) -> set[str]:
    """The files of an import package in the tree, relative to the folder it lies in."""
    folder = ROOT / package
    return {
        path.relative_to(folder.parent).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_its_import_packages_whole_and_nothing_else(
    wheel: zipfile.ZipFile,
) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert names == (
        _files("robot_sf_otel")
        | _files("exporters/robot_sf_otel_manifest")
        | _files("exporters/robot_sf_otel_tensorboard")
    )


def test_the_wheel_says_that_it_is_typed(wheel: zipfile.ZipFile) -> None:
    packages = ("robot_sf_otel", "robot_sf_otel_manifest", "robot_sf_otel_tensorboard")

    assert {f"{package}/py.typed" for package in packages} <= set(wheel.namelist())


def test_the_wheel_brings_the_built_in_scenarios_of_performance_tests(
    wheel: zipfile.ZipFile,
) -> None:
    assert {
        "robot_sf_otel/perf/builtin/minimal.toml",
        "robot_sf_otel/perf/builtin/tracker-overhead.toml",
    } <= set(wheel.namelist())


def test_the_wheel_brings_the_scenarios_of_the_demo(wheel: zipfile.ZipFile) -> None:
    scenarios = [name for name in wheel.namelist() if name.startswith("robot_sf_otel/demo/")]

    assert any(name.endswith(".toml") for name in scenarios)


def test_the_wheel_offers_the_command_the_exporters_and_the_recorder(
    wheel: zipfile.ZipFile,
) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    offered = configparser.ConfigParser()
    offered.read_string(wheel.read(name).decode())

    assert {section: dict(offered[section]) for section in offered.sections()} == {
        "console_scripts": {"robot-sf-otel": "robot_sf_otel.cli.main:main"},
        "opentelemetry_traces_exporter": {
            "run_manifest": "robot_sf_otel_manifest:ManifestSpanExporter"
        },
        "opentelemetry_metrics_exporter": {
            "run_manifest": "robot_sf_otel_manifest:ManifestMetricExporter"
        },
        "pytest11": {"robot_sf_otel": "robot_sf_otel.perf.pytest_plugin"},
        "robot_sf_otel_mirror": {"tensorboard": "robot_sf_otel_tensorboard:TensorBoardMirror"},
        "robot_sf_otel_recorder": {"manifest": "robot_sf_otel_manifest.recorder:ManifestRecorder"},
    }


def test_the_licence_goes_with_the_wheel(wheel: zipfile.ZipFile) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_the_sdist_holds_what_is_needed_to_build_and_to_test(sdist_names: set[str]) -> None:
    assert {
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "Makefile",
        ".ci/run",
        "tools/try-wheel",
        "docs/index.md",
        "tests/conftest.py",
        "tests/packaging/test_distribution.py",
        "robot_sf_otel/py.typed",
        "exporters/robot_sf_otel_manifest/__init__.py",
    } <= sdist_names


def test_the_sdist_holds_no_run_and_no_environment(sdist_names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in sdist_names}

    assert tops.isdisjoint({"output", ".venv", ".git", ".coverage", ".hypothesis"})
