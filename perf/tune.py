"""Which weights and which price of a fault are best?  Run: CTXGC_CORPUS=… python -m perf.tune [--json FILE] [PATH…]

Five folds by session: the weights of the reuse estimate are fitted, and Φ is chosen, on four; what is reported was
played on the fifth. The last line of each table is the setting for `core/reuse.py` and `core/pacer.py`, fitted on all.
Needs numpy (`pip install -e '.[dev]'`).
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from ctxgc.core.collector import Victim, evictable
from ctxgc.core.garbage import proven
from ctxgc.core.heap import EVICTED, RESIDENT
from ctxgc.core.mark import mark
from ctxgc.core.pacer import PROFILES, TUNED, PacerRules
from ctxgc.core.policy import Rules
from ctxgc.core.reuse import Weights, fixed_terms, ln_turns
from ctxgc.core.roots import find_roots
from ctxgc.core.segment import Access
from ctxgc.replay.demand import ALL, RESULTS, cover, demand_of, touches
from ctxgc.replay.policies import NoCollection, Shipped
from ctxgc.replay.reading import read_file, transcripts_in
from ctxgc.replay.simulate import Admission, Run, Script, Tally, play, script_of
from ctxgc.replay.statistics import Bootstrap

FOLDS = 5
RIDGE = 3.0
FAULTS_MAX = 1.3
"""Faults per 100 turns that the choice of Φ aims at on the training sessions: unseen ones have some more."""
SCOPES = {"results": RESULTS, "all": ALL}
GRID = {
    "cache_5m": (8, 12, 16, 20, 24, 32),
    "cache_1h": (4, 8, 12, 16, 22, 30),
    "uncached": (180, 250, 290, 340),
    "flat": (10, 14, 20, 26, 32),
}
"""Φ in thousands of input tokens."""


@dataclass(slots=True)
class Played:
    """One session, ready to be played and to be learned from."""

    source: str
    session: str
    scripts: dict[str, list[Script]]
    inputs: np.ndarray
    labels: np.ndarray

    @property
    def fold(self) -> int:
        """Its fold, by its id alone."""
        return int.from_bytes(blake2b(self.session.encode(), digest_size=2).digest(), "big") % FOLDS


class Score(NamedTuple):
    """A session under a setting, beside no collection."""

    source: str
    turns: int
    base: float
    cost: float
    prompt: int
    base_prompt: int
    faults: int
    explicit: int
    rereads: int
    """Reads of lines that an earlier read in the window shows, whatever the policy."""
    blind: int
    """Explicit faults of which no other read of the file was in the window."""


def prepare(path: str) -> list[Played]:
    """Read a transcript; scripts of both scopes, and what each body looked like at each turn with what became of it."""
    found = []
    for session, episodes in read_file(path).sessions.items():
        scripts = {
            name: [script_of(episode, scope, demand_of(episode, scope)) for episode in episodes]
            for name, scope in SCOPES.items()
        }
        rows = [samples(script) for script in scripts["all"]]
        found.append(
            Played(
                episodes[0].source,
                session,
                scripts,
                np.array([features for part in rows for features, _ in part], float).reshape(-1, len(fields(Weights))),
                np.array([label for part in rows for _, label in part], float),
            )
        )
    return found


def samples(script: Script) -> list[tuple[list[float], bool]]:
    """(terms of the estimate, whether it was used or read again later) of each body that could go, at each turn."""
    run = Run(script, PROFILES["cache_5m"])
    last_use: dict[int, int] = {}
    for number, wants in enumerate(script.demand.wants):
        for pick in cover(wants, None):
            last_use[script.slots[pick]] = number
    for number, step in enumerate(script.steps):
        for admission in step.reply:
            for slot in admission.reads:
                last_use[slot] = max(last_use.get(slot, -1), number)
    rows = []
    for number, step in enumerate(script.steps):
        run.step, run.turn = number, step.turn
        for admission in step.before:
            run.admit(admission)
        run.clear(step.cleared)
        rows += [(terms, last_use.get(slot, -1) >= number) for slot, terms in _terms(run)]
        for provider in touches(script.demand.wants[number]):
            run.heap.touch(script.slots[provider], run.turn)
        for admission in step.reply:
            run.admit(admission)
    return rows


def _terms(run: Run) -> Iterable[tuple[int, list[float]]]:
    heap, now, rules = run.heap, run.now, Rules()
    roots = find_roots(heap, run.paths, now, rules)
    reached, may_go = mark(heap.refs, roots), evictable(heap, roots)
    for slot in range(len(heap)):
        if not may_go[slot] or heap.body[slot] - heap.tombstone[slot] < rules.min_gain_tokens:
            continue
        fixed = fixed_terms(heap.kind_of(slot), heap.traits[slot], heap.body[slot], len(heap.refs[slot]))
        moving = (
            ln_turns(now.turn - heap.born[slot]),
            ln_turns(now.turn - heap.touched[slot]),
            float(reached[slot]),
            float(proven(heap, slot, now, rules) is not None),
        )
        yield slot, [*fixed, *moving]


def fit(sessions: Sequence[Played]) -> Weights:
    """Ridge-regularised logistic regression by Newton's method; the bias is free."""
    inputs = np.vstack([played.inputs for played in sessions])
    labels = np.concatenate([played.labels for played in sessions])
    beta = np.zeros(inputs.shape[1])
    ridge = RIDGE * np.diag([0.0, *np.ones(inputs.shape[1] - 1)])
    for _ in range(40):
        chance = 1 / (1 + np.exp(-inputs @ beta))
        slope = inputs.T @ (labels - chance) - ridge @ beta
        curve = (inputs * (chance * (1 - chance) + 1e-9)[:, None]).T @ inputs + ridge
        step = np.linalg.solve(curve, slope)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    return Weights(*(round(float(value), 3) for value in beta))


