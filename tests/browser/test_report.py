"""The HTML report in a real browser: it obeys nothing, loads nothing, and everybody can use it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import pytest

from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import (
    ErrorInfo,
    Eta,
    PerformanceRecommendation,
    TelemetrySnapshot,
)
from tests.data import sample_runs
from tests.data.hostile_run import hostile_run
from tests.data.sample_runs import SECOND, Story
from tests.unit.cli.answer import Answer
from tools.chromium import Page, browser, chromium

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(browser() is None, reason="no chromium is installed"),
]
MOST_BYTES: Final = 2_000_000
AXIS: Final = 62
"""Width of the labels beside a chart, as `--axis` has it."""
GAP: Final = 4


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


class Opener:
    """Makes reports and opens them, in a light window of 1280 x 900 points by default."""

    def __init__(self, tab: Page, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._tab = tab
        self._folder = folder
        self._capsys = capsys

    def __call__(self, story: Story, **window: Any) -> Page:  # noqa: ANN401 - options of `emulate`
        run_dir = self._folder / "output" / "run-tracker" / story.run_id
        if not run_dir.exists():
            story.write(self._folder / "output")
        report = self._folder / "report.html"
        answer = Answer(self._capsys, "export", str(run_dir), "--output", str(report))
        assert answer.code == 0, answer.err
        return self.file(report, **window)

    def bare(self, story: Story) -> Page:
        """Open the report as a browser shows it that runs no scripts."""
        self(story)
        report = self._folder / "report.html"
        text = report.read_text(encoding="utf-8")
        report.write_text(re.sub(r"(?s)<script.*?</script>", "", text), encoding="utf-8")
        return self.file(report)

    def file(self, report: Path, **window: Any) -> Page:  # noqa: ANN401 - options of `emulate`
        for told in (self._tab.requests, self._tab.messages, self._tab.dialogs):
            told.clear()
        self._tab.emulate(**window)
        self._tab.open(report)
        return self._tab


@pytest.fixture
def opened(tab: Page, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Opener:
    return Opener(tab, tmp_path, capsys)


def busy_run() -> Story:
    """A run with charts, a finding in one of them, and ETAs."""
    story = Story("20260103T000000Z-a-aaaaaa", plan=("train", "evaluate"))
    begun = story.start_ns

    def add(second: int, event: type[Any], **fields: Any) -> None:  # noqa: ANN401 - events
        story.events.append(event(time_unix_nano=begun + second * SECOND, **fields))

    for name, start, end in (("train", 0, 200), ("evaluate", 200, 300)):
        add(start, e.StepStarted, span_id=name, step_id=name, display_name=name.title())
        add(
            end,
            e.StepFinished,
            span_id=name,
            status="completed",
            result="success",
            duration_seconds=float(end - start),
        )
    for ran in (20, 100, 200):
        left = 310 - ran
        eta = Eta(remaining_seconds=left, low_seconds=left - 30, high_seconds=left + 30)
        add(ran, e.EtaShown, eta=eta, elapsed_seconds=float(ran))
    advice = PerformanceRecommendation(
        id="r1",
        trigger="cpu_saturation",
        severity="warning",
        message="CPUs were busy",
        suggested_actions=["Use fewer workers"],
        timestamp_ms=0,
        evidence={
            "metric": "cpu_percent_process",
            "value": 97.1,
            "threshold": 90,
            "unit": "%",
            "window_start": e.rfc3339(begun + 100 * SECOND),
            "window_end": e.rfc3339(begun + 160 * SECOND),
        },
    )
    add(250, e.RecommendationAdded, recommendation=advice)
    add(300, e.RunFinished, status="completed", result="success", duration_seconds=300.0)
    story.samples = [
        TelemetrySnapshot(
            timestamp_ms=begun // 10**6 + 1000 * second,
            step_id="train" if second < 200 else "evaluate",
            steps_per_sec=5.0,
            cpu_percent_process=97.0 if 100 <= second <= 160 else 40.0,
            cpu_percent_system=50.0,
            memory_rss_mb=500.0 + second,
            memory_limit_mb=1000.0,
            metrics={"reward": float(second % 30)},
        )
        for second in range(300)
    ]
    return story


def failed_twice() -> Story:
    """A run of two failed attempts, with five findings for information."""
    story = Story("20260106T000000Z-a-aaaaaa")
    for attempt in (1, 2):
        error = ErrorInfo(type="ValueError", message="no", stacktrace="Traceback (most recent")
        span_id = story.begin(f"train {attempt}")
        story.end(span_id, "failed", result="failure", error=error)
    for number in range(5):
        found = PerformanceRecommendation(
            id=f"r{number}",
            trigger="memory_headroom",
            severity="info",
            message="There is room",
            suggested_actions=["Use it"],
            timestamp_ms=0,
        )
        story.events.append(e.RecommendationAdded(time_unix_nano=story.now(), recommendation=found))
    story.finish("failed", result="failure")
    return story


def drawn(page: Page) -> int:
    return int(page.evaluate("document.documentElement.dataset.drawn"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_text_of_a_run_is_obeyed_and_nothing_is_loaded(opened: Opener, scheme: str) -> None:
    page = opened(hostile_run(), dark=scheme == "dark")

    assert page.dialogs == []
    assert page.messages == []
    assert [url for url in page.requests if not url.endswith("/report.html")] == []
    assert page.evaluate("[...document.scripts].filter(one => one.src).length") == 0
    assert drawn(page) > 0
    assert page.evaluate("location.href").endswith("/report.html")


def test_a_script_that_got_into_the_page_anyway_would_not_run(
    opened: Opener, tmp_path: Path
) -> None:
    opened(busy_run())
    report = tmp_path / "report.html"
    text = report.read_text(encoding="utf-8")
    evil = "<script>alert(1)</script><img src='http://127.0.0.1:9/x.png' onerror='alert(2)'>"
    report.write_text(text.replace("<main", f"{evil}<main"), encoding="utf-8")
    page: Page = opened.file(report)

    assert page.dialogs == []
    assert any("Content Security Policy" in message for message in page.messages)
    assert drawn(page) > 0


@pytest.mark.parametrize(
    "story",
    [busy_run, hostile_run, sample_runs.failed, sample_runs.thousand, sample_runs.healthy],
    ids=["busy", "hostile", "failed", "thousand", "healthy"],
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(opened: Opener, story: Callable[[], Story], scheme: str) -> None:
    """Axe finds no violation of WCAG 2.1 AA and of good practice."""
    page = opened(story(), dark=scheme == "dark")
    page.evaluate(
        "document.querySelectorAll('details:not(.data)').forEach(one => { one.open = true; })"
    )
    page.evaluate(resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8"))

    found: list[dict[str, Any]] = page.evaluate(
        "axe.run().then(done => done.violations.map(one => "
        "({id: one.id, nodes: one.nodes.slice(0, 3).map(node => node.html.slice(0, 300))})))"
    )
    assert found == []


@pytest.mark.parametrize("width", [320, 640, 1280, 2560])
def test_a_page_fits_every_window(opened: Opener, width: int) -> None:
    for story in (busy_run(), hostile_run()):
        page = opened(story, width=width)

        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1280])
def test_the_charts_and_the_timeline_share_one_axis(opened: Opener, width: int) -> None:
    page = opened(busy_run(), width=width)

    edges = page.evaluate(
        "[...document.querySelectorAll('#aligned .u-over, #aligned svg.track')]"
        ".map(one => { const box = one.getBoundingClientRect(); return [box.left, box.right]; })"
    )
    assert len(edges) > 6
    assert max(left for left, _ in edges) - min(left for left, _ in edges) <= 1.5
    assert max(right for _, right in edges) - min(right for _, right in edges) <= 1.5


@pytest.mark.parametrize("way", [Opener.__call__, Opener.bare], ids=["drawn", "bare"])
def test_an_execution_of_a_moment_has_a_bar(
    opened: Opener, way: Callable[[Opener, Story], Page]
) -> None:
    story = Story("20260105T000000Z-a-aaaaaa")
    for number in range(4):
        span_id = story.begin(f"s{number}")
        begun = story.events[-1].time_unix_nano
        finished = e.StepFinished(
            time_unix_nano=begun + SECOND // 10_000,
            span_id=span_id,
            status="completed",
            result="success",
            duration_seconds=1e-4,
        )
        story.events.append(finished)
    story.finish()
    bars = way(opened, story).evaluate(
        "[...document.querySelectorAll('rect.bar')].map(bar => "
        "[bar.getBoundingClientRect().width, Number(bar.dataset.b) - Number(bar.dataset.a)])"
    )

    assert len(bars) == 4
    assert min(width for width, _ in bars) > 0
    assert [seconds for _, seconds in bars] == [pytest.approx(1e-4, abs=2e-6)] * 4


def test_the_labels_of_an_axis_fit_beside_it(opened: Opener) -> None:
    story = busy_run()
    for index, sample in enumerate(story.samples):
        sample.steps_per_sec = 15_000_000.0 - index
        sample.metrics = {"huge": index * 1e19, "many": index * 1e9, "fine": 2e6 + 100 * index}
    page = opened(story)
    page.evaluate(
        "{ const draw = CanvasRenderingContext2D.prototype.fillText; window.labels = [];"
        "CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {"
        "if (this.textAlign === 'right') window.labels.push([text, this.measureText(text).width]);"
        "return draw.call(this, text, ...place); }; }"
    )
    page.evaluate("document.getElementById('aligned').focus()")
    page.press("+")
    page.evaluate("new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))")
    labels = page.evaluate("window.labels")

    texts = {text for text, _ in labels}
    assert {"15M/s", "100G", "1e+21", "2.01M"} <= texts
    assert {text for text, width in labels if width > AXIS - GAP} == set()


def test_dragging_over_a_chart_zooms_charts_and_timeline(opened: Opener) -> None:
    page = opened(busy_run())
    page.evaluate("document.querySelector('#chart-cpu').scrollIntoView({behavior: 'instant'})")
    box = page.evaluate(
        "(box => [box.left, box.top, box.width])"
        "(document.querySelector('#chart-cpu .u-over').getBoundingClientRect())"
    )
    before = page.evaluate("document.querySelector('rect.bar').getAttribute('width')")

    page.drag((box[0] + box[2] * 0.5, box[1] + 20), (box[0] + box[2] * 0.75, box[1] + 20))

    assert page.evaluate("!document.getElementById('whole').hidden")
    assert page.evaluate("document.querySelector('rect.bar').getAttribute('width')") != before
    page.evaluate("document.getElementById('whole').click()")
    assert page.evaluate("document.getElementById('whole').hidden")
    width = page.evaluate("parseFloat(document.querySelector('rect.bar').getAttribute('width'))")
    assert width == pytest.approx(float(before.rstrip("%")), abs=0.01)


def test_the_keyboard_reads_values_and_zooms(opened: Opener) -> None:
    page = opened(busy_run())
    page.evaluate("document.getElementById('aligned').focus()")
    summary = page.evaluate("document.querySelector('#chart-cpu output').textContent")
    page.press("ArrowRight")

    assert summary == "40 % to 97 %"
    assert page.evaluate("document.querySelector('#chart-cpu output').textContent") == "97 %"
    assert "Train" in page.evaluate("document.querySelector('.readout').textContent")
    page.press("+")
    assert page.evaluate("!document.getElementById('whole').hidden")
    page.press("0")
    assert page.evaluate("document.getElementById('whole').hidden")
    assert page.messages == []


def test_a_finding_leads_to_its_evidence(opened: Opener) -> None:
    page = opened(busy_run(), height=500)
    page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    page.evaluate("document.querySelector('button.show').click()")

    shown = page.evaluate(
        "(box => [box.top, box.bottom])"
        "(document.querySelector('#chart-cpu .plot').getBoundingClientRect())"
    )
    assert 0 <= shown[0] < shown[1] <= 500
    assert page.evaluate("!document.getElementById('whole').hidden")
    assert page.evaluate("document.activeElement.id") == "aligned"


def test_evidence_is_coloured_in_its_chart(opened: Opener) -> None:
    page = opened(busy_run())

    def shade(second: float) -> list[int]:
        # The colour near the top of the chart, where no curve runs.
        found: list[int] = page.evaluate(
            "(() => { const c = document.querySelector('#chart-cpu canvas');"
            "const over = document.querySelector('#chart-cpu .u-over').getBoundingClientRect();"
            "const box = c.getBoundingClientRect(); const r = c.width / box.width;"
            f"const x = (over.left - box.left + over.width * {second} / 300) * r;"
            "const d = c.getContext('2d').getImageData(Math.round(x), Math.round(70 * r), 1, 1);"
            "return [...d.data]; })()"
        )
        return found

    assert shade(131) != shade(50)
    assert shade(131) == shade(151)


def test_it_prints_in_light_colours_whatever_the_screen_is(opened: Opener) -> None:
    page = opened(busy_run(), dark=True)
    printed = page.pdf()

    assert printed.startswith(b"%PDF")
    assert page.messages == []
    # After printing the screen is as it was.
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == (
        "rgb(15, 19, 24)"
    )
    assert _pages(printed) < 8


def test_no_label_is_cut_off_on_paper(opened: Opener) -> None:
    story = Story("20260108T000000Z-a-aaaaaa")
    for number in range(100):
        story.end(story.begin(f"s{number}"))
    story.finish()
    page = opened(story, width=1600)
    # What a printer gets: the page as it is after the event, in the layout of paper.
    page.evaluate("void dispatchEvent(new Event('beforeprint'))")
    page.call("Emulation.setEmulatedMedia", media="print")
    over = page.evaluate(
        "[...document.querySelectorAll('text.beside')].filter(text => {"
        "const [at, box] = [text, text.ownerSVGElement].map(one => one.getBoundingClientRect());"
        "return at.left < box.left - 1 || at.right > box.right + 1; }).map(one => one.textContent)"
    )
    page.call("Emulation.setEmulatedMedia", media="")

    assert over == []


_FOLDED: Final = "[...document.querySelectorAll('details:not(.data)')].filter(one => !one.open)"
_SEEN: Final = (
    "[...document.querySelectorAll('details:not(.data) > :not(summary)')]"
    ".filter(one => one.checkVisibility()).length"
)


def test_what_is_folded_is_unfolded_on_paper(opened: Opener) -> None:
    page = opened(failed_twice())
    page.evaluate("document.querySelector('details').open = true")
    page.evaluate(
        "addEventListener('beforeprint', () => { window.onPaper = "
        f"[{_FOLDED}.length, document.querySelectorAll('details.data[open]').length]; }})"
    )
    assert page.evaluate(f"{_FOLDED}.length") == 2

    page.pdf()

    assert page.evaluate("window.onPaper") == [0, 0]
    assert page.evaluate(f"{_FOLDED}.length") == 2
    assert page.evaluate("document.querySelector('details').open")


def test_it_is_unfolded_on_paper_without_script_too(opened: Opener) -> None:
    page = opened.bare(failed_twice())
    on_screen = page.evaluate(_SEEN)
    page.call("Emulation.setEmulatedMedia", media="print")
    on_paper = page.evaluate(_SEEN)
    page.call("Emulation.setEmulatedMedia", media="")

    assert (on_screen, on_paper) == (0, 2 + 5)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("status", ["completed", "failed", "running", "cancelled", "skipped", ""])
def test_a_label_can_be_read_on_every_bar(opened: Opener, status: str, scheme: str) -> None:
    """The ratio of WCAG 2.1, AA for text."""
    page = opened(sample_runs.healthy(), dark=scheme == "dark")
    fills = page.evaluate(
        "(() => { const track = document.querySelector('.gantt li .track').cloneNode(true);"
        "document.querySelector('.gantt').append(track);"
        f"track.setAttribute('class', 'track {status} nested');"
        "const [bar, label] = [track.querySelector('rect'), track.querySelector('text')];"
        f"bar.setAttribute('class', 'bar {status}');"
        "label.setAttribute('class', 'beside inside');"
        "const [on, text] = [getComputedStyle(bar), getComputedStyle(label)];"
        "return [on.fill, text.fill, text.stroke, on.fillOpacity, on.opacity]; })()"
    )

    bar, label, outline = fills[:3]
    assert fills[3:] == ["1", "1"]
    assert outline == bar
    light, dark = sorted((_luminance(bar), _luminance(label)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    """The relative luminance of `rgb(r, g, b)`, as WCAG 2.1 has it."""
    parts = [int(part) / 255 for part in colour.strip("rgb()").split(",")]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _pages(pdf: bytes) -> int:
    """The pages of a PDF, whose objects may lie in compressed streams."""
    texts = [pdf]
    for part in pdf.split(b"stream\n")[1:]:
        try:
            texts.append(zlib.decompressobj().decompress(part))
        except zlib.error:
            continue
    return sum(text.count(b"/Type /Page\n") + text.count(b"/Type /Page ") for text in texts)


def test_a_day_of_samples_is_small_and_keeps_its_peak(opened: Opener, tmp_path: Path) -> None:
    story = Story("20260104T000000Z-day-aaaaaa")
    story.samples = [
        TelemetrySnapshot(
            timestamp_ms=story.start_ns // 10**6 + 1000 * second,
            cpu_percent_process=99.5 if second == 40_000 else 20.0 + second % 30,
            memory_rss_mb=1000.0 + second % 977,
            steps_per_sec=100.0 + second % 13,
            metrics={"loss": 1 / (1 + second)},
        )
        for second in range(0, 86_400, 2)
    ]
    story.events.append(
        e.RunFinished(
            time_unix_nano=story.start_ns + 86_400 * SECOND, status="completed", result="success"
        )
    )
    page = opened(story)

    assert (tmp_path / "report.html").stat().st_size < MOST_BYTES
    assert page.evaluate("document.querySelector('#chart-cpu output').textContent") == (
        "20 % to 99.5 %"
    )
    assert page.messages == []


def test_a_comparison_opens_too(
    opened: Opener, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stories = (busy_run(), hostile_run(), sample_runs.failed())
    names = [str(story.write(tmp_path / "runs")) for story in stories]
    report = tmp_path / "comparison.html"
    report.write_text(Answer(capsys, "compare", *names, "--format", "html").out, "utf-8")
    page: Page = opened.file(report)

    assert (page.dialogs, page.messages) == ([], [])
    assert [url for url in page.requests if not url.endswith("/comparison.html")] == []
    assert drawn(page) > 2
    page.evaluate(resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8"))
    assert page.evaluate("axe.run().then(done => done.violations.map(one => one.id))") == []
