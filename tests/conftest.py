"""What every test gets: a clean environment and a directory of its own."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import hypothesis.configuration
import pytest

from robot_sf_otel import guard

ROOT = Path(__file__).parents[1]
_PREFIXES = ("ROBOT_SF_", "OTEL_")
_NAMES = ("TRACEPARENT", "TRACESTATE", "BAGGAGE", "CUDA_VISIBLE_DEVICES")

# Examples that failed are tried first the next time, wherever the test ran.
hypothesis.configuration.set_hypothesis_home_dir(ROOT / ".hypothesis")
# No deadline: a shared machine with two cores is slow now and then, and that is no failure.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the developer's variables out of the test, and what it writes in tmp_path."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES) or name in _NAMES:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    guard.reset()  # what earlier tests left: it is the state of the process
