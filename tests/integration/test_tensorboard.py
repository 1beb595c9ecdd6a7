"""A real run, followed while it goes on by a command of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.scripts import wait_until
from tests.unit.exporters.test_tensorboard import Shown

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

RUN = """
import time
from pathlib import Path
from robot_sf_otel import configure, pipeline, step

configure(interval=0.1)
with pipeline("p"), step("train", total=2) as train:
    train.log_metric("loss", 0.5)
    train.advance()
    print("half", flush=True)
    while not Path("go-on").exists():
        time.sleep(0.01)
    train.advance()
"""


def test_follow_mirrors_a_run_until_it_ends(scripts: Scripts) -> None:
    running = scripts.start(RUN)
    running.says("half")
    command = [sys.executable, "-m", "robot_sf_otel.cli.main", "tensorboard", "latest"]
    following = scripts.start_command([*command, "--logdir", "tb", "--follow", "--interval", "0.1"])
    (run_dir,) = scripts.run_dirs
    folder = scripts.folder / "tb" / run_dir.name / "train"
    wait_until(lambda: any(folder.glob("*tfevents*")), "the step is mirrored while it runs")
    assert following.process.poll() is None

    (scripts.folder / "go-on").touch()

    assert running.ends().code == 0
    finished = following.ends()
    assert finished.code == 0, finished.errors
    assert Shown(folder).scalars("progress/done")[-1].value == 2
    assert Shown(folder).scalars("metrics/loss")[-1].value == 0.5
    assert "report/text_summary" in Shown(folder.parent).tags
