"""One error or one long read of a stash harms nobody else: writes are committed, reads are answered."""

import asyncio
import sqlite3
import threading

import pytest

from ctxgc.stash import newest_segment
from ctxgc.stash import sqlite as stash_sqlite
from tests.stash.samples import KEY, put, sqlite_in

ANSWERED_S = 20.0


@pytest.fixture
async def stash(tmp_path, monkeypatch):
    monkeypatch.setattr(stash_sqlite, "LOOK_S", 0.01)
    stash = sqlite_in(tmp_path)
    await stash.open()
    yield stash
    async with asyncio.timeout(ANSWERED_S):
        await stash.close()


async def wait_for_look_error(stash, *, is_there):
    async with asyncio.timeout(ANSWERED_S):
        while ("files failed: disk I/O error" in (await stash.status()).maintenance_error) != is_there:  # noqa: ASYNC110 - the stash tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("error", [sqlite3.OperationalError, sqlite3.DatabaseError, OSError])
async def test_an_error_in_the_look_at_the_files_is_shown_and_ends_no_write(stash, monkeypatch, error):
    await stash.apply([put(1)])

    def fail(db):
        raise error("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(newest_segment, "newest_rid", fail)
        await wait_for_look_error(stash, is_there=True)

    async with asyncio.timeout(ANSWERED_S):
        await stash.apply([put(2)])
    assert [row.seq for row in await stash.rows(KEY)] == [1, 2]
    await wait_for_look_error(stash, is_there=False)


async def test_dropping_caches_during_a_long_read_keeps_no_other_read_waiting(stash):
    may_end = threading.Event()
    reading = asyncio.create_task(stash._run_on_reader(lambda db: may_end.wait(2 * ANSWERED_S)))
    threads = set()
    await asyncio.sleep(0.01)

    dropping = asyncio.create_task(stash.drop_caches(lambda: threads.add(threading.get_ident())))
    try:
        await asyncio.sleep(0.01)
        async with asyncio.timeout(ANSWERED_S):
            for _ in range(2 * stash_sqlite.READERS):
                await stash.sessions()
        assert not dropping.done()
    finally:
        may_end.set()
    await asyncio.gather(reading, dropping)
    assert len(threads) == 1 + stash_sqlite.READERS
