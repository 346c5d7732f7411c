"""The client's work beside the program: one thread with a loop, the connection to the daemon, and the editing pipeline.

    program's threads and loops ──run──▶ the engine's loop ──▶ pipeline ──▶ the daemon
                                ◀─future─┘

The pipeline is the gateway's: a list is edited as a request on the wire is edited, and the daemon gets the list beside
the program's own wait for the model. A fork has no threads, so a forked process opens an engine of its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from ctxgc.client.daemon import ClientDaemon
from ctxgc.config import BadConfig, load_config
from ctxgc.gateway.editing.pipeline import EditingPipeline, open_pipeline
from ctxgc.gateway.metrics import Counters
from ctxgc.gateway.settings import UPSTREAMS, Settings, settings_of_config

T = TypeVar("T")

IDLE_LOOK_S = 0.01
"""Seconds between two looks whether the daemon has everything."""
STOP_S = 5.0
EDIT_PART = 0.8
"""The part of the deadline that the pipeline may wait: then tombstones in force stand in the list all the same."""


_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


class Running(NamedTuple):
    """An engine at work. Belongs to the engine's loop."""

    pipeline: EditingPipeline
    daemon: ClientDaemon


class Engine:
    """Runs coroutines on a loop of its own. Any thread may ask; opened by the first `run`."""

    def __init__(self, socket: str, *, can_start: bool, deadline_s: float) -> None:
        self._socket = socket
        self._can_start = can_start
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._pid = 0
        _ENGINES.add(self)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._running: Running | None = None

    @property
    def is_open(self) -> bool:
        """Whether the engine runs in this process."""
        return self._pid == os.getpid()

    def run(self, work: Callable[[Running], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run a coroutine on the engine's loop; its future."""
        with self._lock:
            if self._pid != os.getpid():
                self._open()
            assert self._loop is not None
            assert self._running is not None
            return asyncio.run_coroutine_threadsafe(work(self._running), self._loop)

    def close(self) -> None:
        """End the loop and its thread. A later `run` opens another."""
        with self._lock:
            thread, loop, stop = self._thread, self._loop, self._stop
            is_ours, self._pid = self._pid == os.getpid(), 0
        if is_ours and thread is not None and loop is not None and stop is not None:
            with suppress(RuntimeError):  # The loop has ended by itself.
                loop.call_soon_threadsafe(stop.set)
            thread.join(STOP_S)

    def renew_lock(self) -> None:
        """Give a forked process a lock of its own: the thread that held the lock at the fork is not in this process."""
        self._lock = threading.Lock()

    def _open(self) -> None:
        is_ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run_loop, args=(is_ready,), name="ctxgc", daemon=True)
        self._thread.start()
        is_ready.result()
        self._pid = os.getpid()

    def _run_loop(self, is_ready: Future[None]) -> None:
        try:
            asyncio.run(self._serve(is_ready))
        except BaseException as failure:
            if not is_ready.done():
                is_ready.set_exception(failure)

    async def _serve(self, is_ready: Future[None]) -> None:
        settings = _client_settings(self._deadline_s)
        daemon = ClientDaemon(self._socket, can_start=self._can_start)
        stop = asyncio.Event()
        async with open_pipeline(daemon, Counters(), lambda: settings) as pipeline:
            self._loop, self._stop = asyncio.get_running_loop(), stop
            self._running = Running(pipeline, daemon)
            is_ready.set_result(None)
            await stop.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._deadline_s):
                    await wait_until_synced(self._running)


def _client_settings(deadline_s: float) -> Settings:
    """The gateway's settings for lists of a program: edited unless the user's configuration says otherwise."""
    try:
        settings = settings_of_config(load_config(None, os.environ), mode="on")
    except BadConfig:  # The daemon says so to every call; a program goes on with its own lists.
        settings = Settings(upstreams=UPSTREAMS, mode="on", modes={})
    return replace(settings, wait_s=EDIT_PART * deadline_s)


async def wait_until_synced(running: Running) -> None:
    """Wait until the daemon has every list that was collected."""
    while running.daemon.background or not running.pipeline.syncer.is_idle:  # noqa: ASYNC110 - no request of the gateway waits for this
        await asyncio.sleep(IDLE_LOOK_S)


def _renew_locks() -> None:
    for engine in list(_ENGINES):
        engine.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
