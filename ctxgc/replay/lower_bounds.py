"""Lower bounds on cost and faults that no policy beats.

The bounds rest on *claims*: facts about a turn that cost something whatever a policy does. Of the items a turn asks
that have a provider in common, take some that weigh a use, and all their providers, the *members*. If none of the
members is resident, the greedy cover must pick one of them: a fault. So within (`after`, `at`] either a member faults,
or one of them stays in every prompt from its first one in that span on. A claim reaches back to the last claim on any
of its members, so that no turn of a body serves two claims, and what claims cost adds up.

Source: lower bounds by intervals, PFOO, Berger, Beckmann and Harchol-Balter 2018 (arXiv 1711.03709).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, takewhile
from typing import NamedTuple

from ctxgc.core.pacing.pacer import FAULT_CALL_TOKENS
from ctxgc.core.pacing.price_profiles import Prices
from ctxgc.core.pacing.provider_cache import LEAST_MIN_TOKENS
from ctxgc.replay.body_timelines import Body, body_timelines
from ctxgc.replay.demand import THRESHOLD, Want
from ctxgc.replay.pauses import cold_step_flags
from ctxgc.replay.script import EpisodeScript


class Claim(NamedTuple):
    """Between two steps, a member stays in the prompt or faults."""

    members: tuple[int, ...]
    after: int
    at: int

    def members_with_span_start(self, timeline: Sequence[Body]) -> Iterator[tuple[Body, int]]:
        """Each member with the first prompt that would have to keep the member; up to `at`, inclusive."""
        for slot in self.members:
            # A body is in its first prompt for free: nobody may take what the model has not seen.
            yield timeline[slot], max(self.after, timeline[slot].first) + 1


def disjoint_claims(script: EpisodeScript, timeline: Sequence[Body]) -> list[Claim]:
    """Disjoint claims of an episode, in order; small claims first within a turn. Deterministic."""
    found: list[Claim] = []
    claimed: dict[int, int] = {}
    for number, wants in enumerate(script.demand.wants):
        for members in sorted(_member_sets(wants, script.slots), key=lambda members: (len(members), members)):
            after = max(claimed.get(slot, -1) for slot in members)
            is_free = any(timeline[slot].first >= number for slot in members)
            if after < number and not is_free:
                found.append(Claim(members, after, number))
                claimed.update(dict.fromkeys(members, number))
    return found


def _member_sets(wants: Sequence[Want], slots: Sequence[int]) -> set[tuple[int, ...]]:
    """For each provider the fewest members whose absence makes a fault."""
    asked: dict[int, list[Want]] = {}
    for want in wants:
        for provider in want.providers:
            asked.setdefault(provider, []).append(want)
    found = set()
    for items in asked.values():
        members: set[int] = set()
        weight = 0
        for want in sorted(items, key=lambda want: (len(want.providers), want.providers)):
            members.update(want.providers)
            weight += want.weight
            if weight >= THRESHOLD:
                found.add(tuple(sorted(slots[provider] for provider in members)))
                break
    return found


def cost_lower_bound(script: EpisodeScript, prices: Prices) -> float:
    """No policy's bill on this episode is lower, in input-token equivalents. For prices with read ≤ write.

    Proof. A token is written when it first joins a prompt (what joins stands behind whatever was cached) and costs at
    least a read (a write when cold) in each later one; so the hidden part, skeletons, bodies that never go, and of the
    others the first prompt and the lesser of body and tombstone ever after, cost any policy at least what is summed
    first. Each claim costs more on top: a member kept through it costs its body beyond that minimum in every prompt,
    and a fault costs its round trip over at least the minimal prompt. Claims share no turn of a body, so the cheaper
    of the two may be added for each of them; rewrites, which no policy can gain by, are left out, and so is whatever a
    provider's cache misses. A prompt too short to be cached is not written: where there may be one, nothing is taken to
    cost more than uncached input.
    """
    read, write, _ = prices
    write = write if script.hidden_tokens >= LEAST_MIN_TOKENS else min(write, 1.0)
    timeline = body_timelines(script)
    steps = len(script.steps)
    upto = list(accumulate((write if cold else read for cold in cold_step_flags(script.steps, prices)), initial=0.0))
    cost = script.hidden_tokens * upto[steps]
    grown = [0] * (steps + 1)
    for body in timeline:
        if body.first >= steps:
            continue
        later, end = body.first + 1, max(body.end, body.first + 1)
        stays = body.body_tokens if body.end > body.first else body.tombstone_tokens
        cost += write * (body.skeleton_tokens + stays) + body.skeleton_tokens * (upto[steps] - upto[later])
        cost += body.least_tokens * (upto[end] - upto[later]) + body.tombstone_tokens * (upto[steps] - upto[end])
        lasting = body.least_tokens if end == steps else min(body.least_tokens, body.tombstone_tokens)
        grown[body.first] += body.skeleton_tokens + lasting
    # Tokens that each prompt holds under every policy.
    least = list(accumulate(grown, initial=script.hidden_tokens))[1:]
    for claim in disjoint_claims(script, timeline):
        keep = min(
            (body.body_tokens - body.least_tokens) * (upto[claim.at + 1] - upto[since])
            for body, since in claim.members_with_span_start(timeline)
        )
        size = min(timeline[slot].body_tokens for slot in claim.members)
        fault = read * least[claim.after + 1] + 5 * FAULT_CALL_TOKENS + write * (size + FAULT_CALL_TOKENS)
        cost += min(keep, fault)
    return cost


class _ClaimInterval(NamedTuple):
    """A claim under a budget: the prompts it spans, and the least token-turns that keep it from faulting."""

    first: int
    last: int
    token_turns: int
    tokens_max: int


def faults_lower_bound(script: EpisodeScript, budget_tokens: int) -> int:
    """No policy that holds the budget faults less often on this episode. A larger budget never raises the number.

    To hold the budget means that in no prompt the counted bodies exceed the budget, but for bodies that no policy may
    take: not seen by the model, not all text, no larger than their tombstone.

    Proof. A claim without a fault keeps a member through the prompts of its interval, which takes at least its
    smallest member's token-turns of the room that the budget leaves in those prompts; a claim none of whose members
    ever fits is a fault. Claims share no turn of a body, so within any span of prompts no more of them can go without
    a fault than the cheapest that fit into its room together, and no prompt's room is worth more than what its
    intervals could put there. Faults of disjoint spans add up, so of a span and its two halves the better bound holds.
    """
    timeline = body_timelines(script)
    room = _free_tokens_by_prompt(script, timeline, budget_tokens)
    certain: list[_ClaimInterval] = []
    intervals: list[_ClaimInterval] = []
    for claim in disjoint_claims(script, timeline):
        kept = [(_budgeted_tokens(body), since) for body, since in claim.members_with_span_start(timeline)]
        first = min(since for _, since in kept)
        fits = [
            (tokens, since)
            for tokens, since in kept
            if all(tokens <= free for free in room[since : claim.at + 1]) or tokens == 0
        ]
        token_turns = min((tokens * (claim.at + 1 - since) for tokens, since in fits), default=-1)
        tokens_max = max((tokens for tokens, _ in fits), default=0)
        interval = _ClaimInterval(first, claim.at, token_turns, tokens_max)
        (intervals if fits else certain).append(interval)
    return len(certain) + _faults_lower_bound_within(intervals, room, 0, len(script.steps))


def _budgeted_tokens(body: Body) -> int:
    """A body's part of a budget; 0 if an eviction would not even free a token."""
    return body.body_tokens if body.body_tokens > body.tombstone_tokens else 0


