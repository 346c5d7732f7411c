"""What is heavy in one session happens beside the loop, so that every other session is answered meanwhile."""

import threading

import pytest

from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.segment import DIGEST_BYTES
from ctxgc.daemon.feeds import session_bundle
from ctxgc.daemon.sessions.intake import INLINE_BYTES_MAX, INLINE_SEGMENTS_MAX, Intake
from ctxgc.daemon.sessions.session_index import SessionIndex
from ctxgc.daemon.verbs import heap, sessions
from ctxgc.tokens.counter import TokenCounter
from ctxgc.tokens.ranks import load_ranks
from tests.daemon.harness import COUNTER, bench_on
from tests.daemon.test_laws import a_session, reading


@pytest.fixture
def beside(monkeypatch):
    """Watches a function: whether each of its calls ran on another thread than the loop's."""
    loop, calls = threading.get_ident(), []

    def watch(owner, name):
        real = getattr(owner, name)

        def watched(*arguments):
            calls.append(threading.get_ident() != loop)
            return real(*arguments)

        monkeypatch.setattr(owner, name, watched)
        return calls

    return watch


async def test_a_window_is_rendered_beside_the_loop(bench, beside):
    session = await a_session(bench)
    calls = beside(sessions, "_build_window_slots")
    beside(type(WIRE_FORMATS["openai_chat"]), "render")

    await bench.call("session.render", **session, format="openai_chat")

    assert calls == [True, True]


async def test_a_session_is_exported_beside_the_loop(bench, beside, tmp_path):
    session = await a_session(bench)
    calls = beside(session_bundle, "_encode_rows")

    await bench.call("export", **session, path=str(tmp_path / "out.jsonl"))

    assert set(calls) == {True}


async def test_a_collection_is_planned_once_and_beside_the_loop(bench, beside):
    session = await a_session(bench)
    calls = beside(heap, "plan_collection")

    await bench.call("heap.collect", **session, budget_tokens=0, must_fit=False)

    assert calls == [True]


async def test_a_session_wakes_beside_the_loop(bench, beside):
    session = await a_session(bench)
    calls = beside(SessionIndex, "restore")

    async with bench_on(bench.stash) as restarted:
        await restarted.call("session.show", **session)

    assert calls == [True]


async def test_only_what_is_prepared_as_fast_as_it_is_handed_over_is_prepared_on_the_loop(bench, beside):
    COUNTER.count("the ranks are read")
    session = await a_session(bench)
    few = [reading(100 + n, "a line") for n in range(INLINE_SEGMENTS_MAX)]
    calls = beside(Intake, "prepare_segments")

    await bench.call("segment.add_many", **session, segments=few)
    await bench.call("segment.add_many", **session, segments=[*few, reading(200, "a line")])
    await bench.call("segment.add", **session, segment=reading(300, "word " * (INLINE_BYTES_MAX // 5)))

    assert calls == [False, True, True]


async def test_the_ranks_are_never_read_on_the_loop(bench, beside):
    bench.services.intake.counter = TokenCounter(lambda: load_ranks({}))
    calls = beside(Intake, "prepare_segments")

    await a_session(bench, exchanges=1)

    assert calls[:2] == [True, False]


async def test_a_digest_more_leaves_the_column_of_them_where_it_is(bench):
    """A copy of the column a segment would make a session's cost the square of its length."""
    named = await a_session(bench)
    session = await bench.services.registry.get_by_name(named["session"])
    column = session.indexes._digests

    await bench.call("segment.add", **named, segment=reading(100))

    assert session.indexes._digests is column
    assert len(column) == len(session.heap) * DIGEST_BYTES


async def test_a_long_list_is_described_in_slices_and_whole(bench, monkeypatch):
    session = await a_session(bench)
    whole = await bench.call("segment.list", **session)
    monkeypatch.setattr("ctxgc.daemon.verbs.segments.LIST_SLICE", 3)

    assert await bench.call("segment.list", **session) == whole
