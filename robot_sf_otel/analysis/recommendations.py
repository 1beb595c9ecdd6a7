"""The engine: samples and events of a run in, recommendations and anomalies out. Pure.

One object serves the live run, its end and old runs. It takes samples one at a time, keeps a few
numbers for each rule and step, and never looks back; `evaluate` returns what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from robot_sf_otel.analysis.anomalies import DETECTORS, Detector
from robot_sf_otel.analysis.frames import Framing
from robot_sf_otel.analysis.past import NO_PAST, Past
from robot_sf_otel.analysis.rule_settings import RuleSettings
from robot_sf_otel.analysis.rules.base import Rule
from robot_sf_otel.analysis.scene import SPACING, Scene
from robot_sf_otel.manifest import events as e
from robot_sf_otel.manifest.events import NANOSECONDS, rfc3339
from robot_sf_otel.manifest.schema import Anomaly, PerformanceRecommendation

if TYPE_CHECKING:
    from robot_sf_otel.analysis.frames import Frame
    from robot_sf_otel.analysis.rules.base import Finding
    from robot_sf_otel.analysis.scene import Step
    from robot_sf_otel.manifest.schema import SelfCost, TelemetrySnapshot

PAGE: Final = "docs/reference/recommendations.md"
"""The page that documents the rules; each has a heading of its own."""

Found = PerformanceRecommendation | Anomaly
OnFault = Callable[[str, Exception], None]


def _ignore(where: str, error: Exception) -> None:
    del where, error


class Evaluator:
    """Applies the rules to one run.

    Args:
        settings: The rules and their thresholds.
        past: Earlier comparable runs.
        on_fault: Told of a rule that failed; it is left out from then on, the others go on.
    """

    def __init__(
        self,
        settings: RuleSettings | None = None,
        past: Past = NO_PAST,
        on_fault: OnFault = _ignore,
    ) -> None:
        chosen = RuleSettings() if settings is None else settings
        frame_seconds = chosen.evaluation.frame_seconds
        self.scene = Scene(past, spacing=frame_seconds)
        self._framing = Framing(frame_seconds)
        self._on_fault = on_fault
        self._rules: list[Rule[Any]] = []
        self._detectors: list[Detector] = []
        self._looking: list[Rule[Any] | Detector] = []
        """Those that look at frames: most of the time goes there."""
        self._ending: list[Rule[Any] | Detector] = []
        """Those that look at steps that end: there may be thousands."""
        self._found: list[Found] = []
        self._times: dict[str, int] = {}
        if not chosen.evaluation.enabled:
            return
        for kind, limits in chosen.rules:
            if limits.enabled:
                self._add_rule(kind, limits)
        self._detectors = [kind(frame_seconds / SPACING) for kind in DETECTORS]
        every: list[Rule[Any] | Detector] = [*self._rules, *self._detectors]
        self._looking = [one for one in every if "on_frame" in _defined(one)]
        self._ending = [one for one in every if "on_step_end" in _defined(one)]

    def _add_rule(self, kind: type[Rule[Any]], limits: object) -> None:
        try:
            self._rules.append(kind(limits))
        except Exception as error:  # noqa: BLE001 - a rule of others fails alone
            self._on_fault(f"rule {kind.id}", error)

    def sample(self, sample: TelemetrySnapshot) -> None:
        """Take a sample in; they come in order of time."""
        self.scene.progress(sample)
        frame = self._framing.add(sample)
        if frame is not None:
            self._take(frame)

    def event(self, event: e.Event) -> None:
        """Take an event of the journal in; they come in order of time."""
        ends = isinstance(event, e.StepFinished)
        if ends or isinstance(event, e.StepStarted):
            self._close_frame()  # a frame belongs to one set of running steps
        step = self.scene.apply(event)
        if step is not None:
            self._ask(self._ending, lambda one: one.on_step_end(step, self.scene))

    def cost(self, cost: SelfCost) -> None:
        """Take in what telemetry has cost so far."""
        self.scene.cost = cost

    def evaluate(self) -> list[Found]:
        """Return what was found since the last call."""
        found, self._found = self._found, []
        return found

    def finish(self) -> list[Found]:
        """Return what is new at the end of the run, and earlier findings that lasted longer."""
        self._close_frame()
        self._ask(self._rules, lambda one: one.on_end(self.scene))
        return self.evaluate()

    def _close_frame(self) -> None:
        frame = self._framing.close()
        if frame is not None:
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        scene = self.scene
        if self._framing.broken:
            self._framing.broken = False
            for rule in self._rules:
                rule.on_break()
        scene.observe(frame)
        found = self._found
        for one in self._looking:
            try:
                for finding in one.on_frame(frame, scene):
                    found.append(self._record(one, finding))
            except Exception as error:  # noqa: BLE001 - a rule fails alone
                self._drop(one, error)

    def _ask(
        self,
        whom: Sequence[Rule[Any] | Detector],
        question: Callable[[Any], Iterable[Finding]],
    ) -> None:
        for one in whom:
            try:
                for finding in question(one):
                    self._found.append(self._record(one, finding))
            except Exception as error:  # noqa: BLE001 - a rule fails alone
                self._drop(one, error)

    def _drop(self, one: Rule[Any] | Detector, error: Exception) -> None:
        """Go on without a rule that failed."""
        self._rules = [rule for rule in self._rules if rule is not one]
        self._detectors = [rule for rule in self._detectors if rule is not one]
        self._looking = [rule for rule in self._looking if rule is not one]
        self._ending = [rule for rule in self._ending if rule is not one]
        self._on_fault(f"rule {one.id}", error)

    def _record(self, one: Rule[Any] | Detector, finding: Finding) -> Found:
        step = finding.step
        evidence = _readable(finding.evidence, step)
        common: dict[str, Any] = {
            "trigger": one.id,
            "severity": finding.severity,
            "message": finding.message,
            "step_id": step.step_id if step is not None else None,
            "evidence": evidence,
            "timestamp_ms": round(finding.evidence["window_end"] * 1000),
        }
        of = step.step_id if step is not None else "run"
        if not isinstance(one, Detector):
            return PerformanceRecommendation(
                id=f"{one.id}:{of}", suggested_actions=list(finding.actions), **common
            )
        # A step may stall twice, and the record keeps the first of an id.
        key = f"{one.id}:{of}"
        self._times[key] = self._times.get(key, 0) + 1
        number = f":{self._times[key]}" if self._times[key] > 1 else ""
        return Anomaly(id=key + number, **common)


def _defined(one: Rule[Any] | Detector) -> set[str]:
    """Return what the classes of a rule define themselves, the common ones left out."""
    common = (Rule, Detector, object)
    return {name for kind in type(one).__mro__ if kind not in common for name in vars(kind)}


def _readable(evidence: dict[str, Any], step: Step | None) -> dict[str, Any]:
    """Return evidence with its times as RFC 3339 and the span that it belongs to."""
    said = dict(evidence)
    for name in ("window_start", "window_end"):
        said[name] = rfc3339(round(said[name] * NANOSECONDS))
    if step is not None and step.span_id is not None:
        said["span_id"] = step.span_id
    return said


def diagnose(
    events: Iterable[e.Event],
    samples: Iterable[TelemetrySnapshot],
    *,
    settings: RuleSettings | None = None,
    past: Past = NO_PAST,
    on_fault: OnFault = _ignore,
) -> list[Found]:
    """Return what the rules say of a recorded run, each finding as it is at the end.

    Args:
        events: All events of the run, by time.
        samples: All samples of the run, by time.
        settings: The rules and their thresholds.
        past: Earlier comparable runs.
        on_fault: Told of a rule that failed.
    """
    evaluator = Evaluator(settings, past, on_fault)
    waiting = iter(events)
    event = next(waiting, None)
    for sample in samples:
        now = sample.timestamp_ms * 1_000_000
        while event is not None and event.time_unix_nano <= now:
            evaluator.event(event)
            event = next(waiting, None)
        evaluator.sample(sample)
    while event is not None:
        evaluator.event(event)
        event = next(waiting, None)
    found = {one.id: one for one in (*evaluator.evaluate(), *evaluator.finish())}
    return list(found.values())
