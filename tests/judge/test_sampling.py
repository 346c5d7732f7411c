"""Groups are equal in freed tokens, matches in length, and a placebo is another session's."""

from itertools import combinations
from math import log
from random import Random

import pytest

pytest.importorskip("numpy", reason="numpy is of the extras dev and judge")

from ctxgc.replay.simulate import simulate_policy
from ctxgc.replay.terms import StudyTerms
from perf.judge import sampling
from perf.judge.recordings import (
    SIZE_RATIO_MAX,
    PlaceboPool,
    Recording,
    body_of,
    recordings_of,
    size_gap,
)
from perf.judge.sampling import SHIPPED, USED, Draw, Moment, MomentWitness, groups_of, rounds
from tests.replay.episodes import result
from tests.replay.made_sessions import claude_session


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for seed in range(3):
        claude_session(folder / f"{seed}.jsonl", f"session-{seed}", seed=seed, turns=40, names=f"part{seed}")
    return recordings_of([str(folder)])


@pytest.fixture(scope="module")
def pool(recordings):
    pool = PlaceboPool()
    pool.add_recordings(recordings)
    return pool


@pytest.fixture(scope="module")
def moments(recordings, pool):
    return list(rounds(recordings, pool, Draw()))


@pytest.fixture
def collections(recordings, monkeypatch):
    """(freed tokens by slot, groups) of each collection of the shipped policy."""
    seen = []

    def noted(run, candidates, chosen):
        groups = groups_of(run, candidates, chosen)
        seen.append((list(run.heap.freed), candidates, groups))
        return groups

    monkeypatch.setattr(sampling, "groups_of", noted)
    terms = StudyTerms("cache_5m")
    for recording in recordings:
        witness = MomentWitness(sampling.shipped_policy(terms))
        simulate_policy(recording.script, witness, terms.prices, cache=terms.cache_rules_of("ctxgc"))
    assert seen
    return seen


@pytest.mark.parametrize("group", ["lru", "random"])
def test_a_policy_frees_what_the_shipped_one_frees_and_not_a_body_more(collections, group):
    for freed, candidates, groups in collections:
        target = sum(freed[slot] for slot in groups[SHIPPED])
        slots = groups[group]

        assert sum(freed[slot] for slot in slots) >= target > sum(freed[slot] for slot in slots[:-1])
        assert set(slots) <= set(candidates)


def test_the_kept_are_the_candidates_that_do_not_go(collections):
    for _, candidates, groups in collections:
        assert sorted(groups["kept"] + groups[SHIPPED]) == sorted(candidates)
        assert set(groups["garbage"]) <= set(candidates)


def test_a_placebo_is_another_sessions_body_of_the_same_tool_and_about_the_same_length(moments):
    for case in (case for cases in moments for case in cases):
        assert case.placebo.session != case.body.session
        assert case.placebo.tool == case.body.tool
        assert size_gap(case.placebo.tokens, case.body.tokens) <= log(SIZE_RATIO_MAX)


def test_a_match_is_about_as_long_as_its_leading_body_and_shares_its_reply(moments):
    matched = 0
    for cases in moments:
        leads = {case.pair: case for case in cases if case.group in (SHIPPED, USED)}
        assert len({case.reply for case in cases}) == 1
        for case in cases:
            lead = leads[case.pair]
            assert size_gap(case.body.tokens, lead.body.tokens) <= log(SIZE_RATIO_MAX)
            matched += case is not lead
    assert matched


def test_two_leading_bodies_that_are_nearest_to_one_body_have_two_matches(recordings, pool):
    moment = Moment(recordings[0], pool, step=30, chance=Random(0))
    results = [slot for slot, sized in enumerate(recordings[0].segments) if sized.segment.tool == "Read"][:20]
    tokens = {slot: recordings[0].body(slot).tokens for slot in results}
    one, other, near, far = next(
        (a, b, c, d)
        for a, b, c, d in combinations(results, 4)
        if size_gap(tokens[a], tokens[c]) <= size_gap(tokens[a], tokens[d])
        and size_gap(tokens[b], tokens[c]) <= size_gap(tokens[b], tokens[d])
    )

    cases = moment.cases({SHIPPED: [one, other], "lru": [near, far]}, SHIPPED, most=2, ahead=9)

    assert [case.group for case in cases] == [SHIPPED, SHIPPED, "lru", "lru"]
    assert len({case.body.digest for case in cases}) == 4


def test_what_a_turn_used_is_told_from_what_it_did_not(moments):
    cases = [case for cases in moments for case in cases]

    assert {case.is_used for case in cases if case.group == USED} == {True}
    assert {case.is_used for case in cases if case.group == "unused"} == {False}


def test_a_beginning_of_the_moments_is_spread_over_all_sessions(moments, recordings):
    first = [cases[0].body.session for cases in moments[: len(recordings)]]

    assert sorted(first) == sorted(recording.session for recording in recordings)


def test_the_same_seed_asks_about_the_same_bodies_and_another_about_others(recordings, pool, moments):
    assert list(rounds(recordings, pool, Draw())) == moments
    assert list(rounds(recordings, pool, Draw(seed=1))) != moments


def test_a_lone_session_is_left_out(tmp_path):
    claude_session(tmp_path / "lone.jsonl", "lone", turns=4)

    assert recordings_of([str(tmp_path)]) == []


def recording_of(session, *segments, source="some_agent"):
    """A recording of segments alone: nothing plays it."""

    class Script:
        def __init__(self):
            self.source, self.session = source, session

    return Recording(None, Script(), None, segments)


def test_the_placebo_is_the_nearest_in_length_that_the_own_session_does_not_hold():
    own = [result("a", 0, "own text", 100), result("b", 0, "a file of both", 500)]
    other = [result("c", 0, "a file of both", 101), result("d", 0, "longer", 120), result("e", 0, "shorter", 70)]
    pool = PlaceboPool()
    pool.add_recordings([recording_of("own", *own), recording_of("other", *other)])

    assert pool.placebo(body_of(own[0], "some_agent:own")).text == "longer"
    assert pool.placebo(body_of(own[1], "some_agent:own")) is None


def test_another_agents_or_another_tools_body_is_no_placebo():
    own = result("a", 0, "own text", 100, tool="Read")
    pool = PlaceboPool()
    pool.add_recordings(
        [
            recording_of("own", own),
            recording_of("other", result("b", 0, "other text", 100, tool="Grep")),
            recording_of("third", result("c", 0, "third text", 100, tool="Read"), source="other_agent"),
        ]
    )

    assert pool.placebo(body_of(own, "some_agent:own")) is None


def test_a_reply_is_what_the_model_said_and_called_and_the_recent_text_has_the_results(recordings):
    recording = recordings[0]
    step = next(
        n for n, turn in enumerate(recording.episode.turns) if any("Edit" in str(s.segment) for s in turn.reply)
    )

    reply, recent = recording.reply_text(step), recording.recent_text(step + 1)

    assert "/srv/edited.py" in reply
    assert "done" not in reply
    assert recent == f"{reply}\ndone"
