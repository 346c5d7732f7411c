"""A session has one writer and one truth: while a commit is under way, after it failed, and when memory runs short."""

import asyncio

import pytest

from ctxgc.config import Config
from ctxgc.core.errors import NotFound, StorageFailed
from ctxgc.core.segment import SessionKey
from ctxgc.daemon.sessions import registry
from ctxgc.stash.contract import SessionRow
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import FaultyStash, bench_on
from tests.daemon.test_laws import a_session, reading

NARROW = Config().model_copy(update={"daemon": Config().daemon.model_copy(update={"heap_segments_max": 1})})


@pytest.fixture
async def faulty():
    """The verbs over a stash whose commits can be made to wait or fail."""
    async with bench_on(FaultyStash(SqliteStash(MEMORY))) as made:
        yield made


async def under_way(bench, verb, **params):
    """Begin a mutation, as far as its commit, which waits."""
    bench.stash.may_apply.clear()
    bench.stash.is_applying.clear()
    work = asyncio.ensure_future(bench.call(verb, **params))
    await bench.stash.is_applying.wait()
    return work


async def test_who_waits_for_a_commit_that_fails_builds_on_the_rows(faulty):
    session = await a_session(faulty)
    faulty.stash.fail_applies = {faulty.stash.applied + 1}
    failing = await under_way(faulty, "segment.add", **session, segment={"kind": "user", "text": "lost"})
    waiting = asyncio.ensure_future(faulty.call("segment.add", **session, segment={"kind": "user", "text": "kept"}))
    await asyncio.sleep(0.01)

    faulty.stash.may_apply.set()
    with pytest.raises(StorageFailed):
        await failing
    await waiting

    listed = (await faulty.call("segment.list", **session))["segments"]
    assert sorted(segment["seq"] for segment in listed) == list(range(11)), "no gap where the lost one would have been"


async def test_what_was_read_while_a_commit_was_under_way_that_failed_is_not_answered_again(faulty):
    session = await a_session(faulty)
    faulty.stash.fail_applies = {faulty.stash.applied + 1}
    pinning = await under_way(faulty, "segment.pin", **session, ids=["call0"])
    await faulty.call("segment.get", **session, id="call0")

    faulty.stash.may_apply.set()
    with pytest.raises(StorageFailed):
        await pinning

    assert not (await faulty.call("segment.get", **session, id="call0"))["is_pinned"]


async def test_a_text_that_is_read_while_it_is_forgotten_is_gone_all_the_same(faulty):
    session = await a_session(faulty)
    forgetting = await under_way(faulty, "stash.forget", **session, ids=["call0"])

    await faulty.services.contents.get(faulty.services.registry.awake_sessions[0].key, [0])
    faulty.stash.may_apply.set()
    await forgetting

    assert faulty.services.contents.segment_count == 0
    with pytest.raises(NotFound):
        await faulty.call("segment.get", **session, id="call0")


async def test_a_session_that_somebody_holds_is_never_in_memory_twice():
    async with bench_on(SqliteStash(MEMORY), config=NARROW) as bench:
        await a_session(bench, name="held")
        held = await bench.services.registry.get_by_name("client:held")
        await a_session(bench, name="other")

        assert bench.services.registry.peek(held.key) is None
        assert await bench.services.registry.get_by_name("client:held") is held


async def test_a_session_that_falls_asleep_in_the_middle_of_a_change_has_one_writer_all_the_same():
    stash = FaultyStash(SqliteStash(MEMORY))
    async with bench_on(stash, config=NARROW) as bench:
        session = await a_session(bench, name="changing")
        adding = await under_way(bench, "segment.add", **session, segment={"kind": "user", "text": "first"})
        await bench.services.registry.open(SessionRow(key=SessionKey("client", "other")))
        assert bench.services.registry.peek(SessionKey("client", "changing")) is None
        later = asyncio.ensure_future(bench.call("segment.add", **session, segment={"kind": "user", "text": "second"}))
        await asyncio.sleep(0.01)

        stash.may_apply.set()
        await asyncio.gather(adding, later)

        listed = (await bench.call("segment.list", **session))["segments"]
        assert sorted(segment["seq"] for segment in listed) == list(range(12))


async def test_a_new_session_that_falls_asleep_before_its_first_change_is_written_with_it():
    async with bench_on(SqliteStash(MEMORY), config=NARROW) as bench:
        first = await bench.services.registry.open(SessionRow(key=SessionKey("client", "s")))
        await a_session(bench, name="other")
        second = await bench.services.registry.open(SessionRow(key=SessionKey("client", "s")))
        async with second.transaction():
            pass

        assert second is first
        assert await bench.stash.session(first.key) is not None


async def test_i12_sessions_fall_asleep_when_their_indexes_grow_too_large(bench, monkeypatch):
    monkeypatch.setattr(registry, "INDEX_ENTRIES_MAX", 3)

    for name in ("first", "second", "third"):
        await a_session(bench, name=name)
        code = "".join(f"def moor_vessel_{n}(berth_{n}): pass\n" for n in range(40))
        await bench.call("segment.add", session=f"client:{name}", segment=reading(9, code))

    assert [session.key.session for session in bench.services.registry.awake_sessions] == ["third"]
