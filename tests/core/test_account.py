"""The account, and the pacer within it, where a request has gone before the pacer is asked."""

from ctxgc.core.heap import Heap, Now
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.prompt_cache import CacheState
from ctxgc.core.pacing.regret_budget import PacerRequest, RegretAccount, decide_within_allowance
from ctxgc.core.paths import PathIndex
from tests.core.test_heap import an_entry

HIDDEN = 1000
PACER = PacerRules(hidden_tokens=HIDDEN, recent_turns=100)
"""Everything is recent: no cut is ever found."""
READ, WRITE, _ = PACER.prices


def grown_heap():
    heap = Heap()
    for number in range(6):
        heap.admit(an_entry(f"s{number}", body=1000))
    return heap


def asked(heap, account, turn, was_cached):
    request = PacerRequest(CacheState(heap.resident_tokens), 0, was_cached)
    return decide_within_allowance(heap, PathIndex(), Now(turn), PACER, account, request)[1]


def test_a_request_that_has_gone_is_billed_by_what_was_cached_before_it_went():
    heap = grown_heap()
    size = heap.resident_tokens

    first = asked(heap, RegretAccount(), 0, was_cached=0)
    second = asked(heap, first, 1, was_cached=size - 500)

    assert first.full_cost == WRITE * (size + HIDDEN)
    assert second.full_cost - first.full_cost == READ * (size - 500 + HIDDEN) + WRITE * 500


def test_where_requests_go_first_a_window_that_grew_is_looked_at_until_it_is_cut():
    heap = grown_heap()

    before = asked(heap, RegretAccount(), 0, was_cached=None)
    after = asked(heap, RegretAccount(), 0, was_cached=0)

    assert (before.asked_tokens, after.asked_tokens) == (heap.evictable_tokens, 0)


def test_what_is_decided_for_the_next_request_is_decided_as_if_it_were_that_ones_turn():
    pacer = PacerRules(hidden_tokens=HIDDEN, fault_price_tokens=0.0, horizon_turns=500.0, recent_turns=3)
    heap = Heap()
    for number in range(12):
        heap.admit(an_entry(f"s{number}", body=3000, born=number))

    def victims(turn, was_cached):
        request = PacerRequest(CacheState(heap.resident_tokens), 0, was_cached)
        decision, _ = decide_within_allowance(
            heap, PathIndex(), Now(turn), pacer, RegretAccount(full_cost=1e9), request
        )
        return [victim.slot for victim in decision.plan.victims]

    assert victims(11, was_cached=heap.resident_tokens) == victims(12, was_cached=None) != victims(11, was_cached=None)
