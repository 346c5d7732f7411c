"""What do recorded sessions cost through ctxgc, by the provider's bill, in percent of never collecting?

Run: CTXGC_CORPUS=… python -m perf.bench_recordings [--json] [--record]

    unaware      billed truly, but the pacer takes every beginning of the last request for cached; no mark of our own
    host_marks   the pacer knows the entries that the next request finds; no mark of our own
    own_mark     as it ships

Tool results only, the dials that ship. A worst turn is the most that a session has cost by any turn but its first six.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ctxgc.core.collector import Victim
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.prompt_cache import COLD, CacheState
from ctxgc.core.pacing.regret_budget import PacerRequest, decide_within_allowance
from ctxgc.replay.demand import RESULTS, demand_of
from ctxgc.replay.policies import NoCollection, ShippedPolicy
from ctxgc.replay.policy_registry import shipped_policy
from ctxgc.replay.recorded_files import find_transcripts, read_recorded_file
from ctxgc.replay.script import EpisodeScript, script_of
from ctxgc.replay.session_cache import CacheRules
from ctxgc.replay.simulate import Policy, Simulation, simulate_policy
from ctxgc.replay.terms import SHIPPED, StudyTerms
from ctxgc.replay.trial import Sums
from perf.record import record

PROFILES = {"claude_code": ("cache_5m", "cache_1h"), "codex": ("openai",)}


@dataclass(slots=True)
class Unaware(ShippedPolicy):
    """The pacer as it was before it knew of entries."""

    def victims(self, run: Simulation) -> Sequence[Victim]:
        """What the core's pacer decides about a cache that holds every beginning of the last request."""
        recalled = run.tally.worst[self._recalls :]
        for fault in recalled:
            tool = run.heap.tool_name(run.heap.slot_of[fault.segment])
            size = fault.size_tokens
            self.account = self.account.after_recall(self._dials.prices, run.prompt_tokens, size, tool)
        self._recalls = len(run.tally.worst)
        sent = run.tally.window[-1] if run.tally.window else 0
        prefix = CacheState(sent + sum(fault.size_tokens for fault in recalled))
        cache = COLD if run.cache.is_cold else prefix.for_window_behind(run.prompt_tokens - run.heap.resident_tokens)
        request = PacerRequest(cache, run.absent_tokens)
        decision, self.account = decide_within_allowance(
            run.heap, run.paths, run.now, self._dials, self.account, request
        )
        return decision.plan.victims if decision else ()


def main() -> None:
    """Every agent at its own prices."""
    corpus = os.environ.get("CTXGC_CORPUS", "")
    for agent, profiles in PROFILES.items():
        sessions = list(_sessions(os.path.join(corpus, agent))) if corpus else []
        if not sessions:
            record(f"recordings/{agent}", {"skipped": "CTXGC_CORPUS names no recorded sessions"})
            continue
        for profile in profiles:
            for name, (policy, cache) in _ways(StudyTerms(profile)).items():
                record(f"recordings/{agent}/{profile}/{name}", _numbers(sessions, StudyTerms(profile), policy, cache))


def _sessions(folder: str) -> Iterator[list[EpisodeScript]]:
    for path in find_transcripts([folder]):
        for episodes in read_recorded_file(path).sessions.values():
            yield [script_of(episode, RESULTS, demand_of(episode, RESULTS)) for episode in episodes]


def _ways(terms: StudyTerms) -> dict[str, tuple[Callable[[], Policy], CacheRules]]:
    """Policies, and the caches that their requests meet."""
    own = terms.cache_rules_of(SHIPPED)
    host = own._replace(has_own_mark=False)

    def shipped() -> Policy:
        return shipped_policy(terms)

    def unaware() -> Policy:
        policy = shipped_policy(terms)
        assert isinstance(policy, ShippedPolicy)
        pacer: PacerRules = policy.pacer
        return Unaware("unaware", pacer)

    ways: dict[str, tuple[Callable[[], Policy], CacheRules]] = {"unaware": (unaware, host)}
    if own.provider is not None and own.provider.lookback_blocks:
        ways["host_marks"] = shipped, host
    return ways | {"own_mark": (shipped, own)}


def _numbers(
    sessions: Sequence[Sequence[EpisodeScript]], terms: StudyTerms, make: Callable[[], Policy], cache: CacheRules
) -> dict[str, float]:
    every, turns = [], 0
    for scripts in sessions:
        policy, own, nothing = make(), Sums(), Sums()
        for script in scripts:
            own.add_tally(simulate_policy(script, policy, terms.prices, cache=cache))
            nothing.add_tally(
                simulate_policy(script, NoCollection(), terms.prices, cache=cache._replace(has_own_mark=False))
            )
            turns += len(script.steps)
        own.set_worst_turn_pct(nothing)
        every.append((own, nothing.cost))
    return {
        "sessions": len(every),
        "turns": turns,
        "of_nothing_percent": 100 * sum(own.cost for own, _ in every) / sum(full for _, full in every),
        "worst_session_percent": max(100 * own.cost / full for own, full in every),
        "worst_turn_percent": max(own.worst_turn_pct for own, _ in every),
        "faults_per_100_turns": 100 * sum(own.faults for own, _ in every) / turns,
        "rereads": sum(own.explicit_faults for own, _ in every),
    }


if __name__ == "__main__":
    sys.exit(main())
