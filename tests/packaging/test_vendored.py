"""What others made and this package ships: which version, unchanged, with its licence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from robot_sf_otel.report.html.document import UPLOT

ASSETS = Path(__file__).parents[2] / "robot_sf_otel" / "report" / "html" / "assets"
SUMS = {
    f"{UPLOT}.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    f"{UPLOT}.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot-LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}


@pytest.mark.parametrize("name", SUMS)
def test_the_charting_library_is_as_its_authors_released_it(name: str) -> None:
    assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == SUMS[name]


def test_the_charting_library_says_its_version_and_licence() -> None:
    name, _, version = UPLOT.partition("-")

    head = (ASSETS / f"{UPLOT}.iife.min.js").read_text(encoding="utf-8")[:200]
    assert f"{name} (v{version})" in head
    assert "MIT License" in (ASSETS / "uPlot-LICENSE.txt").read_text(encoding="utf-8")
