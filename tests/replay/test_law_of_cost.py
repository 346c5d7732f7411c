"""Never dearer than doing nothing: wherever a session ends, at any dials, and on every recorded session."""

import random
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.pacing import fault_lessons
from ctxgc.core.pacing.pacer import PacerRules, tuned_rules
from ctxgc.core.pacing.price_profiles import PROFILES
from ctxgc.core.pacing.provider_cache import LEAST_MIN_TOKENS, OPENAI
from ctxgc.core.pacing.regret_budget import RegretAccount
from ctxgc.core.pacing.regret_law import REGRET_PART_MAX
from ctxgc.core.rules import Rules
from ctxgc.replay import simulate
from ctxgc.replay.demand import ALL, RESULTS, demand_of
from ctxgc.replay.policies import NoCollection, ShippedPolicy
from ctxgc.replay.recorded_files import find_transcripts, read_recorded_file
from ctxgc.replay.script import script_of
from ctxgc.replay.session_cache import IDEAL, OWN_MARK, TRUE, CacheRules
from ctxgc.replay.simulate import simulate_policy
from ctxgc.replay.trial import WARM_UP_TURNS
from perf.bench_faults import ask_back_everything
from tests.replay.episodes import episode_of, few, free_turns, profiles, result, script, scripts

EAGER = st.builds(
    PacerRules,
    prices=st.sampled_from(list(PROFILES.values())),
    fault_price_tokens=st.sampled_from([0.0, 300.0]),
    horizon_turns=st.sampled_from([20.0, 500.0]),
    recent_turns=st.just(4),
)
SHORT = Rules(file_turns=0)
"""Four recent turns above, not fewer: random transcripts skip up to two replies, and what no request has shown yet
stays, whoever names it."""


caches = st.sampled_from([OWN_MARK, TRUE, CacheRules(OPENAI), IDEAL])


def unmarked(cache):
    """The cache of a session without ctxgc: nobody adds a mark."""
    return cache._replace(has_own_mark=False)


AGENTS = ("claude_code", "codex", "opencode", "pi", "copilot_cli", "mini_swe_agent", "swe_agent", "tau_bench")


def without_demand(script):
    """The same requests, of an agent that never misses anything."""
    return replace(script, demand=replace(script.demand, wants=((),) * len(script.steps)))


def up_to(script, turns):
    return replace(script, steps=script.steps[:turns])


@given(scripts(), EAGER, caches)
@few
def test_but_for_recalls_no_session_is_further_behind_than_the_regret_law_allows_wherever_it_ends(told, pacer, cache):
    """A prompt that is cut below the least length of a cache is not cached any more: no agent's system prompt is so
    short."""
    lived = without_demand(replace(told, hidden_tokens=told.hidden_tokens + LEAST_MIN_TOKENS))

    for turns in range(1, len(lived.steps) + 1):
        cost = simulate_policy(
            up_to(lived, turns), ShippedPolicy(pacer=pacer, rules=SHORT), pacer.prices, cache=cache
        ).cost
        nothing = simulate_policy(up_to(lived, turns), NoCollection(), pacer.prices, cache=unmarked(cache)).cost

        assert cost <= (1 + REGRET_PART_MAX) * nothing * (1 + 1e-9)


def reading_session(turns, seed):
    """A long session that reads a file of some hundreds to thousands of tokens a turn."""
    chance = random.Random(seed)
    made = free_turns(turns)
    for number, turn in enumerate(made):
        turn.reply.append(result(f"r{number}", number, f"body {number}", int(chance.lognormvariate(6.5, 1.2))))
    return without_demand(script(episode_of(*made)))


@pytest.mark.parametrize("cache", [OWN_MARK, TRUE, IDEAL], ids=["own_mark", "host_marks", "ideal"])
@pytest.mark.parametrize("profile", PROFILES)
def test_the_law_binds_long_sessions_and_still_lets_them_save(profile, cache):
    pacer = replace(tuned_rules(profile), fault_price_tokens=0.0)
    told = reading_session(60, seed=7)

    ours = simulate_policy(told, ShippedPolicy(pacer=pacer), pacer.prices, cache=cache)
    none = simulate_policy(told, NoCollection(), pacer.prices, cache=unmarked(cache))
    shares = [cost / nothing for cost, nothing in zip(ours.costs, none.costs, strict=True)]

    assert max(shares) <= 1 + REGRET_PART_MAX
    assert shares[-1] < 0.9


