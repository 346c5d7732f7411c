"""What a plan says of itself: one unit, parts that add up, and what it means for the window."""

import asyncio
import threading

import pytest

from ctxgc.core.errors import BadParams, NotFound
from ctxgc.daemon.verbs import heap, mutation, why
from tests.daemon.transcripts import worked

SESSION = {"session": "claude_code:a1"}


@pytest.fixture
async def session(bench, tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(20).data)
    await bench.call("import", paths=[str(path)])
    return bench


@pytest.mark.parametrize("unit", ["billed", "raw"])
async def test_what_holds_a_window_adds_up_to_it_in_the_unit_asked_for(session, unit):
    for _ in range(2):
        reply = await session.call("heap.collect", **SESSION, budget_tokens=1, unit=unit)

        assert sum(reply["protected_by"].values()) == reply["after_tokens"]
        assert ("system_and_tools" in reply["protected_by"]) is (unit == "billed")

    assert reply["changed"] == "nothing more can go"
    assert "is not reached" in reply["next"]


async def test_what_a_billed_plan_frees_is_billed_victim_by_victim(session):
    raw = await session.call("heap.plan", **SESSION, budget_tokens=1, unit="raw")
    billed = await session.call("heap.plan", **SESSION, budget_tokens=1, unit="billed")

    assert abs(sum(one["freed_tokens"] for one in billed["victims"]) - billed["freed_tokens"]) <= len(billed["victims"])
    assert sum(one["freed_tokens"] for one in raw["victims"]) == raw["freed_tokens"]


@pytest.mark.parametrize("renderer", ["client", "gateway"])
async def test_an_undo_says_that_bodies_come_back_and_not_that_they_leave(session, renderer):
    await session.call("session.set", **SESSION, rendered_by=renderer)
    left = await session.call("segment.evict", **SESSION, ids=["toolu_001"])
    back = await session.call("heap.undo", **SESSION)

    assert "leaves these bodies out" in left["effect"]
    assert "has these bodies again" in back["effect"]


async def test_a_pin_counts_what_it_changed_and_says_what_it_does_not_bring_back(session):
    await session.call("segment.evict", **SESSION, ids=["toolu_001"])

    first = await session.call("segment.pin", **SESSION, ids=["toolu_001"])
    again = await session.call("segment.pin", **SESSION, ids=["toolu_001"])
    other = await session.call("segment.unpin", **SESSION, ids=["toolu_002"])

    assert first["changed"] == "1 segment kept from now on"
    assert "`ctxgc recall toolu_001` brings it back" in first["next"]
    assert again["changed"] == "nothing changed: pinned already"
    assert other["changed"] == "nothing changed: not pinned"


@pytest.mark.parametrize("filters", [{"kinds": ["foo"]}, {"states": ["foo"]}])
@pytest.mark.parametrize("method", ["stash.search", "segment.list"])
async def test_a_filter_that_nothing_can_match_is_refused_with_the_names_there_are(session, method, filters):
    with pytest.raises(BadParams, match=r"exchange|evicted"):
        await session.call(method, **filters, **({"query": "ferry"} if method == "stash.search" else SESSION))


async def test_a_segment_that_no_session_has_is_what_is_missing_even_where_no_session_is_at_hand(session):
    with pytest.raises(NotFound, match="no segment 'nosuch' in any session"):
        await session.call("stash.recall", cwd="/elsewhere", id="nosuch")


@pytest.mark.parametrize(
    ("verb", "params", "module", "look"),
    [
        ("heap.plan", {"budget_tokens": 1}, heap, "plan_collection"),
        ("heap.why", {"id": "toolu_001"}, why, "find_standing"),
    ],
)
async def test_while_a_large_heap_is_looked_at_others_are_answered_and_the_session_does_not_change(
    session, monkeypatch, verb, params, module, look
):
    begun, go_on = threading.Event(), threading.Event()
    original = getattr(module, look)

    def slow(*arguments):
        begun.set()
        assert go_on.wait(20)
        return original(*arguments)

    monkeypatch.setattr(mutation, "BESIDE_SLOTS_MIN", 1)
    monkeypatch.setattr(module, look, slow)
    reply = asyncio.create_task(session.call(verb, **SESSION, **params))
    assert await asyncio.to_thread(begun.wait, 20)

    change = asyncio.create_task(session.call("segment.pin", **SESSION, ids=["toolu_002"]))
    await session.call("session.list")
    assert not change.done()
    go_on.set()

    assert (await reply)["session"] == SESSION["session"]
    assert (await change)["changed"] == "1 segment kept from now on"
