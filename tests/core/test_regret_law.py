"""The regret law: what a cut may cost a session that ends with the next request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.heap import Heap, Now
from ctxgc.core.pacing.pacer import Allowance, PacerRules, decide_collection
from ctxgc.core.pacing.price_profiles import PROFILES
from ctxgc.core.pacing.prompt_cache import CacheState
from ctxgc.core.pacing.regret_law import REGRET_PART_MAX, REGRET_PART_MIN, SETTLED_TURNS, Slack, regret_part
from ctxgc.core.paths import PathIndex
from tests.core.test_heap import an_entry

costs = st.floats(0, 1e9)


@pytest.mark.parametrize(("ratio", "part"), [(0.5, 0.01), (1, 0.01), (4, 0.04), (10, 0.10), (1000, 0.10)])
def test_the_regret_grows_with_what_a_cut_pays(ratio, part):
    assert regret_part(ratio * 500.0, 500.0, SETTLED_TURNS) == pytest.approx(part)


@pytest.mark.parametrize(("turn", "part"), [(0, 0.01), (20, 0.01), (40, 0.02), (80, 0.04), (999, 0.04)])
def test_the_gains_of_a_young_session_count_in_part(turn, part):
    assert regret_part(2000.0, 500.0, turn) == pytest.approx(part)


@given(costs, costs, st.integers(0, 10_000))
def test_no_cut_is_allowed_more_than_a_tenth_of_regret(gains, rewrite, turn):
    assert REGRET_PART_MIN <= regret_part(gains, rewrite, turn) <= REGRET_PART_MAX == 0.10


def cut_cost(horizon_turns, slack):
    """What the cut of an old window at one-hour prices costs the next request."""
    heap = Heap()
    for number in range(24):
        heap.admit(an_entry(f"s{number}", body=3000, skeleton=600, born=number))
    pacer = PacerRules(prices=PROFILES["cache_1h"], fault_price_tokens=0.0, horizon_turns=horizon_turns)
    cache = CacheState(heap.resident_tokens)
    decision = decide_collection(heap, PathIndex(), Now(30), pacer, cache, Allowance(heap.evictable_tokens, slack))
    return decision.effects.edit_cost(pacer.prices)


@given(st.integers(30_000, 400_000))
def test_a_cut_that_pays_many_times_over_may_cost_more_than_one_that_only_just_pays(full_cost):
    slack = Slack(0.0, float(full_cost), SETTLED_TURNS)
    marginal, good = cut_cost(15.0, slack), cut_cost(100.0, slack)

    assert marginal <= 0.05 * full_cost
    assert marginal < good <= REGRET_PART_MAX * full_cost
    assert cut_cost(100.0, Slack()) >= good
