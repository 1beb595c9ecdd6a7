"""`prune`: delete old runs, and say what that freed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from robot_sf_otel.cli.common import TextFormat, artifact_roots, complain, fail, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.store.retention import Pruned, Removed


def prune(
    context: typer.Context,
    keep: Annotated[
        int, typer.Option("--keep", metavar="N", min=0, help="How many of the newest runs stay.")
    ] = 20,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be deleted; delete nothing.")
    ] = False,
    form: Annotated[
        TextFormat, typer.Option("--format", help="JSON: one object an artifact root, in a list.")
    ] = TextFormat.TEXT,
) -> None:
    """Delete closed runs beyond the newest N of each artifact root.

    Live runs and runs of the original tracker are never deleted.
    """
    from robot_sf_otel.store.retention import prune as prune_runs

    answers: list[dict[str, Any]] = []
    broken = False
    for root in artifact_roots(context):
        try:
            done = prune_runs(root, keep, dry_run=dry_run)
        except OSError as error:
            fail(f"{error.filename or root}: {error.strerror or error}")
        broken = broken or bool(done.failed)
        for one in done.failed:
            complain(f"{one.run_dir} could not be deleted: {one.error}")
        if form is TextFormat.JSON:
            answers.append(_as_json(root, done, keep=keep, dry_run=dry_run))
        else:
            _say(root, done, dry_run=dry_run)
    if form is TextFormat.JSON:
        write_json(answers)
    raise typer.Exit(1 if broken else 0)


def _as_json(root: Path, done: Pruned, *, keep: int, dry_run: bool) -> dict[str, Any]:
    def rows(runs: list[Removed]) -> list[dict[str, Any]]:
        return [
            {
                "run_id": one.run_dir.name,
                "run_dir": str(one.run_dir),
                "freed_bytes": one.freed_bytes,
                "error": one.error,
            }
            for one in runs
        ]

    return {
        "artifact_root": str(root),
        "dry_run": dry_run,
        "keep": keep,
        "kept": done.kept,
        "deleted": rows(done.removed),
        "failed": rows(done.failed),
        "live": [str(path) for path in done.live],
        "old_tracker": [str(path) for path in done.old_tracker],
        "unreadable": [str(path) for path in done.unreadable],
        "freed_bytes": done.freed_bytes,
    }


def _say(root: Path, done: Pruned, *, dry_run: bool) -> None:
    from robot_sf_otel.cli.common import new_page, show
    from robot_sf_otel.manifest.formats import one_line, size

    page = new_page()
    if done.removed:
        rows = [[one_line(one.run_dir.name), size(one.freed_bytes)] for one in done.removed]
        page.table(["WOULD BE DELETED" if dry_run else "DELETED", "SIZE:"], rows, wrap=0)
    what = "would free" if dry_run else "freed"
    page.line(
        f"{_runs(len(done.removed))} {'to delete' if dry_run else 'deleted'}, "
        f"{what} {size(done.freed_bytes)} under {one_line(str(root))}; "
        f"{_runs(done.kept + len(done.live))} kept"
    )
    for paths, why in (
        (done.live, "older, but live or not surely dead"),
        (done.old_tracker, "of the original tracker, never deleted"),
        (done.unreadable, "not readable, never deleted"),
    ):
        if paths:
            page.line(f"  {len(paths)} {why}: {one_line(_names(paths))}")
    show(page)


_NAMED = 3
"""How many runs a line names."""


def _names(paths: list[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(path.name for path in paths[:_NAMED]) + more


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
