"""What is recorded of a file, folder or figure that a run produced."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from robot_sf_otel import guard
from robot_sf_otel.manifest.codec import clip
from robot_sf_otel.manifest.events import rfc3339
from robot_sf_otel.manifest.schema import Artifact
from robot_sf_otel.store.layout import file_stem

if TYPE_CHECKING:
    from os import PathLike

MAX_PATH = 4096
"""Characters of a path that are kept."""
MAX_NAME = 200
_SUFFIXES: Final = frozenset({".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp"})
"""Formats of figures that a name may ask for; the rest is PNG."""


class Figure(Protocol):
    """A figure, of matplotlib or of anything that is like it."""

    def savefig(self, fname: Any, /, **options: Any) -> object:  # noqa: ANN401 - theirs
        """Write it to a file."""
        ...


class Image(Protocol):
    """An image, of Pillow or of anything that is like it."""

    def save(self, fp: Any, /, **options: Any) -> object:  # noqa: ANN401 - theirs
        """Write it to a file."""
        ...


if TYPE_CHECKING:
    Loggable = str | PathLike[str] | Figure | Image


class Kept(NamedTuple):
    """Where an artifact lies, what it is and what people call it."""

    path: Path
    kind: str
    name: str


def keep(
    what: Loggable,
    kind: str | None,
    name: str | None,
    folder: Callable[[], Path | None],
    *,
    copy: bool,
) -> Kept | None:
    """Save a figure, copy what is to be copied, and leave everything else where it lies.

    Args:
        what: A path, a figure or an image.
        kind: What it is; by default what it looks like.
        name: What people call it.
        folder: Makes the run's own folder for artifacts; None where that fails.
        copy: Whether a file or folder is copied there.

    Returns:
        None where there is nothing to record: a figure that could not be saved.
    """
    if isinstance(what, (str, os.PathLike)):
        path = Path(os.path.abspath(os.fspath(what)))  # noqa: PTH100 - links stay as they are
        shown = name or path.name
        mode = _mode(path)
        if mode is None:
            guard.warn_once(f"artifact:{path}", f"the artifact {str(path)!r} does not exist (yet)")
        elif copy:
            path = _copied(path, mode, folder()) or path
        is_folder = mode is not None and stat.S_ISDIR(mode)
        return Kept(path, kind or ("directory" if is_folder else "file"), shown)
    for method, usual in (("savefig", "figure"), ("save", "image")):
        save: Any = getattr(cast("object", what), method, None)
        if callable(save):
            saved = _saved(save, name or usual, usual, folder())
            return None if saved is None else Kept(saved, kind or usual, name or saved.name)
    raise TypeError(
        f"{type(what).__name__} is neither a path nor something with `savefig` or `save`"
    )


def describe(path: Path, kind: str, name: str, run_dir: Path, time_unix_nano: int) -> Artifact:
    """Return the record of an artifact; its path is relative where it lies in the run.

    Its digest, and the size of a folder, are filled in later: reading it may take long.

    Args:
        path: Where it lies, absolute.
        kind: What it is: `checkpoint`, `file`, …
        name: What people call it.
        run_dir: The run's directory.
        time_unix_nano: When it was reported.
    """
    try:
        shown = path.relative_to(run_dir).as_posix()
    except ValueError:
        shown = str(path)
    return Artifact(
        path=clip(shown, MAX_PATH),
        name=clip(name, MAX_NAME),
        kind=kind,
        size_bytes=_file_size(path),
        logged_at=rfc3339(time_unix_nano),
    )


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def _file_size(path: Path) -> int | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _new_file(folder: Path, stem: str, suffix: str) -> Path:
    """Create an empty file, or find a free name: `<stem><suffix>`, `<stem>-2<suffix>`, ….

    Raises:
        OSError: It cannot be created.
    """
    number = 1
    while True:
        path = folder / (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            number += 1
            continue
        return path


def _saved(save: Callable[..., object], name: str, usual: str, folder: Path | None) -> Path | None:
    """Save a figure; return None, and no file, where that fails.

    Its file is called `usual` where nothing in the name can be that of a file.
    """
    if folder is None:
        return None
    suffix = Path(name).suffix.lower()
    stem = name[: -len(suffix)] if suffix in _SUFFIXES else name
    path = _new_file(folder, file_stem(stem) or usual, suffix if suffix in _SUFFIXES else ".png")
    try:
        save(str(path))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _copied(path: Path, mode: int, folder: Path | None) -> Path | None:
    """Copy a file or folder into `folder`; return None where that fails, or it is neither."""
    is_folder = stat.S_ISDIR(mode)
    if folder is None or not (is_folder or stat.S_ISREG(mode)):
        return None
    if folder in path.parents:  # it is the run's own already
        return None
    suffix = "" if is_folder else "".join(path.suffixes[-1:])
    target = _new_file(folder, path.name.removesuffix(suffix), suffix)
    try:
        if is_folder:
            target.unlink()
            shutil.copytree(path, target, symlinks=True, ignore=_special, copy_function=shutil.copy)
        else:
            shutil.copyfile(path, target)
    except (OSError, shutil.Error) as error:
        guard.storage_fault("artifact copy", error)
        if is_folder:
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)
        return None
    return target


def _special(folder: str, names: list[str]) -> set[str]:
    """Return what is neither a file, a folder nor a link: to copy a pipe would never end."""
    found: set[str] = set()
    for name in names:
        try:
            mode = (Path(folder) / name).lstat().st_mode
        except OSError:
            found.add(name)
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            found.add(name)
    return found
