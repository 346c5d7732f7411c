"""Memory is overwritten after a forget even if an attempt fails, and no log quotes what was forgotten."""

import asyncio

import pytest

from ctxgc.core.errors import StorageFailed
from ctxgc.daemon import forgotten

ANSWERED_S = 20.0


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(forgotten, "SETTLE_S", 0.0)
    monkeypatch.setattr(forgotten, "RETRY_S", 0.0)
    monkeypatch.setattr(forgotten, "fill_free_blocks", lambda: None)
    monkeypatch.setattr(forgotten, "fill_free_chunks", lambda: None)


@pytest.mark.parametrize("error", [StorageFailed("needle", hint=""), ValueError("needle"), OSError("needle")])
async def test_an_attempt_that_fails_is_made_again_and_its_error_is_logged_by_type(bench, monkeypatch, caplog, error):
    attempts = 0
    is_done = asyncio.Event()

    async def drop_caches(on_thread):
        nonlocal attempts
        attempts += 1
        if attempts <= 3:
            raise error
        if attempts >= 3 + forgotten.ROUNDS:
            is_done.set()

    monkeypatch.setattr(bench.stash, "drop_caches", drop_caches)
    bench.services.has_forgotten.set()
    overwriting = asyncio.create_task(forgotten.overwrite_forgotten(bench.services, []))

    async with asyncio.timeout(ANSWERED_S):
        await asyncio.wait([overwriting, asyncio.ensure_future(is_done.wait())], return_when=asyncio.FIRST_COMPLETED)

    assert not overwriting.done()
    overwriting.cancel()
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [type(error).__name__]
    assert "needle" not in caplog.text
