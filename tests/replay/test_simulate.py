"""The simulator bills what replay.md says, whoever plays."""

import os
import subprocess
import sys
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.collector import Victim
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.price_profiles import Prices
from ctxgc.core.segment import LINE_MAX, Access, PathUse
from ctxgc.replay.policies import JustEnough, NoCollection, ShippedPolicy, rank_by_touch
from ctxgc.replay.session_cache import IDEAL
from ctxgc.replay.simulate import simulate_policy as play_truly
from tests.effort import effort
from tests.replay.episodes import (
    PRICES,
    Scripted,
    episode_of,
    episodes,
    everyone,
    few,
    free_turns,
    profiles,
    result,
    said,
    script,
    scripts,
)

play = partial(play_truly, cache=IDEAL)
"""Sums by hand are those of the ideal cache; test_session_cache.py has the true one's."""
NEEDS_A = "code_word_a with code_word_b"
R, W, TTL = PRICES


def tokens(sized):
    return sized.tokens.skeleton + sum(count for _, count in sized.tokens.pieces)


@given(episodes(), profiles)
@few
def test_no_collection_costs_what_the_definition_says(episode, prices):
    for turn in episode.turns:
        turn.cleared.clear()
    cost, prompt, cached, last = 0.0, episode.hidden_tokens, 0, 0.0

    played = play(script(episode), NoCollection(), prices)

    for turn in episode.turns:
        prompt += sum(map(tokens, turn.before))
        cached = cached if last and turn.wall_s - last <= prices.ttl_s else 0
        cost += prices.read * cached + prices.write * (prompt - cached)
        cached, last = prompt, turn.wall_s
        prompt += sum(map(tokens, turn.reply))
    assert played.cost == pytest.approx(cost)


@given(scripts(), profiles)
@few
def test_a_policy_that_evicts_nothing_costs_as_much_as_none(script, prices):
    nothing = play(script, NoCollection(), prices)

    for policy in (
        JustEnough("wide", rank_by_touch, 10**9),
        ShippedPolicy("dear", PacerRules(fault_price_tokens=1e18)),
    ):
        assert play(script, policy, prices) == nothing


@given(scripts(), profiles)
@few
def test_without_evictions_there_are_no_faults_even_where_the_host_clears(script, prices):
    played = play(script, NoCollection(), prices)

    assert (played.faults, played.explicit_faults, played.evictions, played.collections) == (0, 0, 0, 0)


def three_results(turns=6, asked_at=None):
    """Three results, one a turn, of 1 000, 2 000 and 3 000 tokens; perhaps one turn asks for the first."""
    played = free_turns(turns)
    for number, (name, size) in enumerate([("a", 1000), ("b", 2000), ("c", 3000)]):
        text = NEEDS_A if name == "a" else "plain text"
        played[number].reply.append(result(name, number, text, size))
    if asked_at is not None:
        played[asked_at].reply[0] = said(asked_at, NEEDS_A)
    return script(episode_of(*played))


def bill_of_turn(episode, policy, turn):
    """What a policy's bill grew by in one turn."""
    bills = []
    for last in (turn, turn + 1):
        part = episode.__class__(
            **{name: getattr(episode, name) for name in episode.__dataclass_fields__} | {"steps": episode.steps[:last]}
        )
        bills.append(play(part, policy, PRICES).cost)
    return bills[1] - bills[0]


# The prompt of turn 4: hidden 1000 | said 5, a 10+1000 | said 5, b 10+2000 | said 5, c 10+3000 | said 5.
PROMPT_4 = 1000 + 5 + 1010 + 5 + 2010 + 5 + 3010 + 5


