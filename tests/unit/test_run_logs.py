"""Log lines in the log of the run; the application's own logging is as it was."""

from __future__ import annotations

import copy
import io
import logging
import pickle
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
from loguru import logger

from robot_sf_otel import current_run, pipeline, step
from robot_sf_otel.instrument import context
from robot_sf_otel.loguru_sink import LoguruSink
from robot_sf_otel.redaction import Redactor
from robot_sf_otel.store.log_file import LONGEST, read_log
from robot_sf_otel.testing import CapturedRuns, capture_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[CapturedRuns]:
    with capture_run(tmp_path) as captured:
        yield captured


@pytest.fixture(autouse=True)
def quiet() -> Iterator[io.StringIO]:
    """Loguru with one sink, as it was before afterwards."""
    logger.remove()
    stream = io.StringIO()
    logger.add(stream, format="{message}", level="INFO")
    yield stream
    logger.remove()
    logger.add(sys.stderr)


def lines(runs: CapturedRuns, run: int = 0) -> list[str]:
    return [text for entry in read_log(runs.run_dirs[run]) for text in entry.lines]


def messages(runs: CapturedRuns, run: int = 0) -> list[str]:
    return [line.partition(": ")[2] for line in lines(runs, run)]


def test_lines_of_both_libraries_are_there_with_step_and_span(runs: CapturedRuns) -> None:
    with pipeline("p") as run:
        logger.info("in {}", "the run")
        with step("train") as this:
            logging.getLogger("app").warning("in %s", "the step")
            span = this.span_id
        trace_id = run.trace_id
    first, second = lines(runs)
    assert trace_id is not None
    assert f" INFO     [{runs.record.span_id}] " in first
    assert first.endswith(": in the run")
    assert f" WARNING  [train {span}] app:" in second
    assert second.endswith(": in the step")


def test_nothing_is_written_outside_a_run_and_no_file_for_nothing(runs: CapturedRuns) -> None:
    with pipeline("p"):
        pass
    logger.info("after")
    assert not (runs.run_dirs[0] / "log.txt").exists()


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    with capture_run(tmp_path, log=False) as runs:
        with pipeline("p"):
            logger.info("x")
            assert logging.root.parent is None
        assert lines(runs) == []


def test_the_applications_logging_is_as_it_was_during_and_after_the_run(
    runs: CapturedRuns, quiet: io.StringIO
) -> None:
    before = list(core().handlers), core().min_level
    handlers, level = list(logging.root.handlers), logging.root.level
    with pipeline("p"):
        assert (logging.root.handlers, logging.root.level) == (handlers, level)
        assert core().min_level == before[1]
        assert set(before[0]) < set(core().handlers)
        logger.info("shown")
        logger.debug("not shown, so not logged")
    assert (list(core().handlers), core().min_level) == before
    assert logging.root.parent is None
    assert quiet.getvalue() == "shown\n"
    assert messages(runs) == ["shown"]


def test_secrets_are_masked(runs: CapturedRuns) -> None:
    with pipeline("p"):
        logger.info("password=hunter2hunter2")
        logging.getLogger("app").warning("token: %s", "ghp_" + "a" * 36)
    assert "hunter2" not in "".join(lines(runs))
    assert "ghp_" not in "".join(lines(runs))


def test_a_traceback_shows_no_values_of_variables(runs: CapturedRuns) -> None:
    def fails() -> None:
        valued = "dragonfly"
        raise ValueError(len(valued))

    with pipeline("p"):
        try:
            fails()
        except ValueError:
            logger.exception("first")
            logging.getLogger("app").exception("second")
    text = "\n".join(lines(runs))
    assert text.count("| ValueError: 9") == 2
    assert "'dragonfly'" not in text


