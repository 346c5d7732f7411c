"""A stash in memory: the engine that ships, told to keep nothing."""

import asyncio

import pytest

from ctxgc.stash import sqlite
from ctxgc.stash.contract import Forget, PutSession, Query, SessionRow
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.stash.samples import KEY, put, puts


@pytest.fixture
async def stash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stash = SqliteStash(MEMORY)
    await stash.open()
    yield stash
    await stash.close()


async def test_nothing_of_a_stash_in_memory_is_on_the_disk_or_there_after_it_is_closed(tmp_path, stash):
    await stash.apply([PutSession(SessionRow(key=KEY)), *puts("secret", "more")])
    await stash.apply([Forget(KEY, [0])])
    assert (await stash.status()).bytes_on_disk == 0
    await stash.close()

    await stash.open()

    assert await stash.rows(KEY) == await stash.sessions() == []
    assert list(tmp_path.iterdir()) == []


async def test_two_stashes_in_memory_share_nothing(stash):
    other = SqliteStash(MEMORY)
    await other.open()
    await stash.apply(puts("ours"))

    assert await other.rows(KEY) == []
    await other.close()


async def test_readers_and_writers_of_a_stash_in_memory_take_turns_and_nobody_is_refused(stash):
    async def read_back(seq):
        await stash.apply([put(seq, f"word {seq}")])
        found = await stash.search(Query(text=f"{seq}"))
        return len(await stash.contents(KEY, [seq])), [hit.row.seq for hit in found.hits]

    answers = await asyncio.gather(*map(read_back, range(40)))

    assert answers == [(1, [seq]) for seq in range(40)]


async def test_a_search_that_runs_out_of_time_interrupts_no_commit_on_the_same_connection(monkeypatch):
    monkeypatch.setattr(sqlite, "INTERRUPT_OPS", 1)
    stash = SqliteStash(MEMORY, search_s_max=0.0)
    await stash.open()
    await stash.apply(puts("word"))

    searches = [stash.search(Query(text="word")) for _ in range(20)]
    writes = [stash.apply([put(n, f"word {n}" * 50)]) for n in range(1, 20)]
    replies = await asyncio.gather(*searches, *writes)

    assert all(reply.is_partial for reply in replies[:20])
    assert len(await stash.rows(KEY)) == 20
    await stash.close()


async def test_a_full_disk_is_no_trouble_of_a_stash_in_memory():
    stash = SqliteStash(MEMORY, free_bytes=lambda _: 0)
    await stash.open()

    await stash.apply(puts("one"))

    assert not (await stash.status()).is_read_only
    await stash.close()


async def test_a_backup_of_a_stash_in_memory_is_a_whole_stash(tmp_path, stash):
    await stash.apply(puts("word"))
    folder = tmp_path / "copies"
    folder.mkdir(mode=0o700)

    await stash.backup(str(folder / "copy.db"))

    copy = SqliteStash(folder / "copy.db", reserve_bytes=0)
    await copy.open()
    assert await copy.rows(KEY) == await stash.rows(KEY)
    await copy.close()
