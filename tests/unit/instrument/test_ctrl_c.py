from __future__ import annotations

import signal
import threading

import pytest

from robot_sf_otel.instrument.ctrl_c import CtrlCHeld


@pytest.fixture(autouse=True)
def pythons_own_handler() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def interrupt(times: int, reached: list[bool], error: Exception | None = None) -> None:
    """Press Ctrl-C in a block, and say whether its end was reached."""
    with CtrlCHeld():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        reached.append(True)
        if error is not None:
            raise error


def test_ctrl_c_inside_the_block_is_raised_at_its_end() -> None:
    reached: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        interrupt(1, reached)
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_ctrl_c_goes_through_at_once() -> None:
    reached: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        interrupt(2, reached)
    assert not reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_error_of_the_block_is_not_replaced_by_ctrl_c() -> None:
    with pytest.raises(ValueError, match="first"):
        interrupt(1, [], ValueError("first"))


def test_handler_of_the_application_is_left_alone() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda signum, _: came.append(signum))
    try:
        with CtrlCHeld():
            signal.raise_signal(signal.SIGINT)
            assert came == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_handler_that_is_set_inside_the_block_stays() -> None:
    def own(*_: object) -> None:
        """Do nothing."""

    with CtrlCHeld():
        signal.signal(signal.SIGINT, own)
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    assert found is own


def test_another_thread_changes_nothing() -> None:
    seen: list[object] = []

    def work() -> None:
        with CtrlCHeld():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
