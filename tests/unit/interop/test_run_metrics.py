"""Points of a recorded run, as Prometheus takes them: one of a series in a millisecond."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from robot_sf_otel import semconv
from robot_sf_otel.interop.outbound import Outbound
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.points import METRIC, MILLISECOND, RUN_INFO, name_of
from robot_sf_otel.manifest.schema import Eta, StepSample, TelemetrySnapshot
from robot_sf_otel.redaction import Redactor
from robot_sf_otel.redaction.outgoing import Outgoing
from tests.data.sample_runs import Story

if TYPE_CHECKING:
    from pathlib import Path

Told = list[tuple[str, dict[str, object], int, float]]
"""Name, labels, Unix milliseconds and value of points."""
END = 1_767_225_605_000
"""When the run ends, in Unix milliseconds."""


def points(story: Story, root: Path) -> Told:
    """Return the points of all batches of a run, with labels of the resource."""
    outbound = Outbound(story.write(root), Outgoing(Redactor()))
    return [
        (name, {**measured.resource, **dict(labels)}, now // MILLISECOND, value)
        for batch in outbound.batches("metrics")
        for measured in batch.measured
        for (name, labels), held in measured.series.items()
        for _, now, value in held
    ]


def twice(told: Told) -> list[object]:
    """Return which millisecond of which series has several points."""
    count = Counter((name, str(sorted(labels.items())), now) for name, labels, now, _ in told)
    return [where for where, number in count.items() if number > 1]


def crowded() -> Story:
    """Return a run in which everything falls into the same milliseconds."""
    story = Story("20260101T000000Z-imitation-aaaaaa", process="box:7")
    train, other = (story.begin("train", process="box:7") for _ in range(2))
    values: dict[str, float | str] = {"loss": 0.5}
    story.events.append(e.MetricLogged(time_unix_nano=story.now(), span_id=train, metrics=values))
    story.end(train)
    story.end(other)
    at = END * MILLISECOND
    story.events[-2].time_unix_nano = at  # both executions in one millisecond
    for seconds in (7.0, 5.0):
        eta = Eta(remaining_seconds=seconds)
        story.events.append(e.EtaShown(time_unix_nano=at + 100 + int(seconds), eta=eta))
    score: dict[str, float | str] = {"score": 1.0}
    story.events.append(e.MetricLogged(time_unix_nano=at, metrics=score))
    story.finish()
    story.events[-1].time_unix_nano = at + MILLISECOND - 1
    steps = [
        StepSample(step_id="train", span_id=f"{number:016x}", done=number) for number in (1, 2)
    ]
    shown: dict[str, float | str] = {"loss": 9.0, "score": 9.0}
    story.samples = [
        TelemetrySnapshot(timestamp_ms=moment, memory_rss_mb=1.0, metrics=shown, steps=steps)
        for moment in (END - 1000, END - 1000, END, END, END + 1)
    ]
    return story


def test_no_series_has_two_points_in_a_millisecond(tmp_path: Path) -> None:
    assert twice(points(crowded(), tmp_path)) == []


def test_the_end_wins_over_samples_of_its_millisecond_and_later(tmp_path: Path) -> None:
    told = points(crowded(), tmp_path)
    info = [
        (now, value)
        for name, labels, now, value in told
        if name == RUN_INFO and labels[semconv.RUN_STATUS] == "running"
    ]
    active = [
        (now, value)
        for name, labels, now, value in told
        if name == name_of("active_runs") and labels[semconv.RUN_STATE] == "executing"
    ]
    logged = [
        (now, labels[semconv.METRIC_NAME], value)
        for name, labels, now, value in told
        if name == METRIC and value != 9.0
    ]

    assert max(info) == (END, 0)
    assert max(active) == (END, 0)
    assert sorted(logged) == [(END, "loss", 0.5), (END, "score", 1.0)]


def test_a_sample_after_the_end_still_tells_of_the_machine(tmp_path: Path) -> None:
    told = points(crowded(), tmp_path)
    memory = [now for name, _, now, _ in told if name == name_of("tree_memory")]

    assert memory == [END - 1000, END, END + 1]
