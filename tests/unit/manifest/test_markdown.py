"""manifest.md: what people read, and what names from outside cannot do to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from robot_sf_otel.manifest.formats import one_line
from robot_sf_otel.manifest.markdown import MAX_ROWS, render_markdown
from robot_sf_otel.manifest.markdown_text import Links, code, escape, fence, html_text, table
from robot_sf_otel.manifest.schema import FieldSummary, PipelineRunRecord, Progress
from tests.data import sample_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from markdown_it.token import Token

GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def tokens(text: str) -> Iterator[Token]:
    for token in GITHUB.parse(text):
        yield token
        yield from token.children or []


def shown(text: str) -> str:
    """Return the text that a reader of the rendered page sees."""
    parts = (t.content for t in tokens(text) if t.type in {"text", "code_inline", "text_special"})
    return "".join(parts)


PIECES = (
    *("|", "`", "``", "<b>", "</td>", "\n", "\\", "[", "](", ")", "*", "_", "~~", "&lt;", "- "),
    *("1. ", "# ", "---", "===", "a", "_b_", "https://e.x", "javascript:", "\x1b[31m", "\u202e"),
    *("$x$", "!", "@you", "www.e.x", "#12", "GH-7"),
)
NAMES = st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@given(NAMES)
def test_escaped_text_shows_exactly_what_it_was(name: str) -> None:
    line = one_line(name)

    found = list(tokens(f"{escape(name, None)}\n"))

    assert shown(escape(name, None)) == line
    assert {t.type for t in found} <= {
        "paragraph_open",
        "paragraph_close",
        "inline",
        "text",
        "text_special",
        "html_inline",
    }
    assert {t.content for t in found if t.type == "html_inline"} <= {"<!---->"}


@pytest.mark.parametrize("place", [escape, html_text])
@pytest.mark.parametrize(
    "text",
    [
        *("use @step, ask @torvalds", "(@org/team)", "@you", "@@you", "a@b.example", "o/r@0123abc"),
        *("see #12", "#12 first", "owner/repo#12", "GH-12", "(gh-12)", "https://e.x", "www.e.x"),
    ],
)
def test_nobody_and_no_issue_is_mentioned(place: Callable[[str], str], text: str) -> None:
    # GitHub looks for them in each text between two pieces of markup.
    parts = place(text).split("<!---->")

    assert len(parts) > 1
    assert "".join(parts) == text
    live = re.compile(r"(?i)@\w|#\d|\bGH-\d|https?:|www\.")
    assert [part for part in parts if live.search(part)] == []


@pytest.mark.parametrize("text", ["C# and #tags", "a @ b", "100 %, @", "XGH-1 GH-x", "user: me"])
def test_what_is_no_mention_stays_as_it_is(text: str) -> None:
    assert escape(text) == text


@given(NAMES, NAMES)
def test_a_table_keeps_its_columns_whatever_its_cells_hold(left: str, right: str) -> None:
    lines = table(["A", "B:"], [[escape(left), code(right)]])

    kinds = [token.type for token in tokens("\n".join(lines))]

    assert kinds.count("td_open") == 2
    assert kinds.count("tr_open") == 2
    assert "link_open" not in kinds


@given(NAMES, NAMES)
def test_a_link_leads_to_its_file_and_nowhere_else(label: str, path: str) -> None:
    text = Links("/runs/x").to(label, path)

    for token in tokens(f"x {text}"):
        if token.type == "link_open":
            address = str(token.attrs["href"])
            assert ":" not in address.split("/", maxsplit=1)[0]
            assert not address.startswith("//")
            if not path.startswith("/"):
                assert unquote(address) == path.encode("utf-8", "replace").decode()


@given(NAMES)
def test_a_code_block_ends_where_it_should(name: str) -> None:
    found = list(tokens("\n".join([*fence(f"{name}\n````\n</details>"), "after"])))

    assert [t.type for t in found] == [
        "fence",
        "paragraph_open",
        "inline",
        "text",
        "paragraph_close",
    ]


def test_the_first_line_is_the_verdict() -> None:
    healthy, failed, cancelled, running = (
        render_markdown(story().record()).splitlines()[0]
        for story in (
            sample_runs.healthy,
            sample_runs.failed,
            sample_runs.cancelled,
            sample_runs.running,
        )
    )

    assert healthy == "# ✅ imitation: completed in 2m 03s, 3 of 3 steps"
    assert failed == (
        "# ❌ imitation: failed after 2m 03s, 1 of 3 steps, ValueError: no \\| episodes"
    )
    assert cancelled == "# ⏹️ imitation: cancelled after 2m 03s, 0 of 2 steps, KeyboardInterrupt"
    assert running == "# ▶️ imitation: running, 1 of 3 steps"


def test_a_running_run_shows_its_eta_with_the_band() -> None:
    text = render_markdown(sample_runs.running().record())

    assert "Running `collect`, ETA 11m (9m to 14m)" in text
    assert "120/500 episodes" in text


def test_steps_show_usage_artifacts_and_nesting() -> None:
    text = render_markdown(sample_runs.healthy().record())

    assert (
        "| 1 | Train expert | ✅ completed | 1 | 40.0 s | 100,000/100,000 timesteps "
        "| 2,500 timesteps/s | 39.5 s | 1.03 GiB | [expert](artifacts/expert%20policy.zip) |"
    ) in text
    assert "| 3 | &nbsp;&nbsp;↳ Rollout | ✅ completed | 1 | 850 ms | -- |" in text


def test_errors_carry_message_and_folded_traceback() -> None:
    text = render_markdown(sample_runs.failed().record())

    assert "### Collect (attempt 2)\n\n**ValueError**: no \\| episodes\n" in text
    assert "<summary>Traceback</summary>\n\n```text\nTraceback (most recent" in text


def test_recommendations_show_evidence_and_actions() -> None:
    text = render_markdown(sample_runs.healthy().record())

    assert "⚠️ **warning** `cpu_saturation`: CPUs were busy" in text
    assert "Evidence: cpu_percent_process = 97.1 % (threshold 90 %)" in text
    assert "  - [ ] Use fewer workers\n  - [ ] Use a larger machine\n" in text


def test_telemetry_has_units_and_missing_telemetry_is_unavailable() -> None:
    record = sample_runs.healthy().record(
        {"memory_rss_mb": FieldSummary(count=3, mean=512, p95=1054, maximum=2048)}
    )

    assert "| Memory of the run (RSS) | 512 MiB | 1.03 GiB | 2 GiB | 3 |" in render_markdown(record)
    assert "## Telemetry\n\nunavailable" in render_markdown(sample_runs.failed().record())


def test_unknown_is_never_zero() -> None:
    row = next(
        line
        for line in render_markdown(sample_runs.cancelled().record()).splitlines()
        if "Clone" in line
    )

    assert row == "| 3 | Clone | ⏳ pending | -- | -- | -- | -- | -- | -- |   |"


def test_the_environment_is_folded_and_names_uncommitted_changes() -> None:
    text = render_markdown(sample_runs.healthy().record())

    assert (
        "<details>\n<summary>Environment: commit 0123456789ab…, with uncommitted changes</summary>"
    ) in text
    assert "| Command | python train.py --seed 1 |" in text
    assert "| learning_rate | 0.0003 |" in text


def test_hostile_names_make_no_markup() -> None:
    found = list(tokens(render_markdown(sample_runs.hostile().record())))

    links = [str(token.attrs["href"]) for token in found if token.type == "link_open"]
    html = {t.content.strip() for t in found if t.type in {"html_inline", "html_block"}}
    assert links
    assert all(not link.lower().startswith(("javascript:", "//", "http")) for link in links)
    assert all(tag.startswith(("<!---->", "<details>", "</details>")) for tag in html)
    assert not [t for t in found if t.type in {"strong_open", "em_open"} and t.level > 1]


def test_a_very_long_run_shows_both_ends() -> None:
    lines = render_markdown(sample_runs.thousand().record()).splitlines()

    assert sum("trial" in line and "completed" in line for line in lines) == MAX_ROWS
    assert f"| … | {1000 - MAX_ROWS} more in manifest.json |" in "\n".join(lines)
    assert "### trial_0500" in lines


def test_links_follow_the_text_to_another_folder() -> None:
    record = sample_runs.healthy().record()

    text = render_markdown(record, run_dir="/runs/x", lies_in="/reports")

    assert "[expert](../runs/x/artifacts/expert%20policy.zip)" in text


@pytest.mark.parametrize("path", ["s3://bucket/x", "https://e.x/y", "", "a\0b"])
def test_what_is_no_file_of_the_run_is_no_link(path: str) -> None:
    assert Links("/runs/x").to("label", path) == "label"


def test_an_absolute_path_becomes_relative_to_the_run_directory() -> None:
    assert Links("/runs/x").to("a", "/runs/y/z") == "[a](../y/z)"
    assert Links(None).to("a", "/runs/y/z") == "a"


def test_an_empty_record_renders() -> None:
    record = PipelineRunRecord(run_id="x", pipeline="")

    assert render_markdown(record).startswith("# ⏳ ")


def test_progress_beyond_its_total_renders() -> None:
    record = sample_runs.healthy().record()
    record.steps[0].progress = Progress(done=float("inf"), total=0, rate=float("nan"))

    assert "| --/0 it | -- |" in render_markdown(record)
