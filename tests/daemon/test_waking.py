"""A session that wakes is the one that fell asleep, whatever was done to it: one truth, in rows and in memory."""

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxgc.core.errors import CtxgcError
from ctxgc.core.segment import Kind, Piece, Role, Segment
from ctxgc.daemon.sessions import session as session_module
from ctxgc.stash import waking
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_over, open_stash
from tests.daemon.test_laws import reading

SESSION = {"session": "client:s"}
IDS = [f"call{n}" for n in range(3)]
ids = st.sampled_from(IDS)
some = st.lists(ids, min_size=1, max_size=3).map(lambda names: {"ids": names})
exchange = st.fixed_dictionaries(
    {
        "id": ids,
        "kind": st.just("tool_call"),
        "tool": st.just("Read"),
        "status": st.sampled_from(["ok", "pending", "error"]),
        "text": st.sampled_from(["", "the tide\n" * 80, "the ferry\ndef ferry_line(): 0\n" * 80]),
        "paths": st.sampled_from([[], ["/pier.py"], ["/pier.py", "/quay.py"]]),
        "importance": st.sampled_from([0.5, 0.9]),
        "task": st.sampled_from(["", "port"]),
    }
)
mutation = st.one_of(
    st.tuples(st.just("segment.add"), st.fixed_dictionaries({"segment": exchange})),
    st.tuples(st.just("segment.add"), st.just({"segment": {"kind": "assistant", "text": "let me see"}})),
    st.tuples(st.sampled_from(["segment.touch", "segment.pin", "segment.unpin", "segment.evict"]), some),
    st.tuples(st.just("segment.tag"), st.builds(lambda id: {"id": id, "task": "port", "importance": 0.7}, ids)),
    st.tuples(st.just("segment.ref"), st.builds(lambda id, ref: {"id": id, "refs": [ref]}, ids, ids)),
    st.tuples(st.just("stash.recall"), st.builds(lambda id: {"id": id}, ids)),
    st.tuples(st.just("stash.forget"), some),
    st.tuples(st.just("heap.collect"), st.just({"budget_tokens": 0})),
    st.tuples(st.just("heap.undo"), st.just({})),
)


SAID = Segment(
    id="next",
    kind=Kind.ASSISTANT,
    role=Role.ASSISTANT,
    place=0,
    born_turn=0,
    body=(Piece("text", b"see pier.py and ferry_line of quay.py"),),
)


async def memory(bench):
    """What a heap holds of a session, in words that do not depend on when it was built."""
    session = await bench.services.registry.get_by_name(SESSION["session"])
    await session.ensure_current()
    heap, slots = session.heap, range(len(session.heap))
    heap.check_invariants()
    columns = (heap.ids, heap.state, heap.flags, heap.place, heap.born, heap.touched, heap.touches, heap.body)
    more = (heap.kind, heap.skeleton, heap.tombstone, heap.importance, heap.traits, heap.namings)
    await session.ensure_word_index()
    index = session.indexes
    # Reads that no later read covered (`uncovered`) may differ: a call that ended after a newer one had read the same
    # lines is covered once the session woke, and was not before. Fewer proofs follow, never a wrong one.
    files = {path: (of.uses, of.views, of.namers) for path, of in index.index.paths.histories.items()}
    return {
        "files": {path: held for path, held in files.items() if any(held)},
        "current": index.index.paths.current,
        "next": index.index.derive_references(len(heap), SAID),
        "digests": [index.digest_of(slot) for slot in slots],
        "sets": (index.redacted, index.left_evicted),
        **{n: [column[slot] for slot in slots] for n, column in enumerate((*columns, *more))},
        "edges": [sorted(heap.refs_with_edge_kinds(slot)) for slot in slots],
        "names": [(heap.tools[heap.tool[slot]], heap.tasks[heap.task[slot]]) for slot in slots],
        "window": list(heap.window()),
        "proofs": heap.proofs,
        "row": session.row,
        "collection": session.last_collection,
    }


@settings(suppress_health_check=list(HealthCheck))
@given(st.lists(mutation, min_size=8, max_size=20))
async def test_whatever_was_done_to_a_session_it_wakes_as_it_fell_asleep(mutations):
    async with open_stash(SqliteStash(MEMORY)) as stash:
        async with bench_over(stash) as bench:
            await bench.call("session.open", session="s")
            for id in IDS:
                running = {"id": id, "kind": "tool_call", "tool": "Read", "status": "pending"}
                await bench.call("segment.add", **SESSION, segment=running)
            for verb, params in mutations:
                with suppress(CtxgcError):  # It named what is not there, or what may not go.
                    await bench.call(verb, **SESSION, **params)
            before = await memory(bench)

        async with bench_over(stash) as restarted:
            assert await memory(restarted) == before


async def test_a_change_that_is_cancelled_in_its_commit_ends_before_memory_is_read_again(monkeypatch, tmp_path):
    """A wake reads rows in batches: a commit between two of them would be in one half of memory alone."""
    monkeypatch.setattr(waking, "ROWS_PER_BATCH", 4)
    monkeypatch.setattr(session_module, "ROWS_PER_BATCH", 4)
    stash = SqliteStash(tmp_path / "stash.sqlite", reserve_bytes=0)
    async with open_stash(stash), bench_over(stash) as bench:
        await bench.call("session.open", session="s")
        for number in range(7):
            await bench.call("segment.add", **SESSION, segment=reading(number, "text\n" * 200))
        session, is_due = await bench.services.registry.get_by_name(SESSION["session"]), threading.Event()
        write, read = stash._writer._apply_in_transaction, stash.segment_columns

        def write_when_due(batches):
            is_due.wait(10)
            return write(batches)

        async def read_slowly(key, seq):
            columns = await read(key, seq)
            is_due.set()
            await asyncio.sleep(0.1)
            return columns

        monkeypatch.setattr(stash._writer, "_apply_in_transaction", write_when_due)
        monkeypatch.setattr(stash, "segment_columns", read_slowly)
        changing = asyncio.create_task(bench.call("segment.evict", **SESSION, ids=["call0", "call6"]))
        await asyncio.sleep(0.1)
        changing.cancel()
        asyncio.get_running_loop().call_later(0.3, is_due.set)

        with suppress(asyncio.CancelledError):
            await changing
        await session.ensure_current()

        rows = [row.state.value for row in await stash.rows(session.key)]
        assert [session.heap.state_of(slot).value for slot in range(7)] == rows
        assert rows.count("evicted") == 2


async def test_settings_that_change_while_a_session_wakes_reach_the_session(monkeypatch):
    async with open_stash(SqliteStash(MEMORY)) as stash:
        async with bench_over(stash) as bench:
            await bench.call("session.open", session="s")
            await bench.call("segment.add", **SESSION, segment=reading(0, "text"))
        async with bench_over(stash) as restarted:
            registry, read = restarted.services.registry, stash.segment_columns
            changed = replace(registry.settings, recall_grace_turns=77)

            async def change_meanwhile(key, seq):
                registry.adopt_settings(changed)
                return await read(key, seq)

            monkeypatch.setattr(stash, "segment_columns", change_meanwhile)

            assert (await registry.get_by_name(SESSION["session"])).settings is changed
