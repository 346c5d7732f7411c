"""Every reply to a mutation says what changed, what it did to the budget, and the next step if there is one."""

import pytest

from tests.daemon.test_laws import MUTATIONS, a_session

OF_NO_WINDOW = {"session.set", "session.close", "tx"}
"""Settings of a session; and a tx, whose calls answer each for itself."""


@pytest.mark.parametrize(("verb", "params"), [pair for pair in MUTATIONS if pair[0] not in OF_NO_WINDOW])
async def test_a_mutation_of_the_window_says_what_it_now_costs(bench, verb, params):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call2"])

    reply = await bench.call(verb, **session, **params)

    now = await bench.call("session.show", **session)
    said = reply.get("resident_tokens", reply.get("after_tokens"))
    assert said in (now["resident_tokens"], now["billed_tokens"])
    assert reply["changed"]


@pytest.mark.parametrize(
    ("verb", "params"),
    [("session.set", {"budget_tokens": 500}), ("stash.recall", {"id": "call2"}), ("segment.add", MUTATIONS[0][1])],
)
async def test_whoever_leaves_a_session_over_its_budget_is_told_the_next_step(bench, verb, params):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call2"])
    await bench.call("session.set", **session, budget_tokens=500)

    reply = await bench.call(verb, **session, **params)

    assert "ctxgc collect" in reply["next"]
