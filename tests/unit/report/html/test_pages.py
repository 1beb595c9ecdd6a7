"""Pages of runs of every kind: what they hold, and that texts stay texts."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import (
    Artifact,
    ErrorInfo,
    Eta,
    GpuSample,
    PerformanceRecommendation,
    TelemetrySnapshot,
)
from robot_sf_otel.report.html.document import asset
from robot_sf_otel.report.html.run_page import render_run
from robot_sf_otel.report.html.source import read_source
from robot_sf_otel.store.reader import LoadedRun
from tests.data import sample_runs
from tests.data.ended_runs import write_run
from tests.data.hostile_run import EVERYTHING, hostile_run
from tests.data.sample_runs import SECOND, Story
from tests.unit.cli.answer import Answer

STORIES: Final = (
    sample_runs.healthy,
    sample_runs.failed,
    sample_runs.cancelled,
    sample_runs.running,
    sample_runs.hostile,
    sample_runs.thousand,
    hostile_run,
)
OLD: Final = Path(__file__).parents[3] / "data" / "runs" / "old-tracker"
_VOID: Final = frozenset({"meta", "link", "line", "rect", "br"})


class Page(HTMLParser):
    """A parsed page: its elements with attributes, its texts, and what is not well nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: list[tuple[str, str]] = []
        self.broken: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.broken += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.broken.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"script", "style"}:
            self.raw.append((self._open[-1], data))
        else:
            self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(next(text for _, text in self.raw if text.startswith("{")))


@pytest.fixture
def shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:  # noqa: ANN401 - a function with a default
    """Write runs; return the page of the last one."""
    monkeypatch.chdir(tmp_path)

    def show(*stories: Story) -> Page:
        for story in stories:
            story.write(tmp_path / "output")
        answer = Answer(capsys, "summary", stories[-1].run_id, "--format", "html")
        assert answer.code == 0, answer.err
        return Page(answer.out)

    return show


@pytest.mark.parametrize("story", STORIES, ids=[story.__name__ for story in STORIES])
def test_every_page_is_well_formed_small_and_loads_nothing(story: Any, shown: Any) -> None:  # noqa: ANN401 - see `shown`
    page: Page = shown(story())

    assert page.broken == []
    assert len(page.of("h1")) == 1
    for name in ("src", "srcset", "action", "formaction", "background", "poster", "style"):
        assert [tag for tag, attributes in page.elements if name in attributes] == []
    assert [link["href"] for link in page.of("link")] == ["data:,"]
    styles = "".join(text for kind, text in page.raw if kind == "style")
    assert not re.search(r"@import|url\(", styles)
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = [str(link["href"]) for link in page.of("a")]
    assert all(link[1:] in anchors for link in links if link.startswith("#"))
    assert all(link.startswith(("#", "./", "../")) for link in links)
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


@pytest.mark.parametrize("story", [sample_runs.hostile, hostile_run], ids=["names", "everything"])
def test_texts_of_a_run_become_no_markup(story: Any, shown: Any) -> None:  # noqa: ANN401 - see `shown`
    page: Page = shown(story())

    assert {tag for tag, _ in page.elements} <= {
        *("html", "head", "meta", "title", "link", "style", "body", "script", "noscript"),
        *("header", "nav", "main", "section", "article", "footer", "div", "p", "span", "small"),
        *("h1", "h2", "h3", "a", "ul", "li", "dl", "dt", "dd", "pre", "code", "kbd", "strong"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "button"),
        *("svg", "rect", "text", "line", "figure", "figcaption", "output", "progress"),
    }
    handlers = [name for _, attributes in page.elements for name in attributes if name[:2] == "on"]
    assert handlers == []
    assert len(page.of("script")) == 3
    assert len(page.of("meta")) == 6
    assert "<img src=x onerror=alert(2)>" in page.text or story is sample_runs.hostile
    bidi = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x00-\x08\x1b]")
    everything = " ".join([page.text, *(str(v) for _, a in page.elements for v in a.values())])
    assert not bidi.search(everything)