@given(scripts(), profiles, caches)
@few
def test_the_account_knows_to_the_token_what_doing_nothing_costs(told, prices, cache):
    """A prompt too short to be cached is cheaper than the account takes it for: there is none here."""
    steps = tuple(replace(step, cleared=()) for step in told.steps)
    told = replace(told, hidden_tokens=told.hidden_tokens + LEAST_MIN_TOKENS, steps=steps)
    policy = ShippedPolicy(pacer=PacerRules(prices=prices, fault_price_tokens=0.0, recent_turns=4), rules=SHORT)

    simulate_policy(told, policy, prices, cache=cache)

    nothing = simulate_policy(told, NoCollection(), prices, cache=unmarked(cache)).cost
    assert policy.account.full_cost == pytest.approx(nothing, rel=0.02)


def test_a_session_that_compacts_keeps_its_account_and_the_next_session_opens_its_own():
    told = reading_session(30, seed=3)
    policy = ShippedPolicy(pacer=tuned_rules("cache_5m"))
    simulate_policy(told, policy, PROFILES["cache_5m"])
    before = policy.account

    policy.begin_episode(replace(told, number=1))
    kept = policy.account
    policy.begin_episode(told)

    assert kept.full_cost == before.full_cost > 0
    assert policy.account == RegretAccount()


@pytest.mark.slow
def test_a_session_that_asks_back_everything_is_soon_left_alone(monkeypatch):
    told, prices = reading_session(150, seed=3), PROFILES["uncached"]
    nothing = simulate_policy(told, NoCollection(), prices)
    monkeypatch.setattr(simulate, "_apply_demand", ask_back_everything)

    ours = simulate_policy(told, ShippedPolicy(pacer=tuned_rules("uncached")), prices)
    monkeypatch.setattr(fault_lessons, "TRUSTED", 1e9)
    untaught = simulate_policy(told, ShippedPolicy(pacer=tuned_rules("uncached")), prices)

    assert ours.faults <= 9
    assert ours.cost <= 1.05 * nothing.cost
    assert untaught.cost > 10 * nothing.cost


def test_a_recall_is_paid_from_what_was_saved():
    account = RegretAccount(full_cost=50_000.0, saved_cost=500.0).after_recall(PROFILES["cache_5m"], 1000, 100, "")

    assert account.saved_cost == pytest.approx(500 - (100 + 300 + 1.25 * 160))
    assert account.slack.cost_max(1.0, 1.0) == pytest.approx(0.01 * 50_000 + 500 - (100 + 300 + 1.25 * 160))


BILLS = {"cache_5m": OWN_MARK, "cache_1h": OWN_MARK, "uncached": IDEAL} | dict.fromkeys(
    ("openai", "openai_5_6", "openai_6_1"), CacheRules(OPENAI)
)
"""Whose cache the sessions of every agent are billed by, at each of these prices."""


def running_costs(told, policy, prices, cache):
    """What a session had cost by each turn, over all its episodes."""
    costs, before = [], 0.0
    for one in told:
        costs += [before + cost for cost in simulate_policy(one, policy, prices, cache=cache).costs]
        before = costs[-1]
    return costs


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.parametrize("agent", AGENTS)
def test_no_recorded_session_of_any_agent_is_dearer_than_101_percent_at_its_end_nor_103_at_any_turn(corpus, agent):
    """The end has its faults in it; a turn has none."""
    for path in find_transcripts([str(corpus / agent)]):
        for (session, episodes), (scope, profile) in product(
            read_recorded_file(path).sessions.items(), product((RESULTS, ALL), BILLS)
        ):
            prices, cache = PROFILES[profile], BILLS[profile]
            told = [script_of(episode, scope, demand_of(episode, scope)) for episode in episodes]
            nothing = running_costs(told, NoCollection(), prices, unmarked(cache))
            ours = running_costs(told, ShippedPolicy(pacer=tuned_rules(profile)), prices, cache)
            calm = running_costs([*map(without_demand, told)], ShippedPolicy(pacer=tuned_rules(profile)), prices, cache)
            beside = zip(calm[WARM_UP_TURNS:], nothing[WARM_UP_TURNS:], strict=True)

            assert ours[-1] <= 1.01 * nothing[-1], (session, scope, profile)
            assert all(cost <= 1.03 * full for cost, full in beside), (session, scope, profile)
