"""A seeded experiment gives the same numbers with telemetry on and off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

EXPERIMENT: Final = """
    import random, subprocess, sys, threading
    import numpy as np
    from robot_sf_otel import configure, current_run, current_step, pipeline, step, track

    random.seed(1)
    np.random.seed(1)
    drawn = []

    def draw():
        drawn.append((random.random(), random.getrandbits(64), float(np.random.rand())))

    if sys.argv[1] == "on":
        configure(interval=0.1)
    draw()

    @step(total=5)
    def collect():
        for _ in track(range(5)):
            draw()
            current_step().log_metric("reward", drawn[-1][0])
        threading.Event().wait(0.25)  # the monitor samples in between
        current_step().log_artifact(__file__)

    @pipeline("p", steps=[collect, "train"], params={"x": 1}, seeds={"python": 1})
    def main():
        collect()
        draw()
        with step("train") as this:
            this.run(["true"])
            draw()
        current_run().plan(["collect", "train"])

    main()
    draw()
    main()
    draw()
    print(repr(drawn), hash(repr(random.getstate())), hash(str(np.random.get_state())))
"""


def test_seeded_experiment_is_bit_identical_with_telemetry_on_and_off(scripts: Scripts) -> None:
    fixed = {"PYTHONHASHSEED": "0"}
    off = scripts.run(EXPERIMENT, "off", env=fixed)
    assert not scripts.run_dirs
    on = scripts.run(EXPERIMENT, "on", env=fixed)
    assert len(scripts.run_dirs) == 2
    assert on.out == off.out


def test_runs_of_the_same_seed_have_ids_of_their_own(scripts: Scripts) -> None:
    source = """
        import random
        random.seed(1)
        from opentelemetry import trace
        from robot_sf_otel import configure, pipeline
        configure()
        random.seed(1)
        with pipeline("p"):
            pass
        random.seed(1)
        with pipeline("p"):
            pass
        random.seed(1)
        state = random.getstate()
        with trace.get_tracer("app").start_as_current_span("of the provider that we made"):
            pass
        assert random.getstate() == state
    """
    scripts.run(source)
    first, second = scripts.records
    assert first.trace_id != second.trace_id
    assert first.run_id != second.run_id


def test_generator_of_a_joined_provider_is_not_drawn_from(scripts: Scripts) -> None:
    scripts.run(
        """
        import random
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        trace.set_tracer_provider(TracerProvider())
        from robot_sf_otel import configure, pipeline, step
        random.seed(1)
        state = random.getstate()
        configure()
        with pipeline("p"), step("train"):
            pass
        assert random.getstate() == state
        """
    )
