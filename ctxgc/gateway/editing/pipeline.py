"""Editor and syncer at work: their threads and tasks, for the life of a context.

    settings, daemon ──open_pipeline──▶ EditingPipeline ──leave──▶ tasks cancelled, threads joined

The gateway's process and the client of `ctxgc.client` edit requests by the same pipeline; HTTP is no part of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from ctxgc.gateway.daemon_client import VerbCaller
from ctxgc.gateway.editing.entry import EntryEditor
from ctxgc.gateway.editing.request_editor import RequestEditor
from ctxgc.gateway.editing.window_sync import WindowSyncer, Workers
from ctxgc.gateway.metrics import Counters
from ctxgc.gateway.settings import Settings


class EditingPipeline(NamedTuple):
    """The parts that decide on requests. Belongs to a single loop."""

    editor: RequestEditor
    syncer: WindowSyncer


@asynccontextmanager
async def open_pipeline(
    daemon: VerbCaller, counters: Counters, settings: Callable[[], Settings]
) -> AsyncIterator[EditingPipeline]:
    """A pipeline on this loop for the life of the context. Hangs up on the daemon at its end."""
    background: set[asyncio.Task[None]] = set()
    with ThreadPoolExecutor(1, "parse") as parser, ThreadPoolExecutor(1, "urgent") as urgent:
        async with asyncio.TaskGroup() as tasks:

            def spawn(work: Coroutine[Any, Any, None]) -> None:
                task = tasks.create_task(work)
                background.add(task)
                task.add_done_callback(background.discard)

            entry = EntryEditor(daemon, counters, settings, parser, urgent)
            syncer = WindowSyncer(daemon, counters, settings, Workers(parser, urgent, spawn), entry)
            try:
                yield EditingPipeline(RequestEditor(syncer, entry, counters, settings), syncer)
            finally:
                for task in background:
                    task.cancel()
                daemon.close()
