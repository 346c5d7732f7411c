"""The listener: the HTTP library's server behind the guard of connections, on a socket that is bound already."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from ctxgc.gateway.http.connections import Connections, connection_bounds, raise_open_files_limit
from ctxgc.gateway.http.upstream import HEADER_BYTES_MAX

READ_BYTES = 2**20
"""Bytes read ahead of a slow reader, in each direction; at half of them the other side has to wait."""


@asynccontextmanager
async def open_http_server(
    app: web.Application, listener: socket.socket, connections: Connections | None = None
) -> AsyncIterator[None]:
    """Serve for as long as the context lasts."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        auto_decompress=False,
        handler_cancellation=True,  # An agent that hangs up ends the reply that it pays for.
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        shutdown_timeout=5.0,
        read_bufsize=READ_BYTES,
    )
    await runner.setup()
    assert runner.server is not None
    guarded = (connections or Connections(connection_bounds(raise_open_files_limit()))).guarded_protocol_factory(
        runner.server
    )
    server = await asyncio.get_running_loop().create_server(guarded, sock=listener)
    try:
        yield
    finally:
        server.close()
        await runner.cleanup()
