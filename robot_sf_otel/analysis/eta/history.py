"""What a pipeline's past runs teach: level of each step, how it scales, how runs differ as a whole."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from robot_sf_otel.analysis.eta.records import Curve, PastRun
from robot_sf_otel.analysis.eta.statistics import weighted_median

RUNS = 50
WINDOW = 24
FORGETTING = (0.65, 1.0)
MARGIN = 0.9
CLIP = 0.5
OTHER_HOST = 0.25
OTHER_SCENARIO = 0.25
FLOOR = 0.001
TINY = 0.1
PRIOR_SIGMA = 0.1
MIN_SIGMA = 0.003
PHI = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 1.0)
LONE = 0.5
OWN_PHI = 1.0
RUN_PHI = 0.8
SPREAD = 0.03
PHI_PEN = 1.0
BAND0 = 1.3
HALF_NORMAL = (0.08, 0.24, 0.4, 0.58, 0.78, 1.01, 1.3, 1.86)
OUTLIER_DF = 4.0
LOADING_SD = 0.3


@dataclass(slots=True)
class Entry:
    run: int
    seconds: float
    size: float | None
    curve: Curve
    total: float | None
    log: float = 0.0


@dataclass(slots=True)
class StepHistory:
    name: str
    entries: list[Entry] = field(default_factory=list)
    own: bool = False
    phi: float = 0.0
    reference: float | None = None
    loading: float = 1.0
    sigma: float = PRIOR_SIGMA
    share: float = 0.0
    lone: bool = False
    resolution: float = 0.0

    def scale(self, size: float | None) -> float:
        if size is None or self.reference is None or size <= 0:
            return 0.0
        if self.lone and not self.own:
            return LONE * math.log(size / self.reference)
        return math.log((1 - self.phi) + self.phi * size / self.reference + 1e-12)


def run_size(size: float | None, totals: Sequence[float | None]) -> float | None:
    if size is not None and size > 0:
        return size
    known = [t for t in totals if t and t > 0]
    return sum(known) if known else None


class History:
    def __init__(self, runs: Sequence[PastRun]) -> None:
        self.runs = list(runs)[-RUNS:]
        totals = sorted(max(r.total_seconds, 0.0) for r in self.runs)
        self.floor = max(1e-9, FLOOR * totals[len(totals) // 2]) if totals else 1e-9
        self.sizes = [run_size(r.size, [s.total for s in r.steps]) for r in self.runs]
        self.steps: dict[str, StepHistory] = {}
        for index, run in enumerate(self.runs):
            for step in {s.step_id: s for s in run.steps}.values():
                h = self.steps.setdefault(step.step_id, StepHistory(step.step_id))
                h.entries.append(Entry(index, step.seconds, None, step.curve, step.total))
        for h in self.steps.values():
            self._scale(h)
        self.forgetting = 1.0
        self.levels: list[dict[str, float]] = []
        self.tau = PRIOR_SIGMA
        self.host_tau = 0.4
        self._learn()

    def log(self, seconds: float) -> float:
        return math.log(max(seconds, self.floor * TINY))

    def resolution(self, log: float) -> float:
        return min(self.floor * math.exp(-log), 10.0) ** 2

    def _scale(self, h: StepHistory) -> None:
        totals = [e.total for e in h.entries]
        own = all(t for t in totals)
        sizes = self.sizes
        entry_sizes: list[float | None] = [e.total if own else sizes[e.run] for e in h.entries]
        if own and len(set(totals)) == 1 and len({sizes[e.run] for e in h.entries}) > 1:
            own = False
            entry_sizes = [sizes[e.run] for e in h.entries]
        h.own = own
        for e in h.entries:
            e.log = self.log(e.seconds)
        if any(s is None or s <= 0 for s in entry_sizes):
            return
        logs = [math.log(s) for s in entry_sizes if s]
        h.reference = math.exp(sum(logs) / len(logs))
        prior = OWN_PHI if own else RUN_PHI
        h.lone = max(logs) - min(logs) < 0.01
        h.phi = prior
        best = math.inf
        for phi in PHI:
            values = [
                e.log - math.log(1 - phi + phi * s / h.reference + 1e-12)
                for e, s in zip(h.entries, entry_sizes, strict=True)
                if s
            ]
            values.sort()
            mid = values[len(values) // 2]
            spread = sum(abs(v - mid) for v in values) / len(values)
            cost = len(values) * math.log(spread + SPREAD) + PHI_PEN * abs(phi - prior)
            if cost < best:
                best, h.phi = cost, phi
        for e, s in zip(h.entries, entry_sizes, strict=True):
            e.size = s
            e.log -= h.scale(s)

    def affinity(self, index: int, host: str | None, scenario: str | None, size: float | None) -> float:
        run = self.runs[index]
        weight = 1.0
        if run.host != host:
            weight *= OTHER_HOST
        if run.scenario != scenario:
            weight *= OTHER_SCENARIO
        own = self.sizes[index]
        if size and own:
            weight *= 1 / (1 + math.log(size / own) ** 2)
        return weight

    def level(self, h: StepHistory, weights: Sequence[float], before: int, forgetting: float) -> float | None:
        pairs: list[tuple[float, float]] = []
        decay = 1.0
        for e in reversed(h.entries):
            if e.run >= before:
                continue
            pairs.append((e.log, weights[e.run] * decay))
            decay *= forgetting
            if len(pairs) >= WINDOW:
                break
        return weighted_median(pairs) if pairs else None

    def _learn(self) -> None:
        n = len(self.runs)
        total = sum(sum(e.seconds for e in h.entries) / len(h.entries) for h in self.steps.values()) or 1.0
        for h in self.steps.values():
            h.resolution = self.resolution(sum(e.log for e in h.entries) / len(h.entries))
            h.share = sum(e.seconds for e in h.entries) / len(h.entries) / total
        first = max(1, n - 20)
        best = math.inf
        self.innovations: list[dict[str, float]] = []
        weights = {
            r: [self.affinity(i, self.runs[r].host, self.runs[r].scenario, self.sizes[r]) for i in range(r)]
            for r in range(first, n)
        }
        logs = {(name, e.run): e.log for name, h in self.steps.items() for e in h.entries}
        for forgetting in FORGETTING:
            loss = 0.0
            rows: list[dict[str, float]] = []
            levels: list[dict[str, float]] = []
            for r in range(first, n):
                row: dict[str, float] = {}
                lev: dict[str, float] = {}
                for name, h in self.steps.items():
                    x = logs.get((name, r))
                    if x is None:
                        continue
                    level = self.level(h, weights[r], r, forgetting)
                    if level is None:
                        continue
                    row[name] = x - level
                    lev[name] = level
                    loss += h.share * min(abs(x - level), CLIP)
                rows.append(row)
                levels.append(lev)
            if loss < best * MARGIN:
                best, self.forgetting, self.innovations, self.levels = loss, forgetting, rows, levels
        self._factor()
        self.band = self._calibrate()

    def _calibrate(self) -> float:
        zs: list[float] = []
        for row, lev in list(zip(self.innovations, self.levels, strict=True))[-10:]:
            names = list(row)
            n = len(names)
            for k in sorted({0, n // 3, 2 * n // 3}):
                obs = [(self.steps[a].loading, row[a], self.steps[a].sigma ** 2 + self.steps[a].resolution) for a in names[:k]]
                f, vf = posterior(obs, self.tau**2)
                pred = actual = var = common = 0.0
                for a in names[k:]:
                    h = self.steps[a]
                    base = math.exp(lev[a])
                    med = base * math.exp(h.loading * f)
                    pred += med
                    actual += base * math.exp(row[a])
                    var += (med * h.sigma) ** 2
                    common += med * h.loading
                sd = math.sqrt(var + common * common * vf)
                if pred > 0 and sd > 0:
                    zs.append(abs(math.log(actual / pred)) / math.log1p(sd / pred))
        zs += [BAND0 * z for z in HALF_NORMAL]
        zs.sort()
        return zs[int(0.8 * len(zs))] / 1.2816

    def _factor(self) -> None:
        rows = [r for r in self.innovations if r]
        by_step: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            for name, e in row.items():
                by_step[name].append(e)
        params = {name: [1.0, PRIOR_SIGMA**2] for name in self.steps}
        tau2 = PRIOR_SIGMA**2
        pooled = PRIOR_SIGMA**2
        for _ in range(4):
            fs = [posterior(((params[k][0], e, params[k][1] + self.steps[k].resolution) for k, e in row.items()), tau2) for row in rows]
            if fs:
                tau2 = (2 * PRIOR_SIGMA**2 + sum(m * m + v for m, v in fs)) / (2 + len(fs))
            acc: dict[str, tuple[float, float, float, int]] = {}
            num: dict[str, float] = defaultdict(float)
            den: dict[str, float] = defaultdict(float)
            for row, (m, v) in zip(rows, fs, strict=True):
                for name, e in row.items():
                    num[name] += m * e
                    den[name] += m * m + v
            var: dict[str, float] = defaultdict(float)
            cnt: dict[str, float] = defaultdict(float)
            for name in self.steps:
                kappa = params[name][1] / LOADING_SD**2
                params[name][0] = max(0.0, (kappa + num[name]) / (kappa + den[name]))
            for row, (m, v) in zip(rows, fs, strict=True):
                for name, e in row.items():
                    lam, psi = params[name]
                    eta2 = (e - lam * m) ** 2 + lam * lam * v
                    u = (OUTLIER_DF + 1) / (OUTLIER_DF + eta2 / psi)
                    var[name] += u * eta2
                    cnt[name] += 1
            logv = [(math.log(var[k] / cnt[k] + MIN_SIGMA**2), self.steps[k].share + 1e-6) for k in cnt]
            if logv:
                pooled = math.exp((sum(a * w for a, w in logv) + 0.3 * math.log(PRIOR_SIGMA**2)) / (sum(w for _, w in logv) + 0.3))
            for name in self.steps:
                params[name][1] = (1 * pooled + var[name]) / (1 + cnt[name]) + MIN_SIGMA**2
        for name, (lam, psi) in params.items():
            self.steps[name].loading = lam
            self.steps[name].sigma = math.sqrt(psi)
        self.tau = math.sqrt(tau2)
        self.pooled = math.sqrt(pooled)


def posterior(observations, tau2: float) -> tuple[float, float]:
    obs = list(observations)
    mean = 0.0
    var = tau2
    for k in range(6):
        precision = 1 / tau2
        total = 0.0
        for lam, e, psi in obs:
            res2 = (e - lam * mean) ** 2
            u = (OUTLIER_DF + 1) / (OUTLIER_DF + res2 / psi) if k else 1.0
            precision += u * lam * lam / psi
            total += u * lam * e / psi
        mean = total / precision
        var = 1 / precision
    return mean, var
