"""The MCP server at an address, `/mcp/TOKEN/FOLDER`, for clients that take a URL and start no process.

    POST ──▶ the front's server, in a thread: is it the folder's token? ──▶ status and JSON
    GET, DELETE ──▶ 405: the server opens no stream, and keeps no session between two requests

The gateway's own guards stand before it: a page of a browser and another user do not come so far.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

from aiohttp import web

TOOLS_PREFIX = "/mcp/"
"""The beginning of the path."""
VERSION_HEADER = "mcp-protocol-version"
Serve = Callable[[str, str, str, bytes], tuple[int, bytes]]
"""Replies to a message by token, folder, the version that the client names, and body: status and JSON. Raises
`PermissionError` for a token that is not the folder's."""
AT_ONCE_MAX = 8
"""Messages that are served at a time; each has a thread."""


class ToolsEndpoint:
    """Serves tools over HTTP. Belongs to one loop."""

    def __init__(self, serve: Serve | None) -> None:
        self._serve = serve
        self._places = asyncio.Semaphore(AT_ONCE_MAX)
        # Threads of their own: tools that wait for the daemon hold up no body of an agent's request.
        self._threads = ThreadPoolExecutor(AT_ONCE_MAX, "tools")

    def is_tools_path(self, target: str) -> bool:
        """Whether a request to this path is for the tools."""
        return self._serve is not None and target.startswith(TOOLS_PREFIX)

    async def serve_tools_request(self, request: web.Request, target: str) -> web.Response:
        """The reply to a client's request."""
        word, slash, rest = target.partition("?")[0].removeprefix(TOOLS_PREFIX).partition("/")
        folder = unquote(slash + rest)
        if self._serve is None or request.method != "POST":
            return web.Response(status=405, headers={"Allow": "POST"})
        body = await request.read()
        try:
            async with self._places:
                loop, version = asyncio.get_running_loop(), request.headers.get(VERSION_HEADER, "")
                status, reply = await loop.run_in_executor(self._threads, self._serve, word, folder, version, body)
        except PermissionError:
            return web.json_response({"error": "`ctxgc mcp --url` prints the URL of a folder"}, status=403)
        return web.Response(status=status, body=reply, content_type="application/json" if reply else None)
