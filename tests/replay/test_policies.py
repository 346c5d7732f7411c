"""Baselines do what their names say, and the shipped policy is the core's pacer."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.collector import evictable_mask
from ctxgc.core.garbage import garbage_proof
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.regret_budget import PacerRequest, RegretAccount, decide_within_allowance
from ctxgc.core.roots import find_roots
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Access, Kind, PathUse
from ctxgc.replay.policies import (
    ClearOld,
    JustEnough,
    KeyWatermarks,
    NoCollection,
    ObservationMasking,
    PlanJustEnough,
    ProvenOnly,
    ShippedPolicy,
    collectable_bodies,
    rank_at_random,
    rank_by_age,
    rank_by_density,
    rank_by_size,
    rank_by_touch,
)
from ctxgc.replay.policy_registry import policies_of
from ctxgc.replay.simulate import simulate_policy
from ctxgc.replay.terms import NONE, StudyTerms
from tests.replay.episodes import (
    PRICES,
    budgets,
    episode_of,
    everyone,
    few,
    free_turns,
    profiles,
    result,
    script,
    scripts,
)

orders = st.sampled_from([rank_by_age, rank_by_touch, rank_by_density, rank_by_size, rank_at_random])


class Checked:
    """A policy whose every choice is shown to a check before it is carried out."""

    name = "checked"

    def __init__(self, inner, check):
        self.inner, self.check = inner, check

    def begin_episode(self, script):
        self.inner.begin_episode(script)

    def victims(self, run):
        found = self.inner.victims(run)
        self.check(run, found)
        return found


@given(scripts(), profiles)
@few
def test_every_policy_names_each_victim_once_and_only_what_frees_something(script, prices):
    def check(run, victims):
        slots = [victim.slot for victim in victims]
        assert len(slots) == len(set(slots))
        assert all(run.heap.body[slot] > run.heap.tombstone[slot] for slot in slots)

    for policy in everyone():
        simulate_policy(script, Checked(policy, check), prices)


@given(scripts(), orders, budgets)
@few
def test_just_enough_holds_its_budget_or_has_nothing_left_to_give(script, order, budget):
    def check(run, victims):
        gone = {victim.slot for victim in victims}
        left = [slot for slot in collectable_bodies(run) if slot not in gone]
        held = run.heap.evictable_tokens - sum(run.heap.body[slot] for slot in gone)
        assert held <= budget or not left
        # And not one more than it had to.
        last = run.heap.body[victims[-1].slot] if victims else 0
        assert not victims or held + last > budget

    simulate_policy(script, Checked(JustEnough("some", order, budget), check), PRICES)


@given(scripts(), st.integers(1, 4))
@few
def test_masking_keeps_the_last_results_and_no_other_that_the_model_has_seen(script, keep):
    def check(run, victims):
        exchanges = [slot for slot in run.heap.window() if run.heap.kind_of(slot) is Kind.TOOL_CALL]
        gone = {victim.slot for victim in victims}
        assert not gone & set(exchanges[-keep:])
        assert not set(collectable_bodies(run)) & set(exchanges[:-keep]) - gone

    simulate_policy(script, Checked(ObservationMasking("mask", keep), check), PRICES)


@given(scripts(), st.integers(0, 8000), st.integers(1, 4))
@few
def test_clearing_beyond_its_trigger_takes_all_results_but_the_last_and_nothing_before(script, trigger, keep):
    def check(run, victims):
        exchanges = [slot for slot in run.heap.window() if run.heap.kind_of(slot) is Kind.TOOL_CALL]
        older = set(collectable_bodies(run)) & set(exchanges[:-keep])
        assert {victim.slot for victim in victims} == (older if run.prompt_tokens > trigger else set())

    simulate_policy(script, Checked(ClearOld("clear", trigger, keep), check), PRICES)


@pytest.mark.parametrize(("over_tokens", "first_step"), [(0, 5), (-1, 4)])
def test_clearing_begins_with_the_first_prompt_over_the_trigger(over_tokens, first_step):
    turns = free_turns(8)
    for number, turn in enumerate(turns):
        turn.reply.append(result(f"r{number}", number, f"text {number}", 1000))
    episode, steps = script(episode_of(*turns)), []
    prompts = simulate_policy(episode, NoCollection(), PRICES).window
    watch = Checked(
        ClearOld("clear", prompts[4] + over_tokens, 1), lambda run, victims: steps.extend([run.step] if victims else [])
    )

    simulate_policy(episode, watch, PRICES)

    assert steps[0] == first_step


@given(scripts(), budgets)
@few
def test_the_plan_just_enough_holds_its_budget_or_says_what_stays(script, budget):
    policy = PlanJustEnough("plan", budget)

    def check(run, victims):
        bodies = {victim.slot: run.heap.body[victim.slot] for victim in victims}
        over = run.heap.evictable_tokens - budget
        freed = sum(victim.freed_tokens for victim in victims)
        spared = {slot for slot in worth_taking(run, policy.rules) if slot not in bodies}
        assert freed >= over or not spared
        assert over > 0 or not victims
        # And not one more than it had to.
        assert not victims or freed - victims[-1].freed_tokens < over

    simulate_policy(script, Checked(policy, check), PRICES)


def worth_taking(run, rules):
    candidates = evictable_mask(run.heap, find_roots(run.heap, run.paths, run.now, rules))
    return [slot for slot in range(len(run.heap)) if candidates[slot] and run.heap.freed[slot] >= rules.min_gain_tokens]


@pytest.mark.parametrize(
    "policy", [p for p in policies_of(StudyTerms()) if p.name != NONE], ids=lambda policy: policy.name
)
def test_no_rival_of_the_table_is_idle_in_a_long_session_with_pauses(policy):
    assert simulate_policy(a_long_session(), policy, PRICES).evictions > 0


def a_long_session():
    """Files that nobody needs, each read twice, in a window that outgrows the trigger of every policy of the table."""
    turns = free_turns(60, gap_s=10.0)
    for number, turn in enumerate(turns):
        turn.wall_s += 1000.0 * (number // 50)
        path = PathUse(f"/src/{number // 2}.py", Access.READ)
        turn.reply.append(result(f"r{number}", number, f"text {number}", 2500, paths=(path,), tool="Read"))
    return script(episode_of(*turns))


@given(scripts())
@few
def test_the_rules_alone_take_all_proven_garbage_and_nothing_else(script):
    def check(run, victims):
        dead = {slot for slot in collectable_bodies(run) if garbage_proof(run.heap, slot, run.now, Rules())}
        assert {victim.slot for victim in victims} == dead

    simulate_policy(script, Checked(ProvenOnly(), check), PRICES)


def tool_of(run, segment):
    return run.heap.tools[run.heap.tool[run.heap.slot_of[segment]]]


@given(scripts(), profiles, st.sampled_from([0.0, 300.0, 14_000.0]))
@few
def test_what_is_replayed_is_what_the_core_decides(script, prices, dial):
    pacer = PacerRules(prices=prices, fault_price_tokens=dial)
    told = replace(pacer, hidden_tokens=script.hidden_tokens, rules=Rules())
    account, faults, rereads = RegretAccount(), 0, 0

    def check(run, victims):
        nonlocal account, faults, rereads
        for fault in run.tally.worst[faults:]:
            account = account.after_recall(prices, run.prompt_tokens, fault.size_tokens, tool_of(run, fault.segment))
        faults = len(run.tally.worst)
        for slot in run.tally.reread_slots[rereads:]:
            account = account.after_reread(run.heap.tool_name(slot))
        rereads = len(run.tally.reread_slots)
        request = PacerRequest(run.window_cache, run.absent_tokens)
        core, account = decide_within_allowance(run.heap, run.paths, run.now, told, account, request)
        assert tuple(victims) == (core.plan.victims if core else ())

    simulate_policy(script, Checked(ShippedPolicy("x", pacer), check), prices)


def test_a_sliding_window_takes_the_oldest_and_biggest_first_the_biggest():
    turns = free_turns(6)
    turns[0].reply += [result("mid", 0, "text", 500), result("big", 0, "text", 900), result("small", 0, "text", 200)]
    episode = script(episode_of(*turns))

    def first(order):
        taken = []
        watch = Checked(
            JustEnough("some", order, 1400), lambda run, victims: taken.extend(run.heap.ids[v.slot] for v in victims)
        )
        simulate_policy(episode, watch, PRICES)
        return taken

    assert first(rank_by_age) == ["mid"]
    assert first(rank_by_size) == ["big"]
    assert first(rank_by_density) == ["big"]


def test_watermarks_collect_when_the_cache_is_cold_and_from_the_ceiling_when_it_is_warm():
    turns = free_turns(8)
    for number in range(5):
        turns[number].reply.append(result(f"r{number}", number, f"text {number}", 1000))
    cold = free_turns(8, gap_s=400.0)
    for number in range(5):
        cold[number].reply.append(result(f"r{number}", number, f"text {number}", 1000))
    idle = KeyWatermarks("idle", idle_tokens=2000, high_tokens=0)
    hard = KeyWatermarks("hard", idle_tokens=2000, high_tokens=4500, low_tokens=3000)

    assert simulate_policy(script(episode_of(*turns)), idle, PRICES).evictions == 0
    assert simulate_policy(script(episode_of(*turns)), hard, PRICES).collections == 1
    assert simulate_policy(script(episode_of(*cold)), idle, PRICES).evictions == 3
