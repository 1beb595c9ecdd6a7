"""The engine: what is shown once, what an id is, and that nothing stops it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.analysis.recommendations import Evaluator, diagnose
from robot_sf_otel.analysis.rule_settings import RuleSettings
from robot_sf_otel.analysis.rules.base import Finding, Rule, Thresholds
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import GpuSample, StepSample, TelemetrySnapshot
from tests.unit.analysis.rules.test_sustained import FULL
from tests.unit.analysis.streams import START, Told, settings, span_of

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.scene import Scene


def full(_: float) -> dict[str, Any]:
    return FULL


def test_a_finding_is_returned_once_and_updated_at_the_end() -> None:
    told = Told().starts().goes_on(300, full)

    assert [one.id for one in told.live] == ["cpu_saturation:train"]
    assert told.live[0].evidence["samples"] <= 40
    (last,) = told.evaluator.finish()
    assert last.id == "cpu_saturation:train"
    assert last.evidence["samples"] >= 295


def test_a_condition_that_comes_and_goes_is_one_finding() -> None:
    told = Told().starts()
    for _ in range(5):
        told.goes_on(60, full).goes_on(60)

    assert [one.id for one in told.live] == ["cpu_saturation:train"]


def test_each_step_has_a_finding_of_its_own() -> None:
    told = Told().starts("collect").goes_on(60, full, of="collect").ends("collect")
    told.starts("train").goes_on(60, full).ends()

    assert [one.id for one in told.live] == ["cpu_saturation:collect", "cpu_saturation:train"]


def test_what_lasts_over_many_short_steps_belongs_to_the_run() -> None:
    told = Told()
    for index in range(40):
        name = f"part-{index}"
        told.starts(name).goes_on(5, full, of=name).ends(name)

    assert [(one.id, one.step_id) for one in told.live] == [("cpu_saturation:run", None)]


def test_with_several_steps_at_once_it_belongs_to_the_run() -> None:
    told = Told().starts("a").starts("b").goes_on(60, full, of="a")

    assert [one.id for one in told.live] == ["cpu_saturation:run"]


def test_the_machine_asleep_breaks_what_lasted() -> None:
    told = Told().starts().goes_on(20, full)
    told.second += 3600

    assert told.goes_on(20, full).found() == {}


def test_a_long_interval_is_looked_at_sample_by_sample() -> None:
    told = Told().starts().goes_on(120, full, interval=20)

    assert [one.id for one in told.live] == ["cpu_saturation:train"]


def test_a_recorded_run_has_the_same_findings_as_the_live_one() -> None:
    told = Told().starts().goes_on(100, full)
    samples = [
        TelemetrySnapshot(timestamp_ms=(START + second) * 1000, step_id="train", **FULL)
        for second in range(100)
    ]
    events: list[e.Event] = [
        e.StepStarted(time_unix_nano=START * 10**9, step_id="train", span_id=span_of("train"))
    ]

    found = diagnose(events, samples)

    assert {one.id for one in found} == set(told.found())


class Broken(Rule[Thresholds]):
    """Fails."""

    id = "broken"
    thresholds = Thresholds

    def on_frame(self, frame: Frame, scene: Scene) -> Iterable[Finding]:
        raise LookupError("it is broken")


class Mute(Broken):
    """Fails at once."""

    id = "mute"

    def __init__(self, limits: Thresholds) -> None:
        raise OSError("it cannot even begin")


def test_a_rule_that_fails_fails_alone_and_once() -> None:
    faults: list[tuple[str, str]] = []
    rules = RuleSettings(
        rules=((Broken, Thresholds()), (Mute, Thresholds()), *RuleSettings().rules)
    )
    told = Told()
    told.evaluator = Evaluator(
        rules, on_fault=lambda where, error: faults.append((where, str(error)))
    )

    told.starts().goes_on(60, full)

    assert [one.id for one in told.live] == ["cpu_saturation:train"]
    assert faults == [("rule mute", "it cannot even begin"), ("rule broken", "it is broken")]


def test_rules_can_be_switched_off_one_by_one_and_altogether() -> None:
    one = settings("[cpu_saturation]\nenabled = false")
    everything = settings("[evaluation]\nenabled = false")

    assert Told(one).starts().goes_on(60, full).found() == {}
    assert Told(everything).starts().goes_on(60, full).found() == {}


def test_a_step_of_a_lost_worker_is_looked_at_no_more() -> None:
    told = Told().starts(process="w", total=100.0).goes_on(20, rate=2.0)
    told.evaluator.event(e.WorkerLost(time_unix_nano=(START + 21) * 10**9, process="w"))

    assert told.evaluator.scene.running == {}


number = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1e6)
gpu = st.builds(
    GpuSample,
    index=st.integers(0, 2),
    util_percent=number,
    mem_used_mb=number,
    mem_total_mb=number,
    run_mem_used_mb=number,
    throttle_reasons=st.lists(st.sampled_from(["sw_power_cap", "hw_slowdown"]), max_size=2),
)
step = st.builds(
    StepSample,
    step_id=st.sampled_from(["a", "b"]),
    span_id=st.sampled_from([None, "a" * 16, "b" * 16]),
    done=st.floats(0, 1e9),
    total=number,
)
fields = {
    field.name: number
    for field in msgspec.structs.fields(TelemetrySnapshot)
    if field.name.endswith(("_mb", "_mb_s", "_percent", "_process", "_system", "_pressure"))
}
sample = st.builds(
    TelemetrySnapshot,
    timestamp_ms=st.integers(0, 10**12),
    step_id=st.sampled_from([None, "a", "b"]),
    progress_done=number,
    progress_total=number,
    steps=st.lists(step, max_size=2),
    gpus=st.lists(gpu, max_size=2),
    **cast("dict[str, Any]", fields),
)
event = st.builds(
    e.StepStarted,
    time_unix_nano=st.integers(0, 10**18),
    step_id=st.sampled_from(["a", "b"]),
    span_id=st.sampled_from(["a" * 16, "b" * 16]),
    total=number,
    baseline_rate=number,
) | st.builds(
    e.StepFinished,
    time_unix_nano=st.integers(0, 10**18),
    span_id=st.sampled_from(["a" * 16, "b" * 16]),
    status=st.sampled_from(["completed", "failed"]),
    result=st.just("success"),
    duration_seconds=st.floats(0, 1e6),
)


@given(st.lists(sample | event, max_size=40))
def test_no_stream_of_samples_and_events_makes_a_rule_fail(
    stream: list[TelemetrySnapshot | e.Event],
) -> None:
    faults: list[object] = []
    evaluator = Evaluator(on_fault=lambda where, error: faults.append((where, repr(error))))

    for one in stream:
        if isinstance(one, TelemetrySnapshot):
            evaluator.sample(one)
        else:
            evaluator.event(one)
    evaluator.finish()

    assert faults == []