class Intercept(logging.Handler):
    """Passes the records of logging on to Loguru, as its documentation shows."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.opt(depth=6).log(record.levelname, record.getMessage())


def test_a_line_that_is_passed_on_to_the_other_library_comes_once(runs: CapturedRuns) -> None:
    app = logging.getLogger("passed on")
    app.addHandler(Intercept())
    back = logger.add(
        lambda message: logging.getLogger("from loguru").warning(message.record["message"]),
        format="{message}",
    )
    try:
        with pipeline("p"):
            app.warning("one")
            app.warning("one")
            logger.remove(back)
    finally:
        app.handlers.clear()
    assert messages(runs).count("one") == 2


def test_loguru_passed_on_to_logging_comes_once(runs: CapturedRuns) -> None:
    back = logger.add(
        lambda message: logging.getLogger("from loguru").warning(message.record["message"]),
        format="{message}",
    )
    with pipeline("p"):
        logger.info("one")
        logger.info("two")
    logger.remove(back)
    assert messages(runs) == ["one", "two"]


def core() -> Any:  # noqa: ANN401 - of a private class
    return getattr(cast("Any", logger), "_core", None)


def sink() -> Any:  # noqa: ANN401 - its inside is looked at
    runtime = context.process.runtime
    assert runtime is not None
    observer: Any = runtime.observer
    return observer.logs._sink


def test_an_application_that_sets_its_sinks_anew_loses_no_line(
    runs: CapturedRuns, quiet: io.StringIO
) -> None:
    with pipeline("p"):
        for index in range(20):
            logger.remove()
            logger.info("{} without sinks", index)
            logger.add(quiet, format="{message}", level="INFO")
            logger.info("{} with one", index)
        assert len(core().handlers) == 2
    assert messages(runs) == [
        f"{index} {where}" for index in range(20) for where in ("without sinks", "with one")
    ]
    assert next(iter(core().handlers.values())).levelno == core().min_level == 20
    assert len(core().handlers) == 1


def test_a_sink_that_is_removed_by_its_number_stays(runs: CapturedRuns) -> None:
    with pipeline("p"):
        for number in list(core().handlers):
            logger.remove(number)
        logger.info("kept")
    assert messages(runs) == ["kept"]
    assert core().handlers == {}


@pytest.mark.parametrize(
    ("level", "kept"),
    [("DEBUG", ["DEBUG", "INFO", "WARNING"]), ("WARNING", ["WARNING"])],
)
def test_the_level_is_that_of_new_sinks_from_the_next_step_on(
    runs: CapturedRuns, level: str, kept: list[str]
) -> None:
    with pipeline("p"):
        logger.remove()
        logger.add(io.StringIO(), level=level)
        with step("a"):
            assert core().min_level == logger.level(level).no
            for each in ("DEBUG", "INFO", "WARNING"):
                logger.log(each, each)
    assert messages(runs) == kept


def test_sinks_come_and_go_while_threads_log_and_take_steps(runs: CapturedRuns) -> None:
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            logger.info("meanwhile")
            with step("inner"):
                pass

    with pipeline("p") as run:
        threads = [threading.Thread(target=run.bind(work), daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            logger.remove()
            logger.add(io.StringIO(), level="INFO")
        ended.set()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        logger.info("last")
    assert messages(runs)[-1] == "last"
    assert len(core().handlers) == 1


def test_a_step_does_not_wait_for_sinks_that_are_being_removed(runs: CapturedRuns) -> None:
    with pipeline("p"):
        logger.add(io.StringIO(), level="DEBUG")
        with core().lock, step("a"):  # as while Loguru waits for a sink's queue
            logger.debug("not yet")
        with step("b"):
            logger.debug("kept")
    assert messages(runs) == ["kept"]


def test_a_loguru_that_is_another_inside_gets_the_sink_anew_with_the_next_step(
    runs: CapturedRuns,
) -> None:
    with pipeline("p"):
        sink()._mine = sink()._mine[0], object()
        logger.remove()
        logger.info("lost")
        with step("a"):
            logger.info("kept")
    assert messages(runs) == ["kept"]
    assert core().handlers == {}


def test_without_handlers_warnings_are_printed_as_ever(
    runs: CapturedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(printed))
    monkeypatch.setattr(logging.root, "handlers", [])
    with pipeline("p"):
        logging.getLogger("bare").warning("once")
        logging.root.handlers.append(logging.NullHandler())
        logging.getLogger("bare").warning("handled")
    assert printed.getvalue() == "once\n"
    assert messages(runs) == ["once", "handled"]


def test_arguments_that_do_not_fit_end_nothing(runs: CapturedRuns) -> None:
    class Bad:
        def __str__(self) -> str:
            raise ValueError("no text")

    with pipeline("p"):
        record = logging.LogRecord("app", 30, __file__, 1, "%s", (Bad(),), None)
        parent = logging.root.parent
        assert parent is not None
        parent.handlers[0].emit(record)
        logger.info("went on")
    assert messages(runs) == ["went on"]
    assert any("log line" in fault for fault in runs.record.self_cost.faults)


def test_lines_of_two_runs_are_kept_apart(runs: CapturedRuns) -> None:
    first = pipeline("a").start()
    logger.info("of a")

    def other() -> None:
        with pipeline("b"):
            logger.info("of b")

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    logger.info("of a again")
    first.finish()
    found = {
        run_dir.name.split("-")[1]: [
            entry.lines[0].partition(": ")[2] for entry in read_log(run_dir)
        ]
        for run_dir in runs.run_dirs
    }
    assert found == {"a": ["of a", "of a again"], "b": ["of b"]}


def test_a_thread_without_context_belongs_to_the_only_run(runs: CapturedRuns) -> None:
    with pipeline("p"), step("train"):
        thread = threading.Thread(target=lambda: logger.info("from a thread"))
        thread.start()
        thread.join()
        assert current_run().run_id is not None
    assert "[train " in lines(runs)[0]


def test_a_copied_or_pickled_sink_does_nothing(runs: CapturedRuns) -> None:
    with pipeline("p"):
        for other in (copy.deepcopy(sink()), pickle.loads(pickle.dumps(sink()))):  # noqa: S301 - our own
            assert isinstance(other, LoguruSink)
            other.write("x")
            other.stop()
        logger.info("still attached")
    assert messages(runs) == ["still attached"]


def test_a_program_that_adds_a_handler_where_there_is_none_still_does(
    runs: CapturedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    seen: list[bool] = []
    with pipeline("p"):
        seen += [logging.getLogger("app").hasHandlers(), logging.getLogger().hasHandlers()]
        logging.getLogger("app").error("still taken")

    assert seen == [False, False]
    assert messages(runs) == ["still taken"]


def test_a_message_of_megabytes_is_masked_as_far_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    redact = Redactor.text

    def watched(self: Redactor, text: str) -> str:
        looked_at.append(len(text))
        return redact(self, text)

    secret = "password=" + "s3cret" * 50
    message = "x " * ((LONGEST - 100) // 2) + secret + " y" * 1_000_000
    with capture_run(tmp_path) as runs:
        monkeypatch.setattr(Redactor, "text", watched)
        with pipeline("p"):
            logging.getLogger("app").error("password=hunter22 %s", message)
            assert max(looked_at) <= LONGEST

        (text,) = messages(runs)
        assert text.startswith("password=[redacted] x x")
        assert text.endswith(" more characters)")
        assert "s3cret" not in text
        assert len(text) < LONGEST
