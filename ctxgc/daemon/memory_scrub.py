"""After a forget: the daemon's memory loses what the files have lost.

forget ──▶ wait until the files are written anew ──▶ drop caches ──▶ overwrite what is free, thread by thread
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Any

from ctxgc.core.search.lexemes import overwrite_last_word
from ctxgc.daemon.freed_memory import clear_function_caches, fill_free_blocks, fill_free_chunks, find_cached_functions
from ctxgc.daemon.services import Services, run_on_worker

SETTLE_S = 1.0
ERASED_S_MAX = 40.0
"""After this long memory is overwritten all the same; again, once the files are erased."""
ROUNDS = 3
"""What one thread freed another thread's allocator may hold back until the next round."""
RETRY_S = 5.0
READ_BUFFER_BYTES = 512 * 2**10
"""More than a loop reads at once: the buffer that all connections share is read over."""

_log = logging.getLogger("ctxgc.daemon")


async def scrub_memory_after_forgets(services: Services, functions: Sequence[Any]) -> None:
    """Overwrite memory after every forget, for as long as the daemon runs.

    `functions` are cached ones that the collector is about to lose sight of.
    """
    failure = ""
    while True:
        await services.has_forgotten.wait()
        services.has_forgotten.clear()
        try:
            await _scrub_memory(services, functions)
            failure = ""
        except Exception as error:  # Forgotten text is still in memory: the next attempt may succeed.
            if failure != type(error).__qualname__:  # The type alone: a message may quote what was forgotten.
                failure = type(error).__qualname__
                _log.error("memory could not be overwritten after a forget: %s", failure)
            await asyncio.sleep(RETRY_S)
            services.has_forgotten.set()


async def _scrub_memory(services: Services, functions: Sequence[Any]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(SETTLE_S)
    end = loop.time() + ERASED_S_MAX
    while await _has_pending_erasures(services) and loop.time() < end:  # noqa: ASYNC110 - the stash tells nobody
        await asyncio.sleep(SETTLE_S)
    if await _has_pending_erasures(services):
        services.has_forgotten.set()
    for empty in services.caches:
        empty()
    clear_function_caches([*functions, *find_cached_functions()])
    overwrite_last_word()
    for session in services.registry.awake_sessions:
        await session.ensure_current()  # The heap of before the forget holds names.
    for _ in range(ROUNDS):
        await _overwrite_read_buffer()
        await services.stash.drop_caches(fill_free_chunks)
        fill_free_chunks()
        await run_on_worker(services, fill_free_blocks)
        await asyncio.sleep(SETTLE_S)


async def _has_pending_erasures(services: Services) -> bool:
    return (await services.stash.status()).erasures_pending > 0


async def _overwrite_read_buffer() -> None:
    ours, other = socket.socketpair()
    with other:
        reader, writer = await asyncio.open_connection(sock=ours)
        other.setblocking(False)
        await asyncio.gather(
            asyncio.get_running_loop().sock_sendall(other, bytes(READ_BUFFER_BYTES)),
            reader.readexactly(READ_BUFFER_BYTES),
        )
        writer.close()
