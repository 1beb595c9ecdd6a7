"""log.txt with real processes: children, forks, full disks, programs that set logging up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from robot_sf_otel.store.history import find_runs
from robot_sf_otel.store.log_file import read_log
from tests.integration.scripts import DEADLINE, UNMEASURED, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scripts import Scripts

pytestmark = pytest.mark.integration

ENTRY: Final = re.compile(r"\S{24} \w+ +\[(\S+ )?[0-9a-f]{16}\] \S+:\d+: .*")


def only_run(scripts: Scripts) -> Path:
    (run_dir,) = find_runs([scripts.folder / "output"])
    return run_dir


def lines(scripts: Scripts) -> list[str]:
    return [text for entry in read_log(only_run(scripts)) for text in entry.lines]


def test_lines_of_many_processes_and_threads_are_whole(scripts: Scripts) -> None:
    scripts.run(
        """
        import logging, multiprocessing, threading
        from loguru import logger
        from robot_sf_otel import configure, pipeline, step

        def speak(who):
            for index in range(50):
                logger.info(f"{who} {index} " + "x" * 3000 + " end")
                logging.getLogger("app").warning("%s", f"{who} {index} std end")

        def work(number):
            with step("work"):
                threads = [threading.Thread(target=speak, args=(f"w{number}t{t}",)) for t in "ab"]
                [thread.start() for thread in threads]
                [thread.join() for thread in threads]

        if __name__ == "__main__":
            configure()
            logger.remove()
            logging.getLogger("app").addHandler(logging.NullHandler())
            logger.add(lambda message: None)
            with pipeline("p"), step("outer"):
                for method in ("fork", "spawn"):
                    context = multiprocessing.get_context(method)
                    names = [method + "1", method + "2"]
                    children = [context.Process(target=work, args=(n,)) for n in names]
                    [child.start() for child in children]
                    speak("parent")
                    [child.join() for child in children]
                    assert all(child.exitcode == 0 for child in children)
        """
    )
    found = lines(scripts)
    assert all(ENTRY.fullmatch(line) for line in found)
    assert all(line.endswith(" end") for line in found)
    assert len(found) == 50 * 2 * (2 * 2 + 2 * 2 + 2)
    assert any("[work " in line and "wspawn1ta" in line for line in found)
    assert any("[work " in line and "wfork2tb" in line for line in found)


def test_a_process_may_be_forked_while_another_thread_logs(scripts: Scripts) -> None:
    scripts.run(
        """
        import logging, os, threading
        from loguru import logger
        from robot_sf_otel import configure, pipeline
        configure()
        logger.remove()
        logger.add(lambda message: None)
        stop = threading.Event()

        def chatter():
            while not stop.is_set():
                logger.info("chatter")
                logging.getLogger("app").error("chatter")

        logging.getLogger("app").addHandler(logging.NullHandler())
        with pipeline("p"):
            threads = [threading.Thread(target=chatter) for _ in range(3)]
            [thread.start() for thread in threads]
            for _ in range(60):
                pid = os.fork()
                if pid == 0:
                    logger.info("child")
                    logging.getLogger("app").error("child")
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
            stop.set()
            [thread.join() for thread in threads]
        """,
        env=UNMEASURED,
    )
    assert sum(line.endswith(": child") for line in lines(scripts)) == 120


def test_main_sets_its_sinks_anew_and_every_line_is_kept(scripts: Scripts) -> None:
    finished = scripts.run(
        """
        import sys
        from loguru import logger
        from robot_sf_otel import configure, pipeline, step
        configure(interval=60, console="lines")

        @pipeline("nightly")
        def main():
            logger.remove()
            logger.add(sys.stderr, format="{message}", level="INFO")
            logger.info("begins")
            with step("train"):
                logger.error("the simulator crashed")
                raise RuntimeError("x")

        try:
            main()
        except RuntimeError:
            pass
        """
    )
    said = [line.partition(": ")[2] for line in lines(scripts)]
    assert said[0] == "begins"
    assert said[2] == "the simulator crashed"
    assert "train – failed" in said[3]
    assert all(line in finished.errors for line in said)


def test_forked_children_set_their_sinks_anew_while_threads_of_the_parent_log(
    scripts: Scripts,
) -> None:
    scripts.run(
        """
        import os, threading
        from loguru import logger
        from robot_sf_otel import configure, pipeline
        configure()
        stop = threading.Event()

        def anew():
            logger.remove()
            logger.add(lambda message: None)

        def chatter():
            while not stop.is_set():
                logger.info("chatter")

        with pipeline("p"):
            threads = [threading.Thread(target=chatter) for _ in range(2)]
            [thread.start() for thread in threads]
            for _ in range(40):
                anew()  # not in a thread: Loguru itself may lock up where one adds during a fork
                pid = os.fork()
                if pid == 0:
                    anew()
                    logger.info("child")
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
            stop.set()
            [thread.join() for thread in threads]
            logger.info("parent")
        """,
        env=UNMEASURED,
    )
    said = [line.rpartition(": ")[2] for line in lines(scripts)]
    assert [line for line in said if line != "chatter"] == ["child"] * 40 + ["parent"]


def test_a_process_ends_as_ever_when_loguru_removes_its_sinks_at_exit(scripts: Scripts) -> None:
    source = """
        import atexit

        def late():
            logger.remove()
            logger.info("late")

        atexit.register(late)  # before Loguru's and ours: called after them
        from loguru import logger
        from robot_sf_otel import configure, pipeline
        configure()
        run = pipeline("p").start()
        logger.info("early")
        """
    finished = scripts.run(source)
    assert "Traceback" not in finished.errors
    assert [line.partition(": ")[2] for line in lines(scripts)][:1] == ["early"]


def test_a_command_that_is_run_has_its_lines_there_and_its_output_not(scripts: Scripts) -> None:
    scripts.run(
        """
        import sys
        from robot_sf_otel import configure, pipeline, step
        configure()
        with pipeline("p"), step("child") as s:
            s.run([sys.executable, "-c", '''
        import logging
        from robot_sf_otel import step
        logging.basicConfig(level=logging.INFO)
        print("on stdout")
        with step("inner"):
            logging.info("from the child")
        '''.replace("\\n        ", "\\n")])
        """
    )
    found = lines(scripts)
    assert [line.partition(": ")[2] for line in found] == ["from the child"]
    assert "[inner " in found[0]


def test_a_program_that_sets_logging_up_sees_no_difference(scripts: Scripts) -> None:
    source = """
        import logging, logging.config
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p"):
            logging.getLogger("a").warning("before anything")
            logging.info("not shown")
            logging.warning("basic config by itself")
            logging.basicConfig(level="INFO", format="F %(message)s", force=True)
            logging.info("shown")
            logging.config.dictConfig({
                "version": 1,
                "handlers": {"h": {"class": "logging.StreamHandler"}},
                "root": {"handlers": ["h"], "level": "INFO"},
            })
            logging.info("after dictConfig")
        """
    with_log = scripts.run(source).errors
    without = scripts.run(source, env={"ROBOT_SF_OTEL_LOG": "false"}).errors
    assert with_log == without
    assert "shown" in without
    runs = sorted(find_runs([scripts.folder / "output"]))
    logged = [sum(1 for _ in read_log(run)) for run in runs]
    assert sorted(logged) == [0, 4]


def test_a_disk_that_is_full_loses_lines_and_nothing_else(scripts: Scripts) -> None:
    scripts.run(
        """
        import os, resource
        from loguru import logger
        from robot_sf_otel import configure, pipeline, step
        configure(interval=0.1)
        logger.remove()
        real = os.write
        log = None

        def full(fd, data):
            if os.readlink(f"/proc/self/fd/{fd}").endswith("log.txt"):
                raise OSError(28, "No space left on device")
            return real(fd, data)

        with pipeline("p"):
            with step("a"):
                logger.info("before")
                os.write = full
                logger.info("lost")
                os.write = real
                logger.info("after")
            with step("b"):
                pass
        """
    )
    found = lines(scripts)
    said = [line.rpartition(": ")[2] for line in found if ENTRY.fullmatch(line)]
    assert said[:2] == ["before", "after"]
    assert "lost" not in said
    assert any("1 entries before this one were lost" in line for line in found)


def test_follow_shows_lines_as_they_come_and_ends_with_the_run(scripts: Scripts) -> None:
    running = subprocess.Popen(
        [
            sys.executable,
            str(
                scripts.write(
                    """
                    import sys
                    from loguru import logger
                    from robot_sf_otel import configure, pipeline
                    configure()
                    with pipeline("p"):
                        logger.info("first")
                        print("ready", flush=True)
                        for line in sys.stdin:
                            logger.info(line.strip())
                    """
                )
            ),
        ],
        cwd=scripts.folder,
        env=scripts.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert running.stdout is not None
    assert running.stdin is not None
    assert running.stdout.readline() == "ready\n"
    try:
        command = [sys.executable, "-m", "robot_sf_otel.cli.main", "logs", "--follow"]
        following = scripts.start_command(command, env={"PYTHONUNBUFFERED": "1"})
        assert following.process.stdout is not None
        assert following.process.stdout.readline().endswith(": first\n")
        running.stdin.write("second\n")
        running.stdin.flush()
        assert following.process.stdout.readline().endswith(": second\n")
        running.communicate("third\n", timeout=DEADLINE)
        done = following.ends()
        assert done.code == 0
        assert done.out.endswith(": third\n")
    finally:
        running.kill()
        running.wait()


def test_ctrl_c_ends_following_quietly(scripts: Scripts) -> None:
    running = scripts.start(
        """
        import sys, time
        from loguru import logger
        from robot_sf_otel import configure, pipeline
        configure()
        with pipeline("p"):
            logger.info("first")
            print("ready", flush=True)
            time.sleep(60)
        """
    )
    running.says("ready")
    command = [sys.executable, "-m", "robot_sf_otel.cli.main", "logs", "-f"]
    following = scripts.start_command(command, env={"PYTHONUNBUFFERED": "1", **UNMEASURED})
    assert following.process.stdout is not None
    assert "first" in following.process.stdout.readline()
    following.kill(signal.SIGINT)
    done = following.ends()
    assert (done.code, done.errors) == (130, "")
    running.kill(signal.SIGKILL)
    running.process.wait()
    wait_until(lambda: not os.path.exists(f"/proc/{running.pid}/cmdline"), "its end")  # noqa: PTH110 - a name
