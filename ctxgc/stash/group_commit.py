"""Group commit: callers that come during a commit share the next commit.

    submit ──▶ waiting batches (in order of arrival) ──▶ one transaction ──▶ each caller hears its own outcome
                 └─ a large batch is encoded meanwhile on another thread

There is no timer: a lone caller is committed at once, and under load the commit in flight is the window in which
the next group gathers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from ctxgc.core.errors import Busy, CtxgcError, ShuttingDown, StorageFailed
from ctxgc.stash.contract import Mutation, Put
from ctxgc.stash.encoding import encode_puts
from ctxgc.stash.writing import Batch

GROUP_ROWS_MAX = 100
"""A group is closed at this many mutations; a larger batch of one caller goes alone."""

WAITING_MAX = 4096

SHORT_BYTES_MAX = 4096
"""The writer encodes a batch up to this size: faster than a hop to another thread, and no loop waits."""

Commit = Callable[[list[Batch]], Awaitable[Sequence[CtxgcError | None]]]


@dataclass(slots=True, eq=False)
class _WaitingBatch:
    rows: int
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    batch: Batch | None = None
    """None once ready means that the caller went away before the batch was written."""
    outcome: asyncio.Future[CtxgcError | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class GroupCommit:
    """The queue in front of the writer. `run` is the queue's only task; many callers may `submit`."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._waiting: deque[_WaitingBatch] = deque()
        self._has_work = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_closed = False

    async def submit(self, mutations: Sequence[Mutation]) -> None:
        """Return once the batch is committed. Raises the error of this batch's commit."""
        if self._is_closed:
            raise ShuttingDown("the stash is closing", hint="connect again")
        if len(self._waiting) >= WAITING_MAX:
            raise Busy("too many writes are waiting for the disk", hint="try again in a moment")
        entry = _WaitingBatch(len(mutations))
        self._waiting.append(entry)
        self._is_idle.clear()
        self._has_work.set()
        try:
            is_short = _body_bytes(mutations) <= SHORT_BYTES_MAX
            entry.batch = tuple(mutations) if is_short else await asyncio.to_thread(encode_puts, mutations)
        except (ValueError, TypeError) as error:
            raise StorageFailed(f"the stash cannot hold this: {error}", hint="nothing was written") from error
        finally:
            entry.is_ready.set()
        outcome = await entry.outcome
        if outcome is not None:
            raise outcome

    async def run(self) -> None:
        """Commit groups until cancelled."""
        while True:
            await self._has_work.wait()
            await asyncio.sleep(0)  # Callers that are ready in this round of the loop may join.
            group = await self._gather_group()
            if group:
                await self._commit_group(group)
            if not self._waiting:
                self._has_work.clear()
                self._is_idle.set()

    async def drain(self) -> None:
        """Refuse new batches; return when every waiting batch has its outcome."""
        self._is_closed = True
        await self._is_idle.wait()

    async def _gather_group(self) -> list[_WaitingBatch]:
        """The first waiting batch and the ready batches behind, up to the bound, in order."""
        await self._waiting[0].is_ready.wait()
        group: list[_WaitingBatch] = []
        rows = 0
        while self._waiting and self._waiting[0].is_ready.is_set():
            if group and rows + self._waiting[0].rows > GROUP_ROWS_MAX:
                break
            entry = self._waiting.popleft()
            if entry.batch is not None:
                group.append(entry)
                rows += entry.rows
        return group

    async def _commit_group(self, group: list[_WaitingBatch]) -> None:
        try:
            outcomes = await self._commit([entry.batch for entry in group if entry.batch is not None])
        except CtxgcError as error:
            outcomes = [error] * len(group)
        except Exception as error:  # The writer must survive any error of one group.
            outcomes = [StorageFailed(f"the stash could not commit: {error}", hint="try again")] * len(group)
        for entry, outcome in zip(group, outcomes, strict=True):
            if not entry.outcome.done():
                entry.outcome.set_result(outcome)


def _body_bytes(mutations: Sequence[Mutation]) -> int:
    return sum(len(p.data) for m in mutations if isinstance(m, Put) for p in m.row.segment.body)