@pytest.mark.parametrize(
    ("victims", "kept_prefix", "freed"),
    [
        ("a", 1000 + 5 + 10, 980),
        ("b", 1000 + 5 + 1010 + 5 + 10, 1980),
        ("c", 1000 + 5 + 1010 + 5 + 2010 + 5 + 10, 2980),
        ("c b", 1000 + 5 + 1010 + 5 + 10, 1980 + 2980),
        ("c a", 1000 + 5 + 10, 980 + 2980),
    ],
)
def test_the_prompt_up_to_the_first_edited_token_stays_cached(victims, kept_prefix, freed):
    bill = bill_of_turn(three_results(), Scripted(at4=victims), 4)

    assert bill == pytest.approx(R * kept_prefix + W * (PROMPT_4 - freed - kept_prefix))


def test_a_turn_after_an_edit_reads_the_edited_prompt():
    bill = bill_of_turn(three_results(), Scripted(at4="b"), 5)

    assert bill == pytest.approx(R * (PROMPT_4 - 1980) + W * 5)


@pytest.mark.parametrize(("gap_s", "cached"), [(TTL, 1000 + 5), (TTL + 1, 0)])
def test_nothing_is_cached_after_a_gap_longer_than_the_cache_lives(gap_s, cached):
    bill = bill_of_turn(script(episode_of(*free_turns(3, gap_s))), NoCollection(), 2)

    assert bill == pytest.approx(R * cached + W * (1010 - cached))


def test_a_fault_is_one_more_request_and_its_body_is_then_cached():
    episode, policy = three_results(asked_at=4), Scripted(at4="a")
    prompt = PROMPT_4 - 980

    faulting, after = bill_of_turn(episode, policy, 4), bill_of_turn(episode, policy, 5)

    round_trip = R * prompt + 5 * 60 + W * (1000 + 60)
    assert faulting == pytest.approx(R * 1015 + W * (prompt - 1015) + round_trip)
    assert after == pytest.approx(R * (prompt + 1000) + W * 5)


def test_a_recalled_body_stands_at_the_tail_and_leaves_its_tombstone():
    """Evicting b after a was recalled edits behind a's skeleton and tombstone; the tail behind b is written again."""
    episode, policy = three_results(turns=8, asked_at=4), Scripted(at4="a", at6="b")

    bill = bill_of_turn(episode, policy, 6)

    kept_prefix = 1000 + 5 + 10 + 20 + 5 + 10
    behind = 20 + 5 + 3010 + 5 + 1000 + 5 + 5
    assert bill == pytest.approx(R * kept_prefix + W * behind)


def test_a_fault_says_what_went_when_and_why():
    fault = play(three_results(asked_at=5), Scripted(at4="a"), PRICES).worst[0]

    assert (fault.turn, fault.segment, fault.reason) == (5, "a", "scripted")
    assert (fault.size_tokens, fault.age_turns, fault.gone_turn) == (1000, 5, 4)


@given(scripts(), profiles)
@few
def test_what_the_host_clears_is_out_under_every_policy_and_nobodys_fault(script, prices):
    ids = [admission.entry.id for step in script.steps for admission in (*step.before, *step.reply)]
    cleared = {
        (ids[slot], later.turn)
        for step in script.steps
        for slot in step.cleared
        for later in script.steps
        if later.turn >= step.turn
    }

    for policy in everyone():
        missed = {(fault.segment, fault.turn) for fault in play(script, policy, prices).worst}

        assert not missed & cleared, policy.name


def test_a_clear_by_the_host_edits_the_prefix_of_every_policy():
    turns = free_turns(4)
    turns[0].reply.append(result("a", 0, NEEDS_A, 1000))
    turns[2].cleared.append("a")
    turns[3].reply[0] = said(3, NEEDS_A)
    episode = script(episode_of(*turns))

    for policy in (NoCollection(), Scripted(at2="a")):
        assert bill_of_turn(episode, policy, 2) == pytest.approx(R * 1015 + W * (20 + 5))
    assert play(episode, NoCollection(), PRICES).faults == 0


def test_reading_again_what_was_evicted_is_an_explicit_fault():
    turns = free_turns(5)
    for number in (0, 3):
        read = (PathUse("/a.py", Access.READ, 1, 50),)
        turns[number].reply.append(result(f"read{number}", number, "text", 1000, tool="Read", paths=read))
    episode = script(episode_of(*turns))

    assert play(episode, Scripted(at2="read0"), PRICES).explicit_faults == 1
    assert play(episode, NoCollection(), PRICES).explicit_faults == 0


