"""What tests with real processes get."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.integration.scripts import Scripts

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[Scripts]:
    """Run scripts in tmp_path; nothing that they started survives the test."""
    made = Scripts(tmp_path)
    yield made
    made.close()
