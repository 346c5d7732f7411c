"""The gateway's connection to the daemon: opened when needed, and again after a break; no request waits for a
connection twice.

down ──call──▶ connect ──▶ up ──the connection ends, for whatever reason──▶ down
  ▲              └──fails──┐
  └────────────────────────┘ for a moment without another try
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol

from ctxgc.protocol.blocking_client import CallFailed, Unreachable
from ctxgc.protocol.connection import DaemonConnection, connect

CONNECT_S = 1.0
RETRY_S = 0.5
"""Seconds without another try after a failure to connect: a request must not pay for a daemon that is gone."""


class VerbCaller(Protocol):
    """A daemon that answers verbs, or a test's stand-in."""

    async def call(self, method: str, params: dict[str, Any], timeout_s: float) -> Any:
        """The daemon's answer. Raises `CallFailed`."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class DaemonClient:
    """A connection, shared by all sessions. Belongs to the loop of its user."""

    def __init__(self, socket: str = "") -> None:
        self._socket = socket
        self._client: DaemonConnection | None = None
        self._failed_at_s = -RETRY_S
        self._failure: CallFailed | None = None
        self._connecting = asyncio.Lock()

    async def call(self, method: str, params: dict[str, Any], timeout_s: float) -> Any:
        """The daemon's answer. Raises `CallFailed`."""
        return await (await self._ensure_connection()).call(method, params, timeout_s=timeout_s)

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _ensure_connection(self) -> DaemonConnection:
        async with self._connecting:
            if self._client is not None and not self._client.is_closed:
                return self._client
            if self._failure is not None and time.monotonic() - self._failed_at_s < RETRY_S:
                raise self._failure
            try:
                self._client = await connect(self._socket, timeout_s=CONNECT_S)
            except (CallFailed, TimeoutError) as failure:
                self._failed_at_s = time.monotonic()
                self._failure = (
                    failure if isinstance(failure, CallFailed) else Unreachable("the daemon does not answer")
                )
                raise self._failure from None
            self._failure = None
            return self._client
