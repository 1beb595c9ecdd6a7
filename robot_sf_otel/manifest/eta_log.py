"""The ETAs that were shown during a run, and how good they were once it is known how it went."""

from __future__ import annotations

from typing import Final, NamedTuple

from robot_sf_otel.manifest.schema import Eta, EtaScores


class _Shown(NamedTuple):
    """An ETA as it was shown: seconds that the run had run, and whether enough steps were done."""

    ran: float
    eta: Eta
    after_steps: bool


class EtaLog:
    """Keeps what was shown; a run of a day has some 1,500, more where its steps take seconds.

    Attributes:
        last: The one that counts now.
    """

    STEPS: Final = 2
    """Completed steps after which an ETA is held against what came."""

    __slots__ = ("_shown", "last")

    def __init__(self) -> None:
        """Start with nothing shown."""
        self.last = Eta()
        self._shown: list[_Shown] = []

    def show(self, eta: Eta, ran_seconds: float | None, *, after_steps: bool) -> None:
        """Take an ETA that was shown.

        Args:
            eta: What was shown.
            ran_seconds: How long the run had run then.
            after_steps: Whether `STEPS` top-level steps had completed.
        """
        self.last = eta
        if ran_seconds is not None and eta.remaining_seconds is not None:
            self._shown.append(_Shown(ran_seconds, eta, after_steps))

    def of_completed(self, duration_seconds: float) -> Eta:
        """Return what a run that has completed says: nothing remains, and how good it was."""
        # That no step was left to do at the end rests on the plan alone.
        told = [shown.eta for shown in self._shown if shown.eta.basis != "plan"]
        last = told[-1] if told else self.last
        return Eta(
            remaining_seconds=0.0,
            low_seconds=0.0,
            high_seconds=0.0,
            total_seconds=duration_seconds,
            basis=last.basis,
            history_runs=last.history_runs,
            scores=self._scores(duration_seconds),
        )

    def _scores(self, duration: float) -> EtaScores:
        """Hold what was shown against the time that the run took.

        An error is |predicted total - duration| / duration, after the second step (where it was
        not the last) and at half time; the band is the one of 80 %.
        """
        after_two = next(
            (shown for shown in self._shown if shown.after_steps and shown.ran < duration),
            None,
        )
        at_half = [shown for shown in self._shown if shown.ran <= duration / 2]
        inside = [
            shown.eta.low_seconds <= duration - shown.ran <= shown.eta.high_seconds
            for shown in self._foretold()
            if shown.eta.low_seconds is not None and shown.eta.high_seconds is not None
        ]
        return EtaScores(
            shown=len(self._shown),
            error_after_step_2=_error(after_two, duration),
            error_at_half_time=_error(at_half[-1] if at_half else None, duration),
            share_inside_band=sum(inside) / len(inside) if inside else None,
        )

    def _foretold(self) -> list[_Shown]:
        """Return what was shown without what came last and said that all is done.

        That foretells nothing, and the moment between the last step and the end of the run would
        lie outside its band of no width, in every run.
        """
        last = len(self._shown)
        while last and not self._shown[last - 1].eta.remaining_seconds:
            last -= 1
        return self._shown[:last]


def _error(shown: _Shown | None, duration: float) -> float | None:
    if shown is None or shown.eta.remaining_seconds is None or duration <= 0:
        return None
    return abs(shown.ran + shown.eta.remaining_seconds - duration) / duration
