"""The full screen of `watch`: what is looked at when, and what the keys do."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from robot_sf_otel.cli.common import MOST_BYTES
from robot_sf_otel.manifest.formats import one_line
from robot_sf_otel.report.canvas import paint
from robot_sf_otel.report.live import View, picture, run_list
from robot_sf_otel.store.directories import newest_first
from robot_sf_otel.store.following import FollowedRun
from robot_sf_otel.store.history import list_loaded
from robot_sf_otel.store.layout import RunPaths
from robot_sf_otel.store.lines import last_lines
from robot_sf_otel.store.log_file import short_entry

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.report.screen import Screen
    from robot_sf_otel.store.reader import LoadedRun

_LOOK_SECONDS: Final = 0.1
"""How soon a screen that changed its size is drawn again."""
_LOG_BYTES: Final = 32 * 1024
_LOG_LINES: Final = 100
_RUNS: Final = 1_000
"""Runs among which the keys go to and fro."""
_LISTED: Final = 200
"""Runs that the list shows: 0.1 s."""
_NEXT: Final = frozenset({"n", "right", "]", "j"})
_PREVIOUS: Final = frozenset({"p", "left", "[", "k"})


class Watching:
    """A run on the screen, or the list of runs.

    Args:
        screen: Where.
        roots: Artifact roots that the keys go through.
        run_dir: The run to begin with.
        interval: Seconds between two looks.

    Attributes:
        run: The run that is shown.
    """

    def __init__(self, screen: Screen, roots: list[Path], run_dir: Path, interval: float) -> None:
        self._screen = screen
        self._roots = roots
        self._interval = interval
        self._log: list[str] = []
        self._log_mark: tuple[int, int] | None = None
        self._note = ""
        self._listed: list[LoadedRun] | None = None
        self._cursor = 0
        self._runs: list[Path] = []
        self.run = self._follow(run_dir)
        self._stays = False

    def _follow(self, run_dir: Path) -> FollowedRun:
        self._log_mark = None
        self._runs = list(itertools.islice(newest_first(self._roots), _RUNS))
        return FollowedRun(run_dir, most_bytes=MOST_BYTES)

    def go_on(self) -> str | None:
        """Draw until the run has ended or the user quits; return why it cannot be read any more.

        A run that had ended already when the user switched to it stays.
        """
        while True:
            began = time.monotonic()
            if self.run.is_over and not self._stays and self._listed is None:
                return None
            self._draw()
            due = max(began + self._interval, 2 * time.monotonic() - began)
            size = self._screen.size()
            while (left := due - time.monotonic()) > 0:
                try:
                    key = self._screen.key(min(left, _LOOK_SECONDS))
                except EOFError:
                    return None
                if key is not None:
                    if self._press(key):
                        return None
                    self._draw()
                elif self._screen.size() != size:
                    size = self._screen.size()
                    self._draw()
            try:
                self.run.look(time.time())
            except (OSError, ValueError) as error:
                return str(error)

    def _draw(self) -> None:
        columns, height = self._screen.size()
        # Without the last column: what erases the rest of a row would erase a character there.
        width = max(1, columns - 1)
        able = self._screen.able
        now = datetime.now(UTC)
        if self._listed is not None:
            records = [run.record for run in self._listed]
            lines = run_list(records, self._cursor, now, (width, height), unicode=able.unicode)
        else:
            self._read_log()
            view = View(
                record=self.run.record,
                samples=self.run.samples,
                log=self._log,
                now=now,
                position=self._position(),
                note=self._note,
                unicode=able.unicode,
            )
            lines = picture(view, width, height)
        self._screen.draw(paint(lines, colour=able.colour))

    def _position(self) -> str:
        try:
            return f"run {self._runs.index(self.run.run_dir) + 1} of {len(self._runs)}"
        except ValueError:
            return ""

    def _read_log(self) -> None:
        path = RunPaths(self.run.run_dir).log
        try:
            found = path.stat()
        except OSError:
            self._log = []
            return
        mark = (found.st_ino, found.st_size)
        if mark != self._log_mark:
            self._log_mark = mark
            lines = last_lines(path, _LOG_BYTES)[:_LOG_LINES][::-1]
            self._log = [one_line(short_entry(line.decode("utf-8", "replace"))) for line in lines]

    def _press(self, key: str) -> bool:
        """Do what a key means; return whether that is to quit."""
        self._note = ""
        if key in {"q", "Q"}:
            return True
        if self._listed is not None:
            self._press_in_list(key, self._listed)
        elif key in {"l", "L"}:
            self._listed = list_loaded(self._roots, limit=_LISTED)
            places = [run.run_dir for run in self._listed]
            here = self.run.run_dir
            self._cursor = places.index(here) if here in places else 0
        elif key in _NEXT or key in _PREVIOUS:
            self._switch_by(1 if key in _NEXT else -1)
        return False

    def _press_in_list(self, key: str, listed: list[LoadedRun]) -> None:
        if key in {"down", "j", "n"}:
            self._cursor = min(self._cursor + 1, len(listed) - 1)
        elif key in {"up", "k", "p"}:
            self._cursor = max(self._cursor - 1, 0)
        elif key in {"escape", "l", "L"}:
            self._listed = None
        elif key == "enter":
            self._listed = None
            if listed:
                self._switch(listed[self._cursor].run_dir)

    def _switch_by(self, steps: int) -> None:
        """Show the next older (1) or newer (-1) run."""
        runs = list(itertools.islice(newest_first(self._roots), _RUNS))
        here = self.run.run_dir
        index = runs.index(here) + steps if here in runs else 0
        if 0 <= index < len(runs):
            self._switch(runs[index])
        else:
            self._note = "there is no older run" if steps > 0 else "there is no newer run"

    def _switch(self, run_dir: Path) -> None:
        try:
            self.run = self._follow(run_dir)
        except (OSError, ValueError) as error:
            self._note = one_line(str(error), 200)
            return
        self._stays = self.run.is_over
