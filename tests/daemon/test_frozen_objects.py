"""Python's own collector walks over no session: freezes are counted, never timed."""

import asyncio
import gc
import weakref
from functools import lru_cache

from ctxgc.daemon.freed_memory import fill_free_blocks, find_cached_functions
from ctxgc.daemon.sessions import frozen_objects
from ctxgc.daemon.sessions.frozen_objects import FREEZE_SEGMENTS, FrozenObjects, pause_python_gc
from ctxgc.daemon.sessions.session_index import SessionIndex
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_over, open_stash


class Knot:
    """An object in a cycle with itself."""

    def __init__(self):
        self.self = self


def is_seen(thing):
    """Whether Python's collector walks over an object."""
    return any(other is thing for other in gc.get_objects())


def test_many_segments_that_came_to_memory_are_out_of_the_collectors_sight_and_few_are_not():
    frozen, heap = FrozenObjects(), [[]]

    frozen.note_new_segments(FREEZE_SEGMENTS - 1)
    assert is_seen(heap)

    frozen.note_new_segments(1)
    assert not is_seen(heap)


async def test_a_session_that_woke_is_out_of_the_collectors_sight(monkeypatch):
    monkeypatch.setattr(frozen_objects, "FREEZE_SEGMENTS", 1)
    async with open_stash(SqliteStash(MEMORY)) as stash:
        async with bench_over(stash) as bench:
            await bench.call("session.open", session="s")
            await bench.call("segment.add", session="client:s", segment={"kind": "user", "text": "the ferry"})
            key = await bench.services.registry.resolve("client:s")
        async with bench_over(stash) as bench:
            session = await bench.services.registry.get(key)

            assert len(session.heap) == 1
            assert not is_seen(session.indexes)


async def test_no_full_collection_runs_while_a_session_wakes_and_collections_go_on_after(monkeypatch):
    was_on = []
    restore = SessionIndex.restore

    def watched(indexes, columns):
        was_on.append(gc.isenabled())
        restore(indexes, columns)

    monkeypatch.setattr(SessionIndex, "restore", watched)
    async with open_stash(SqliteStash(MEMORY)) as stash:
        async with bench_over(stash) as bench:
            await bench.call("session.open", session="s")
            await bench.call("segment.add", session="client:s", segment={"kind": "user", "text": "the ferry"})
            key = await bench.services.registry.resolve("client:s")
        async with bench_over(stash) as bench:
            with pause_python_gc():
                await bench.services.registry.get(key)
                assert not gc.isenabled(), "another session still wakes"

    assert was_on == [False]
    assert gc.isenabled()


def test_many_objects_that_came_during_a_pause_are_frozen_and_few_are_not():
    with pause_python_gc():
        few = [[] for _ in range(10)]
    assert is_seen(few[0])

    with pause_python_gc():
        many = [[] for _ in range(20_000)]
    assert not is_seen(many[0])


def test_a_cycle_that_was_frozen_goes_once_the_daemon_is_quiet_and_sessions_fell_asleep():
    frozen, knot, requests = FrozenObjects(), Knot(), iter([1, 2, 2, 2])
    left = weakref.ref(knot)
    gc.freeze()
    del knot

    async def quiet():
        chore = asyncio.create_task(frozen.run_python_gc_when_quiet(lambda: next(requests), quiet_s=0))
        for _ in range(3):
            await asyncio.sleep(0)
        was_left_while_nobody_slept = left() is not None
        frozen.note_session_asleep()
        for _ in range(20):
            await asyncio.sleep(0)
        chore.cancel()
        return was_left_while_nobody_slept

    assert asyncio.run(quiet())
    assert left() is None
    assert next(requests, None) is None, "the first look, at which a request had come, was not passed over"


def test_what_a_forget_empties_is_found_behind_a_freeze():
    @lru_cache
    def words(text):
        return text

    words.__module__ = "ctxgc.later"
    knot = Knot()
    left = weakref.ref(knot)
    gc.freeze()
    del knot

    assert words in find_cached_functions()
    fill_free_blocks()

    assert left() is None
    frozen_objects.run_full_python_gc()
