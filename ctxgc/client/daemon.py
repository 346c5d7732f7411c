"""The daemon as the client sees it: started where none listens, and its answers to syncs kept.

call ──▶ DaemonClient ──Unreachable──▶ start ctxgcd once ──▶ again
  └──window.sync──▶ the last answer of each session
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from ctxgc.core.bounded_dict import drop_oldest_entries
from ctxgc.gateway.daemon_client import DaemonClient
from ctxgc.protocol.blocking_client import CallFailed, Unreachable
from ctxgc.protocol.discovery import socket_path
from ctxgc.protocol.spawn import ensure_daemon

START_AGAIN_S = 10.0
"""Seconds without another start after a start that failed."""
SESSIONS_MAX = 512


class ClientDaemon:
    """A `VerbCaller` that starts the daemon if allowed. Belongs to a single loop."""

    def __init__(self, socket: str, *, can_start: bool) -> None:
        self._socket = socket
        self._can_start = can_start
        self._daemon = DaemonClient(socket)
        self._starting: asyncio.Task[None] | None = None
        self._failed_at_s = -START_AGAIN_S
        self.background: set[asyncio.Task[Any]] = set()
        """Lists on their way to the daemon that no program waits for."""
        self.sync_answers: dict[str, dict[str, Any]] = {}
        """The last answer to a sync that named a window, by session."""

    async def call(self, method: str, params: dict[str, Any], timeout_s: float) -> Any:
        """The daemon's answer. Raises `CallFailed`."""
        try:
            answer = await self._daemon.call(method, params, timeout_s)
        except Unreachable:
            if not self._can_start or time.monotonic() - self._failed_at_s < START_AGAIN_S:
                raise
            await self._ensure_started()
            answer = await self._daemon.call(method, params, timeout_s)
        if method == "window.sync" and params.get("ids"):
            self.sync_answers[params["session"]] = answer
            drop_oldest_entries(self.sync_answers, SESSIONS_MAX)
        return answer

    def close(self) -> None:
        """Hang up."""
        self._daemon.close()

    async def _ensure_started(self) -> None:
        """Start the daemon; one start serves all calls, and goes on where a call gives up."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        starting = self._starting
        try:
            await asyncio.shield(starting)
        finally:
            if starting.done():
                self._starting = None

    async def _start(self) -> None:
        try:
            await asyncio.to_thread(ensure_daemon, socket_path(self._socket, os.environ))
        except CallFailed:
            self._failed_at_s = time.monotonic()
            raise
        self._daemon.close()
        self._daemon = DaemonClient(self._socket)  # The old one remembers its failure for a moment.
