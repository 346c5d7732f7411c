"""The gateway's process: one loop, one task group, one connection to the daemon.

settings ──▶ link, syncer, gate, proxy ──▶ listen ──▶ say where in the state folder ──▶ serve until told to stop
    ▲
    └── the configuration file, looked at again when it changes: modes are switched while sessions run
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from ctxgc.config import BadConfig, Config, config_path, load
from ctxgc.gateway import pidfile
from ctxgc.gateway.daemon_client import Daemon, Link
from ctxgc.gateway.editing.request_editor import Gate
from ctxgc.gateway.editing.window_sync import Syncer
from ctxgc.gateway.http.server import Proxy, listen
from ctxgc.gateway.http.upstream import Upstreams, client_session
from ctxgc.gateway.logs import log_discreetly, on_fault
from ctxgc.gateway.metrics import Counts
from ctxgc.gateway.recall.service import Recaller
from ctxgc.gateway.settings import Settings, settings_of

SWITCH_S = 0.0001
"""How long a thread that parses may keep the interpreter while a stream waits for it: an event waits several times."""
RELOAD_S = 1.0
BACKLOG = 256

EXIT_FAULT = 70

_log = logging.getLogger("ctxgc.gateway")


class CannotListen(Exception):
    """The address is not to be had."""


@dataclass(slots=True)
class Running:
    """A gateway that serves."""

    settings: Settings
    counts: Counts
    syncer: Syncer
    port: int = 0


def run(*, config: str = "", socket: str = "", host: str = "", port: int | None = None, mode: str = "") -> int:
    """Serve until SIGINT or SIGTERM; the process's exit code. Raises `BadConfig`, `CannotListen`, OSError of stdout."""
    log_discreetly()
    path = Path(config) if config else None
    given: dict[str, Any] = ({"host": host} if host else {}) | ({"port": port} if port is not None else {})

    def known() -> Config:
        read = load(path, os.environ)
        return read.model_copy(update={"gateway": read.gateway.model_copy(update=given)})

    def settings() -> Settings:
        return settings_of(known(), mode)

    ours = known()
    first, folder = settings_of(ours, mode), str(ours.daemon.lock_dir)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(first, socket, folder, path or config_path(os.environ), settings))
    except (CannotListen, OSError):
        raise
    except Exception:
        _log.exception("the gateway failed")
        return EXIT_FAULT
    return 0


async def _serve(first: Settings, daemon: str, folder: str, path: Path, settings: Callable[[], Settings]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_fault)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    unsaid: OSError | None = None
    async with serving(first, Link(daemon)) as running:
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()
        url = f"http://{f'[{first.host}]' if ':' in first.host else first.host}:{running.port}"
        try:
            print(f"ctxgc gateway: {url}, mode {first.mode}", flush=True)
        except OSError as error:
            unsaid = error
            stop.set()
        with _announced(folder, url):
            await _stopped(stop, running, path, settings)
    if unsaid is not None:  # Out here, for the task group would wrap it.
        raise unsaid


async def _stopped(stop: asyncio.Event, running: Running, path: Path, settings: Callable[[], Settings]) -> None:
    """Return when told to stop; meanwhile look at the configuration file."""
    seen = _stamp(path)
    while not stop.is_set():
        try:
            async with asyncio.timeout(RELOAD_S):
                await stop.wait()
        except TimeoutError:
            if (now := _stamp(path)) != seen:
                seen = now
                _reload(running, settings)


@contextmanager
def _announced(folder: str, url: str) -> Iterator[None]:
    """`ctxgc status` and `--stop` find us by what we say here. Where it cannot be said we serve all the same."""
    try:
        lock = pidfile.announce(folder, url)
    except OSError as error:
        _log.warning("`ctxgc status` will not show this gateway: %s: %s", folder, error.strerror)
        yield
        return
    try:
        yield
    finally:
        pidfile.withdraw(folder, lock)


@asynccontextmanager
async def serving(settings: Settings, daemon: Daemon) -> AsyncIterator[Running]:
    """A gateway on this loop for as long as the context lasts; port 0 takes a free one."""
    background: set[asyncio.Task[None]] = set()
    # Before the task group, which would wrap an address in use into a group of errors.
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise CannotListen(f"the gateway cannot listen on {where}: {error.strerror}") from error
    with ThreadPoolExecutor(1, "parse") as worker, ThreadPoolExecutor(1, "urgent") as urgent:
        async with asyncio.TaskGroup() as tasks, client_session() as session:

            def spawn(work: Coroutine[Any, Any, None]) -> None:
                task = tasks.create_task(work)
                background.add(task)
                task.add_done_callback(background.discard)

            counts = Counts()
            syncer = Syncer(daemon, counts, lambda: running.settings, worker, urgent, spawn)
            running = Running(settings, counts, syncer)
            gate = Gate(syncer, counts, lambda: running.settings)
            recaller = Recaller(daemon, counts, lambda: running.settings, syncer.family_of)
            proxy = Proxy(gate, recaller, counts, lambda: running.settings, Upstreams(session))
            runner = await listen(proxy.app(), listener)
            try:
                running.port = int(listener.getsockname()[1])
                yield running
            finally:
                await runner.cleanup()
                for task in background:
                    task.cancel()
                daemon.close()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def _reload(running: Running, settings: Callable[[], Settings]) -> None:
    """Take the modes and everything else but the address from the changed file; a broken one changes nothing."""
    try:
        fresh = settings()
    except BadConfig as error:
        _log.warning("the configuration stays as it was: %s", error)
        return
    running.settings = replace(fresh, host=running.settings.host, port=running.settings.port)
    running.syncer.part()
    _log.info("configuration read again: mode %s, %s", fresh.mode, dict(fresh.modes))
