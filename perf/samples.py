"""Recorded sessions, ready to be learned from and played: what `perf.tune` works on.

transcripts ──▶ episodes ──┬──▶ scripts, real and placebo, in both scopes
                           └──▶ samples: what each body looked like at each turn, and what became of it
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b

import numpy as np

from ctxgc.core.collector import evictable_mask
from ctxgc.core.garbage import garbage_proof
from ctxgc.core.liveness import CURRENT, NAMED, find_liveness
from ctxgc.core.pacing.price_profiles import PROFILES
from ctxgc.core.reuse import ReuseWeights, fixed_factors, ln_turns
from ctxgc.core.roots import find_roots
from ctxgc.core.rules import Rules
from ctxgc.replay.demand import ALL, RESULTS, Output, demand_of, greedy_cover, used_segments
from ctxgc.replay.recorded_files import read_recorded_file
from ctxgc.replay.script import EpisodeScript, script_of
from ctxgc.replay.simulate import Simulation
from ctxgc.replay.trace import Episode
from ctxgc.replay.trial import choose_placebo_sessions, outputs_of_episodes

FOLDS = 5
RIDGE = 3.0
SCOPES = {"results": RESULTS, "all": ALL}
RULES = Rules(recent_turns=2)
"""What the pacer weighs at a turn: learned from are the bodies that it may take."""

Session = list[Episode]


@dataclass(slots=True)
class Played:
    """One session, ready to be played and to be learned from."""

    source: str
    session: str
    scripts: dict[str, list[EpisodeScript]]
    placebos: dict[str, list[EpisodeScript]]
    inputs: np.ndarray
    labels: np.ndarray
    fold: int = 0


def read(path: str) -> list[Session]:
    """The sessions of a transcript."""
    return list(read_recorded_file(path).sessions.values())


def with_placebos(sessions: Sequence[Session]) -> list[tuple[Session, list[Output]]]:
    """Each session in order of agent and id, with what others of its agent say in its place."""
    kin: dict[str, list[Session]] = defaultdict(list)
    for session in sorted(sessions, key=lambda episodes: (episodes[0].source, episodes[0].session)):
        kin[session[0].source].append(session)
    told = []
    for group in kin.values():
        turns = [sum(len(episode.turns) for episode in session) for session in group]
        for at, session in enumerate(group):
            others = [outputs_of_episodes(group[other]) for other in choose_placebo_sessions(turns, at)]
            told.append((session, [output for outputs in others for output in outputs]))
    return told


def prepare(told: tuple[Session, list[Output]]) -> Played:
    """Scripts of both scopes, and the samples."""
    episodes, outputs = told
    scripts, placebos = (
        {
            name: [script_of(episode, scope, demand_of(episode, scope, said)) for episode in episodes]
            for name, scope in SCOPES.items()
        }
        for said in (None, outputs)
    )
    rows = [samples(script) for script in scripts["all"]]
    return Played(
        episodes[0].source,
        episodes[0].session,
        scripts,
        placebos,
        np.array([terms for part in rows for terms, _ in part], float).reshape(-1, len(fields(ReuseWeights))),
        np.array([label for part in rows for _, label in part], float),
    )


def deal(sessions: Iterable[Played]) -> None:
    """Give each session its fold."""
    listed = list(sessions)
    folds = folds_of((played.source, played.session) for played in listed)
    for played in listed:
        played.fold = folds[played.source, played.session]


def folds_of(sessions: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The fold of each (agent, session): by the hash of the id, in turn within each agent, so that folds are alike in
    size."""
    kin: dict[str, set[str]] = defaultdict(set)
    for source, session in sessions:
        kin[source].add(session)
    return {
        (source, session): at % FOLDS
        for source, names in kin.items()
        for at, session in enumerate(sorted(names, key=lambda name: blake2b(name.encode()).digest()))
    }


def samples(script: EpisodeScript) -> list[tuple[list[float], bool]]:
    """(terms of the estimate, whether the body was used or its view read again later) of each body that could go, at
    each turn."""
    run = Simulation(script, PROFILES["cache_5m"])
    last_use: dict[int, int] = {}
    for number, wants in enumerate(script.demand.wants):
        for pick in greedy_cover(wants, None):
            last_use[script.slots[pick]] = number
    for number, step in enumerate(script.steps):
        for admission in step.reply:
            for slot in admission.views:
                last_use[slot] = max(last_use.get(slot, -1), number)
    rows = []
    for number, step in enumerate(script.steps):
        run.step, run.turn = number, step.turn
        for admission in step.before:
            run.admit(admission)
        run.clear_by_host(step.cleared)
        rows += [(terms, last_use.get(slot, -1) >= number) for slot, terms in _terms(run)]
        for provider in used_segments(script.demand.wants[number]):
            run.heap.touch(script.slots[provider], run.turn)
        for admission in step.reply:
            run.admit(admission)
    return rows


def _terms(run: Simulation) -> Iterable[tuple[int, list[float]]]:
    heap, now = run.heap, run.now
    roots = find_roots(heap, run.paths, now, RULES)
    liveness, candidates = find_liveness(heap, run.paths, roots), evictable_mask(heap, roots)
    for slot in range(len(heap)):
        if not candidates[slot] or heap.freed[slot] < RULES.min_gain_tokens:
            continue
        moving = (
            ln_turns(now.turn - heap.born[slot]),
            ln_turns(now.turn - heap.touched[slot]),
            float(bool(liveness[slot] & CURRENT)),
            float(bool(liveness[slot] & NAMED)),
            float(garbage_proof(heap, slot, now, RULES) is not None),
        )
        yield slot, [*fixed_factors(heap.fixed_reuse_facts(slot)), *moving]


def fit(sessions: Sequence[Played]) -> ReuseWeights:
    """The weights of these sessions: what speaks for a body never counts against the body."""
    inputs = np.vstack([played.inputs for played in sessions])
    labels = np.concatenate([played.labels for played in sessions])
    fitted = ReuseWeights(*fit_logistic(inputs, labels))
    return replace(fitted, current=max(fitted.current, 0.0), named=max(fitted.named, 0.0))


def fit_logistic(inputs: np.ndarray, labels: np.ndarray) -> list[float]:
    """The weights of a ridge-regularised logistic regression, rounded; the first, the bias, is free.

    Newton's method, O(rows · terms²) a step.
    """
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
    return [round(float(value), 3) for value in beta]
