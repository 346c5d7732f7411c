"""Memory is overwritten after a forget even if an attempt fails, and no log quotes what was forgotten."""

import asyncio
import subprocess
import sys

import pytest

from ctxgc.core.errors import StorageFailed
from ctxgc.daemon import memory_scrub

ANSWERED_S = 20.0


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(memory_scrub, "SETTLE_S", 0.0)
    monkeypatch.setattr(memory_scrub, "RETRY_S", 0.0)
    monkeypatch.setattr(memory_scrub, "fill_free_blocks", lambda: None)
    monkeypatch.setattr(memory_scrub, "fill_free_chunks", lambda: None)


@pytest.mark.parametrize("error", [StorageFailed("needle", hint=""), ValueError("needle"), OSError("needle")])
async def test_an_attempt_that_fails_is_made_again_and_its_error_is_logged_by_type(bench, monkeypatch, caplog, error):
    attempts = 0
    is_done = asyncio.Event()

    async def drop_caches(on_thread):
        nonlocal attempts
        attempts += 1
        if attempts <= 3:
            raise error
        if attempts >= 3 + memory_scrub.ROUNDS:
            is_done.set()

    monkeypatch.setattr(bench.stash, "drop_caches", drop_caches)
    bench.services.has_forgotten.set()
    overwriting = asyncio.create_task(memory_scrub.scrub_memory_after_forgets(bench.services, []))

    async with asyncio.timeout(ANSWERED_S):
        await asyncio.wait([overwriting, asyncio.ensure_future(is_done.wait())], return_when=asyncio.FIRST_COMPLETED)

    assert not overwriting.done()
    overwriting.cancel()
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [type(error).__name__]
    assert "needle" not in caplog.text


SCAN = """
import os, re, sys
from ctxgc.daemon.freed_memory import fill_free_blocks, enable_overwrite_on_free
enable_overwrite_on_free()
prefix = os.urandom(6).hex()
texts = [prefix + "%06d" % number + "z" * (number % 300) for number in range(200_000)]
kept = texts[::1000]  # Some of each arena, so that the system does not get the rest back.
del texts
fill_free_blocks()
pattern, found = re.compile(prefix.encode() + rb"([0-9]{6})"), set()
for line in open("/proc/self/maps"):
    bounds, rights, *rest = line.split()
    if rights.startswith("rw"):
        first, last = (int(part, 16) for part in bounds.split("-"))
        with open("/proc/self/mem", "rb") as memory:
            memory.seek(first)
            found |= {int(number) for number in pattern.findall(memory.read(last - first))}
print(len(found - set(range(0, 200_000, 1000))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read through /proc")
def test_no_freed_text_is_left_in_any_block_of_any_size_nor_behind_the_last_block_of_a_pool():
    done = subprocess.run([sys.executable, "-c", SCAN], capture_output=True, text=True, timeout=60, check=True)

    assert int(done.stdout) == 0
