"""A Collector that fails costs a pipeline under 3 s at its end, and its record nothing."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.collectors import COLLECTORS
from tests.integration.scripts import UNMEASURED, Scripts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

pytestmark = pytest.mark.integration

ALLOWED: Final = 3.0
"""Seconds by which the end of a program may be later than without OTLP; see the specification."""

PIPELINE: Final = """
    import signal, sys
    from robot_sf_otel import configure, pipeline, shutdown, step
    configure(interval=0.1)
    with pipeline("p", steps=["train", "evaluate"]):
        for name in ("train", "evaluate"):
            with step(name, total=3) as this:
                this.advance(3)
        if sys.argv[1] == "signal":
            with step("wait"):
                print("done", flush=True)
                while True:
                    signal.sigtimedwait([], 0.05)  # a pause() may begin just after the signal
    print("done", flush=True)
    if sys.argv[1] == "shutdown":
        shutdown()
"""


def seconds_to_end(
    folder: Path, how: str, *, signum: int | None = None, env: dict[str, str] | None = None
) -> tuple[float, int, Scripts]:
    """Return how long the program took from its last line to its end, and its exit code."""
    folder.mkdir()
    scripts = Scripts(folder)
    script = scripts.start(PIPELINE, how, env={**UNMEASURED, **(env or {})})
    try:
        script.says("done")
        began = time.monotonic()
        if signum is not None:
            script.kill(signum)
        code = script.ends().code
        return time.monotonic() - began, code, scripts
    finally:
        scripts.close()


def otlp(protocol: str, port: int) -> dict[str, str]:
    """Return the variables that send spans and metrics to a port of this machine."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }


def play(
    folder: Path, names: Iterable[str], how: str, signum: int | None = None
) -> dict[str, tuple[float, int, Scripts]]:
    """Run the program beside each Collector and without one, side by side."""

    def one(name: str) -> tuple[float, int, Scripts]:
        if name == "without":
            return seconds_to_end(folder / name, how, signum=signum)
        protocol, collector = COLLECTORS[name]
        with collector() as port:
            return seconds_to_end(folder / name, how, signum=signum, env=otlp(protocol, port))

    chosen = ["without", *names]
    with ThreadPoolExecutor(4) as pool:  # nearly all of it is waiting
        return dict(zip(chosen, pool.map(one, chosen), strict=True))


@pytest.mark.parametrize(
    ("how", "names"), [("exit", list(COLLECTORS)), ("shutdown", ["http-silent", "grpc-silent"])]
)
def test_collector_that_fails_delays_the_end_by_less_than_3_s_in_all(
    tmp_path: Path, how: str, names: list[str]
) -> None:
    ended = play(tmp_path, names, how)
    plain = ended["without"][0]
    for name, (seconds, code, scripts) in ended.items():
        assert (name, code) == (name, 0)
        assert seconds - plain < ALLOWED, name
        assert scripts.statuses == {"train": "completed", "evaluate": "completed"}
        assert scripts.record.status == "completed"
        assert len(scripts.events("step_finished")) == 2


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_obeyed_within_3_s_while_the_collector_fails(
    tmp_path: Path, signum: signal.Signals
) -> None:
    names = ["http-silent", "grpc-silent", "grpc-unavailable"]
    ended = play(tmp_path, names, "signal", signum)
    plain = ended["without"][0]
    for name, (seconds, code, scripts) in ended.items():
        assert (name, code) == (name, -signum)
        assert seconds - plain < ALLOWED, name
        assert scripts.record.status == "cancelled"
        assert scripts.statuses == {
            "train": "completed",
            "evaluate": "completed",
            "wait": "cancelled",
        }
