"""Taking collections back: the newest first, each once, whoever asks at the same time."""

import asyncio
from dataclasses import replace
from math import ceil

import pytest

from ctxgc.core.errors import Conflict, NotFound
from ctxgc.core.segment import Renderer, SessionKey
from ctxgc.stash.contract import Collection, PutCollection
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import FaultyStash, bench_on
from tests.daemon.test_laws import a_session, states


async def undoes(bench, session):
    log = await bench.call("heap.log", **session)
    return [collection["undoes"] for collection in log["collections"] if collection["undoes"]]


async def test_two_undos_at_once_take_back_two_collections():
    async with bench_on(FaultyStash(SqliteStash(MEMORY))) as bench:
        session = await a_session(bench)
        await bench.call("segment.evict", **session, ids=["call0"])
        await bench.call("segment.evict", **session, ids=["call1"])
        bench.stash.may_apply.clear()

        both = [asyncio.ensure_future(bench.call("heap.undo", **session)) for _ in range(2)]
        await asyncio.wait(both, timeout=0.05)
        bench.stash.may_apply.set()
        await asyncio.gather(*both)

        assert await undoes(bench, session) == [1, 2]
        assert set((await states(bench, **session)).values()) == {"resident"}


async def test_where_nothing_is_left_to_take_back_an_undo_says_so(bench):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call0"])
    await bench.call("heap.undo", **session)

    with pytest.raises(NotFound, match="no collection to undo"):
        await bench.call("heap.undo", **session)


async def test_an_undo_of_a_number_that_no_collection_has_names_that_number(bench):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call0"])

    with pytest.raises(NotFound, match="no collection 9"):
        await bench.call("heap.undo", **session, collection=9)


async def test_the_journal_has_the_predicted_cost_that_the_undo_answered_with(bench):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call0"])

    undone = await bench.call("heap.undo", **session)

    logged = await bench.call("heap.log", **session)
    [newest, _] = logged["collections"]
    assert newest["predicted_cost"] * logged["ratio"] == pytest.approx(undone["predicted_cost"])
    assert undone["predicted_cost"] > 0


async def test_an_undo_rewrites_what_stands_behind_the_first_body_that_comes_back_and_nothing_before_it(bench):
    session = await a_session(bench)
    rewritten = {}
    for id_ in ("call0", "call1", "call3"):
        collected = await bench.call("segment.evict", **session, ids=[id_])
        undone = await bench.call("heap.undo", **session)
        rewritten[id_] = undone["cache_rewrite_tokens"]
        # The tombstone leaves as the body comes: the collection left it to be written.
        assert 0 < collected["cache_rewrite_tokens"] - undone["cache_rewrite_tokens"] < 100
    assert rewritten["call0"] > rewritten["call1"] > rewritten["call3"] > 0


async def test_on_the_wire_what_was_taken_back_is_left_alone_for_a_while_as_what_was_recalled_is(bench):
    session = await a_session(bench)
    awake = bench.services.registry.peek(SessionKey("client", "s"))
    awake.row = replace(awake.row, rendered_by=Renderer.GATEWAY)
    await bench.call("heap.collect", **session, budget_tokens=0)
    out = {id_ for id_, state in (await states(bench, **session)).items() if state == "evicted"}
    await bench.call("heap.undo", **session)

    async with bench_on(bench.stash) as restarted:
        for awake in (bench, restarted):
            await awake.call("heap.collect", **session, budget_tokens=0)
            assert set((await states(awake, **session)).values()) == {"resident"}
        assert (await restarted.call("heap.why", **session, id=min(out)))["root"] == "recalled"
        for _ in range(bench.services.config.collect.recall_grace_turns + 1):
            await restarted.call("segment.add", **session, segment={"kind": "assistant", "text": "on we go"})
        again = await restarted.call("heap.collect", **session, budget_tokens=0)

    assert out
    assert again["evicted"] >= len(out)


async def test_where_collections_are_asked_for_the_next_one_takes_what_was_taken_back(bench):
    session = await a_session(bench)
    before = await bench.call("heap.collect", **session, budget_tokens=0)
    await bench.call("heap.undo", **session)

    assert (await bench.call("heap.collect", **session, budget_tokens=0))["evicted"] == before["evicted"] > 0


async def test_what_may_go_is_what_no_root_is(bench):
    session = await a_session(bench)
    before = (await bench.call("session.show", **session))["evictable_tokens"]

    await bench.call("segment.pin", **session, ids=["call0"])

    size = (await bench.call("segment.get", **session, id="call0"))["body_tokens"]
    assert (await bench.call("session.show", **session))["evictable_tokens"] == before - size
    assert size > 0


async def test_what_is_evicted_by_hand_undone_and_planned_is_told_in_one_unit_and_the_journal_in_the_other(bench):
    session = await a_session(bench)

    evicted = await bench.call("segment.evict", **session, ids=["call0"])
    undone = await bench.call("heap.undo", **session)
    planned = await bench.call("heap.plan", **session)
    logged = await bench.call("heap.log", **session)

    assert {reply["unit"] for reply in (evicted, undone, planned)} == {"billed"}
    assert evicted["before_tokens"] == undone["after_tokens"] == planned["before_tokens"]
    [_, first] = logged["collections"]
    assert evicted["before_tokens"] == ceil(first["before_tokens"] * logged["ratio"]) + logged["hidden_tokens"]


async def test_the_first_of_a_thousand_collections_still_has_its_reason_its_line_and_its_undo(bench):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call0"])
    later = Collection(
        id=2, wall_s=0.0, turn=9, trigger="asked", target_tokens=0, before_tokens=0, after_tokens=0
    )  # fmt: skip
    key = SessionKey("client", "s")
    await bench.stash.apply([PutCollection(key, replace(later, id=n)) for n in range(2, 1203)])
    bench.services.registry.peek(key).invalidate()

    why = await bench.call("heap.why", **session, id="call0")
    log = await bench.call("heap.log", **session, collection=1)
    await bench.call("heap.undo", **session, collection=1, force=True)

    assert (why["collection"], why["reason"]) == (1, "by_hand")
    assert log["collections"][0]["collection"] == 1
    assert (await states(bench, **session))["call0"] == "resident"


async def test_a_collection_is_taken_back_once_even_by_force(bench):
    session = await a_session(bench)
    await bench.call("segment.evict", **session, ids=["call0"])
    await bench.call("heap.undo", **session)
    await bench.call("segment.evict", **session, ids=["call0"])

    with pytest.raises(Conflict, match="taken back"):
        await bench.call("heap.undo", **session, collection=1, force=True)

    assert (await states(bench, **session))["call0"] == "evicted"
