"""What the end of a process waits for, and how long."""

from __future__ import annotations

import threading
from typing import Any, cast

from robot_sf_otel.providers import Providers


class Provider:
    """One that never gets done, until the test is over."""

    def __init__(self, over: threading.Event) -> None:
        self._over = over
        self.called: list[str] = []

    def force_flush(self) -> None:
        self.called.append("force_flush")
        self._over.wait()

    def shutdown(self) -> None:
        self.called.append("shutdown")


def providers(*owned: object, patience: float) -> Providers:
    none = cast("Any", None)
    return Providers(none, none, list(owned), patience)


def test_wait_in_vain_is_not_repeated() -> None:
    over = threading.Event()
    slow = Provider(over)
    made = providers(slow, patience=0.01)
    made.flush()
    assert made.patience == 0.0
    over.set()


def test_provider_that_answers_is_waited_for_again() -> None:
    quick = Provider(threading.Event())
    quick._over.set()
    made = providers(quick, patience=60.0)
    made.flush()
    made.shutdown()
    assert quick.called == ["force_flush", "shutdown"]
    assert made.patience == 60.0


def test_nothing_of_ours_is_waited_for_where_all_is_the_applications() -> None:
    before = threading.active_count()
    providers(patience=60.0).shutdown()
    assert threading.active_count() == before
