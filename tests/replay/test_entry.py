"""Results at entry in a replay: pointers never cost more than whole results, and a target out is a fault."""

from dataclasses import replace

from hypothesis import given

from ctxgc.replay.entry import POINTER_TOKENS, EntryRules
from ctxgc.replay.policies import NoCollection
from ctxgc.replay.policy_registry import policy_names
from ctxgc.replay.session_cache import IDEAL
from ctxgc.replay.simulate import simulate_policy
from ctxgc.replay.terms import ENTRY_REFERENCES, REFERENCES_ALONE, REFERENCES_SHIPPED
from tests.replay.episodes import PRICES, Scripted, episode_of, few, free_turns, profiles, result, said, script, scripts

FILE = "\n".join(f"{n:>6}\tdef quay_{n}(tide): return anchor_{n * 7} + rope_{n}" for n in range(1, 41))
TOKENS = 800


def two_reads(turns=8, asks_at=None, second=FILE):
    """A file read in turn 0 and in turn 2; perhaps a later turn asks for what only the file has."""
    played = free_turns(turns)
    played[0].reply.append(result("first", 0, FILE, TOKENS))
    played[2].reply.append(result("second", 2, second, TOKENS))
    if asks_at is not None:
        played[asks_at].reply[0] = said(asks_at, "quay_11 with anchor_77 and rope_11")
    return script(episode_of(*played))


def play(episode, policy=None, *, has_references=True):
    return simulate_policy(
        replace(episode, entry=EntryRules(has_references)), policy or NoCollection(), PRICES, cache=IDEAL
    )


def test_the_second_read_costs_a_pointer_in_each_request_that_carries_it():
    whole, pointed = (play(two_reads(), has_references=has) for has in (False, True))

    saved = [before - after for before, after in zip(whole.window, pointed.window, strict=True)]
    assert saved[:3] == [0, 0, 0]
    assert all(abs(tokens - (TOKENS - POINTER_TOKENS)) <= 2 for tokens in saved[3:])
    assert pointed.faults == 0


def test_a_need_for_lines_behind_a_pointer_is_no_fault_while_the_target_stays():
    assert play(two_reads(asks_at=6)).faults == 0


def test_a_target_that_left_is_a_fault_of_whoever_needs_the_lines_and_comes_back_alone():
    gone = play(two_reads(asks_at=6), Scripted(at5="first"))
    whole = play(two_reads(asks_at=6), Scripted(at5="first"), has_references=False)

    assert (gone.faults, whole.faults) == (1, 0), "whole, the second read still shows the lines"
    assert [fault.segment for fault in gone.worst] == ["first"]


@given(scripts(), profiles)
@few
def test_pointers_alone_never_cost_more_and_never_fault(episode, prices):
    pointed, whole = (
        simulate_policy(replace(episode, entry=EntryRules(has)), NoCollection(), prices) for has in (True, False)
    )

    assert pointed.faults == pointed.explicit_faults == 0
    assert all(one <= other for one, other in zip(pointed.window, whole.window, strict=True))


def test_a_study_has_the_rows_only_where_it_is_asked_for_them():
    rows = {REFERENCES_ALONE, REFERENCES_SHIPPED}

    assert not rows & set(policy_names())
    assert rows <= set(policy_names(ENTRY_REFERENCES))
