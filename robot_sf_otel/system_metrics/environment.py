"""The facts that are recorded once with a run: the machine and the software that it ran on.

Called from a background thread, as asking the platform may take seconds. Nothing here raises: what
cannot be found out is left out.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from robot_sf_otel.store.identity import boot_id, host_name
from robot_sf_otel.system_metrics.host import usable_cpus
from robot_sf_otel.system_metrics.vcs import vcs_facts

__all__ = ["host_facts", "runtime_facts", "vcs_facts"]

_MIB: Final = 1024 * 1024
_PATIENCE: Final = 2.0
"""Seconds to wait for a command."""

PACKAGES: Final[Mapping[str, str]] = {
    "cupy": "cupy",
    "datasets": "datasets",
    "flax": "flax",
    "gym": "gym",
    "gymnasium": "gymnasium",
    "hydra": "hydra-core",
    "imitation": "imitation",
    "jax": "jax",
    "jaxlib": "jaxlib",
    "lightning": "lightning",
    "mujoco": "mujoco",
    "numba": "numba",
    "numpy": "numpy",
    "optuna": "optuna",
    "pandas": "pandas",
    "pettingzoo": "pettingzoo",
    "pybullet": "pybullet",
    "pytorch_lightning": "pytorch-lightning",
    "ray": "ray",
    "robot_sf": "robot-sf",
    "sb3_contrib": "sb3-contrib",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "stable_baselines3": "stable-baselines3",
    "tensorflow": "tensorflow",
    "torch": "torch",
    "transformers": "transformers",
}
"""Import name and distribution of the libraries whose version matters to a training run."""

_OWN_PACKAGES: Final = ("robot-sf-otel", "opentelemetry-api", "opentelemetry-sdk")
_CONTAINER_FILES: Final = (("/.dockerenv", "docker"), ("/run/.containerenv", "podman"))
_CONTAINER_VARIABLES: Final = (
    ("KUBERNETES_SERVICE_HOST", "kubernetes"),
    ("APPTAINER_CONTAINER", "apptainer"),
    ("SINGULARITY_CONTAINER", "singularity"),
)
_EXPECTED: Final = (
    *(OSError, ValueError, LookupError, AttributeError, ImportError, TypeError),
    subprocess.SubprocessError,
)


def host_facts() -> dict[str, Any]:
    """Return what is known of this machine, without any address of it.

    Returns:
        Some of `hostname, os, kernel, architecture, cpu_model, cpu_count, usable_cpus` (affinity
        and container quota), `memory_total_mb` (MiB), `boot_id` and `container` (a guess).
    """
    return _known(
        {
            "hostname": lambda: host_name() or None,
            "os": _operating_system,
            "kernel": lambda: os.uname().release,
            "architecture": lambda: os.uname().machine,
            "cpu_model": _cpu_model,
            "cpu_count": os.cpu_count,
            "usable_cpus": usable_cpus,
            "memory_total_mb": _memory_total_mb,
            "boot_id": boot_id,
            "container": container,
        }
    )


def runtime_facts() -> dict[str, Any]:
    """Return what is known of the interpreter and of the libraries that are imported already.

    Returns:
        Some of `python, implementation, executable, packages` (distribution → version) and
        `environment_digest`, which differs when anything installed differs.
    """
    return _known(
        {
            "python": platform.python_version,
            "implementation": platform.python_implementation,
            "executable": lambda: sys.executable or None,
            "packages": lambda: _versions() or None,
            "environment_digest": lambda: environment_digest(sys.path),
        }
    )


def container(root: Path = Path("/"), environ: Mapping[str, str] | None = None) -> str | None:
    """Guess what kind of container this is, from the marks that each leaves; None without any."""
    variables = os.environ if environ is None else environ
    for name, kind in _CONTAINER_VARIABLES:
        if variables.get(name):
            return kind
    for path, kind in _CONTAINER_FILES:
        if (root / path.lstrip("/")).exists():
            return kind
    if variables.get("container"):  # systemd's convention: lxc, systemd-nspawn, podman, …
        return variables["container"]
    return None


def environment_digest(directories: list[str]) -> str | None:
    """Return a digest of the names and versions installed there, from their directory names."""
    installed: set[str] = set()
    for directory in directories:
        try:
            names = os.listdir(directory)  # noqa: PTH208 - a site-packages has thousands of entries
        except OSError:
            continue  # a zip file, or not there
        installed.update(
            name.lower() for name in names if name.endswith((".dist-info", ".egg-info"))
        )
    if not installed:
        return None
    return hashlib.sha256("\n".join(sorted(installed)).encode()).hexdigest()[:16]


def cpu_model(cpuinfo: str) -> str | None:
    """Return the name of the processor from the text of /proc/cpuinfo, or None."""
    for wanted in ("model name", "Model", "cpu model", "uarch"):
        for line in cpuinfo.splitlines():
            key, _, value = line.partition(":")
            if key.strip() == wanted and value.strip():
                return value.strip()
    return None


def _cpu_model() -> str | None:
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
        return answer.stdout.strip() or None
    return cpu_model(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))


def _operating_system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}".strip()
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME") or os.uname().sysname
    except OSError:
        return os.uname().sysname


def _memory_total_mb() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MIB


def _versions() -> dict[str, str]:
    """Return versions without importing anything: a library that is not in use has none."""
    from importlib import metadata

    wanted = dict.fromkeys(_OWN_PACKAGES, "")
    wanted |= {PACKAGES[name]: name for name in PACKAGES if name in sys.modules}
    versions: dict[str, str] = {}
    for distribution, module in wanted.items():
        try:
            version: object = metadata.version(distribution)
        except metadata.PackageNotFoundError:  # a build of one's own
            version = vars(sys.modules.get(module, sys)).get("__version__")
        if isinstance(version, str):
            versions[distribution] = version
    cuda = vars(sys.modules.get("torch.version", sys)).get("cuda")
    if isinstance(cuda, str):
        versions["torch-cuda"] = cuda
    return versions


def _known(facts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Ask for each fact; one that fails does not take the others with it."""
    found: dict[str, Any] = {}
    for name, ask in facts.items():
        try:
            value = ask()
        except _EXPECTED:
            continue
        if value is not None:
            found[name] = value
    return found
