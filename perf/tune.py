"""Which weights and which price of a fault are best?  Run: CTXGC_CORPUS=… python -m perf.tune [--json FILE] [PATH…]

Five folds by session: the weights of the reuse estimate are fitted, and Φ is chosen, on four; what is reported was
played on the fifth. What it would ship stands in the first lines: weights fitted on all sessions for `core/reuse.py`,
and of each profile the median of the Φ that the folds chose, for `core/pacing/pacer.py`.
Needs numpy (`pip install -e '.[dev]'`).
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple

from ctxgc.core.collector import Victim
from ctxgc.core.heap import EVICTED, RESIDENT
from ctxgc.core.pacing.pacer import TUNED, PacerRules
from ctxgc.core.reuse import ReuseWeights
from ctxgc.core.segment import Access
from ctxgc.replay.policies import NoCollection, ShippedPolicy
from ctxgc.replay.recorded_files import find_transcripts
from ctxgc.replay.script import EpisodeScript, SlotAdmission
from ctxgc.replay.simulate import Simulation, Tally, simulate_policy
from ctxgc.replay.statistics import Bootstrap
from ctxgc.replay.terms import NONE, SHIPPED, StudyTerms
from perf.samples import FOLDS, SCOPES, Played, deal, fit, prepare, read, with_placebos

AIMS = {"faults": 1.5, "views": 0.95}
"""What Φ must come to on the training sessions, per 100 turns: faults, and reads of lines whose newest view is out."""
GRID = {
    "cache_5m": (12, 16, 20, 22, 24, 28, 36, 52),
    "cache_1h": (8, 12, 16, 20, 28, 44),
    "uncached": (160, 200, 240, 290, 340, 460),
    "openai": (12, 16, 20, 24, 28, 44),
    "openai_5_6": (8, 12, 16, 20, 28),
    "openai_6_1": (4, 8, 12, 20),
    "subscription": (12, 16, 20, 24, 28, 44),
}
"""Φ in thousands of input tokens."""


class Score(NamedTuple):
    """A session under a setting, beside no collection."""

    source: str
    turns: int
    base: float
    cost: float
    prompt: int
    base_prompt: int
    faults: int
    placebo: int
    """Faults of the placebo under the same setting."""
    explicit: int
    views: int
    """Reads of lines whose newest view is out."""
    same: int
    """Reads of a very range of a file whose newest reading is out."""
    rereads: int
    """Reads of lines that an earlier read in the window shows, whatever the policy."""
    blind: int
    """Explicit faults of which no other read of the file was in the window."""

    @property
    def excess(self) -> int:
        """Faults beyond the placebo's."""
        return self.faults - self.placebo


@dataclass(slots=True)
class Witness:
    """A policy, and beside it counts of reads whose lines an earlier read had shown."""

    inner: ShippedPolicy
    name: str = "witness"
    rereads: int = 0
    blind: int = 0
    same: int = 0
    _read: dict[tuple[str, int, int], int] = field(default_factory=dict)
    """The newest slot that shows a very range of a file."""
    _readers: dict[str, set[int]] = field(default_factory=dict)
    """Slots that show a file."""
    _slots: int = 0

    def begin_episode(self, script: EpisodeScript) -> None:
        """A new window."""
        self.inner.begin_episode(script)
        self._readers, self._read, self._slots = {}, {}, 0

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """What the policy names; nothing has left since what joined last was admitted."""
        before = run.script.steps[run.step - 1].reply if run.step else ()
        for admission in (*before, *run.script.steps[run.step].before):
            self._note(run, admission)
        return self.inner.victims(run)

    def _note(self, run: Simulation, admission: SlotAdmission) -> None:
        state = run.heap.state
        self.rereads += bool(admission.reads)
        reads = [use.path for use in admission.uses if use.access is Access.READ]
        ranges = {(use.path, use.first_line, use.last_line) for use in admission.uses if use.access is Access.READ}
        self.same += any(state[self._read[part]] == EVICTED for part in ranges if part in self._read)
        self._read.update(dict.fromkeys(ranges, self._slots))
        if any(state[slot] == EVICTED for slot in admission.reads):
            others = {slot for path in reads for slot in self._readers.get(path, ())}
            self.blind += not any(state[slot] == RESIDENT for slot in others)
        for path in reads:
            self._readers.setdefault(path, set()).add(self._slots)
        self._slots += 1


