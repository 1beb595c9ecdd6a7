"""Which commit the code is at, read from git's own files; only whether it was changed needs git."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple

from robot_sf_otel.redaction import Redactor

_PATIENCE: Final = 2.0
"""Seconds to wait for git; a large working tree on a network file system takes longer."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SECTION: Final = re.compile(r"\[\s*remote\s+\"(?P<name>[^\"]*)\"\s*\]")
_ELSEWHERE: Final = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"}
)


class _Repository(NamedTuple):
    worktree: Path
    own: Path
    """Holds HEAD; of one's own in a linked worktree."""
    common: Path
    """Holds branches and configuration."""


def vcs_facts(cwd: str | Path) -> dict[str, Any]:
    """Return the state of the git repository that a directory lies in; empty without one.

    Never raises. `dirty` says whether tracked files differ from the commit; new files do not count,
    as output is often not ignored. It is None where git is missing, refuses (another user's
    repository) or takes more than 2 s.

    Returns:
        `system, root, commit, branch` (None if detached), `dirty` and, where there is one,
        `remote`, without credentials.
    """
    try:
        repository = _find(Path(cwd).absolute())
        if repository is None:
            return {}
        commit, branch = _head(repository)
        facts: dict[str, Any] = {
            "system": "git",
            "root": str(repository.worktree),
            "commit": commit,
            "branch": branch,
            "dirty": _dirty(repository.worktree),
        }
        remote = _remote(repository.common)
    except (OSError, ValueError):
        return {}
    if remote is not None:
        facts["remote"] = Redactor().text(remote)
    return facts


def _find(directory: Path) -> _Repository | None:
    for folder in (directory, *directory.parents):
        place = folder / ".git"
        if place.is_dir() and (place / "HEAD").is_file():
            return _Repository(folder, place, place)
        if place.is_file():  # a linked worktree or a submodule
            _, _, target = _text(place).partition("gitdir:")
            own = folder / target.strip()
            if target.strip() and own.is_dir():
                common = _text(own / "commondir").strip()
                return _Repository(folder, own, own / common if common else own)
    return None


def _head(repository: _Repository) -> tuple[str | None, str | None]:
    """Return (commit, branch); a branch without commits has None."""
    head = _text(repository.own / "HEAD").strip()
    if not head.startswith("ref:"):
        return _commit(head), None
    ref = head.removeprefix("ref:").strip()
    if ref == "refs/heads/.invalid":  # the reftable format keeps references in a file of its own
        branch = _git(repository.worktree, "symbolic-ref", "--quiet", "--short", "HEAD")
        commit = _git(repository.worktree, "rev-parse", "--verify", "--quiet", "HEAD")
        return _commit((commit or "").strip()), (branch or "").strip() or None
    return _resolve(repository, ref), ref.removeprefix("refs/heads/")


def _resolve(repository: _Repository, ref: str) -> str | None:
    for folder in (repository.own, repository.common):
        commit = _commit(_text(folder / ref).strip())
        if commit is not None:
            return commit
    for line in _text(repository.common / "packed-refs").splitlines():
        commit, _, name = line.partition(" ")
        if name.strip() == ref:
            return _commit(commit)
    return None


def _commit(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None


def _remote(common: Path) -> str | None:
    """Return the URL of `origin`, or else of the first remote; see git-config(1)."""
    urls: dict[str, str] = {}
    name: str | None = None
    for line in _text(common / "config").splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            section = _SECTION.match(stripped)
            name = None if section is None else section["name"]
        key, _, value = stripped.partition("=")
        if name is not None and key.strip().lower() == "url" and value.strip():
            urls.setdefault(name, value.strip().strip('"'))
    return urls.get("origin", next(iter(urls.values()), None))


def _dirty(worktree: Path) -> bool | None:
    answer = _git(
        worktree, "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--no-renames"
    )
    # The header tells a clean tree from a git that was stopped or waited for by somebody else.
    if answer is None or not answer.startswith("# branch."):
        return None
    return any(line and not line.startswith("#") for line in answer.splitlines())


def _git(worktree: Path, *arguments: str) -> str | None:
    """Return what git prints, or None; it takes no lock and starts no program of the repository."""
    program = shutil.which("git")
    if program is None:
        return None
    environ = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    environ |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = [program, "-C", str(worktree), "-c", "core.fsmonitor=false", *arguments]
    try:
        answer = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode("utf-8", "replace") if answer.returncode == 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
