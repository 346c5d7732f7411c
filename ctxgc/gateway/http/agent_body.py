"""A request's body on its way upstream, kept within two bounds: the bound of a body, and that of all bodies kept."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from ctxgc.gateway.body.request_body import EDITED_BYTES_MAX
from ctxgc.gateway.byte_budget import BudgetShare, ByteBudget


class AgentBody:
    """The body of a request. Mutable."""

    def __init__(self, request: web.Request, budget: ByteBudget) -> None:
        self._request = request
        self._share = BudgetShare(budget)
        self.parts: list[bytes] = []
        self._bytes = 0
        self._is_over = False
        """Whether the body is longer than may be kept."""
        self._is_at_end = False

    @property
    def is_whole(self) -> bool:
        """Whether the body has ended, and every part is kept."""
        return self._is_at_end and not self._is_over

    async def read_whole(self) -> bool:
        """Read to the end; False if the body is too long to be kept: then `chunks` goes on."""
        async for data, _ in self._request.content.iter_chunks():
            self._keep_part(data)
            if self._is_over:
                return False
        self._is_at_end = True
        return True

    async def chunks(self) -> AsyncIterator[bytes]:
        """The parts already read, then the rest in parts."""
        for part in tuple(self.parts):
            yield part
        async for data, _ in self._request.content.iter_chunks():
            if not self._is_over:
                self._keep_part(data)
            if self._is_over:
                self.release()
            yield data
        self._is_at_end = True

    def release(self) -> None:
        """Keep the parts no longer."""
        self.parts = []  # A call that was recorded has the list.
        self._share.release()

    def reserve_plain_body(self, size: int) -> bool:
        """Count the plain body in beside the compressed body; False where the plain body may not be kept."""
        return self._share.reserve(size)

    def _keep_part(self, data: bytes) -> None:
        self._bytes += len(data)
        self.parts.append(data)
        if self._bytes > EDITED_BYTES_MAX or not self._share.reserve(len(data)):
            self._is_over = True
