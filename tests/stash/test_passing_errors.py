"""One error of a stash harms nobody else: writes are committed."""

import asyncio
import sqlite3

import pytest

from ctxgc.stash import newest_mark
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
        patch.setattr(newest_mark, "newest_rid", fail)
        await wait_for_look_error(stash, is_there=True)

    async with asyncio.timeout(ANSWERED_S):
        await stash.apply([put(2)])
    assert [row.seq for row in await stash.rows(KEY)] == [1, 2]
    await wait_for_look_error(stash, is_there=False)