@dataclass(slots=True)
class Witness:
    """A policy, and beside it a count of reads whose lines an earlier read had shown."""

    inner: Shipped
    name: str = "witness"
    rereads: int = 0
    blind: int = 0
    _readers: dict[str, set[int]] = field(default_factory=dict)
    """Slots that show a file."""
    _slots: int = 0

    def begin(self, script: Script) -> None:
        """A new window."""
        self.inner.begin(script)
        self._readers, self._slots = {}, 0

    def victims(self, run: Run) -> Sequence[Victim]:
        """What the policy names; nothing has left since what joined last was admitted."""
        before = run.script.steps[run.step - 1].reply if run.step else ()
        for admission in (*before, *run.script.steps[run.step].before):
            self._note(run, admission)
        return self.inner.victims(run)

    def _note(self, run: Run, admission: Admission) -> None:
        state = run.heap.state
        self.rereads += bool(admission.reads)
        reads = [use.path for use in admission.uses if use.access is Access.READ]
        if any(state[slot] == EVICTED for slot in admission.reads):
            others = {slot for path in reads for slot in self._readers.get(path, ())}
            self.blind += not any(state[slot] == RESIDENT for slot in others)
        for path in reads:
            self._readers.setdefault(path, set()).add(self._slots)
        self._slots += 1


def score(played: Played, scope: str, profile: str, weights: Weights, phi: float) -> Score:
    """One session under one setting."""
    prices = PROFILES[profile]
    pacer = PacerRules(prices=prices, fault_price_tokens=phi, horizon_turns=TUNED[profile].horizon_turns)
    tallies: list[Tally] = []
    base, base_prompt = 0.0, 0
    policy = Witness(Shipped(pacer=pacer))
    for script in played.scripts[scope]:
        tallies.append(play(script, policy, prices, weights=weights))
        nothing = play(script, NoCollection(), prices)
        base, base_prompt = base + nothing.cost, base_prompt + nothing.prompt_tokens
    return Score(
        played.source,
        sum(tally.turns for tally in tallies),
        base,
        sum(tally.cost for tally in tallies),
        sum(tally.prompt_tokens for tally in tallies),
        base_prompt,
        sum(tally.faults for tally in tallies),
        sum(tally.explicit_faults for tally in tallies),
        policy.rereads,
        policy.blind,
    )


def grid_of(
    sessions: list[Played], profile: str, scope: str, fitted: list[Weights]
) -> dict[tuple[int, int], list[Score]]:
    """(fold whose weights, Φ in thousands) → scores of all sessions."""
    return {
        (fold, phi): [score(played, scope, profile, fitted[fold], phi * 1000.0) for played in sessions]
        for fold in range(FOLDS)
        for phi in GRID[profile]
    }


