"""Runs as the rules see them, told second by second: a step, and a sample each second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from robot_sf_otel.analysis.past import NO_PAST, Past
from robot_sf_otel.analysis.recommendations import Evaluator, Found
from robot_sf_otel.analysis.rule_settings import RuleSettings, parse_rules
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.schema import Progress, SelfCost, StepStatus, TelemetrySnapshot

START: Final = 1_700_000_000
SECOND: Final = 1_000_000_000
HEALTHY: Final[dict[str, Any]] = {
    "cpu_percent_process": 40.0,
    "cpu_cores_process": 6.4,
    "cpu_percent_system": 45.0,
    "memory_rss_mb": 2000.0,
    "memory_available_mb": 50_000.0,
    "swap_used_mb": 0.0,
    "disk_read_mb_s": 0.5,
    "disk_write_mb_s": 0.1,
    "disk_free_mb": 100_000.0,
    "cpu_pressure": 2.0,
    "io_pressure": 1.0,
    "memory_pressure": 0.0,
}
"""A run on a host of 16 CPUs and 64 GiB of which nothing is to be said."""

Reading = Callable[[float], dict[str, Any]]
"""What a sample says so many seconds after the start, besides `HEALTHY`; None leaves it out."""


def nothing(second: float) -> dict[str, Any]:
    """Change nothing."""
    del second
    return {}


def settings(text: str = "") -> RuleSettings:
    """Return the rules with thresholds as TOML."""
    return parse_rules(text)


class Told:
    """A run that is told to an evaluator.

    Args:
        rules: The rules.
        past: Earlier runs.
    """

    def __init__(self, rules: RuleSettings | None = None, past: Past = NO_PAST) -> None:
        self.evaluator = Evaluator(rules, past)
        self.second = 0.0
        self.done: dict[str, float] = {}
        self.live: list[Found] = []
        """What was found before the end, in order."""
        self.evaluator.event(
            e.RunStarted(time_unix_nano=self._ns(), run_id="r", pipeline="imitation")
        )
        host = {"cpu_count": 16, "usable_cpus": 16.0, "memory_total_mb": 65_536}
        self.evaluator.event(e.ParamsLogged(time_unix_nano=self._ns(), host=host))

    def _ns(self) -> int:
        return START * SECOND + round(self.second * SECOND)

    def starts(self, step_id: str = "train", **fields: Any) -> Told:  # noqa: ANN401 - of the event
        """Begin a step."""
        self.done[step_id] = 0.0
        self.evaluator.event(
            e.StepStarted(
                time_unix_nano=self._ns(), step_id=step_id, span_id=span_of(step_id), **fields
            )
        )
        return self

    def goes_on(
        self,
        seconds: float,
        reading: Reading = nothing,
        *,
        rate: float = 0.0,
        interval: float = 1.0,
        of: str = "train",
    ) -> Told:
        """Take a sample each `interval`; the step `of` does `rate` units a second meanwhile."""
        until = self.second + seconds
        while self.second < until - 1e-9:
            self.second += interval
            fields = {**HEALTHY, **reading(self.second)}
            if of in self.done:
                self.done[of] += rate * interval
                fields |= {"step_id": of, "progress_done": self.done[of]}
            sample = TelemetrySnapshot(timestamp_ms=self._ns() // 1_000_000, **fields)
            self.evaluator.sample(sample)
            self.live += self.evaluator.evaluate()
        return self

    def ends(self, step_id: str = "train", status: StepStatus = "completed") -> Told:
        """End a step."""
        step = self.evaluator.scene.running[span_of(step_id)]
        self.evaluator.event(
            e.StepFinished(
                time_unix_nano=self._ns(),
                span_id=span_of(step_id),
                status=status,
                result="success",
                duration_seconds=START + self.second - step.started,
                progress=Progress(done=self.done[step_id], unit=step.unit),
            )
        )
        return self

    def costs(self, share: float) -> Told:
        """Say what telemetry has cost so far."""
        cost = SelfCost(cpu_seconds=share, share_of_run=share, samples_taken=100)
        self.evaluator.cost(cost)
        return self

    def found(self) -> dict[str, Found]:
        """End the run and return what was found, by id."""
        every = [*self.live, *self.evaluator.evaluate(), *self.evaluator.finish()]
        return {one.id: one for one in every}


def span_of(step_id: str) -> str:
    """Return the span id of a step."""
    return f"{sum(step_id.encode()):016x}"


def alarms(found: dict[str, Found]) -> dict[str, str]:
    """Return the severity of what is more than information, by id."""
    return {name: one.severity for name, one in found.items() if one.severity != "info"}
