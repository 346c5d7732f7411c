"""The report of a study: numbers by agent and policy, as a single object for JSON.

Costs are percent of no collection on the same sessions, as ratios of sums; intervals are over sessions. Faults always
stand beside the placebo's under the same policy: below about 1.5 in 100 turns most are coincidences. Times depend on
the machine and stand apart under `timing`; all other numbers are the same for the same input (I10).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ctxgc.replay.money import bill_in_dollars
from ctxgc.replay.policy_registry import is_oracle, policies_of
from ctxgc.replay.prices import PRICE_PROFILES
from ctxgc.replay.profile import HeapProfile
from ctxgc.replay.statistics import Bootstrap, Interval, median
from ctxgc.replay.study import Study
from ctxgc.replay.terms import LRU, NONE, WINDOWS
from ctxgc.replay.trial import SCOPES, WORST_FAULTS_MAX, Sums, TrialResult

ALL_AGENTS = "all"
Report = dict[str, Any]


def report_of(study: Study) -> Report:
    """The whole report."""
    profile = PRICE_PROFILES[study.terms.profile]
    groups: dict[str, list[TrialResult]] = {}
    for result in study.results:
        groups.setdefault(result.source, []).append(result)
    groups[ALL_AGENTS] = study.results
    reported = [policy.name for policy in policies_of(study.terms) if study.terms.reports_policy(policy.name)]
    return {
        "profile": profile.name,
        "prices": {
            **profile.prices._asdict(),
            "billed_by": profile.billed_by,
            "as_of": profile.as_of,
            "is_flat": profile.is_flat,
        },
        "bill": study.terms.bill,
        "mark": study.terms.mark,
        "budget_tokens": study.terms.budget_tokens,
        "agents": {name: _agent_report(results, reported) for name, results in groups.items()},
        "money": bill_in_dollars(study.results),
        "longest_session": _longest_session(study.results),
        "worst_faults": _worst_faults(study.results),
        "files": study.files,
        "skipped": [skipped._asdict() for skipped in study.skipped],
        "skipped_records": dict(sorted(study.skipped_records.items())),
        "timing": {"policy_us_per_turn": _policy_us_per_turn(study.results, reported)},
    }


def _agent_report(results: Sequence[TrialResult], reported: Sequence[str]) -> Report:
    draws = Bootstrap(len(results))
    base = _policy_sums(results, "results", NONE)
    placebo = [one for one, result in zip(base, results, strict=True) if result.has_placebo]
    uses = sum(one.uses for one in placebo)
    profile = sum((result.profile for result in results), HeapProfile())
    read = sum(result.host_read for result in results)
    lost = sum(result.host_lost for result in results)
    tables = {scope: [_policy_row(results, scope, name, draws) for name in reported] for scope in SCOPES}
    return {
        "sessions": len(results),
        "turns": sum(result.turns for result in results),
        "episodes": sum(result.episodes for result in results),
        # Sessions of one project share names; where coincidence finds more than the truth, nothing is proven.
        "placebo_precision": max(round(1 - sum(one.placebo_uses for one in placebo) / uses, 3), 0.0) if uses else None,
        "placebo_sessions": len(placebo),
        "policies": tables["results"],
        "policies_with_inputs_and_thinking": tables["all"],
        "bounds": _lower_bounds(results, "results"),
        "bounds_with_inputs_and_thinking": _lower_bounds(results, "all"),
        "heap_profile": {
            name: _percent(part, profile.total) for name, part in zip(profile._fields, profile, strict=True)
        },
        "host_compactions": {
            "cuts": sum(result.episodes - 1 for result in results),
            "files_read_before": read,
            "files_read_again": lost,
            "read_again_pct": _percent(lost, read),
        },
    }


def _lower_bounds(results: Sequence[TrialResult], scope: str) -> Report:
    """A bound below every policy, even with full knowledge; faults for those that hold the budget."""
    full = sum(one.cost for one in _policy_sums(results, scope, NONE))
    turns = sum(result.turns for result in results)
    return {
        "certified_cost_pct": _percent(sum(result.bounds[scope][0] for result in results), full),
        "certified_faults_per_100_turns": _percent(sum(result.bounds[scope][1] for result in results), turns, 3),
    }


def _policy_sums(results: Sequence[TrialResult], scope: str, policy: str) -> list[Sums]:
    return [result.sums[scope, policy] for result in results]


def _policy_row(results: Sequence[TrialResult], scope: str, name: str, draws: Bootstrap) -> Report:
    own, base, lru = (_policy_sums(results, scope, policy) for policy in (name, NONE, LRU))
    turns = [float(result.turns) for result in results]
    costs, base_costs = [one.cost for one in own], [one.cost for one in base]
    faults = [float(one.faults) for one in own]
    by_session = [100 * cost / full for cost, full in zip(costs, base_costs, strict=True) if full]
    prompt = sum(one.prompt_tokens for one in own)
    base_misses = sum(one.prompt_tokens - one.cached_tokens for one in base)
    misses = prompt - sum(one.cached_tokens for one in own)
    witnessed = [(one, result) for one, result in zip(own, results, strict=True) if result.has_placebo]
    return {
        "name": name,
        "cost_pct": _percent(sum(costs), sum(base_costs)),
        "interval": _percent_interval(draws.ratio_interval(costs, base_costs)),
        "prompt_tokens_pct": _percent(prompt, sum(one.prompt_tokens for one in base)),
        "faults_per_100_turns": _percent(sum(faults), sum(turns), 3),
        "part_faults_per_100_turns": _percent(sum(one.part_faults for one in own), sum(turns), 3),
        "explicit_part_faults_per_100_turns": _percent(sum(one.explicit_part_faults for one in own), sum(turns), 3),
        "explicit_faults_per_100_turns": _percent(sum(one.explicit_faults for one in own), sum(turns), 3),
        "view_faults_per_100_turns": _percent(sum(one.view_faults for one in own), sum(turns), 3),
        "strict_faults_per_100_turns": None
        if is_oracle(name)
        else _percent(sum(one.strict_faults for one in own), sum(turns), 3),
        "faults_vs_lru": _ratio(sum(faults), sum(one.faults for one in lru)),
        "faults_interval": _percent_interval(draws.ratio_interval(faults, turns), 3),
        "placebo_faults_per_100_turns": _percent(
            sum(one.placebo_faults for one, _ in witnessed), sum(result.turns for _, result in witnessed), 3
        ),
        "median_session_cost_pct": round(median(by_session), 2) if by_session else None,
        "worst_session_cost_pct": round(max(by_session), 2) if by_session else None,
        "worst_turn_cost_pct": round(max(one.worst_turn_pct for one in own), 2) if own else None,
        "cache_misses_pct": _percent(misses, base_misses),
        "collections_per_100_turns": _percent(sum(one.collections for one in own), sum(turns)),
        "evictions": sum(one.evictions for one in own),
    }


def _percent(part: float, whole: float, digits: int = 2) -> float | None:
    return round(100 * part / whole, digits) if whole else None


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 3) if whole else None


def _percent_interval(interval: Interval | None, digits: int = 2) -> list[float] | None:
    return [round(100 * end, digits) for end in interval] if interval else None


def _longest_session(results: Sequence[TrialResult]) -> Report | None:
    """The session with the most turns, its window under the policies that the page draws."""
    if not results:
        return None
    longest = max(results, key=lambda result: result.turns)
    return {
        "source": longest.source,
        "session": longest.session,
        "turns": longest.turns,
        "host_cuts": longest.cuts,
        "windows": {name: longest.windows[name] for name in WINDOWS},
    }


def _worst_faults(results: Sequence[TrialResult]) -> list[Report]:
    """The largest faults of the shipped policy over all sessions; ties in order of sessions."""
    every = [fault for result in results for fault in result.worst]
    every.sort(key=lambda fault: -fault.size_tokens)
    return [{name: getattr(fault, name) for name in fault.__dataclass_fields__} for fault in every[:WORST_FAULTS_MAX]]


def _policy_us_per_turn(results: Sequence[TrialResult], reported: Sequence[str]) -> Report:
    """Microseconds a turn: the median over sessions of their medians, and the longest turn of all."""
    if not results:
        return {}
    return {
        name: {
            "median": round(median([result.policy_us[name][0] for result in results]), 1),
            "longest": round(max(result.policy_us[name][1] for result in results), 1),
        }
        for name in reported
    }
