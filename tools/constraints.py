"""Writes constraints.txt: the newest versions that satisfy pyproject.toml, all extras included.

Usage: `make constraints` (or `python3 tools/constraints.py`), with the oldest Python that the
package supports, for a newer one may pick versions that the oldest cannot install. It installs
into a temporary environment and needs the network. The file holds `name==version` lines and
nothing that says where a package came from.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_HEADER = """\
# The versions that the checks run with, written by `make constraints`.
# Use: pip install -c constraints.txt -e .
"""
# What a virtual environment brings along, and the package itself.
_NOT_PINNED = {"pip", "setuptools", "wheel", "robot-sf-otel"}


def constraint_lines(installed: list[dict[str, str]]) -> list[str]:
    """Turn `pip list --format json` into sorted constraint lines.

    Args:
        installed: Objects with `name` and `version`.

    Returns:
        `name==version` for each package that is to be pinned, names normalised.
    """
    pins = {
        package["name"].lower().replace("_", "-").replace(".", "-"): package["version"]
        for package in installed
    }
    return [f"{name}=={pins[name]}" for name in sorted(pins) if name not in _NOT_PINNED]


def main() -> None:
    """Install everything into a temporary environment and write down what came."""
    with tempfile.TemporaryDirectory() as directory:
        python = Path(directory) / "bin/python"
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-q", f"{ROOT}[all,dev]"], check=True)
        listed = subprocess.run(
            [*pip, "list", "--format", "json"], check=True, stdout=subprocess.PIPE, text=True
        )
    lines = constraint_lines(json.loads(listed.stdout))
    (ROOT / "constraints.txt").write_text(_HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"constraints.txt: {len(lines)} packages")


if __name__ == "__main__":
    main()