def test_an_edit_serves_no_read_of_the_lines_that_its_file_had():
    turns = free_turns(5)
    uses = {0: (Access.READ, 1, 50), 1: (Access.EDIT, 1, LINE_MAX), 3: (Access.READ, 10, 20)}
    for number, (access, first, last) in uses.items():
        use = (PathUse("/a.py", access, first, last),)
        turns[number].reply.append(result(f"call{number}", number, f"text {number}", 1000, tool="Tool", paths=use))
    episode = script(episode_of(*turns))

    played = play(episode, Scripted(at2="call0"), PRICES)

    assert (played.view_faults, played.explicit_faults) == (1, 0)
    assert play(episode, NoCollection(), PRICES).view_faults == 0


def test_reading_again_what_the_host_cleared_is_the_hosts_fault():
    turns = free_turns(5)
    for number in (0, 3):
        read = (PathUse("/a.py", Access.READ, 1, 50),)
        turns[number].reply.append(result(f"read{number}", number, "text", 1000, tool="Read", paths=read))
    turns[2].cleared.append("read0")

    assert play(script(episode_of(*turns)), NoCollection(), PRICES).explicit_faults == 0


def test_the_view_before_is_current_once_the_host_cleared_the_newer_one():
    turns = free_turns(4)
    for number in (0, 1):
        read = (PathUse("/a.py", Access.READ, 1, 50),)
        turns[number].reply.append(result(f"read{number}", number, f"text {number}", 1000, tool="Read", paths=read))
    turns[3].cleared.append("read1")
    current = []

    class Watching(NoCollection):
        def victims(self, run):
            current.append([run.heap.ids[slot] for slot in run.paths.current])
            return ()

    play(script(episode_of(*turns)), Watching(), PRICES)

    assert current[2:] == [["read1"], ["read0"]]


def test_nobody_may_evict_what_never_goes():
    class Rude(Scripted):
        def victims(self, run):
            return [Victim(run.heap.slot_of["said0"], "rude", -1, 0, 0.0)] if run.step == 2 else []

    with pytest.raises(ValueError, match="never goes"):
        play(three_results(), Rude(), PRICES)


def test_what_the_model_has_not_seen_stays():
    assert play(three_results(), Scripted(at1="a"), PRICES).evictions == 0
    assert play(three_results(), Scripted(at2="a"), PRICES).evictions == 1


@given(st.lists(scripts(max_turns=5), min_size=2, max_size=3))
@effort(6)
def test_a_policy_carries_nothing_from_one_episode_into_the_next(played):
    policies = everyone()

    forwards = {(p.name, n): play(s, p, PRICES) for p in policies for n, s in enumerate(played)}
    backwards = {(p.name, n): play(s, p, PRICES) for p in policies for n, s in reversed(list(enumerate(played)))}

    assert forwards == backwards


@given(scripts())
@few
def test_prices_of_nothing_make_every_policy_free_but_for_the_calls_of_its_faults(script):
    for policy in everyone():
        played = play(script, policy, Prices(0.0, 0.0, 300.0))

        assert played.cost == 300 * played.faults


TALLIES = """
from hypothesis import given, seed, settings
from tests.replay.episodes import PRICES, everyone, scripts
from ctxgc.replay.session_cache import IDEAL
from ctxgc.replay.simulate import simulate_policy as play_truly

@seed(7)
@settings(database=None, max_examples=8)
@given(scripts())
def told(script):
    print([repr(play_truly(script, policy, PRICES, cache=IDEAL)) for policy in everyone()])

told()
"""


@pytest.mark.slow
def test_results_do_not_depend_on_the_hash_seed():
    def told(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", TALLIES], env=environment, capture_output=True, check=True)
        return run.stdout

    one, other = told("1"), told("2")

    assert b"Fault(turn=" in one
    assert one == other
