"""The state of git repositories, read from the files that git itself makes."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.system_metrics import vcs
from robot_sf_otel.system_metrics.vcs import vcs_facts

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-C", str(folder), *identity, *arguments]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    return answer.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "train.py").write_text("print(1)\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=first")
    return folder


@pytest.fixture
def bare_files(tmp_path: Path) -> Path:
    """A repository as far as its own files tell, which git itself would not accept."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    return tmp_path


def test_a_clean_repository(repository: Path) -> None:
    assert vcs_facts(repository) == {
        "system": "git",
        "root": str(repository),
        "commit": git(repository, "rev-parse", "HEAD"),
        "branch": "main",
        "dirty": False,
    }


def test_a_directory_inside_the_repository(repository: Path) -> None:
    inside = repository / "a" / "b"
    inside.mkdir(parents=True)

    assert vcs_facts(str(inside))["root"] == str(repository)


def test_a_changed_file_makes_it_dirty_and_a_new_one_does_not(repository: Path) -> None:
    (repository / "output.txt").write_text("new")
    assert vcs_facts(repository)["dirty"] is False

    (repository / "train.py").write_text("print(2)\n")
    assert vcs_facts(repository)["dirty"] is True


def test_a_branch_with_slashes_and_packed_references(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "topic/a/b")
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git" / "refs" / "heads" / "topic" / "a" / "b").exists()

    facts = vcs_facts(repository)

    assert facts["branch"] == "topic/a/b"
    assert facts["commit"] == git(repository, "rev-parse", "HEAD")


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "checkout", "--quiet", "--detach")

    facts = vcs_facts(repository)

    assert (facts["commit"], facts["branch"]) == (commit, None)


def test_a_linked_worktree_has_a_head_of_its_own(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "linked"))
    (tmp_path / "linked" / "train.py").write_text("print(3)\n")
    git(tmp_path / "linked", "commit", "--quiet", "--all", "--message=second")

    facts = vcs_facts(tmp_path / "linked")

    assert facts["branch"] == "other"
    assert facts["commit"] == git(tmp_path / "linked", "rev-parse", "HEAD")
    assert facts["commit"] != vcs_facts(repository)["commit"]
    assert facts["root"] == str(tmp_path / "linked")


def test_a_repository_without_commits(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")

    facts = vcs_facts(tmp_path)

    assert (facts["commit"], facts["branch"], facts["dirty"]) == (None, "main", False)


def test_without_a_repository_there_are_no_facts(tmp_path: Path) -> None:
    assert vcs_facts(tmp_path) == {}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pa55@example.org/a.git", "https://[redacted]@example.org/a.git"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
    ],
)
def test_the_remote_is_shown_without_credentials(repository: Path, url: str, shown: str) -> None:
    git(repository, "remote", "add", "backup", "https://example.org/backup.git")
    assert vcs_facts(repository)["remote"] == "https://example.org/backup.git"

    git(repository, "remote", "add", "origin", url)
    assert vcs_facts(repository)["remote"] == shown


def test_without_git_commit_and_branch_are_known(
    bare_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_files / ".git" / "refs" / "heads").mkdir(parents=True)
    (bare_files / ".git" / "refs" / "heads" / "main").write_text(COMMIT + "\n")
    monkeypatch.setenv("PATH", "")

    facts = vcs_facts(bare_files)

    assert (facts["commit"], facts["branch"], facts["dirty"]) == (COMMIT, "main", None)


def test_a_git_that_refuses_leaves_dirty_unknown(bare_files: Path) -> None:
    facts = vcs_facts(bare_files)

    assert facts["dirty"] is None
    assert facts["commit"] is None


def test_a_git_that_takes_too_long_leaves_dirty_unknown(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*args: object, **kwargs: object) -> None:
        raise subprocess.TimeoutExpired("git", 2.0)

    monkeypatch.setattr(subprocess, "run", too_long)

    assert vcs_facts(repository)["dirty"] is None


def test_an_answer_without_its_header_says_nothing(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody else waited for the git that failed."""

    def nothing(*args: object) -> str:
        return ""

    monkeypatch.setattr(vcs, "_git", nothing)

    assert vcs_facts(repository)["dirty"] is None


def test_the_variables_of_a_git_hook_do_not_mislead(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))

    assert vcs_facts(repository)["dirty"] is False


def test_references_in_a_table_are_asked_from_git(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / ".git" / "HEAD").write_text("ref: refs/heads/.invalid\n")

    def answer(worktree: Path, command: str, *arguments: str) -> str | None:
        return {"symbolic-ref": "main\n", "rev-parse": COMMIT + "\n"}.get(command)

    monkeypatch.setattr(vcs, "_git", answer)
    facts = vcs_facts(repository)

    assert (facts["commit"], facts["branch"]) == (COMMIT, "main")


@pytest.mark.parametrize("text", ["", "gitdir: nowhere", "nonsense"])
def test_a_broken_link_to_a_repository_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ".git").write_text(text)

    assert vcs_facts(tmp_path) == {}


def test_a_damaged_head_leaves_the_commit_unknown(bare_files: Path) -> None:
    (bare_files / ".git" / "HEAD").write_bytes(b"\xff\x00garbage")

    facts = vcs_facts(bare_files)

    assert (facts["commit"], facts["branch"]) == (None, None)


def test_a_path_that_is_none_gives_no_facts() -> None:
    assert vcs_facts("\0") == {}
