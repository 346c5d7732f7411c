"""The pacer collects when it pays, as deep as it pays, and never what must stay."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.collector import Victim, evictable_mask, sweep
from ctxgc.core.garbage import garbage_proof
from ctxgc.core.heap import EVICTED, OPAQUE, PENDING, PINNED, Heap, Now
from ctxgc.core.liveness import LIVE, find_liveness
from ctxgc.core.pacing.effects import effects_of_eviction
from ctxgc.core.pacing.pacer import (
    FREED_TOKENS_MIN,
    GAP_PART_MIN,
    Allowance,
    PacerRules,
    decide_collection,
    reuse_chances,
)
from ctxgc.core.pacing.price_profiles import PROFILES, openai_profile, profile_by_bills
from ctxgc.core.pacing.prompt_cache import COLD, WARM, CacheState
from ctxgc.core.paths import PathIndex
from ctxgc.core.roots import find_roots
from ctxgc.core.segment import Kind
from tests.core.strategies import NOW, RULES, heaps
from tests.core.test_heap import an_entry

PACERS = st.builds(
    PacerRules,
    prices=st.sampled_from(list(PROFILES.values())),
    fault_price_tokens=st.sampled_from([0.0, 500.0, 14_000.0]),
    horizon_turns=st.sampled_from([5.0, 20.0, 60.0]),
    recent_turns=st.integers(0, 5),
    window_max_tokens=st.sampled_from([0, 0, 500, 8000]),
    low_ratio=st.sampled_from([0.0, 0.3, 0.9]),
    rules=RULES,
)
CACHED = st.integers(0, 60_000)
CACHES = st.just(COLD) | CACHED.map(CacheState)
NO_LIMIT = PACERS.map(lambda pacer: replace(pacer, window_max_tokens=0))

BY_DEFAULT = (PacerRules().prices, PacerRules().horizon_turns)


def own(pacer):
    """The rules by which the pacer finds what it may weigh; over the hard limit the others hold."""
    return replace(pacer.rules, recent_turns=pacer.recent_turns)


@given(heaps(), NOW, PACERS, CACHES)
def test_the_pacer_never_takes_a_root_an_open_call_or_what_is_not_all_text_I2(made, now, pacer, cache):
    heap, paths = made
    decision = decide_collection(heap, paths, now, pacer, cache)

    roots = find_roots(heap, paths, now, pacer.rules if decision and decision.trigger == "hard_limit" else own(pacer))
    for victim in decision.plan.victims if decision else ():
        assert not roots[victim.slot]
        assert not heap.flags[victim.slot] & (PENDING | OPAQUE | PINNED)
        assert heap.body[victim.slot] - heap.tombstone[victim.slot] == victim.freed_tokens > 0


def gain_of(heap, slot, chance, pacer, *, is_cached):
    """The published formula, term by term."""
    read, write, _ = pacer.prices
    body, prompt = heap.body[slot], heap.resident_tokens + pacer.hidden_tokens
    saved = (body - heap.tombstone[slot]) * ((0 if is_cached else write) + read * pacer.horizon_turns)
    return saved - chance * (read * prompt + 300 + write * (body + 60) + pacer.fault_price_tokens)


def chance_of(heap, paths, slot, now, rules):
    """The shipped estimate of one slot, with what liveness and garbage say of it."""
    roots = find_roots(heap, paths, now, rules)
    liveness = find_liveness(heap, paths, roots)
    garbage = {slot} if slot in heap.proofs and garbage_proof(heap, slot, now, rules) is not None else ()
    return reuse_chances(heap, [slot], now, liveness, garbage)[0]


def live_slots(heap, paths, now, rules):
    return [bool(each & LIVE) for each in find_liveness(heap, paths, find_roots(heap, paths, now, rules))]


def slow_cuts(heap: Heap, paths: PathIndex, now: Now, pacer: PacerRules, cached_tokens: int):
    """(net, freed tokens, victims) of every suffix of what has a positive gain, each reckoned from the definition."""
    candidates = evictable_mask(heap, find_roots(heap, paths, now, own(pacer)))
    window, live = list(heap.window()), live_slots(heap, paths, now, own(pacer))
    starts = {slot: sum(heap.cost_of(before) for before in window[:at]) for at, slot in enumerate(window)}
    gains = {}
    for slot in window:
        if candidates[slot] and not live[slot] and heap.freed[slot] >= max(pacer.rules.min_gain_tokens, 1):
            gains[slot] = gain_of(
                heap,
                slot,
                chance_of(heap, paths, slot, now, own(pacer)),
                pacer,
                is_cached=starts[slot] < cached_tokens,
            )
    worth = [slot for slot in window if gains.get(slot, 0) > 0]
    for at, first in enumerate(worth):
        freed = {slot: heap.freed[slot] for slot in worth[at:]}
        kept = 0
        for slot in window[window.index(first) :]:
            cached = min(max(cached_tokens - starts[slot], 0), heap.cost_of(slot))
            kept += max(cached - freed.get(slot, 0), 0)
        rewrite = 1.25 * (pacer.prices.write - pacer.prices.read) * kept
        yield sum(gains[slot] for slot in freed) - rewrite, sum(freed.values()), list(freed)


@given(heaps(), NOW, NO_LIMIT, CACHED)
def test_the_cut_is_the_best_of_all_that_pay_and_free_enough(made, now, pacer, cached):
    heap, paths = made
    cuts = [cut for cut in slow_cuts(heap, paths, now, pacer, cached) if cut[1] >= FREED_TOKENS_MIN]
    best = max((net for net, _, _ in cuts), default=0.0)

    decision = decide_collection(heap, paths, now, pacer, CacheState(cached))

    if decision is None:
        assert best <= 1e-6
    else:
        chosen = [victim.slot for victim in decision.plan.victims]
        (net,) = (net for net, _, victims in cuts if victims == chosen)
        assert net == pytest.approx(best)
        assert net > 0


@given(heaps(), NOW, NO_LIMIT, CACHED)
def test_when_the_cache_is_cold_everything_with_a_gain_goes_and_nothing_else(made, now, pacer, cached):
    heap, paths = made
    candidates = evictable_mask(heap, find_roots(heap, paths, now, own(pacer)))
    live = live_slots(heap, paths, now, own(pacer))
    worth = {
        slot
        for slot in heap.window()
        if candidates[slot]
        and not live[slot]
        and heap.freed[slot] >= max(pacer.rules.min_gain_tokens, 1)
        and gain_of(heap, slot, chance_of(heap, paths, slot, now, own(pacer)), pacer, is_cached=False) > 0
    }

    decision = decide_collection(heap, paths, now, pacer, COLD)

    assert {victim.slot for victim in decision.plan.victims} == worth if decision else not worth


@given(heaps(), NOW, PACERS, CACHES)
def test_but_for_what_a_shorter_prompt_is_worth_collecting_twice_changes_nothing_I8(made, now, pacer, cache):
    heap, paths = made
    pacer = replace(pacer, prices=pacer.prices._replace(read=0.0))
    decision = decide_collection(heap, paths, now, pacer, cache)
    sweep(heap, decision.plan.victims if decision else ())

    again = decide_collection(heap, paths, now, pacer, cache)

    # Having done what the limit demands, what pays may follow; after that, nothing.
    assert again is None or (decision.trigger, again.trigger) == ("hard_limit", "value")


@given(heaps(), NOW, PACERS, CACHES)
def test_the_same_heap_and_clock_give_the_same_decision_I10(made, now, pacer, cache):
    heap, paths = made
    first = decide_collection(heap, paths, now, pacer, cache)

    assert decide_collection(heap, paths, now, pacer, cache) == first
    heap.check_invariants()


@given(heaps(), NOW, NO_LIMIT, CACHES)
def test_what_the_pacer_does_by_itself_is_always_predicted_to_save(made, now, pacer, cache):
    heap, paths = made

    decision = decide_collection(heap, paths, now, pacer, cache)

    assert decision is None or decision.effects.predicted_cost(pacer.prices, pacer.horizon_turns) < 0


@given(heaps(), NOW, NO_LIMIT, CACHES)
def test_the_pacer_says_of_proven_garbage_what_proves_it(made, now, pacer, cache):
    heap, paths = made

    decision = decide_collection(heap, paths, now, pacer, cache)

    for victim in decision.plan.victims if decision else ():
        proof = garbage_proof(heap, victim.slot, now, pacer.rules) or ("value", -1)
        assert (victim.reason, victim.by) == tuple(proof)


@given(heaps(), st.data())
def test_a_colder_cache_never_makes_a_collection_dearer(made, data):
    heap, _ = made
    slots = [slot for slot in heap.window() if heap.state[slot] < EVICTED and heap.body[slot] > heap.tombstone[slot]]
    chosen = data.draw(st.sets(st.sampled_from(slots))) if slots else set()
    victims = [Victim(slot, "value", -1, heap.freed[slot], 0.0) for slot in sorted(chosen)]
    edges = sorted(data.draw(st.lists(CACHED, min_size=2, max_size=5)))

    costs = [effects_of_eviction(heap, victims, CacheState(cached)).predicted_cost(*BY_DEFAULT) for cached in edges]

    assert all(less <= more + 0.11 for less, more in pairwise(costs))
    assert effects_of_eviction(heap, victims, CacheState(0)).predicted_cost(*BY_DEFAULT) <= costs[0] + 0.11
    assert effects_of_eviction(heap, []).predicted_cost(*BY_DEFAULT) == 0


def test_the_rewrite_is_what_stays_behind_the_first_victim_and_was_cached():
    heap = a_session([1000, 400, 300])
    victim = Victim(1, "value", -1, 380, 0.0)

    assert effects_of_eviction(heap, [victim]).rewritten == 20 + 300
    assert effects_of_eviction(heap, [victim], CacheState(1500)).rewritten == 20 + 100
    assert effects_of_eviction(heap, [victim], CacheState(1000)).rewritten == 0


def sure_of(chance):
    """Dials of a pacer to which every body is needed again with the same probability."""
    return PacerRules(chances=lambda heap, slots, now, reached, garbage: [chance] * len(slots))


@pytest.mark.parametrize("cache", [COLD, CacheState(0), WARM])
def test_a_victim_is_ranked_by_the_published_gain(cache):
    heap = a_session([9000, 3000])
    pacer = replace(sure_of(0.01), hidden_tokens=700)

    decision = decide_collection(heap, PathIndex(), Now(99), pacer, cache)

    expected = [gain_of(heap, slot, 0.01, pacer, is_cached=cache is WARM) for slot in range(2)]
    assert [victim.score for victim in decision.plan.victims] == pytest.approx(expected)


@pytest.mark.parametrize(("kept_tokens", "is_cut"), [(13_800, True), (13_950, False)])
def test_a_cut_must_gain_a_quarter_more_than_its_rewrite_costs(kept_tokens, is_cut):
    heap = a_session([10_020], tail=kept_tokens)  # It gains 20,000; 13,913 tokens written again would cost 16,000.

    decision = decide_collection(heap, PathIndex(), Now(9), sure_of(0.0), WARM)

    assert (decision is not None) is is_cut


def test_a_warm_window_is_not_looked_at_again_before_it_has_grown():
    heap = a_session([30_000, 9000], tail=0)
    rules = PacerRules(fault_price_tokens=0)

    asked = [
        decide_collection(heap, PathIndex(), Now(99), rules, CacheState(0), Allowance(grown_tokens=grown))
        for grown in (1999, 2000)
    ]

    assert asked[0] is None
    assert asked[1] is not None


def test_what_is_not_cached_yet_goes_where_the_same_cached_would_stay():
    heap = a_session([30_000, 2500], kinds=[Kind.USER, Kind.TOOL_CALL], tail=9000)
    pacer = PacerRules(fault_price_tokens=0)

    cached, fresh = (
        decide_collection(heap, PathIndex(), Now(9), pacer, CacheState(tokens)) for tokens in (60_000, 30_000)
    )

    assert cached is None
    assert fresh is not None


def test_tokens_that_go_are_not_written_again():
    heap = a_session([50_000])
    pacer = PacerRules(fault_price_tokens=0, horizon_turns=10)

    decision = decide_collection(heap, PathIndex(), Now(500), pacer, CacheState(50_000))

    assert decision is not None


def test_a_recalled_body_is_left_alone_for_its_grace():
    heap = a_session([9000, 9000])
    heap.grace.grant(1, 60)

    decision = decide_collection(heap, PathIndex(), Now(60), PacerRules(), COLD)

    assert [victim.slot for victim in decision.plan.victims] == [0]


def test_over_the_hard_limit_it_collects_down_to_the_low_watermark_whatever_it_costs():
    heap = a_session([1000] * 40)
    pacer = PacerRules(window_max_tokens=30_000, low_ratio=0.5, fault_price_tokens=1e9)

    decision = decide_collection(heap, PathIndex(), Now(90), pacer, CacheState(40_000))

    assert decision.trigger == "hard_limit"
    assert decision.plan.remaining_tokens <= 15_000


@pytest.mark.parametrize(("limit", "size", "held"), [(20_000, 200, 0), (20_000, 200, 19_500), (60_000, 3000, 59_000)])
def test_a_thousand_turns_at_the_edge_collect_once_for_each_batch_freed(limit, size, held):
    heap = a_session([held], kinds=[Kind.USER])
    pacer = PacerRules(window_max_tokens=limit, low_ratio=0.5, fault_price_tokens=1e9)
    batches = []
    for turn in range(1000):
        heap.admit(an_entry(f"t{turn}", body=size, tombstone=0, born=turn, place=turn + 1))
        decision = decide_collection(heap, PathIndex(), Now(turn + 1), pacer, CacheState(10**6))
        if decision:
            sweep(heap, decision.plan.victims)
            batches.append(decision.plan.before_tokens - decision.plan.remaining_tokens)

    least = limit // 2 // GAP_PART_MIN
    assert 10 <= len(batches) <= 1000 * size / least
    assert min(batches) >= least


def a_session(sizes, *, kinds=None, tail=0) -> Heap:
    """Bodies of these sizes, long ago; and one of `tail` tokens that stays, now."""
    heap = Heap()
    for number, size in enumerate(sizes):
        kind = kinds[number] if kinds else Kind.TOOL_CALL
        heap.admit(an_entry(f"s{number}", body=size, tombstone=20, born=0, place=number, kind=kind))
    if tail:
        heap.admit(an_entry("tail", body=tail, born=9, place=len(sizes), kind=Kind.USER))
    return heap


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("gpt-5", "openai"),
        ("gpt-4o-2024-08-06", "openai"),
        ("gpt-4.1-mini", "openai"),
        ("gpt-5.5", "openai"),
        ("o3", "openai"),
        ("gpt-5.6-sol", "openai_5_6"),
        ("openai/gpt-6-astra", "openai_5_6"),
        ("gpt-6-2026-09-22", "openai_5_6"),
        ("gpt-6.1-sol", "openai_6_1"),
        ("gpt-10", "openai_6_1"),
        ("kimi-k3", "openai"),
    ],
)
def test_a_model_of_openai_is_billed_by_its_version(model, profile):
    assert openai_profile(model) == profile


@pytest.mark.parametrize("profile", PROFILES)
def test_a_server_that_bills_no_writes_has_not_the_prices_of_openais_newer_models(profile):
    is_newer = profile in ("openai_5_6", "openai_6_1")

    assert profile_by_bills(profile, charges_writes=True) == profile
    assert profile_by_bills(profile, charges_writes=False) == ("openai" if is_newer else profile)
