"""The rules applied to a live run: fed by its recorder, evaluated by the monitor thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from robot_sf_otel import environment_variables as env
from robot_sf_otel import guard, semconv
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.fold import RunFold
from robot_sf_otel.manifest.formats import one_line
from robot_sf_otel.manifest.schema import PerformanceRecommendation, TelemetrySnapshot
from robot_sf_otel.semconv.spans import finding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from robot_sf_otel.analysis.recommendations import Evaluator, Found
    from robot_sf_otel.analysis.rule_settings import RuleSettings
    from robot_sf_otel.config import Config
    from robot_sf_otel.instrument.live_run import LiveRun
    from robot_sf_otel.manifest.schema import PipelineRunRecord, SelfCost

PREPARE_SECONDS: Final = 1.0
"""Age of a run at which the rules are loaded."""
RETRY_SECONDS: Final = 30.0
"""Time between two attempts to load them."""
_WAITING: Final = 10_000
"""Events and samples that are kept until the rules are there."""


class LiveDiagnosis:
    """Applies the rules to one live run, and says and records what they find.

    Args:
        run: The run, which this process owns.
        config: Where the file of thresholds lies.
        aside: Calls a function in a thread of its own.
    """

    def __init__(
        self, run: LiveRun, config: Config, aside: Callable[[Callable[[], None]], object]
    ) -> None:
        self._aside = aside
        self._preparing = False
        self._due = PREPARE_SECONDS
        self._run = run
        self._config = config
        self._news: deque[e.Event | TelemetrySnapshot] = deque(maxlen=_WAITING)
        self._evaluator: Evaluator | None = None
        self._facts = RunFold()
        self._earlier: Sequence[PipelineRunRecord] = ()
        self._lock = threading.Lock()
        run.recorder.watch(self)

    def event(self, event: e.Event) -> None:
        """Keep an event until the next evaluation."""
        self._news.append(event)

    def sample(self, sample: TelemetrySnapshot) -> None:
        """Keep a sample until the next evaluation."""
        self._news.append(sample)

    def _load(self) -> None:
        try:
            self._prepare()
        except OSError:  # no file can be opened now: who writes the record says so
            self._due = self._run.elapsed_here() + RETRY_SECONDS
            self._preparing = False

    def _prepare(self) -> None:
        """Load the rules, which takes a while.

        Raises:
            OSError: They cannot be read.
        """
        from robot_sf_otel.analysis.recommendations import Evaluator
        from robot_sf_otel.system_metrics.environment import host_facts

        settings = self._settings()
        evaluator = Evaluator(settings, on_fault=guard.fault)
        evaluator.scene.learn(host_facts())  # the run's own record of them may take seconds more
        with self._lock:
            self._evaluator = evaluator
            self._compare(evaluator)

    def _settings(self) -> RuleSettings:
        from robot_sf_otel.analysis.rules_of_others import read_settings

        path = self._config.rules
        try:
            return read_settings(path, guard.warn)
        except (OSError, ValueError) as error:
            guard.warn(f"{env.RULES}={str(path)!r} is ignored: {error}; the defaults apply")
            return read_settings(None, guard.warn)

    def learn(self, records: Sequence[PipelineRunRecord]) -> None:
        """Take earlier runs to compare with."""
        with self._lock:
            self._earlier = records
            if self._evaluator is not None:
                self._compare(self._evaluator)

    def keep_up(self, cost: SelfCost) -> None:
        """Evaluate what came since the last time. Monitor thread only."""
        if not self._preparing:
            # What lasts no longer than this has nothing that lasts.
            if self._run.elapsed_here() >= self._due:
                self._preparing = True
                self._aside(self._load)
            return
        with self._lock:
            evaluator = self._evaluator
            if evaluator is not None:
                evaluator.cost(cost)
                self._take_in(evaluator)
                self._report(evaluator.evaluate(), live=True)

    def finish(self, cost: SelfCost) -> None:
        """Evaluate a last time, before the end of the run is recorded."""
        self._run.recorder.catch_up()
        with self._lock:
            evaluator = self._evaluator
            if evaluator is not None:
                evaluator.cost(cost)
                self._take_in(evaluator)
                self._report(evaluator.finish(), live=False)

    def _take_in(self, evaluator: Evaluator) -> None:
        while self._news:
            one = self._news.popleft()
            if isinstance(one, TelemetrySnapshot):
                evaluator.sample(one)
                continue
            if isinstance(one, e.RunStarted | e.PlanChanged | e.ParamsLogged):
                self._learn(one, evaluator)
            evaluator.event(one)

    def _learn(self, event: e.Event, evaluator: Evaluator) -> None:
        """Keep up with what says which earlier runs are comparable: pipeline, scenario, host."""
        self._facts.apply(event)
        self._compare(evaluator)

    def _compare(self, evaluator: Evaluator) -> None:
        from robot_sf_otel.analysis.past import Past

        if self._facts.started is not None:
            evaluator.scene.past = Past(self._earlier, self._facts.record())

    def _report(self, found: Sequence[Found], *, live: bool) -> None:
        for one in found:
            self._record(one)
            # At the end the console says everything once more.
            if live and one.severity != "info" and isinstance(one, PerformanceRecommendation):
                self._run.runtime.console.warning(
                    f"{one.severity}: {one_line(one.message)} – "
                    f"{one_line(one.suggested_actions[0])} "
                    f"(robot-sf-otel explain {self._run.run_id} {one_line(one.id)})"
                )

    def _record(self, one: Found) -> None:
        run = self._run
        span_id = one.evidence.get("span_id")
        ids = run.ids()
        if isinstance(span_id, str):
            ids["span_id"] = span_id
        new = one.id not in run.recommendations and one.id not in run.anomalies
        name = semconv.ANOMALY
        if isinstance(one, PerformanceRecommendation):
            name = semconv.RECOMMENDATION
            run.recommendations[one.id] = one
            run.record(e.RecommendationAdded(recommendation=one, **ids))
        else:
            run.anomalies.setdefault(one.id, one)
            run.record(e.AnomalyDetected(anomaly=one, **ids))
        span = next(
            (step.span for step in run.running_steps() if step.span_id == span_id), run.span
        )
        span.add_event(
            name,
            run.runtime.outgoing.attributes(finding(one.id, one.severity, one.message)),
            timestamp=one.timestamp_ms * 1_000_000,
        )
        if new and run.runtime.observer is not None:  # what lasted longer is said once more
            run.runtime.observer.outward.found(run, one, span)
