"""The sessions that `perf.bench_bills` sends are what real agents send, and are billed as those are."""

import json
from itertools import islice

import pytest

from perf.agent_traffic import LONG, SHORT, ClaudeCode, Codex, OpenCode, Work, requests_of, round_three
from perf.bench_bills import SESSIONS, Session, percent_at, straight, through
from tests.gateway.cached_prompt import prompt_of

TURNS = 6


def first_of(name):
    """The session's first requests."""
    session = SESSIONS[name]
    return Session(session.agent, lambda: islice(session.turns(), TURNS))


@pytest.mark.parametrize("name", SESSIONS)
def test_the_strict_upstream_takes_each_session_and_each_request_is_new(name):
    bodies = [request.body for request in first_of(name).requests()]

    assert len(straight(first_of(name)).costs) == len(set(bodies)) == TURNS + 1


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_is_the_same_each_time_it_is_made(name):
    assert list(first_of(name).requests()) == list(first_of(name).requests())


def breakpoints_of(agent):
    last = list(requests_of(agent, round_three(TURNS)))[-1]
    prompt = prompt_of(last.wire, json.loads(last.body))
    return [(point.blocks - prompt.end.blocks, point.life_s) for point in prompt.breakpoints], prompt


def test_claude_code_breakpoints_two_blocks_of_its_system_prompt_and_its_last_block():
    (key, prompt), (login, _) = breakpoints_of(ClaudeCode(SHORT)), breakpoints_of(ClaudeCode(LONG))

    assert [place for place, _ in key] == [
        12 - prompt.end.blocks,
        13 - prompt.end.blocks,
        0,
    ]  # The line for the bill is no block.
    assert {life_s for _, life_s in key} == {300.0}
    assert {life_s for _, life_s in login} == {3600.0}


def test_opencode_breakpoints_its_system_prompt_and_the_last_block_of_each_of_its_last_two_messages():
    breakpoints, prompt = breakpoints_of(OpenCode())

    assert [place for place, _ in breakpoints] == [9 - prompt.end.blocks, -1, 0]


def test_codex_sends_no_breakpoints_and_its_thread_as_the_key_of_the_cache():
    request = Codex().request()

    assert b"cache_control" not in request.body
    assert json.loads(request.body)["prompt_cache_key"] == Codex.headers["session-id"]


def test_more_parallel_calls_than_the_look_back_miss_the_agents_own_cache_and_fewer_do_not():
    wide, narrow = straight(first_of("parallel_12")).costs, straight(first_of("key_80")).costs

    assert wide[-1] > 2 * wide[1]
    assert narrow[-1] < 2 * narrow[1]


def test_a_fifth_of_realistic_work_is_edits_and_some_turns_read_in_parallel():
    turns = list(Work().turns(188))
    edits = sum(call.name == "Edit" for turn in turns for call in turn)

    assert 0.17 < edits / len(turns) < 0.27
    assert any(len(turn) > 1 for turn in turns)
    assert any(call.is_error for turn in turns for call in turn)


def test_percents_of_straight_are_of_all_that_was_sent_so_far():
    assert percent_at([10.0, 40.0], [10.0, 90.0]) == [100.0, 50.0]


@pytest.mark.slow
def test_a_session_that_nothing_is_collected_of_costs_through_ctxgc_what_it_costs_straight():
    session = first_of("key_80")

    ours = through(session)

    assert ours.costs == straight(session).costs
    assert (ours.refused, ours.edited, ours.journal) == (0, 0, [])
