"""The pacer's look as the formula says it, body by body: what `core.pacing.cut` does in columns comes to the same."""

from dataclasses import replace
from itertools import accumulate
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.collector import Plan, Victim, evictable_mask
from ctxgc.core.garbage import garbage_slots
from ctxgc.core.heap import RESIDENT, Now
from ctxgc.core.liveness import LIVE, find_liveness
from ctxgc.core.pacing.effects import effects_of_eviction, saving_of_eviction
from ctxgc.core.pacing.pacer import (
    FREED_TOKENS_MIN,
    REWRITE_MARGIN,
    VALUE,
    Allowance,
    Decision,
    PacerRules,
    _fault_cost,
    decide_collection,
    reuse_chances,
)
from ctxgc.core.pacing.prompt_cache import COLD, CacheState
from ctxgc.core.pacing.regret_law import Slack
from ctxgc.core.reuse import ln_turns, probability_of_logit
from ctxgc.core.roots import find_roots
from perf.heaps import session_like
from tests.core.strategies import NOW, heaps
from tests.core.test_pacer import NO_LIMIT


@st.composite
def looks(draw):
    """A heap, of any sort or large as sessions are, and a cache that ends somewhere in its window."""
    session = st.builds(session_like, st.integers(20, 150), st.integers(0, 9999))
    heap, paths = draw(st.one_of(session, session, heaps(max_size=40)))
    inside = st.integers(0, max(heap.resident_tokens, 0))
    prefix, hidden = draw(inside), draw(st.sampled_from([0, 700]))
    warm = CacheState(prefix, step_tokens=draw(st.sampled_from([1, 1, 128])), hidden_tokens=hidden)
    ends = tuple(sorted(draw(st.sets(inside, max_size=4))))
    return heap, paths, draw(st.sampled_from([warm, warm, CacheState(prefix, ends=ends), COLD]))


PACERS = st.builds(replace, NO_LIMIT, horizon_turns=st.sampled_from([20.0, 60.0, 400.0]))
SLACKS = st.tuples(st.sampled_from([inf, 0.0, 0.0]), st.sampled_from([0, 0, 20_000]), st.integers(0, 99)).map(
    Slack._make
)


@given(looks(), st.builds(Now, st.integers(0, 90)), PACERS, SLACKS)
def test_a_look_in_columns_decides_as_the_formula_body_by_body(made, now, pacer, slack):
    heap, paths, cache = made

    decision = decide_collection(heap, paths, now, pacer, cache, Allowance(slack=slack))

    assert decision == slow_decision(heap, paths, now, pacer, cache, slack)


def test_a_look_asks_the_estimate_once_and_about_no_body_that_may_not_go():
    heap, paths = session_like(300)
    now, asked = Now(101), []

    def counted_chances(heap, slots, *rest):
        asked.append(set(slots))
        return reuse_chances(heap, slots, *rest)

    decision = decide_collection(heap, paths, now, PacerRules(chances=counted_chances), COLD)

    roots = find_roots(heap, paths, now, replace(PacerRules().rules, recent_turns=PacerRules().recent_turns))
    assert [slots <= {at for at, one in enumerate(evictable_mask(heap, roots)) if one} for slots in asked] == [True]
    assert {victim.slot for victim in decision.plan.victims} <= asked[0]


@given(heaps(max_size=40), NOW, st.sets(st.integers(0, 39)), st.binary(min_size=40, max_size=40))
def test_chances_in_columns_are_those_of_each_body(made, now, garbage, marks):
    heap, _ = made
    slots, liveness = list(range(len(heap))), [each & 3 for each in marks]

    assert reuse_chances(heap, slots, now, liveness, garbage) == slow_chances(heap, slots, now, liveness, garbage)


