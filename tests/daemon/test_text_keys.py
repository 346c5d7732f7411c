"""The keys of texts: a session that wakes knows its texts by them, and they leave with the text."""

import pytest

from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_over, open_stash

SESSION = {"session": "client:s"}
CODE = "def count_the_tides():\n    return 7\nHARBOUR_DEPTH = 3\n"
SEGMENTS = [
    {"id": "a", "kind": "tool_call", "tool": "Read", "text": CODE},
    {"id": "b", "kind": "tool_call", "tool": "Read", "text": CODE},
    {"id": "c", "kind": "tool_call", "tool": "Bash", "status": "pending"},
    {"id": "c", "kind": "tool_call", "tool": "Bash", "text": "class FerryLine_7:\n"},
    {"kind": "assistant", "text": "def moor_the_ferry(): ..."},
    {"id": "d", "kind": "tool_call", "tool": "Bash", "status": "pending"},
]


@pytest.fixture
async def stash():
    async with open_stash(SqliteStash(MEMORY)) as stash:
        async with bench_over(stash) as bench:
            await bench.call("session.open", session="s")
            for segment in SEGMENTS:
                await bench.call("segment.add", **SESSION, segment=segment)
        yield stash


async def on_writer(stash, sql):
    return await stash._writer_thread.run(lambda db: db.execute(sql).fetchall())


async def text_index(stash):
    """What the indexes of a session that woke know of texts."""
    async with bench_over(stash) as bench:
        session = await bench.services.registry.get_by_name(SESSION["session"])
        await session.ensure_word_index()
        return session.indexes.index._definers, session.indexes._garbage._likeness


async def test_a_session_knows_by_keys_what_its_texts_say(stash):
    by_keys = await text_index(stash)
    await on_writer(stash, "DELETE FROM text_key WHERE rid % 2")
    by_some_keys = await text_index(stash)
    await on_writer(stash, "DELETE FROM text_key")

    assert await text_index(stash) == by_keys == by_some_keys
    assert len(by_keys[0]) == 4
    assert len(by_keys[1]) == 2, "a call and its like have one key"


async def test_keys_of_another_version_are_made_anew_from_the_texts(stash):
    by_keys = await text_index(stash)
    await on_writer(stash, "UPDATE text_key SET version = 0, likeness = x'00', definitions = x''")

    assert await text_index(stash) == by_keys


async def test_a_session_that_woke_knows_of_texts_what_it_knew_awake(stash):
    async with bench_over(stash) as bench:
        await bench.call("session.open", session="other")
        for segment in SEGMENTS:
            await bench.call("segment.add", session="client:other", segment=segment)
        session = await bench.services.registry.get_by_name("client:other")
        awake = session.indexes.index._definers, session.indexes._garbage._likeness

    assert await text_index(stash) == awake


async def test_no_text_is_read_for_the_first_admission_of_a_session_that_wakes(stash, monkeypatch):
    read = []
    contents = stash.contents
    monkeypatch.setattr(stash, "contents", lambda key, seqs: (read.append(seqs), contents(key, seqs))[1])

    async with bench_over(stash) as bench:
        await bench.call("segment.add", **SESSION, segment={"kind": "user", "text": "the tide"})

    assert not read


async def test_keys_leave_with_the_text(stash):
    async with bench_over(stash) as bench:
        await bench.call("stash.forget", **SESSION, ids=["a", "c"])

    assert await on_writer(stash, "SELECT rid FROM text_key ORDER BY rid") == await on_writer(
        stash, "SELECT rid FROM body ORDER BY rid"
    )
    definers, likeness = await text_index(stash)
    assert len(likeness) == 1
    assert len(definers) == 3
