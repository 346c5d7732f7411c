"""Long sessions of real agents, pinned and newest, with a key and with a forged login, and all that happens in them.

Each story of `stories.py` is told twice: straight to the model, and behind the gateway. Agents come from
`install_agents.sh`, at test time if CTXGC_AGENTS=1; without them every test here is skipped.
"""

import itertools
import os
import re

import pytest

from ctxgc.adapters.wire.formats import WIRE_FORMATS
from tests.e2e.long_session import Behind, straight
from tests.e2e.scripted_model import SUB_TURNS
from tests.e2e.stories import RULE, STORIES, SUB_STEPS, WORDS
from tests.e2e.test_agents import installed  # noqa: F401 (a fixture)

pytestmark = [
    pytest.mark.e2e_agents,
    pytest.mark.slow,
    pytest.mark.xdist_group("long_agents"),
    pytest.mark.skipif(
        os.environ.get("CTXGC_LONG_AGENTS") != "1",
        reason="ten stories of real agents take half an hour on two busy cores; CTXGC_LONG_AGENTS=1 runs them",
    ),
]

TURNS_MIN = 80
COST_MAX = 0.85
COLLECTIONS_MIN = 6
"""Where cached tokens are read at a twentieth of their price, as GPT-6.1's are, few cuts pay for their rewrite."""
NEAR = 0.1
"""Predicted and billed cost of a collection lie this near to each other, of the predicted cost."""
NEAR_SHARE_MIN = 0.6
"""The next request after a collection may come after the pause, or be the first of a new process."""
OUT = re.compile(r"\[(evicted by ctxgc\b|evicted\])")


@pytest.fixture(scope="module", params=list(STORIES))
def told(request, installed):  # noqa: F811
    """A story behind the gateway, and the model that the same story was told to without it."""
    alone = straight(STORIES[request.param])
    with Behind(STORIES[request.param]) as behind:
        yield behind, alone


def test_not_one_request_is_refused_whatever_happens_in_the_session(told):
    behind, alone = told

    assert alone.refused == behind.model.refused == []
    assert behind.killed == ["daemon", "gateway"]
    for model in (behind.model, alone):
        assert model.newest_step >= TURNS_MIN
        assert model.summaries + model.compactions == 1
        assert model.sub_calls == SUB_TURNS * len(SUB_STEPS)


def test_no_instruction_and_no_word_of_the_user_leaves_a_request(told):
    behind, _ = told
    for words in (RULE, *WORDS):
        counts = [(sent.count(words.encode()), arrived.count(words.encode())) for sent, arrived in behind.pairs()]

        assert sum(sent for sent, _ in counts) > 10, f"{words!r} was not said"
        assert all(sent == arrived for sent, arrived in counts)


def test_the_session_is_one_to_its_end_and_each_sub_agent_its_child(told):
    behind, _ = told
    with behind.place.client() as client:
        rows = client.call("session.list", {})["sessions"]

    roots = [row["session"] for row in rows if not row["parent"]]
    assert len(roots) == 1, roots
    assert [row["parent"] for row in rows if row["parent"]] == roots * len(SUB_STEPS)


def test_the_session_is_collected_after_each_thing_that_happens(told):
    behind, _ = told
    edited = [sent != arrived for sent, arrived in behind.pairs()]
    for words in WORDS[2:]:  # Typed after the pause, and after the summary.
        first = next(at for at, (sent, _) in enumerate(behind.pairs()) if words.encode() in sent)
        assert any(edited[first:])
    assert sum(edited) > len(edited) // 3


def test_what_is_out_stays_out_through_kills_pauses_and_resumes(told):
    behind, _ = told
    before = {}
    for request in behind.model.requests:
        out = before.get(request.thread, set())
        here = WIRE_FORMATS[request.wire].parse(request.body).segments
        out_now = {s.id for s in here if any(OUT.match(piece.text) for piece in s.body)}
        back = {s.id for s in here} & out - out_now
        assert not back, f"request {request.number} has back what was out"
        before[request.thread] = out_now


def test_the_session_costs_less_and_each_collection_costs_what_was_predicted(told, request, capsys):
    behind, alone = told
    name = request.node.callspec.params["told"]
    with_, without = (sum(bill.cost for bill in model.bills.values()) for model in (behind.model, alone))
    with behind.place.client() as client:
        sessions = [row["session"] for row in client.call("session.list", {})["sessions"]]
        logs = [client.call("heap.log", {"session": session})["collections"] for session in sessions]
        outlooks = [client.call("session.show", {"session": session})["next_collection"] for session in sessions]
    billed = [one for one in itertools.chain(*logs) if one["actual_cost"] is not None]
    near = [abs(one["actual_cost"] - one["predicted_cost"]) <= NEAR * -one["predicted_cost"] for one in billed]
    edited = sum(sent != arrived for sent, arrived in behind.pairs())
    pairs = ", ".join(f"{one['predicted_cost'] / 1000:.1f}/{one['actual_cost'] / 1000:.1f}" for one in billed[::-1])

    with capsys.disabled():
        print(
            f"\n{name}: {len(behind.model.requests)} requests, {len(behind.model.refused)} refused, {edited} edited; "
            f"cost {with_:,.0f} with, {without:,.0f} without ({with_ / without - 1:+.1%}); "
            f"{sum(near)} of {len(near)} collections near the prediction; predicted/billed k: {pairs}"
        )
    assert with_ < COST_MAX * without
    assert len(billed) >= COLLECTIONS_MIN
    assert sum(near) >= NEAR_SHARE_MIN * len(near)
    assert all(outlook["state"] != "paused" for outlook in outlooks), "the bills contradict the model of the cache"
