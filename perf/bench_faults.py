"""What does a session cost that asks back all that leaves?  Run: CTXGC_CORPUS=… python -m perf.bench_faults

Recorded sessions with the replies of an agent that recalls every body in the turn in which the body left: the cost by
the shipped dials in percent of never collecting, with the lessons of faults and without, all bodies evictable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from unittest.mock import patch

from ctxgc.core.pacing import fault_lessons
from ctxgc.core.pacing.pacer import tuned_rules
from ctxgc.replay import simulate
from ctxgc.replay.demand import ALL, Demand, demand_of
from ctxgc.replay.policies import NoCollection, ShippedPolicy
from ctxgc.replay.recorded_files import find_transcripts, read_recorded_file
from ctxgc.replay.script import EpisodeScript, script_of
from ctxgc.replay.simulate import Simulation, simulate_policy
from ctxgc.replay.terms import NONE, SHIPPED, StudyTerms
from ctxgc.replay.trace import Episode
from perf.record import Number, record

AGENTS = ("claude_code", "codex")
PROFILES = ("cache_5m", "cache_1h", "uncached", "openai")
UNTAUGHT = 1e12
"""So much weight of the estimate that no fault teaches."""


def main(argv: Sequence[str]) -> None:
    corpus = os.environ.get("CTXGC_CORPUS", "")
    files = find_transcripts([os.path.join(corpus, agent) for agent in AGENTS]) if corpus else []
    sessions = [session for path in files for session in read_recorded_file(path).sessions.values()]
    scripts = [[_without_demand(episode) for episode in session] for session in sessions]
    for profile in PROFILES:
        skipped: dict[str, Number] = {"skipped": "no recorded sessions below CTXGC_CORPUS"}
        record(f"faults/{profile}", _measure(scripts, profile) if scripts else skipped)


def _without_demand(episode: Episode) -> EpisodeScript:
    demand = demand_of(episode, ALL)
    return script_of(episode, ALL, Demand(demand.ids, ((),) * len(demand.wants)))


def _measure(sessions: Sequence[Sequence[EpisodeScript]], profile: str) -> dict[str, Number]:
    terms = StudyTerms(profile)
    nothing = [_play(session, NoCollection(), terms, NONE) for session in sessions]
    numbers: dict[str, Number] = {"sessions": len(sessions)}
    for ending, trusted in (("", fault_lessons.TRUSTED), ("_untaught", UNTAUGHT)):
        with (
            patch.object(simulate, "_apply_demand", ask_back_everything),
            patch.object(fault_lessons, "TRUSTED", trusted),
        ):
            ours = [_play(session, ShippedPolicy(pacer=tuned_rules(profile)), terms, SHIPPED) for session in sessions]
        numbers[f"cost_percent{ending}"] = 100 * sum(cost for cost, _ in ours) / sum(cost for cost, _ in nothing)
        numbers[f"faults{ending}"] = sum(faults for _, faults in ours)
        pairs = zip(ours, nothing, strict=True)
        numbers[f"worst_session_percent{ending}"] = max(100 * cost / full for (cost, _), (full, _) in pairs if full)
    return numbers


def ask_back_everything(run: Simulation, number: int, threshold: int) -> None:
    """A reply that recalls every body that the policy has out."""
    for slot in range(run.seen_slots):
        if run.is_evicted(slot):
            run.serve_fault(slot)


def _play(
    session: Sequence[EpisodeScript], policy: NoCollection | ShippedPolicy, terms: StudyTerms, name: str
) -> tuple[float, int]:
    tallies = [simulate_policy(script, policy, terms.prices, cache=terms.cache_rules_of(name)) for script in session]
    return sum(tally.cost for tally in tallies), sum(tally.faults for tally in tallies)


if __name__ == "__main__":
    main(sys.argv[1:])