def uncollected(played: Played, scope: str, profile: str) -> list[Tally]:
    """One session, never collected."""
    terms = StudyTerms(profile)
    cache = terms.cache_rules_of(NONE)
    return [simulate_policy(script, NoCollection(), terms.prices, cache=cache) for script in played.scripts[scope]]


def score(played: Played, scope: str, profile: str, weights: ReuseWeights, phi: float, base: Sequence[Tally]) -> Score:
    """One session under one setting, beside the same session never collected."""
    terms = StudyTerms(profile)
    prices, ours = terms.prices, terms.cache_rules_of(SHIPPED)
    pacer = PacerRules(prices=prices, fault_price_tokens=phi, horizon_turns=TUNED[profile].horizon_turns)
    tallies: list[Tally] = []
    policy = Witness(ShippedPolicy(pacer=pacer))
    for script in played.scripts[scope]:
        tallies.append(simulate_policy(script, policy, prices, weights=weights, cache=ours))
    placebos = [
        simulate_policy(script, policy.inner, prices, weights=weights, cache=ours) for script in played.placebos[scope]
    ]
    return Score(
        played.source,
        sum(tally.turns for tally in tallies),
        sum(tally.cost for tally in base),
        sum(tally.cost for tally in tallies),
        sum(tally.prompt_tokens for tally in tallies),
        sum(tally.prompt_tokens for tally in base),
        sum(tally.faults for tally in tallies),
        sum(tally.faults for tally in placebos),
        sum(tally.explicit_faults for tally in tallies),
        sum(tally.view_faults for tally in tallies),
        policy.same,
        policy.rereads,
        policy.blind,
    )


Fitted = dict[frozenset[int], ReuseWeights]
"""Weights by the folds that they were not fitted on: one, or two."""
Grid = dict[tuple[frozenset[int], int, int], Score]
"""(folds left out, Φ in thousands, session) → score."""


def fit_all(sessions: Sequence[Played]) -> Fitted:
    """Weights without each fold, and without each pair of folds: what a fold's Φ is chosen by saw neither."""
    left_out = {frozenset((one, other)) for one in range(FOLDS) for other in range(FOLDS)}
    return {out: fit([played for played in sessions if played.fold not in out]) for out in left_out}


def grid_of(sessions: list[Played], profile: str, scope: str, fitted: Fitted) -> Grid:
    """Every session by weights that never saw it, with and without another fold left out."""
    bases = [uncollected(played, scope, profile) for played in sessions]
    return {
        (out, phi, at): score(played, scope, profile, weights, phi * 1000.0, bases[at])
        for out, weights in fitted.items()
        for at, played in enumerate(sessions)
        if played.fold in out
        for phi in GRID[profile]
    }


def chosen_for(sessions: list[Played], grids: Iterable[Grid], phis: Sequence[int], fold: int) -> int:
    """A fold's Φ: the least at which the aims hold in every scope on the four others.

    Each of those is played by weights that saw neither it nor the fold.
    """
    others = [(at, played.fold) for at, played in enumerate(sessions) if played.fold != fold]

    def is_good(phi: int) -> bool:
        return all(reaches([grid[frozenset((fold, own)), phi, at] for at, own in others]) for grid in grids)

    return next(filter(is_good, phis), phis[-1])


def reaches(scores: Sequence[Score]) -> bool:
    """Whether the aims hold."""
    return all(rate(scores, name) <= most for name, most in AIMS.items())


def out_of_fold(sessions: list[Played], grid: Grid, phis: Sequence[int]) -> list[Score]:
    """Each session by the weights of the four other folds, at its Φ."""
    return [grid[frozenset((p.fold,)), phi, at] for (at, p), phi in zip(enumerate(sessions), phis, strict=True)]


