"""Which parts of a long result are asked for later?  Run: python -m perf.tune_entry [--json FILE] PATH…

    sessions ──▶ each played with every page of every long result left out ──▶ pages: terms, and whether asked back
             ──▶ five folds by session: weights fitted on four, the fifth judged by the estimate

In the first lines stand the weights fitted on all sessions, for `core/entry/shortening.py`. Then the pages by agent and
kind of result, with intervals bootstrapped over sessions, and what the equation leaves out at each price, out of fold.
Needs numpy (`pip install -e '.[dev]'`).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from ctxgc.core.entry.shortening import FITTED, BirthFacts, PageWeights, birth_price, page_factors, page_fault_chance
from ctxgc.core.pacing.pacer import TUNED
from ctxgc.core.pacing.price_profiles import PROFILES
from ctxgc.replay.demand import RESULTS, demand_of
from ctxgc.replay.entry import EntryRules
from ctxgc.replay.policies import NoCollection
from ctxgc.replay.policy_registry import ENTRY_SHORTEN, SHORTEN_SHIPPED, policies_of
from ctxgc.replay.recorded_files import find_transcripts
from ctxgc.replay.script import EpisodeScript, SlotAdmission, script_of
from ctxgc.replay.session_cache import IDEAL
from ctxgc.replay.simulate import Simulation, play_simulation, simulate_policy
from ctxgc.replay.terms import NONE, StudyTerms
from perf.samples import FOLDS, Session, fit_logistic, folds_of, read

DRAWS = 1000
PLAYED_PROFILES = ("cache_5m", "cache_1h")
ALL_OUT = EntryRules(birth_price=birth_price(PROFILES["cache_5m"], "cache_5m"), weights=replace(FITTED, bias=-1e6))
"""Every page has a gain: no page is asked for."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A page of a long result: its terms, its size, and whether a later reply needed it."""

    source: str
    session: str
    kind: str
    terms: tuple[float, ...]
    tokens: int
    is_needed: bool


@dataclass(frozen=True, slots=True)
class Sampled:
    """The pages of a session, and the tokens of all its results."""

    pages: tuple[Sample, ...]
    result_tokens: dict[str, int]


def kind_of(birth: BirthFacts) -> str:
    """The sort of a result, in a word."""
    if birth.is_read:
        return "file, prose or data" if birth.is_prose else "file, code"
    return "sub-agent" if birth.is_delegation else "output"


def sample_session(session: Session) -> Sampled:
    """Every page of a session's long results, left out and perhaps asked back."""
    pages: list[Sample] = []
    tokens: dict[str, int] = defaultdict(int)
    for episode in session:
        script = replace(script_of(episode, RESULTS, demand_of(episode, RESULTS)), entry=ALL_OUT)
        run = Simulation(script, PROFILES["cache_5m"], cache=IDEAL)
        play_simulation(run, NoCollection())
        admissions = [one for step in script.steps for one in (*step.before, *step.reply)]
        tokens[script.source] += sum(one.result_tokens for one in admissions)
        pages += _samples_of_run(script, run, admissions)
    return Sampled(tuple(pages), dict(tokens))


def _samples_of_run(script: EpisodeScript, run: Simulation, admissions: Sequence[SlotAdmission]) -> Iterable[Sample]:
    assert run.entry is not None
    for slot, parts in run.entry.shortened.parts.items():
        admission = admissions[slot]
        assert admission.birth is not None
        assert admission.result is not None
        lines = admission.result.split("\n")
        for part in parts:
            text = "\n".join(lines[part.first : part.first + part.lines])
            terms = page_factors(admission.birth, len(lines), text)
            kind = kind_of(admission.birth)
            yield Sample(script.source, script.session, kind, terms, part.tokens, part.is_back)


def fit(samples: Sequence[Sample]) -> PageWeights:
    """The weights of these pages."""
    inputs = np.array([sample.terms for sample in samples], float)
    labels = np.array([sample.is_needed for sample in samples], float)
    return PageWeights(*fit_logistic(inputs, labels))


def out_of_fold(samples: Sequence[Sample]) -> list[float]:
    """The chance of each page by weights that never saw its session."""
    folds, weights = weights_by_fold(samples)
    return [page_fault_chance(sample.terms, weights[folds[sample.source, sample.session]]) for sample in samples]


def weights_by_fold(samples: Sequence[Sample]) -> tuple[dict[tuple[str, str], int], list[PageWeights]]:
    """The fold of each (agent, session), and for each fold the weights fitted on the other folds."""
    folds = folds_of((sample.source, sample.session) for sample in samples)
    pairs = [(sample, folds[sample.source, sample.session]) for sample in samples]
    return folds, [fit([sample for sample, own in pairs if own != fold]) for fold in range(FOLDS)]


