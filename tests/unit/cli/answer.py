"""What a command said, run in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from robot_sf_otel.cli.main import run_command

if TYPE_CHECKING:
    import pytest


class Answer:
    """What a command said, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        self.code = run_command(list(arguments))
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(self.out)