def rate(scores: Iterable[Score], name: str) -> float:
    """Events per 100 turns."""
    listed = list(scores)
    turns = sum(entry.turns for entry in listed)
    return 100 * sum(getattr(entry, name) for entry in listed) / turns if turns else 0.0


def summary(scores: Sequence[Score]) -> dict[str, Any]:
    """What the table prints of an agent: sums with bootstrap intervals over sessions, median and worst session."""
    draws = Bootstrap(len(scores))
    cost = draws.ratio_interval([s.cost for s in scores], [s.base for s in scores])
    faults = draws.ratio_interval([float(s.faults) for s in scores], [float(s.turns) for s in scores])
    parts = sorted(100 * s.cost / s.base for s in scores)
    return {
        "sessions": len(scores),
        "cost_pct": round(100 * sum(s.cost for s in scores) / sum(s.base for s in scores), 2),
        "cost_interval": [round(100 * end, 1) for end in cost] if cost else None,
        "faults": round(rate(scores, "faults"), 2),
        "faults_interval": [round(100 * end, 2) for end in faults] if faults else None,
        "excess": round(rate(scores, "excess"), 2),
        "explicit": round(rate(scores, "explicit"), 2),
        "views": round(rate(scores, "views"), 2),
        "same": round(rate(scores, "same"), 2),
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
    parser.add_argument("--price", action="append", choices=list(GRID), help="only this profile; may be repeated")
    parser.add_argument("--json", metavar="FILE", help="write the evidence there")
    arguments = parser.parse_args(argv)
    corpus = os.environ.get("CTXGC_CORPUS", "")
    paths = arguments.paths or [os.path.join(corpus, name) for name in ("claude_code", "codex") if corpus]
    if not paths:
        parser.error("name transcripts, or set CTXGC_CORPUS")
    with ProcessPoolExecutor(2) as pool:
        found = [session for sessions in pool.map(read, find_transcripts(paths)) for session in sessions]
        sessions = list(pool.map(prepare, with_placebos(found)))
        deal(sessions)
        fitted = fit_all(sessions)
        evidence: dict[str, Any] = {"sessions": len(sessions), "weights": asdict(fit(sessions)), "settings": []}
        print(f"{len(sessions)} sessions, {sum(len(p.labels) for p in sessions)} samples\n{fit(sessions)}")
        profiles = arguments.price or list(GRID)
        for profile, grids in zip(profiles, pool.map(partial(_grids, sessions, fitted), profiles), strict=True):
            evidence["settings"] += told(sessions, profile, grids)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(evidence, file, indent=1)
            file.write("\n")


def told(sessions: list[Played], profile: str, grids: dict[str, Grid]) -> list[dict[str, Any]]:
    """Print what came of a profile, scope by scope; the same for the evidence."""
    phis = GRID[profile]
    chosen = [chosen_for(sessions, grids.values(), phis, fold) for fold in range(FOLDS)]
    at_phi = {
        scope: {phi: out_of_fold(sessions, grid, [phi] * len(sessions)) for phi in phis}
        for scope, grid in grids.items()
    }
    print(f"\n{profile}: Φ by fold {chosen} k; to ship: {sorted(chosen)[FOLDS // 2]} k")
    evidence = []
    for scope, grid in grids.items():
        table = by_agent(out_of_fold(sessions, grid, [chosen[played.fold] for played in sessions]))
        frontier = {phi: by_agent(scores) for phi, scores in at_phi[scope].items()}
        for name, row in table.items():
            print(f"  {scope:8s} {name:12s} {row}")
        for phi, rows in frontier.items():
            print(f"    Φ {phi:3d}k  " + "  ".join(f"{name} {_brief(row)}" for name, row in rows.items()))
        evidence.append({"profile": profile, "scope": scope, "chosen": chosen, "table": table, "frontier": frontier})
    return evidence


def _brief(row: dict[str, Any]) -> str:
    return f"{row['cost_pct']}@{row['faults']} +{row['excess']} explicit {row['explicit']} views {row['views']}"


def _grids(sessions: list[Played], fitted: Fitted, profile: str) -> dict[str, Grid]:
    return {scope: grid_of(sessions, profile, scope, fitted) for scope in SCOPES}


if __name__ == "__main__":
    main()