def cross_validated(
    sessions: list[Played], grid: dict[tuple[int, int], list[Score]], phis: Sequence[int]
) -> tuple[list[Score], list[int]]:
    """Out-of-fold scores in the order of the sessions, and the Φ that each fold chose."""
    chosen = []
    for fold in range(FOLDS):
        train = [at for at, played in enumerate(sessions) if played.fold != fold]

        def faults(phi: int, fold: int = fold, train: list[int] = train) -> float:
            return rate([grid[fold, phi][at] for at in train], "faults")

        chosen.append(next((phi for phi in phis if faults(phi) <= FAULTS_MAX), phis[-1]))
    return [grid[played.fold, chosen[played.fold]][at] for at, played in enumerate(sessions)], chosen


def rate(scores: Iterable[Score], name: str) -> float:
    """Events per 100 turns."""
    listed = list(scores)
    turns = sum(entry.turns for entry in listed)
    return 100 * sum(getattr(entry, name) for entry in listed) / turns if turns else 0.0


def summary(scores: Sequence[Score]) -> dict[str, Any]:
    """What the table prints of an agent: sums with bootstrap intervals over sessions, median and worst session."""
    draws = Bootstrap(len(scores))
    cost = draws.ratio([s.cost for s in scores], [s.base for s in scores])
    faults = draws.ratio([float(s.faults) for s in scores], [float(s.turns) for s in scores])
    parts = sorted(100 * s.cost / s.base for s in scores)
    return {
        "sessions": len(scores),
        "cost_pct": round(100 * sum(s.cost for s in scores) / sum(s.base for s in scores), 2),
        "cost_interval": [round(100 * end, 1) for end in cost] if cost else None,
        "faults": round(rate(scores, "faults"), 2),
        "faults_interval": [round(100 * end, 2) for end in faults] if faults else None,
        "explicit": round(rate(scores, "explicit"), 2),
        "rereads": round(rate(scores, "rereads"), 2),
        "blind": round(rate(scores, "blind"), 2),
        "prompt_pct": round(100 * sum(s.prompt for s in scores) / sum(s.base_prompt for s in scores), 2),
        "median_session_pct": round(parts[len(parts) // 2], 1),
        "worst_session_pct": round(parts[-1], 1),
    }


def by_agent(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """Summaries by agent, and of all."""
    groups: dict[str, list[Score]] = defaultdict(list)
    for entry in scores:
        groups[entry.source].append(entry)
    groups["all"] = list(scores)
    return {name: summary(group) for name, group in groups.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Fit, cross-validate, print, and write the evidence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--json", metavar="FILE", help="write the evidence there")
    arguments = parser.parse_args(argv)
    corpus = os.environ.get("CTXGC_CORPUS", "")
    paths = arguments.paths or [os.path.join(corpus, name) for name in ("claude_code", "codex") if corpus]
    if not paths:
        parser.error("name transcripts, or set CTXGC_CORPUS")
    with ProcessPoolExecutor(2) as pool:
        sessions = [played for found in pool.map(prepare, transcripts_in(paths)) for played in found]
        sessions.sort(key=lambda played: (played.source, played.session))
        fitted = [fit([played for played in sessions if played.fold != fold]) for fold in range(FOLDS)]
        evidence: dict[str, Any] = {"sessions": len(sessions), "weights": asdict(fit(sessions)), "settings": []}
        print(f"{len(sessions)} sessions, {sum(len(p.labels) for p in sessions)} samples\n{fit(sessions)}")
        plans = [(profile, scope) for profile in GRID for scope in SCOPES]
        work = partial(_grid, sessions, fitted)
        for (profile, scope), grid in zip(plans, pool.map(work, plans), strict=True):
            scores, chosen = cross_validated(sessions, grid, GRID[profile])
            table = by_agent(scores)
            frontier = {
                phi: by_agent([grid[p.fold, phi][at] for at, p in enumerate(sessions)]) for phi in GRID[profile]
            }
            evidence["settings"].append(
                {"profile": profile, "scope": scope, "chosen": chosen, "table": table, "frontier": frontier}
            )
            print(f"\n{profile}, {scope}: Φ by fold {chosen} k")
            for agent, row in table.items():
                print(f"  {agent:12s} {row}")
            for phi, rows in frontier.items():
                print(f"    Φ {phi:3d}k  " + "  ".join(f"{a} {r['cost_pct']}@{r['faults']}" for a, r in rows.items()))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(evidence, file, indent=1)
            file.write("\n")


def _grid(sessions: list[Played], fitted: list[Weights], plan: tuple[str, str]) -> dict[tuple[int, int], list[Score]]:
    return grid_of(sessions, plan[0], plan[1], fitted)


if __name__ == "__main__":
    main()