def slow_decision(heap, paths, now, pacer, cache, slack):
    """The decision of a pacer without a hard limit."""
    roots = find_roots(heap, paths, now, replace(pacer.rules, recent_turns=pacer.recent_turns))
    worth = profitable_victims(heap, paths, roots, now, replace(pacer, chances=slow_chances), cache)
    worth = worth if cache.is_cold else slow_best_cut(heap, worth, pacer, cache, slack)
    if not worth:
        return None
    victims = tuple(victim for _, victim in worth)
    remaining = heap.resident_tokens - sum(victim.freed_tokens for victim in victims)
    plan = Plan(
        target_tokens=remaining, before_tokens=heap.resident_tokens, remaining_tokens=remaining, victims=victims
    )
    liveness = find_liveness(heap, paths, roots)
    garbage = [victim.slot for victim in victims if victim.reason != "value"]
    out, expected = [victim.slot for victim in victims], {}
    for slot, chance in zip(out, slow_chances(heap, out, now, liveness, garbage), strict=True):
        tool = heap.tools[heap.tool[slot]]
        expected[tool] = expected.get(tool, 0.0) + chance
    return Decision("value", plan, effects_of_eviction(heap, victims, cache), expected)


def slow_chances(heap, slots, now, liveness, garbage):
    """The estimate of `core.reuse`. A replay may put perfect knowledge in its place."""
    weights, logit, born, touched = heap.weights, heap.logit, heap.born, heap.touched
    logs = [ln_turns(now.turn - then) for then in range(heap.last_turn + 1)]
    ages, idles = [weights.age * log for log in logs], [weights.idle * log for log in logs]
    linked = (0.0, weights.current, weights.named, weights.current + weights.named)
    proof = weights.garbage
    return [
        probability_of_logit(
            logit[slot] + ages[born[slot]] + idles[touched[slot]] + linked[liveness[slot]] + proof * (slot in garbage)
        )
        for slot in slots
    ]


def profitable_victims(heap, paths, roots, now, pacer, cache):
    """Every body with a positive gain, in window order; the score is the gain."""
    liveness = find_liveness(heap, paths, roots)
    live = [bool(each & LIVE) for each in liveness]
    candidates = bytes(can and not is_live for can, is_live in zip(evictable_mask(heap, roots), live, strict=True))
    state, skeleton, body, tombstone, freed = heap.state, heap.skeleton, heap.body, heap.tombstone, heap.freed
    window, gain_min = heap.window(), max(pacer.rules.min_gain_tokens, 1)
    costs = [skeleton[slot] + (body[slot] if state[slot] == RESIDENT else tombstone[slot]) for slot in window]
    starts = {
        slot: start
        for slot, start in zip(window, accumulate(costs, initial=0), strict=False)  # One more: the window's end.
        if candidates[slot] and freed[slot] >= gain_min
    }
    garbage = frozenset(garbage_slots(heap, candidates, now, pacer.rules))
    needed = pacer.chances(heap, list(starts), now, liveness, garbage)
    cached_end = cache.read_tokens(heap.resident_tokens)
    # The formula at the top of this file; all bodies share the price of a token and of a fault.
    fault_cost, write = _fault_cost(heap, pacer), pacer.prices.write
    saving, saving_uncached = (
        saving_of_eviction(1, pacer.prices, pacer.horizon_turns, is_cached=True),
        saving_of_eviction(1, pacer.prices, pacer.horizon_turns, is_cached=False),
    )
    found = []
    for (slot, start), chance in zip(starts.items(), needed, strict=True):
        saved = freed[slot] * (saving if start < cached_end else saving_uncached)
        gain = saved - chance * (fault_cost + write * body[slot])
        if gain > 0:
            reason, by = heap.proofs[slot] if slot in garbage else VALUE
            found.append((start, Victim(slot, reason, by, freed[slot], gain)))
    return found


def slow_best_cut(heap, worth, pacer, cache, slack):
    """The suffix of victims whose gains most exceed the rewrite of the cached tokens kept behind the first victim.

    No cut costs the next request more than the regret law allows.
    """
    read, write, _ = pacer.prices
    end = cache.read_tokens(heap.resident_tokens)
    gains = freed = gone = best_net = 0.0
    depth = 0
    for count, (position, victim) in enumerate(reversed(worth), 1):
        # What stays of the victim's own slot follows the edit or is the edit: the next request writes it again too.
        gone += max(0, min(end - position, victim.freed_tokens))
        gains, freed = gains + victim.score, freed + victim.freed_tokens
        rewrite = (write - read) * (end - cache.read_tokens(position) - gone)
        net = gains - REWRITE_MARGIN * rewrite
        is_better = net > best_net and freed >= FREED_TOKENS_MIN
        if is_better and rewrite - read * freed <= slack.cost_max(gains, rewrite):
            best_net, depth = net, count
    return worth[len(worth) - depth :]
