"""Recorded runs to an OTLP endpoint, with their own ids and times: resumable, paced, told."""

from __future__ import annotations

import os
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.interop.otlp_proto import request_of
from robot_sf_otel.interop.outbound import NothingToSend, Outbound

if TYPE_CHECKING:
    from pathlib import Path

    from robot_sf_otel.interop.batches import Batch, Signal
    from robot_sf_otel.interop.ledger import Ledger
    from robot_sf_otel.interop.transport import Answer, Transport
    from robot_sf_otel.redaction.outgoing import Outgoing

IN_FLIGHT: Final = 4
"""Requests on their way at a time: the next ones are made while the endpoint works."""
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 30.0
"""Seconds between two attempts."""


class Unreachable(Exception):  # noqa: N818 - what happened, not what was done wrong
    """The endpoint did not take a request within the time that was given it."""


@dataclass(slots=True)
class Tally:
    """How many items of one signal went where."""

    accepted: int = 0
    before: int = 0
    """Accepted by an earlier replay."""
    refused: int = 0
    unsent: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing at the endpoint."""
        return not self.refused and not self.unsent


@dataclass(slots=True)
class Result:
    """What a replay came to."""

    signals: dict[Signal, Tally] = field(default_factory=dict["Signal", Tally])
    runs: int = 0
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    """Why something was refused, and how many items."""
    stopped: str | None = None
    """Why it ended before everything was sent."""

    @property
    def is_whole(self) -> bool:
        """Whether everything is accepted."""
        return self.stopped is None and all(one.is_whole for one in self.signals.values())


class Pace:
    """Lets so many items through a second.

    Args:
        rate: Items a second; None is as fast as it goes.
        clock: Monotonic seconds.
        wait: Sleeps for some seconds.
    """

    def __init__(
        self, rate: float | None, clock: Callable[[], float], wait: Callable[[float], object]
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._wait = wait
        self._free = clock()

    def take(self, items: int) -> None:
        """Wait until so many items may go."""
        if self._rate is None:
            return
        now = self._clock()
        if self._free > now:
            self._wait(self._free - now)
        self._free = max(self._free, now) + items / self._rate


class Delivery:
    """Sends one request until it is taken, refused, or the patience is over.

    Args:
        transport: Sends.
        patience: Seconds without an answer that counts before it is given up.
        clock: Monotonic seconds.
        wait: Sleeps for some seconds; by default a sleep that `give_up` ends.
    """

    def __init__(
        self,
        transport: Transport,
        patience: float,
        clock: Callable[[], float],
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._transport = transport
        self._patience = patience
        self._clock = clock
        self._given_up = threading.Event()
        self._wait = wait or self._given_up.wait
        self._jitter = random.Random(os.urandom(16))  # noqa: S311 - jitter, no secret

    def deliver(self, signal: Signal, body: bytes) -> Answer:
        """Send a request.

        Raises:
            Unreachable: The patience is over, or it was given up; the message is the last reason.
        """
        until = self._clock() + self._patience
        pause = FIRST_WAIT
        while True:
            answer = self._transport.send(signal, body)
            if answer.kind != "later":
                return answer
            asked = pause * self._jitter.uniform(0.5, 1.0) if answer.after is None else answer.after
            if self._given_up.is_set() or self._clock() + asked >= until:
                raise Unreachable(answer.reason)
            self._wait(asked)
            if self._given_up.is_set():
                raise Unreachable(answer.reason)
            pause = min(2 * pause, LONGEST_WAIT)

    def give_up(self) -> None:
        """End all waits, and the requests that are on their way: nobody wants the answers."""
        self._given_up.set()
        self._transport.close()


@dataclass(slots=True)
class _Sent:
    """A request on its way."""

    run: Outbound
    fingerprint: str
    signal: Signal
    batch: int
    items: int
    answer: Future[Answer]


class Replay:
    """Sends runs.

    Args:
        delivery: Sends a request.
        outgoing: Decides what may leave the machine.
        version: Of this package, for the scope.
        signals: Which of them are sent.
        pace: Lets items through.
        ledger_of: The ledger of a folder of runs.
        again: Whether what was accepted before is sent again.
        on_items: Told how many items were dealt with.
    """

    def __init__(
        self,
        delivery: Delivery,
        outgoing: Outgoing,
        version: str,
        *,
        signals: Sequence[Signal],
        pace: Pace,
        ledger_of: Callable[[Path], Ledger],
        again: bool = False,
        on_items: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._delivery = delivery
        self._outgoing = outgoing
        self._version = version
        self._signals = signals
        self._pace = pace
        self._ledger_of = ledger_of
        self._again = again
        self._on_items = on_items
        self._not_here: set[Signal] = set()
        self._flying: deque[_Sent] = deque()
        self.result = Result({signal: Tally() for signal in signals})

    def send(self, runs: Iterable[tuple[Path, bool]]) -> Result:
        """Send runs; what is not accepted is told in the result.

        Args:
            runs: Directories, and whether the process is gone without having closed the record.
        """
        try:
            for run_dir, dead in runs:
                self._send_run(run_dir, dead=dead)
            self._land(0)
        except BaseException:  # Ctrl-C, say: no answer is wanted any more
            self._delivery.give_up()
            raise
        return self.result

    def _send_run(self, run_dir: Path, *, dead: bool) -> None:
        try:
            run = Outbound(run_dir, self._outgoing, dead=dead)
        except NothingToSend as error:
            self._refuse(str(error), 0)
            self.result.stopped = self.result.stopped or str(error)
            return
        self.result.runs += 1
        fingerprint = run.fingerprint()
        ledger = self._ledger_of(run_dir.parent)
        for signal in self._signals:
            for index, batch in enumerate(run.batches(signal)):
                self._send_batch(run, fingerprint, ledger, index, batch)

    def _send_batch(
        self,
        run: Outbound,
        fingerprint: str,
        ledger: Ledger,
        index: int,
        batch: Batch,
    ) -> None:
        tally, items = self.result.signals[batch.signal], batch.items
        name = run.run_dir.name
        if not self._again and ledger.has(name, fingerprint, batch.signal, index):
            tally.before += items
            self._on_items(items)
        elif self.result.stopped is not None:
            tally.unsent += items
        elif batch.signal in self._not_here:
            tally.refused += items
            self._on_items(items)
        else:
            body = request_of(batch, self._version)
            self._pace.take(items)
            answer = _in_background(self._delivery.deliver, batch.signal, body)
            self._flying.append(_Sent(run, fingerprint, batch.signal, index, items, answer))
            self._land(IN_FLIGHT - 1)

    def _land(self, most: int) -> None:
        """Wait until at most so many requests are on their way."""
        while len(self._flying) > most:
            sent = self._flying.popleft()
            tally = self.result.signals[sent.signal]
            try:
                answer = sent.answer.result()
            except Unreachable as error:
                self.result.stopped = self.result.stopped or str(error)
                tally.unsent += sent.items
                continue
            self._on_items(sent.items)
            if answer.kind == "taken":
                self._taken(sent, answer, tally)
            else:
                tally.refused += sent.items
                self._refuse(answer.reason, sent.items)
                if answer.kind == "not here":
                    self._not_here.add(sent.signal)

    def _taken(self, sent: _Sent, answer: Answer, tally: Tally) -> None:
        rejected = min(sent.items, answer.rejected)
        tally.accepted += sent.items - rejected
        tally.refused += rejected
        if rejected:
            self._refuse(answer.reason or "the endpoint does not say why", rejected)
            return
        ledger = self._ledger_of(sent.run.run_dir.parent)
        ledger.accept(sent.run.run_dir.name, sent.fingerprint, sent.signal, sent.batch, sent.items)

    def _refuse(self, reason: str, items: int) -> None:
        self.result.reasons[reason] = self.result.reasons.get(reason, 0) + items


def _in_background(
    deliver: Callable[[Signal, bytes], Answer], signal: Signal, body: bytes
) -> Future[Answer]:
    """Deliver a request in a thread that the end of the program does not wait for.

    Those of an executor are waited for: an endpoint that hangs would hold up Ctrl-C.
    """
    answer: Future[Answer] = Future()

    def work() -> None:
        try:
            answer.set_result(deliver(signal, body))
        except BaseException as error:  # noqa: BLE001 - raised where the answer is wanted
            answer.set_exception(error)

    threading.Thread(target=work, name="replay", daemon=True).start()
    return answer


def told(result: Result) -> Iterator[str]:
    """Yield what a replay came to, in a line a signal, then the reasons."""
    for signal, tally in result.signals.items():
        parts = [f"{tally.accepted:,} accepted"]
        parts += [f"{tally.before:,} accepted before"] * bool(tally.before)
        parts += [f"{tally.refused:,} refused"] * bool(tally.refused)
        parts += [f"{tally.unsent:,} not sent"] * bool(tally.unsent)
        yield f"{signal}: {', '.join(parts)}"
    for reason, items in result.reasons.items():
        yield f"refused ({items:,}): {reason}" if items else reason


def as_json(result: Result) -> Mapping[str, Any]:
    """Return what a replay came to, for scripts."""
    return {
        "runs": result.runs,
        "complete": result.is_whole,
        "stopped": result.stopped,
        "signals": {
            signal: {
                "accepted": tally.accepted,
                "accepted_before": tally.before,
                "refused": tally.refused,
                "not_sent": tally.unsent,
            }
            for signal, tally in result.signals.items()
        },
        "reasons": result.reasons,
    }