def _free_tokens_by_prompt(script: EpisodeScript, timeline: Sequence[Body], budget_tokens: int) -> list[int]:
    """Of each prompt, the budget's rest for bodies that a policy chooses to keep."""
    bound = [0] * (len(script.steps) + 1)
    for body in timeline:
        if not body.is_counted or body.first >= len(script.steps) or body.end <= body.first:
            continue
        until = body.first + 1 if body.is_evictable else body.end
        bound[body.first] += body.body_tokens
        bound[until] -= body.body_tokens
    return [max(budget_tokens - tokens, 0) for tokens in accumulate(bound[:-1])]


def _faults_lower_bound_within(intervals: Sequence[_ClaimInterval], room: Sequence[int], first: int, end: int) -> int:
    """A lower bound on the faults of the intervals that lie within the prompts [first, end)."""
    if not intervals or end - first < 1:
        return 0
    wanted = [0] * (end - first + 1)
    for interval in intervals:
        wanted[interval.first - first] += interval.tokens_max
        wanted[interval.last + 1 - first] -= interval.tokens_max
    usable = sum(map(min, room[first:end], accumulate(wanted)))
    spent = accumulate(sorted(interval.token_turns for interval in intervals))
    direct = len(intervals) - sum(1 for _ in takewhile(lambda total: total <= usable, spent))
    if end - first == 1:
        return direct
    middle = (first + end) // 2
    left = [interval for interval in intervals if interval.last < middle]
    right = [interval for interval in intervals if interval.first >= middle]
    return max(
        direct,
        _faults_lower_bound_within(left, room, first, middle) + _faults_lower_bound_within(right, room, middle, end),
    )
