"""The estimate."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from robot_sf_otel.analysis.eta.history import History, StepHistory, posterior, run_size, MIN_SIGMA
from robot_sf_otel.analysis.eta.records import Estimate, PastRun, RunningStep, Situation
from robot_sf_otel.analysis.eta.statistics import duration_quantile, weighted_median

Z = 1.2816


class EtaEngine:
    def __init__(self, history: Sequence[PastRun]) -> None:
        self._h = History(history)

    def predict(self, s: Situation) -> Estimate:
        H = self._h
        size = run_size(s.size, [p.total for p in s.plan])
        weights = [H.affinity(i, s.host, s.scenario, size) for i in range(len(H.runs))]
        tau2 = H.tau**2
        if H.runs and s.host not in {r.host for r in H.runs}:
            tau2 = max(tau2, 0.5**2)
        if KAPPA and H.runs:
            weights = analogs(H, s, size, weights, tau2)
        done = {f.step_id for f in s.finished}
        running = {r.step_id: r for r in s.running}
        prior: dict[str, float] = {}
        for p in s.plan:
            h = H.steps.get(p.step_id)
            if h is None:
                continue
            level = H.level(h, weights, len(H.runs), H.forgetting)
            if level is not None:
                prior[p.step_id] = level + h.scale(p.total if h.own else size)
        obs = []
        for f in s.finished:
            if f.step_id in prior:
                h = H.steps[f.step_id]
                obs.append((h.loading, H.log(f.seconds) - prior[f.step_id], h.sigma**2 + H.resolution(prior[f.step_id])))
        progress = {}
        for r in s.running:
            h = H.steps.get(r.step_id)
            if h is not None and r.step_id in prior:
                progress[r.step_id] = c = curve_history(H, h, weights, r, h.scale(r.total if h.own else size))
                if c is not None:
                    obs.append((h.loading, c[2], h.sigma**2 + c[3] + H.resolution(prior[r.step_id])))
        f, vf = posterior(obs, tau2)
        finished_times = [x.seconds for x in s.finished]
        fam: dict[str, list[float]] = {}
        for x in s.finished:
            fam.setdefault(family(x.step_id), []).append(x.seconds)
        # history families for unseen steps
        rem = 0.0
        common = 0.0
        var = 0.0
        basis = set()
        run_rem: list[tuple[float, float, float]] = []
        est_running: list[float] = []
        unknown = []
        for r in s.running:
            h = H.steps.get(r.step_id)
            if h is not None and r.step_id in prior:
                lam = h.loading
                mu = prior[r.step_id] + lam * f
                sig2 = lam * lam * vf + h.sigma**2
                c = progress[r.step_id]
                if c is None:
                    med = math.exp(mu)
                    q = [duration_quantile(med, math.sqrt(sig2), r.elapsed, a) - r.elapsed for a in (0.5, 0.1, 0.9)]
                    run_rem.append((q[0], ((q[2] - q[1]) / 2 / Z) ** 2, lam * q[0]))
                    est_running.append(r.elapsed + q[0])
                else:
                    rest, gap, eT, nu, pend = c
                    g2 = sig2
                    # combine prior for the step's own deviation (lam*f, sig2) with eT (nu)
                    prec = 1 / sig2 + 1 / nu
                    dev = (lam * f / sig2 + eT / nu) / prec
                    vdev = 1 / prec
                    rest *= math.exp(dev)
                    gap *= math.exp(dev)
                    sd = math.sqrt(vdev + nu)
                    if pend > 0 and gap > 0:
                        nxt = duration_quantile(gap, 0.2, pend, 0.5) - pend
                        left = max(0.0, rest - gap) + nxt
                    elif gap == 0:
                        left = (duration_quantile(rest, max(sd, .1), pend, 0.5) - pend) if rest > 0 else 0.0
                    else:
                        left = rest
                    run_rem.append((left, (left * sd) ** 2, lam * left * 0))
                    est_running.append(r.elapsed + left)
                basis.add("history")
                continue
            c2 = curve_alone(r)
            if c2 is not None:
                left, sd = c2
                run_rem.append((left, sd * sd, 0.0))
                est_running.append(r.elapsed + left)
                basis.add("progress")
            else:
                unknown.append(r)
        todo = [p for p in s.plan if p.step_id not in done and p.step_id not in running]
        if not H.runs and not all(family(p.step_id) in fam for p in todo):
            fam = {}
        pace_pool = finished_times + est_running

        def guess(name: str) -> float | None:
            same = fam.get(family(name))
            if same:
                return sorted(same)[len(same) // 2]
            hist = [e.seconds for n, h in H.steps.items() if family(n) == family(name) for e in h.entries]
            if hist:
                return sorted(hist)[len(hist) // 2] * math.exp(f)
            if pace_pool:
                return sum(pace_pool) / len(pace_pool)
            return None

        ok = True
        for r in unknown:
            g = guess(r.step_id)
            if g is None:
                ok = False
                continue
            basis.add("pace")
            q = [duration_quantile(max(g, 1e-9), 0.6, r.elapsed, a) - r.elapsed for a in (0.5, 0.1, 0.9)]
            if not H.runs:
                q[0] = max(q[0], g)
            run_rem.append((q[0], ((q[2] - q[1]) / 2 / Z) ** 2, 0))
        for p in todo:
            h = H.steps.get(p.step_id)
            if h is not None and p.step_id in prior:
                lam = h.loading
                med = math.exp(prior[p.step_id] + lam * f)
                rem += med
                common += lam * med
                var += (med * h.sigma) ** 2
                basis.add("history")
                continue
            g = guess(p.step_id)
            if g is None:
                ok = False
                continue
            basis.add("pace")
            rem += g
            var += g * g
        if not ok:
            return Estimate()
        if run_rem:
            m = max(run_rem)
            rem += m[0]
            var += m[1]
            common += m[2]
        var += common * common * vf
        sd = math.sqrt(var)
        ls = math.log1p(sd / rem) if rem > 0 else 0.0
        if H.runs:
            ls *= H.band
        low = rem * math.exp(-Z * ls)
        high = rem * math.exp(Z * ls)
        return Estimate(rem, low, high, s.elapsed + rem, "+".join(sorted(basis)) or None, len(H.runs), True)


KAPPA = 1.0
SIMCAP = 9.0


def analogs(H: History, s: Situation, size, weights, tau2):
    n = len(H.runs)
    prec = [1 / tau2] * n
    total = [0.0] * n
    rows = []
    count = [0] * n
    for x in s.finished:
        h = H.steps.get(x.step_id)
        if h is None:
            continue
        v = H.log(x.seconds) - h.scale(x.total if h.own else size)
        psi = max(h.sigma, SIMMIN) ** 2 + h.resolution
        for e in h.entries:
            d = v - e.log
            prec[e.run] += 1 / psi
            total[e.run] += d / psi
            rows.append((e.run, d, psi))
            count[e.run] += 1
    if SHAPE:
        offset = [t / p for t, p in zip(total, prec)]
    else:
        offset = [0.0] * n
    dist = [o * o / tau2 for o in offset]
    for r, d, psi in rows:
        dist[r] += min((d - offset[r]) ** 2 / psi, SIMCAP)
    return [w * math.exp(-0.5 * KAPPA * a / (b + 1)) if b else w for w, a, b in zip(weights, dist, count)]


SHAPE = False
SIMMIN = 0.02


def family(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def at(curve, units: float) -> float | None:
    """Time at which `units` were done; curve pairs (t, n)."""
    lo, hi = 0, len(curve)
    while lo < hi:
        mid = (lo + hi) // 2
        if curve[mid][1] < units - 1e-9:
            lo = mid + 1
        else:
            hi = mid
    if lo == len(curve):
        return None
    t1, n1 = curve[lo]
    t0, n0 = curve[lo - 1] if lo else (0.0, 0.0)
    if n1 <= n0:
        return t1
    return t0 + (t1 - t0) * (units - n0) / (n1 - n0)


def curve_history(H: History, h: StepHistory, weights, r: RunningStep, scale: float):
    if not r.curve:
        return None
    tau, m = r.curve[-1]
    if m <= 0 or tau <= 0:
        return None
    now_u = recent(r.curve, m, 1.0)
    rows = []
    decay = 1.0
    for e in reversed(h.entries):
        if not e.curve:
            continue
        f = e.total / r.total if r.total and e.total else 1.0
        k = m * f
        t = at(e.curve, k)
        w = weights[e.run] * decay
        decay *= H.forgetting
        if t is None or t <= 0:
            continue
        sc = math.exp(scale - h.scale(e.size))
        rest = max(0.0, e.seconds - t)
        t2 = at(e.curve, k + f)
        gap = 0.0 if t2 is None else t2 - t
        rows.append((t * sc, rest * sc, gap * sc, recent(e.curve, k, f) * sc, w))
    if not rows:
        return None
    T, R, G, U = (weighted_median((x[i], x[4]) for x in rows) for i in range(4))
    eT = math.log(tau / T)
    st = su = 0.0
    n = 0
    for t, rest, _, u, _ in rows:
        if rest > 0 and R > 0:
            n += 1
            lr = math.log(rest / R)
            st += clip2(math.log(t / T) - lr)
            su += clip2(math.log(u / U) - lr) if u > 0 and U > 0 else 1.0
    prior = 2 * CURVE_PRIOR**2 / m
    nuT = (prior + st) / (2 + n) + MIN_SIGMA**2
    eU = math.log(now_u / U) if now_u > 0 and U > 0 else 0.0
    nuU = (2*prior + su) / (2 + n) + MIN_SIGMA**2
    if m <= 1:
        e, nu = eT, nuT
    else:
        e = (eT / nuT + eU / nuU) / (1 / nuT + 1 / nuU)
        nu = min(nuT, nuU)
    return R, G, e, nu, max(0.0, r.elapsed - tau)


CURVE_PRIOR = 0.3


def clip2(x: float) -> float:
    return min(abs(x), 1.0) ** 2


def recent(curve, m: float, unit: float) -> float:
    """Seconds per `unit` units over the latest quarter before m units, the first unit apart."""
    since = max(unit, m - max(3.0 * unit, m / 4))
    if m <= since:
        return (at(curve, m) or 0.0) / m * unit
    return ((at(curve, m) or 0.0) - (at(curve, since) or 0.0)) / (m - since) * unit


def curve_alone(r: RunningStep):
    if not r.curve or not r.total:
        return None
    tau, m = r.curve[-1]
    if m <= 0 or tau <= 0:
        return None
    left = max(0.0, r.total - m)
    u = recent(r.curve, m, 1.0)
    pend = max(0.0, r.elapsed - tau)
    if left == 0:
        return 0.0, 0.02 * r.elapsed
    rest = left * u
    sd = rest * 0.15 / math.sqrt(min(m, 20)) * 2
    rest = max(0.0, rest - u) + duration_quantile(max(u, 1e-9), 0.2, pend, 0.5) - pend
    return rest, sd
