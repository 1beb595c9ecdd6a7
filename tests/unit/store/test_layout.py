from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.store.layout import (
    MAX_STEM,
    RunPaths,
    create_run_dir,
    file_stem,
    make_folder,
    make_run_dir,
    slug,
    worker_journal,
)

NOW = 1_767_225_600_000_000_000


def test_generated_id_has_time_slug_and_six_hex_digits(tmp_path: Path) -> None:
    run_dir = create_run_dir(tmp_path, pipeline="Imitation / PPO", now_ns=NOW)
    assert re.fullmatch(r"20260101T000000Z-imitation-ppo-[0-9a-f]{6}", run_dir.name)
    assert run_dir.parent == tmp_path / "run-tracker"


def test_generated_id_that_exists_is_drawn_again(tmp_path: Path) -> None:
    suffixes = iter(["aaaaaa", "aaaaaa", "bbbbbb"])
    first = create_run_dir(tmp_path, pipeline="p", now_ns=NOW, suffix=lambda: next(suffixes))
    second = create_run_dir(tmp_path, pipeline="p", now_ns=NOW, suffix=lambda: next(suffixes))
    assert (first.name[-6:], second.name[-6:]) == ("aaaaaa", "bbbbbb")


def test_given_name_that_exists_gets_a_number(tmp_path: Path) -> None:
    made = [create_run_dir(tmp_path, pipeline="p", now_ns=NOW, name="nightly") for _ in range(3)]
    assert [run.name for run in made] == ["nightly", "nightly-2", "nightly-3"]


@pytest.mark.parametrize(
    "name",
    [
        "../up",
        "a/b",
        "a\\b",
        ".hidden",
        "",
        " ",
        "a\nb",
        "a\x1b[31m",
        "x" * 10_000,
        "-rf",
        "latest",
        "a\u202eb",
    ],
)
def test_name_that_could_leave_the_tree_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="run name"):
        create_run_dir(tmp_path, pipeline="p", now_ns=NOW, name=name)
    assert not list(tmp_path.iterdir())


def test_artifact_root_that_is_a_file_is_an_error_and_not_a_loop(tmp_path: Path) -> None:
    (tmp_path / "run-tracker").write_text("")
    with pytest.raises(OSError, match="run-tracker"):
        create_run_dir(tmp_path, pipeline="p", now_ns=NOW)


def test_a_folder_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for target in (outside, tmp_path / "nowhere"):
        link = tmp_path / f"to-{target.name}" / "run-tracker"
        link.parent.mkdir()
        link.symlink_to(target)
        with pytest.raises(OSError, match="symbolic link"):
            make_folder(link)
        with pytest.raises(OSError, match="symbolic link"):
            make_run_dir(link / "run")
        with pytest.raises(OSError, match="symbolic link"):
            create_run_dir(link.parent, pipeline="p", now_ns=NOW)
    assert list(outside.iterdir()) == []


def test_an_artifact_root_behind_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run_dir = create_run_dir(tmp_path / "link" / "output", pipeline="p", now_ns=NOW)
    assert run_dir.is_dir()


def test_a_settled_run_directory_is_created_exclusively(tmp_path: Path) -> None:
    run_dir = tmp_path / "output" / "run-tracker" / "run"
    make_run_dir(run_dir)
    with pytest.raises(FileExistsError):
        make_run_dir(run_dir)


@given(st.text(max_size=300))
def test_slug_is_always_a_safe_file_name(name: str) -> None:
    made = slug(name)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", made)
    assert len(made) <= 60


@given(st.text(max_size=300), st.sampled_from(["utf-8", "latin-1", "ascii", "euc-jp"]))
def test_the_stem_of_a_file_is_always_safe(name: str, encoding: str) -> None:
    made = file_stem(name, encoding)
    assert all(c == "-" or unicodedata.category(c)[0] in "LMN" for c in made)
    assert not made.startswith("-")
    assert not made.endswith("-")
    assert len(made.encode(encoding)) <= MAX_STEM
    assert made.isascii() or encoding != "ascii"


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Learning curve_2", "learning-curve-2"),
        ("曲线", "曲线"),
        ("Größe der Schritte", "größe-der-schritte"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940"),
        ("مكافأة \u0661", "مكافأة-\u0661"),
        ("../../etc/passwd", "etc-passwd"),
        ("..\uff0f..\u2044x\u2215y\\z", "x-y-z"),
        ("..", ""),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("a\x00b\x1b[2J\x9bc\nd", "a-b-2j-c-d"),
        ("abc\u202eexe\u2066\u200f\u061c", "abc-exe"),
        ("caf\udce9", "caf"),
        ("📈", ""),
        ("\u2764\ufe0f", ""),
        ("\u0301" * 9, ""),
        ("曲" * 100, "曲" * 40),
        ("a" + "曲" * 100, "a" + "曲" * 39),
    ],
)
def test_the_stem_of_a_file_keeps_what_a_name_is_read_by(name: str, stem: str) -> None:
    assert file_stem(name, "utf-8") == stem


def test_the_stem_of_a_file_leaves_out_what_the_file_system_does_not_have() -> None:
    assert file_stem("曲线 2", "ascii") == "2"
    assert file_stem("曲线", "ascii") == ""


def test_worker_journals_never_share_a_name() -> None:
    made = {worker_journal(Path("run"), "Host/../x", 7) for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"host-x-7-[0-9a-f]{6}\.jsonl", path.name) for path in made)
    assert {path.parent for path in made} == {RunPaths(Path("run")).workers}