def test_numbers_of_steps_have_the_same_form(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    story = Story("20260107T000000Z-a-aaaaaa")
    for number in range(1100):
        story.end(story.begin(f"s{number}"))
    story.finish()
    page: Page = shown(story)

    assert "1,100 of 1,100 steps" in page.text


def test_the_policy_allows_the_scripts_of_the_page_and_no_others(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    page: Page = shown(hostile_run())
    policy = next(
        str(meta["content"])
        for meta in page.of("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )

    def hashes(tag: str) -> list[str]:
        texts = [text for name, text in page.raw if name == tag and not text.startswith("{")]
        sums = (hashlib.sha256(text.encode()).digest() for text in texts)
        return [f"'sha256-{base64.b64encode(checksum).decode()}'" for checksum in sums]

    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    assert parts["default-src"] == "'none'"
    assert parts["script-src"].split() == hashes("script")
    assert parts["style-src"].split() == hashes("style")
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", ["report.js", "uPlot-1.6.32.iife.min.js"])
def test_no_script_of_ours_could_end_its_own_element(name: str) -> None:
    assert "</script" not in asset(name).lower()
    assert "<!--" not in asset(name)


def test_the_header_has_the_verdict(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    page: Page = shown(sample_runs.failed())

    assert "imitation failed after 2m 03s, 1 of 3 steps" in page.text
    assert "Why ValueError: no | episodes" in page.text
    assert "Last completed step train" in page.text
    assert "Traceback (most recent call last)" in page.text


def test_a_step_that_failed_and_was_done_again_is_said_to_be_made_good(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    story = Story("20260101T000000Z-a-aaaaaa")
    story.end(story.begin("train"), "failed", error=ErrorInfo(type="OSError"), result="failure")
    story.end(story.begin("train"))
    story.finish()

    assert "a later attempt completed" in shown(story).text


def test_a_running_run_shows_its_progress_and_its_eta(tmp_path: Path) -> None:
    story = sample_runs.running()
    run = LoadedRun(story.write(tmp_path), story.record(), [])
    page = Page(render_run(read_source(run), lies_in=None, command="x").decode())

    assert "imitation running for 5.0 s, 1 of 3 steps" in page.text
    assert "ETA 11m (9m to 14m)" in page.text
    assert "As of 2026-01-01 03:00:05 UTC" in page.text
    assert "120 of 500 episodes" in page.text
    assert [bar["value"] for bar in page.of("progress")] == ["0.2400"]


def test_a_finding_is_marked_in_its_chart(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    story = Story("20260101T000000Z-a-aaaaaa")
    advice = PerformanceRecommendation(
        id="r1",
        trigger="memory_pressure",
        severity="warning",
        message="Memory is short",
        suggested_actions=["Use less"],
        timestamp_ms=0,
        evidence={
            "metric": "memory_rss_mb",
            "value": 900.0,
            "threshold": 800.0,
            "unit": "MiB",
            "window_start": e.rfc3339(story.start_ns + 10 * SECOND),
            "window_end": e.rfc3339(story.start_ns + 20 * SECOND),
            "samples": 11,
        },
    )
    story.events.append(e.RecommendationAdded(time_unix_nano=story.now(), recommendation=advice))
    story.samples = [
        TelemetrySnapshot(
            timestamp_ms=story.start_ns // 10**6 + 1000 * second,
            memory_rss_mb=500.0 + 20 * second,
            memory_limit_mb=1000.0,
        )
        for second in range(30)
    ]
    story.events.append(
        e.RunFinished(time_unix_nano=story.start_ns + 30 * SECOND, status="completed", result="x")
    )
    page: Page = shown(story)

    (button,) = [one for one in page.of("button") if one.get("class") == "show"]
    assert (button["data-chart"], button["data-a"], button["data-b"]) == (
        *("chart-memory", "10.000", "20.000"),
    )
    (chart,) = [one for one in page.data["charts"] if one["id"] == "chart-memory"]
    assert chart["marks"] == [[10, 20, "warning", 800]]
    assert chart["limits"] == [["limit 1,000 MiB", 1000]]
    assert "from 10s to 20s, 11 samples" in page.text


def test_behind_a_chart_there_is_a_table(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    story = Story("20260101T000000Z-a-aaaaaa")
    story.events.append(
        e.RunFinished(time_unix_nano=story.start_ns + 48 * SECOND, status="completed", result="x")
    )
    story.samples = [
        TelemetrySnapshot(
            timestamp_ms=story.start_ns // 10**6 + 1000 * second,
            cpu_percent_process=float(second),
            memory_rss_mb=5.0 if second < 10 else None,
        )
        for second in range(48)
    ]
    text = shown(story).text

    assert "From To run, of usable CPUs 0 2s 0 % to 1 % 2s 4s 2 % to 3 %" in text
    assert "8s 10s 5 MiB 10s 12s -- 12s 14s --" in text


def test_etas_stand_against_what_came(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    story = Story("20260101T000000Z-a-aaaaaa", plan=("a", "b"))
    for ran, left in ((10, 120), (60, 50), (90, math.nan)):
        eta = Eta(remaining_seconds=left, low_seconds=left - 5, high_seconds=left + 5)
        if not math.isnan(left):
            story.events.append(
                e.EtaShown(
                    time_unix_nano=story.start_ns + ran * SECOND, eta=eta, elapsed_seconds=ran
                )
            )
    story.events.append(
        e.RunFinished(
            time_unix_nano=story.start_ns + 123 * SECOND,
            status="completed",
            result="success",
            duration_seconds=123.0,
        )
    )

    eta = shown(story).data["eta"]

    assert eta == {
        "x": [10, 60],
        "total": [130, 110],
        "low": [125, 105],
        "high": [135, 115],
        "actual": 123,
    }


def test_the_last_good_run_is_compared_with(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    runs = [
        Story(f"2026010{day}T000000Z-a-aaaaaa", pipeline="p", params={"rate": rate})
        for day, rate in ((1, 0.1), (2, 0.2))
    ]
    for story in runs:
        story.end(story.begin("train"))
        story.finish()
    page: Page = shown(*runs)

    assert "Compared with 20260101T000000Z-a-aaaaaa, the last good run" in page.text
    assert "rate 0.1 0.2" in page.text
    assert "Usually" in page.text


def test_artifacts_have_links_that_leave_by_no_other_scheme(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    story = Story("20260101T000000Z-a-aaaaaa")
    for path in ("artifacts/a b.zip", "javascript:alert(1)", "//evil.example/x", "http://e.x/"):
        story.events.append(
            e.ArtifactLogged(
                time_unix_nano=story.now(),
                artifact=Artifact(path=path, name=path, sha256="ab" * 32, size_bytes=2048),
            )
        )
    story.finish()
    page: Page = shown(story)

    links = [str(link["href"]) for link in page.of("a") if str(link["href"])[0] != "#"]
    run = "./output/run-tracker/20260101T000000Z-a-aaaaaa/"
    assert f"{run}artifacts/a%20b.zip" in links
    assert f"{run}javascript%3Aalert%281%29" in links
    assert all(link.startswith(("./", "../")) for link in links)
    assert "abababababab" in page.text


def test_several_gpus_have_a_curve_each(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    story = Story("20260101T000000Z-a-aaaaaa")
    story.samples = [
        TelemetrySnapshot(
            timestamp_ms=story.start_ns // 10**6 + 1000 * second,
            gpu_util_percent=50.0,
            gpus=[
                GpuSample(
                    index=index,
                    name="H100" if second == 0 else None,
                    util_percent=10.0 * index + second,
                    mem_used_mb=70_000.0,
                    mem_total_mb=80_000.0 if second == 0 else None,
                )
                for index in range(2)
            ],
        )
        for second in range(5)
    ]
    story.finish()
    page: Page = shown(story)

    charts = {chart["id"]: chart for chart in page.data["charts"]}
    assert len(charts["chart-gpu"]["lines"]) == 2
    assert charts["chart-gpu-memory"]["limits"] == [["memory of a device 78.1 GiB", 80_000]]
    assert "GPU 1 H100" in page.text


def test_gaps_faults_and_lost_processes_are_said(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    story = Story("20260101T000000Z-a-aaaaaa")
    story.events += [
        e.TelemetryFault(time_unix_nano=story.now(), where="disk", message="full", count=3),
        e.WorkerLost(time_unix_nano=story.now(), process="box:12", reason="killed"),
        e.RunFinished(
            time_unix_nano=story.start_ns + 100 * SECOND, status="completed", result="success"
        ),
    ]
    story.samples = [
        TelemetrySnapshot(
            timestamp_ms=story.start_ns // 10**6 + 1000 * second,
            cpu_percent_process=5.0,
            notes="gpu: no NVIDIA driver" if second == 0 else None,
        )
        for second in [*range(20), *range(70, 100)]
    ]
    text = shown(story).text

    assert "No samples from 19s to 1m 10s (51.0 s)." in text
    assert "Telemetry fault at 1s: disk: full (3 times)" in text
    assert "Lost process at 2s: box:12: killed" in text
    assert "Sensors at 0: gpu: no NVIDIA driver" in text


def test_a_run_without_telemetry_says_so(shown: Any) -> None:  # noqa: ANN401 - see `shown`
    page: Page = shown(sample_runs.failed())

    assert "No telemetry was recorded." in page.text
    assert page.data["charts"] == []


def test_a_run_of_the_original_tracker_has_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD, tmp_path / "output" / "run-tracker" / OLD.name)
    answer = Answer(capsys, "summary", OLD.name, "--format", "html")

    assert answer.code == 0, answer.err
    assert Page(answer.out).broken == []


def test_export_writes_the_page_and_takes_the_form_from_the_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = sample_runs.healthy().write(tmp_path / "output")
    answer = Answer(capsys, "export", str(run_dir), "--output", str(tmp_path / "report.html"))

    assert (answer.code, answer.out) == (0, "")
    assert answer.err == f"robot-sf-otel: wrote {tmp_path / 'report.html'}\n"
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Train expert" in page.text
    inside = run_dir / "report.html"
    assert Answer(capsys, "export", str(run_dir), "--output", str(inside)).code == 0
    links = [link["href"] for link in Page(inside.read_text(encoding="utf-8")).of("a")]
    assert "./artifacts/expert%20policy.zip" in links


def test_a_comparison_has_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stories = (sample_runs.healthy(), sample_runs.failed(), hostile_run())
    for story in stories:
        story.write(tmp_path / "output")
    names = [story.run_id for story in stories]
    answer = Answer(capsys, "compare", *names, "--format", "html", "--fail", "train:duration:1%")
    page = Page(answer.out)

    assert answer.code == 1
    assert page.broken == []
    assert "Limit exceeded: step train is missing" in page.text
    assert "3 runs side by side" in page.text
    assert len(page.of("script")) == 3
    assert [name for _, a in page.elements for name in a if name.startswith("on")] == []
    assert page.data["joined"] is True
    assert EVERYTHING[:20] not in answer.out


def test_a_damaged_run_has_a_page_that_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = sample_runs.healthy().write(tmp_path / "output")
    with (run_dir / "manifest.jsonl").open("ab") as journal:
        journal.write(b'{"event": "run_fin')
    with (run_dir / "telemetry.jsonl").open("ab") as samples:
        samples.write(b"\xff\xfe{nonsense\n")
    page = Page(Answer(capsys, "summary", str(run_dir), "--format", "html").out)

    assert "the last line is incomplete and was ignored" in page.text


def test_a_finished_run_has_a_page_without_its_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(tmp_path / "output", "20260101T000000Z-a-aaaaaa")
    answer = Answer(capsys, "summary", str(run_dir), "--format", "html")

    assert answer.code == 0, answer.err
    assert Page(answer.out).broken == []
