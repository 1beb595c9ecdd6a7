"""Switching on and off in fresh interpreters: what is imported, what is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

HEAVY: Final = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "psutil",
    "pynvml",
    "rich",
    "typer",
    "msgspec",
    "loguru",
    "numpy",
)
PIPELINE: Final = f"""
    import sys
    from robot_sf_otel import (
        child_env, configure, current_run, current_step, pipeline, shutdown, step, track,
    )

    @step(title="Train", total=3)
    def train(n):
        for _ in track(range(n)):
            current_step().log_metric("m", 1)
        return n

    @pipeline("p", steps=[train], params={{"a": 1}}, seeds=3)
    def main():
        current_run().log_params({{"b": 2}})
        child_env()
        with step("evaluate") as this:
            this.run(["true"])
        return train(3)

    if "configure" in sys.argv:
        configure()
    assert main() == 3
    heavy = {HEAVY!r}
    print(sorted(name for name in sys.modules if name in heavy))
"""


def test_with_telemetry_off_nothing_heavy_is_imported(scripts: Scripts) -> None:
    done = scripts.run(PIPELINE)
    assert (done.out, done.errors) == ("[]\n", "")
    assert not (scripts.folder / "output").exists()


@pytest.mark.parametrize(
    "variables",
    [{"ROBOT_SF_OTEL_ENABLED": "false"}, {"OTEL_SDK_DISABLED": "true"}],
    ids=lambda variables: next(iter(variables)),
)
def test_switched_off_by_the_environment_nothing_heavy_is_imported_either(
    scripts: Scripts, variables: dict[str, str]
) -> None:
    done = scripts.run(PIPELINE, "configure", env=variables)
    assert (done.out, done.errors) == ("[]\n", "")
    assert not (scripts.folder / "output").exists()


@pytest.mark.parametrize("way", ["configure", "environment"])
def test_switched_on_the_same_code_is_recorded(scripts: Scripts, way: str) -> None:
    if way == "configure":
        scripts.run(PIPELINE, "configure")
    else:
        scripts.run(PIPELINE, env={"ROBOT_SF_OTEL_ENABLED": "true"})
    record = scripts.record
    assert (record.pipeline, record.status) == ("p", "completed")
    assert scripts.statuses == {"evaluate": "completed", "train": "completed"}
    assert (record.params, record.seeds) == ({"a": 1, "b": 2}, {"seed": 3})


def test_importing_the_package_changes_no_state_of_the_process(scripts: Scripts) -> None:
    scripts.run(
        """
        import os, random, signal, sys, threading
        def state():
            return (
                dict(os.environ), random.getstate(), threading.active_count(),
                signal.getsignal(signal.SIGTERM), sys.excepthook, os.getcwd(),
                len(os.listdir("/dev/fd")),
            )
        before = state()
        import robot_sf_otel
        for name in robot_sf_otel.__all__:
            getattr(robot_sf_otel, name)
        assert state() == before
        try:
            robot_sf_otel.missing
        except AttributeError as error:
            assert "no attribute 'missing'" in str(error)
        else:
            raise SystemExit(1)
        """
    )


def test_sinks_of_the_application_are_never_removed(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import sys
        from loguru import logger
        from robot_sf_otel import configure, pipeline, shutdown, step
        logger.remove()
        logger.add(sys.stdout, format="mine: {message}", level="WARNING")
        configure()
        with pipeline("p"):
            pass
        with step("outside"):
            pass
        logger.warning("still here")
        shutdown()
        logger.warning("and here")
        """
    )
    lines = done.out.splitlines()
    assert lines[0].startswith("mine: step 'outside' runs outside any run")
    assert lines[1:] == ["mine: still here", "mine: and here"]
    assert done.errors == ""
