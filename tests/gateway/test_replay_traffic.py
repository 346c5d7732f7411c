"""Recorded sessions of three kinds of agents, sent through a running gateway as their agents would have."""

from itertools import islice
from statistics import median

import pytest

from tests.gateway.replay_traffic import Traffic, episodes_in, report, sums

pytestmark = [pytest.mark.corpus, pytest.mark.slow]

FOLDERS = ("claude_code", "codex", "mini_swe_agent")
EPISODES, TURNS = 7, 90
LIMITED, LIMIT_TOKENS = ("mini_swe_agent",), 12_000
"""These sessions are short: nothing leaves them but under a hard limit."""
REGRET = 1.02
"""By the simulator it is 1.01: on the wire a cut is made a request later than it was decided on."""
OFF_MAX = 0.02
"""Of all sessions together, from the simulator."""
OFF_MEDIAN, OFF_ALONE, OFF_EDGE = 0.005, 0.05, 0.1
"""Of each alone, from the simulator with the gateway's timing: the daemon is told of a request once it has gone, and
decides for the next. The daemon learns of the hidden prefix a request late, so its account is a few thousandths of the
cost behind; a large cut that only just pays can wait for a dozen turns more for that. So one session may be off by
more than the others."""
EDGES_MAX = 1


def sent(corpus, folders, limit_tokens=0):
    with Traffic(limit_tokens) as traffic:
        return [
            traffic.send(episode)
            for folder in folders
            for episode in islice(episodes_in([str(corpus / folder)], TURNS), EPISODES)
        ]


@pytest.fixture(scope="module")
def results(corpus):
    return sent(corpus, FOLDERS)


@pytest.fixture(scope="module")
def limited(corpus):
    return sent(corpus, LIMITED, LIMIT_TOKENS)


def test_no_request_of_a_recorded_session_is_refused(results, limited):
    assert [one.refused for one in results + limited if one.refused] == []
    assert sum(one.edited for one in results) > 100
    assert sum(one.edited for one in limited) > 20


def test_no_segment_of_a_recorded_session_is_lost(results, limited):
    assert [one.lost for one in results + limited if one.lost] == []
    assert sum(one.evicted for one in results) > 30
    assert sum(one.evicted for one in limited) > 10


def test_no_recorded_session_costs_more_than_without(results):
    assert [(one.name, one.part) for one in results if one.part > REGRET] == []


def test_the_cost_of_recorded_sessions_is_near_what_replay_predicts(results, limited, capsys):
    with capsys.disabled():
        print("", *report(results), f"under a hard limit of {LIMIT_TOKENS:,} tokens:", *report(limited), sep="\n")

    cost, full, said, timed = sums(results)
    assert abs(cost - said) / full < OFF_MAX
    assert abs(cost - timed) / full < OFF_MAX


def test_each_recorded_session_costs_what_replay_predicts_with_the_gateways_timing(results, limited):
    every = results + limited
    off = sorted(abs(one.timed_error) for one in every if one.evicted)
    edges = [(one.name, one.timed_error) for one in every if abs(one.timed_error) > OFF_ALONE]

    assert median(off) < OFF_MEDIAN
    assert len(edges) <= EDGES_MAX, edges
    assert max(off) < OFF_EDGE
