"""The oracles know what they claim to know, and nothing beats the bounds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.provider_cache import OPENAI
from ctxgc.replay.body_timelines import body_timelines
from ctxgc.replay.lower_bounds import cost_lower_bound, disjoint_claims, faults_lower_bound
from ctxgc.replay.oracle import Liveness, PerfectPacer
from ctxgc.replay.policies import JustEnough, NoCollection, rank_by_touch
from ctxgc.replay.session_cache import IDEAL, OWN_MARK, TRUE, CacheRules
from ctxgc.replay.simulate import simulate_policy
from tests.replay.episodes import (
    LINES,
    PRICES,
    Peak,
    Scripted,
    budgets,
    episode_of,
    everyone,
    few,
    free_turns,
    profiles,
    result,
    said,
    script,
    scripts,
)

NEEDS_A = "code_word_a with code_word_b"
NEEDS_B = "code_word_c with code_word_d"


@given(scripts(), profiles)
@few
def test_liveness_never_faults(script, prices):
    for policy in (Liveness(), Liveness("live_cold", is_cold_only=True)):
        assert simulate_policy(script, policy, prices).faults == 0


@given(scripts(), profiles)
@few
def test_a_perfect_pacer_to_whom_faults_are_dear_never_faults(script, prices):
    dear = PacerRules(prices=prices, fault_price_tokens=1e9)

    assert simulate_policy(script, PerfectPacer(pacer=dear), prices).faults == 0


@given(scripts(), profiles, st.sampled_from([IDEAL, TRUE, OWN_MARK, CacheRules(OPENAI)]))
def test_no_policy_is_cheaper_than_the_certified_cost_whoever_bills(script, prices, cache):
    least = cost_lower_bound(script, prices)

    for policy in everyone():
        assert simulate_policy(script, policy, prices, cache=cache).cost >= least - 1e-6, policy.name


@given(scripts())
def test_no_policy_that_holds_a_budget_faults_less_than_is_certified(script):
    for policy in map(Peak, everyone()):
        faults = simulate_policy(script, policy, PRICES).faults

        assert faults >= faults_lower_bound(script, policy.tokens), policy.name


@given(scripts(), budgets)
@few
def test_just_enough_holds_every_budget_well_enough_for_the_certified_faults(script, budget):
    least = faults_lower_bound(script, budget)

    for policy in everyone(budget):
        if isinstance(policy, JustEnough) or policy.name == "belady_size":
            assert simulate_policy(script, policy, PRICES).faults >= least, policy.name


@given(scripts(), budgets, budgets)
@few
def test_a_larger_budget_never_raises_the_certified_faults(script, one, other):
    small, large = sorted((one, other))

    assert faults_lower_bound(script, large) <= faults_lower_bound(script, small)


@given(scripts())
@few
def test_no_turn_of_a_body_serves_two_claims(script):
    spans = [
        (slot, turn)
        for claim in disjoint_claims(script, body_timelines(script))
        for slot in claim.members
        for turn in range(claim.after + 1, claim.at + 1)
    ]

    assert len(spans) == len(set(spans))


def alternating(turns: int):
    """Two bodies of 1 000 tokens, asked for in turn."""
    played = free_turns(turns)
    played[0].reply += [result("a", 0, NEEDS_A, 1000), result("b", 0, NEEDS_B, 1000)]
    for number in range(2, turns):
        # What was said once is fixed text: each turn asks with words of its own.
        mine = NEEDS_A.replace("_", f"_{number}") if number % 2 else NEEDS_B.replace("_", f"_{number}")
        holder = played[0].reply[1 if number % 2 else 2]
        piece = holder.segment.body[0]
        longer = replace(holder.segment, body=(piece._replace(data=piece.data + b" " + mine.encode()),))
        played[0].reply[1 if number % 2 else 2] = replace(holder, segment=longer)
        played[number].reply[0] = said(number, mine)
    return script(episode_of(*played))


def test_the_certified_faults_are_what_two_bodies_cost_in_the_room_of_one():
    """Seen together once, they fit nowhere together after: each use but those of one body faults, if it stays."""
    episode = alternating(8)

    assert faults_lower_bound(episode, 2000) == 0
    assert faults_lower_bound(episode, 1000) == 3
    assert faults_lower_bound(episode, 999) == 6
    assert simulate_policy(episode, JustEnough("lru", rank_by_touch, 1000), PRICES).faults >= 3


def test_the_certified_cost_of_a_session_without_results_is_the_bill():
    episode = script(episode_of(*free_turns(5), hidden=2000))

    assert abs(cost_lower_bound(episode, PRICES) - simulate_policy(episode, NoCollection(), PRICES).cost) < 1e-9


def test_the_certified_cost_is_the_bill_where_what_is_kept_is_needed():
    turns = free_turns(3)
    turns[0].reply.append(result("a", 0, NEEDS_A, 1000))
    turns[2].reply[0] = said(2, NEEDS_A)
    episode = script(episode_of(*turns, hidden=2000))

    assert abs(cost_lower_bound(episode, PRICES) - simulate_policy(episode, NoCollection(), PRICES).cost) < 1e-9


def test_the_certified_cost_counts_a_body_that_nobody_needs_once():
    turns = free_turns(4)
    turns[0].reply.append(result("a", 0, NEEDS_A, 1000))
    episode = script(episode_of(*turns, hidden=2000))

    kept = simulate_policy(episode, NoCollection(), PRICES).cost

    # Seen at turn 1, and 20 tokens of tombstone instead of 1 000 at turns 2 and 3.
    assert abs(kept - cost_lower_bound(episode, PRICES) - 2 * 0.1 * 980) < 1e-9


def test_the_certified_cost_faults_where_keeping_is_dearer():
    turns = free_turns(6, gap_s=400.0)
    turns[0].reply.append(result("a", 0, NEEDS_A, 10_000))
    turns[5].reply[0] = said(5, NEEDS_A)
    episode = script(episode_of(*turns, hidden=2000))

    kept, least = simulate_policy(episode, NoCollection(), PRICES).cost, cost_lower_bound(episode, PRICES)

    # Instead of four cold prompts with the body, four with its tombstone and a round trip over the hidden part.
    assert least == pytest.approx(kept - 4 * 1.25 * 9980 + (0.1 * 2000 + 300 + 1.25 * 10_060))
    assert least < simulate_policy(episode, Scripted(at2="a"), PRICES).cost < 1.02 * least


def test_an_edit_of_a_line_that_two_hold_is_no_claim_on_either_alone():
    turns = free_turns(4)
    turns[0].reply += [result(name, 0, LINES[0], 1000) for name in "ab"]
    turns[3].reply.append(result("edit", 3, "done", 5, edit_sources=(LINES[0],)))
    episode = script(episode_of(*turns, hidden=2000))

    assert [claim.members for claim in disjoint_claims(episode, body_timelines(episode))] == [(1, 2)]
    assert simulate_policy(episode, Scripted(at2="b"), PRICES).faults == 0
    assert simulate_policy(episode, Scripted(at2="a b"), PRICES).faults == 1
