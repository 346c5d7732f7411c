"""After a forget: the daemon's memory loses what the files have lost.

    forget ──▶ wait until the files are written anew ──▶ drop caches ──▶ overwrite what is free, thread by thread
"""

from __future__ import annotations

import asyncio
import socket

from ctxgc.daemon.freed_memory import fill_free_blocks, fill_free_chunks
from ctxgc.daemon.services import Services

SETTLE_S = 1.0
ERASED_S_MAX = 40.0
"""After this long memory is overwritten all the same; again, once the files are erased."""
READ_BUFFER_BYTES = 512 * 2**10
"""More than a loop reads at once: the buffer that all connections share is read over."""


async def overwrite_forgotten(services: Services) -> None:
    """Overwrite memory after every forget, for as long as the daemon runs."""
    loop = asyncio.get_running_loop()
    while True:
        await services.has_forgotten.wait()
        services.has_forgotten.clear()
        await asyncio.sleep(SETTLE_S)
        end = loop.time() + ERASED_S_MAX
        while (await services.stash.status()).erasures_pending and loop.time() < end:
            await asyncio.sleep(SETTLE_S)
        if (await services.stash.status()).erasures_pending:
            services.has_forgotten.set()
        for empty in services.caches:
            empty()
        for session in services.registry.awake:
            await session.ensure_current()  # The heap of before the forget holds names.
        await _read_over()
        await services.stash.drop_caches(fill_free_chunks)
        fill_free_chunks()
        await loop.run_in_executor(services.worker, fill_free_blocks)


async def _read_over() -> None:
    ours, other = socket.socketpair()
    with other:
        reader, writer = await asyncio.open_connection(sock=ours)
        other.setblocking(False)
        await asyncio.gather(
            asyncio.get_running_loop().sock_sendall(other, bytes(READ_BUFFER_BYTES)),
            reader.readexactly(READ_BUFFER_BYTES),
        )
        writer.close()