def share_interval(samples: Sequence[Sample]) -> tuple[float, float]:
    """95 % of the share of needed pages, bootstrapped over sessions."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for sample in samples:
        sums[sample.session][0] += sample.is_needed
        sums[sample.session][1] += 1
    table = np.array(list(sums.values()))
    draws = np.random.default_rng(7).integers(0, len(table), (DRAWS, len(table)))
    needed, pages = table[draws].sum(axis=1).T
    low, high = np.percentile(100 * needed / pages, [2.5, 97.5])
    return round(float(low), 1), round(float(high), 1)


def table_of(sampled: Sequence[Sampled]) -> list[dict[str, Any]]:
    """Pages by agent and kind: how many, what part of all result tokens, how many were needed."""
    totals: dict[str, int] = defaultdict(int)
    for one in sampled:
        for source, tokens in one.result_tokens.items():
            totals[source] += tokens
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in (page for one in sampled for page in one.pages):
        groups[sample.source, sample.kind].append(sample)
    return [
        {
            "agent": source,
            "kind": kind,
            "pages": len(group),
            "result_tokens_pct": round(100 * sum(page.tokens for page in group) / totals[source], 1),
            "needed_pct": round(100 * sum(page.is_needed for page in group) / len(group), 1),
            "interval": share_interval(group),
        }
        for (source, kind), group in sorted(groups.items())
    ]


def judged(samples: Sequence[Sample], chances: Sequence[float]) -> list[dict[str, Any]]:
    """What the equation leaves out under each price profile, and how much of that was needed, out of fold."""
    rows = []
    for profile in TUNED:
        price = birth_price(PROFILES[profile], profile)
        for source in sorted({sample.source for sample in samples}):
            beside = zip(samples, chances, strict=True)
            own = [(sample, chance) for sample, chance in beside if sample.source == source]
            out = [(sample, chance) for sample, chance in own if price.gain(sample.tokens, chance) > 0]
            rows.append(
                {
                    "profile": profile,
                    "agent": source,
                    "pages_left_out": len(out),
                    "of_pages": len(own),
                    "needed": sum(sample.is_needed for sample, _ in out),
                    "predicted": round(sum(chance for _, chance in out), 1),
                    "of_needed": sum(sample.is_needed for sample, _ in own),
                }
            )
    return rows


class PlayedCost(NamedTuple):
    """A session straight and with ctxgc, pointers and shortening: cost, faults, faults of parts."""

    source: str
    straight: float
    cost: float
    faults: int
    part_faults: int
    turns: int


def play_session(session: Session, profile: str, weights: PageWeights) -> PlayedCost:
    """Play a session by weights that never saw it."""
    terms = StudyTerms(profile, entry=ENTRY_SHORTEN)
    policy = next(policy for policy in policies_of(terms) if policy.name == SHORTEN_SHIPPED)
    rules = terms.entry_rules_of(SHORTEN_SHIPPED)._replace(weights=weights)
    straight = cost = 0.0
    faults = part_faults = turns = 0
    for episode in session:
        script = script_of(episode, RESULTS, demand_of(episode, RESULTS))
        whole = simulate_policy(script, NoCollection(), terms.prices, cache=terms.cache_rules_of(NONE))
        script = replace(script, entry=rules)
        tally = simulate_policy(script, policy, terms.prices, cache=terms.cache_rules_of(SHORTEN_SHIPPED))
        straight, cost, turns = straight + whole.cost, cost + tally.cost, turns + tally.turns
        faults, part_faults = faults + tally.faults, part_faults + tally.part_faults
    return PlayedCost(session[0].source, straight, cost, faults, part_faults, turns)


def played_out_of_fold(sessions: Sequence[Session], samples: Sequence[Sample], workers: int) -> list[dict[str, Any]]:
    """What ctxgc with pointers and shortening costs, each session by weights that never saw it."""
    folds, weights = weights_by_fold(samples)
    of_session = [weights[folds.get((session[0].source, session[0].session), 0)] for session in sessions]
    rows = []
    with ProcessPoolExecutor(workers) as pool:
        for profile in PLAYED_PROFILES:
            played = list(pool.map(play_session, sessions, [profile] * len(sessions), of_session))
            for source in sorted({one.source for one in played}):
                own = [one for one in played if one.source == source]
                turns = sum(one.turns for one in own)
                rows.append(
                    {
                        "profile": profile,
                        "agent": source,
                        "cost_pct": round(100 * sum(one.cost for one in own) / sum(one.straight for one in own), 2),
                        "faults_per_100_turns": round(100 * sum(one.faults for one in own) / turns, 2),
                        "part_faults_per_100_turns": round(100 * sum(one.part_faults for one in own) / turns, 2),
                        "worst_session_pct": round(max(100 * one.cost / one.straight for one in own), 1),
                    }
                )
    return rows


def main() -> None:
    """Fit, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--json", default="", metavar="FILE")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.workers) as pool:
        sessions = [session for group in pool.map(read, find_transcripts(args.paths)) for session in group]
        sampled = list(pool.map(sample_session, sessions))
    samples = [page for one in sampled for page in one.pages]
    chances = out_of_fold(samples)
    likelihood = sum(np.log(p if sample.is_needed else 1 - p) for sample, p in zip(samples, chances, strict=True))
    report = {
        "weights": asdict(fit(samples)),
        "pages": len(samples),
        "log_likelihood_out_of_fold": round(float(likelihood), 1),
        "kinds": table_of(sampled),
        "prices": judged(samples, chances),
        "played": played_out_of_fold(sessions, samples, args.workers),
    }
    print(f"{len(samples)} pages of {len(sampled)} sessions, log-likelihood out of fold {likelihood:.1f}")
    for field in fields(PageWeights):
        print(f"    {field.name}={report['weights'][field.name]},")  # type: ignore[index]
    for row in (*report["kinds"], *report["prices"], *report["played"]):  # type: ignore[misc]
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
