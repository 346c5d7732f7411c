"""`ctxgcd`: builds the daemon's objects, by hand, in one place; runs them; takes them down in reverse.

    configuration ─▶ locks ─▶ stash ─▶ sessions, verbs ─▶ sockets ─▶ READY=1 ─▶ … ─▶ STOPPING=1 ─▶ all of it back

`ctxgcd --check` and `--repair` look after a stash that the daemon refuses to open, never a running daemon's stash.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from ctxgc import __version__
from ctxgc.config import EXIT_CODE, BadConfig, Config, load_config
from ctxgc.config_sections import MEMORY
from ctxgc.core.errors import CtxgcError
from ctxgc.daemon.events import Events
from ctxgc.daemon.feeds.watch import Watcher
from ctxgc.daemon.freed_memory import enable_overwrite_on_free, find_cached_functions
from ctxgc.daemon.memory_scrub import scrub_memory_after_forgets
from ctxgc.daemon.redact_stored import redact_stored_credentials
from ctxgc.daemon.rpc import Limits
from ctxgc.daemon.server.dispatch import Verbs
from ctxgc.daemon.server.single_instance import Instance, InstanceError
from ctxgc.daemon.server.socket_server import Server
from ctxgc.daemon.server.systemd import inherited_sockets, sd_notify, watchdog_interval_s
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.content_cache import ContentCache
from ctxgc.daemon.sessions.entry_index import EntryIndexes
from ctxgc.daemon.sessions.intake import Intake
from ctxgc.daemon.sessions.registry import Registry
from ctxgc.daemon.settings import apply_config, pacer_rules, session_settings
from ctxgc.daemon.verbs.admin import Control
from ctxgc.protocol.blocking_client import BadSocketPath
from ctxgc.protocol.discovery import socket_path
from ctxgc.stash.repair import check_stash, repair_stash
from ctxgc.stash.sqlite import SqliteStash
from ctxgc.tokens.counter import TokenCounter
from ctxgc.tokens.ranks import load_ranks

STASH_NAME = "stash.sqlite3"
EXIT_REFUSED = 1
IDLE_LOOK_S = 1.0
RENEW_S = 2.0
"""Between two looks at the lock files."""
OWN_DESCRIPTORS = 48
"""Files, locks, pipes and threads of the daemon itself, the connections of operators, and files that verbs open."""


class Daemon:
    """A daemon: configuration, tasks, and the end."""

    def __init__(self, config: Config, config_file: Path | None, path: str, tasks: asyncio.TaskGroup) -> None:
        self.config = config
        self._config_file = config_file
        self._path = path
        self._tasks = tasks
        self._stopping = asyncio.Event()
        self._services: Services | None = None
        self._is_reload_due = False

    def spawn_task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a task that ends with the daemon."""
        return self._tasks.create_task(work)

    def stop(self) -> None:
        """Begin the end. Idempotent."""
        self._stopping.set()

    def reload_config(self) -> tuple[list[str], list[str]]:
        """Read the configuration again; see `Control.reload`."""
        assert self._services is not None
        fresh = load_config(self._config_file, os.environ)
        changed, waiting = apply_config(self._services, fresh)
        self.config = self._services.config
        return changed, waiting

    async def run(self, sockets: Sequence[socket.socket]) -> None:
        """Serve until told to stop."""
        self._install_signal_handlers()
        stash = SqliteStash(_stash_path(self.config), reserve_bytes=self.config.stash.reserve_bytes)
        await stash.open()
        worker = ThreadPoolExecutor(1, thread_name_prefix="ctxgc-worker")
        chores: list[asyncio.Task[None]] = []
        try:
            services = self._build_services(stash, worker)
            if self._is_reload_due:
                self._reload_on_signal()
            limits = Limits(
                frame_bytes_max=self.config.daemon.frame_bytes_max,
                connections_max=fit_clients_to_descriptors(self.config.daemon.clients_max),
            )
            server = Server(limits=limits, events=services.events)
            watcher = Watcher(services, self.spawn_task)
            control = Control(server, watcher, self._path, uuid.uuid4().hex, self.stop, self.reload_config)
            server.set_dispatch(Verbs(services, control, server.run_task))
            frozen = services.registry.frozen_objects
            chores.append(asyncio.create_task(scrub_memory_after_forgets(services, find_cached_functions())))
            chores.append(asyncio.create_task(frozen.run_python_gc_when_quiet(lambda: server.traffic.requests)))
            async with self._serve_sockets(server, sockets):
                for path in self.config.watch.paths:
                    watcher.add(str(path), must_exist=False)
                await self._wait_until_stopped(server, watcher)
                await watcher.close()
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
            await stash.close()
            worker.shutdown(wait=True)

    def _build_services(self, stash: SqliteStash, worker: ThreadPoolExecutor) -> Services:
        config = self.config
        counter = TokenCounter(lambda: load_ranks(os.environ))
        registry = Registry(stash, session_settings(config), time.time, segments_max=config.daemon.heap_segments_max)
        contents = ContentCache(stash, config.daemon.text_cache_bytes_max)
        self._services = Services(
            config=config,
            stash=stash,
            registry=registry,
            contents=contents,
            intake=Intake(counter, redacts=config.redact.enabled),
            entries=EntryIndexes(stash, contents),
            events=Events(first_seq=time.time_ns() // 1000),
            pacer=pacer_rules(config),
            worker=worker,
        )
        self._services.caches.append(self._services.entries.drop_all)
        return self._services

    @asynccontextmanager
    async def _serve_sockets(self, server: Server, sockets: Sequence[socket.socket]) -> AsyncIterator[None]:
        for listener in sockets:
            await server.start(listener)
        # What is alive now stays alive: the cyclic collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        sd_notify(f"READY=1\nSTATUS=serving {self._path or 'inherited socket'}\nMAINPID={os.getpid()}", os.environ)
        try:
            yield
        finally:
            sd_notify("STOPPING=1", os.environ)
            await server.stop()

    def _install_signal_handlers(self) -> None:
        """From the first moment: the socket can be connected to before the stash is open."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        loop.add_signal_handler(signal.SIGHUP, self._reload_on_signal)

    def _reload_on_signal(self) -> None:
        if self._services is None:  # The stash is still opening.
            self._is_reload_due = True
            return
        try:
            self.reload_config()
        except (BadConfig, CtxgcError) as error:
            print(f"ctxgcd: configuration not reloaded: {error}", file=sys.stderr)

    async def _wait_until_stopped(self, server: Server, watcher: Watcher) -> None:
        """Wait for the end; meanwhile feed the watchdog, and notice when the daemon is idle."""
        watchdog_s = watchdog_interval_s(os.environ)
        idle_s = self.config.daemon.idle_exit_s
        busy_at = time.monotonic()
        while not self._stopping.is_set():
            wait_s = min(watchdog_s or 3600.0, IDLE_LOOK_S if idle_s else 3600.0)
            try:
                await asyncio.wait_for(self._stopping.wait(), wait_s)
            except TimeoutError:
                sd_notify("WATCHDOG=1", os.environ)
            if server.traffic.connections or len(watcher):
                busy_at = time.monotonic()
            if idle_s and time.monotonic() - busy_at > idle_s:
                self.stop()


async def run_daemon(
    config: Config,
    config_file: Path | None,
    path: str,
    sockets: Sequence[socket.socket],
    instances: Iterable[Instance] = (),
) -> None:
    """Run a daemon to its end, on the locks of `instances`."""
    async with asyncio.TaskGroup() as tasks:
        renewing = tasks.create_task(_renew_lock_files(tuple(instances)))
        await Daemon(config, config_file, path, tasks).run(sockets)
        renewing.cancel()


async def _renew_lock_files(instances: Sequence[Instance]) -> None:
    while True:
        await asyncio.sleep(RENEW_S)
        for instance in instances:
            instance.renew_lock_file()


def fit_clients_to_descriptors(clients_max: int) -> int:
    """The clients that the system leaves descriptors for, after the daemon's own; at most `clients_max`.

    A verb without a descriptor for a file is helpless; a client beyond the bound gets a refusal.
    """
    wanted = clients_max + OWN_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return clients_max if soft == resource.RLIM_INFINITY else max(1, min(clients_max, soft - OWN_DESCRIPTORS))


def _build_argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ctxgcd", description="The ctxgc daemon. `ctxgc up` starts it for you.")
    parser.add_argument("--socket", default="", metavar="PATH", help="where to listen")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="folder of the stash; :memory: keeps nothing")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="read the whole stash, report, change nothing")
    what.add_argument("--repair", action="store_true", help="save what can be read into a new stash; keeps the old")
    what.add_argument("--redact", action="store_true", help="redact the credentials that the stash holds")
    parser.add_argument("--dry-run", action="store_true", help="with --redact: count, and change nothing")
    parser.add_argument("--version", action="version", version=f"ctxgcd {__version__}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Exit codes: 0, 1 refused, 75 another daemon runs, 78 configuration."""
    arguments = _build_argument_parser().parse_args(argv)
    os.umask(0o077)
    enable_overwrite_on_free()
    try:
        config = load_config(arguments.config, os.environ)
        if arguments.state_dir:
            folder = arguments.state_dir
            folder = folder if folder == MEMORY else folder.absolute()
            daemon = config.daemon.model_copy(update={"state_dir": folder})
            config = config.model_copy(update={"daemon": daemon})
        if arguments.check or arguments.repair:
            return _check_or_repair_stash(config, is_repair=arguments.repair)
        if arguments.redact:
            return _redact_stash(config, is_dry=arguments.dry_run)
        return _lock_and_serve(config, arguments.config, arguments.socket)
    except (BadConfig, BadSocketPath) as error:
        print(f"ctxgcd: {error}", file=sys.stderr)
        return EXIT_CODE
    except InstanceError as error:
        print(f"ctxgcd: {error}", file=sys.stderr)
        return error.exit_code
    except CtxgcError as error:
        print(f"ctxgcd: {error}" + (f"\n  {error.hint}" if error.hint else ""), file=sys.stderr)
        return EXIT_REFUSED


def _lock_and_serve(config: Config, config_file: Path | None, flag: str) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Until the loop heeds it, it would end us.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # A stop waits until the loop heeds it.
    inherited = inherited_sockets(os.environ)
    path = "" if inherited else socket_path(flag or str(config.daemon.socket or ""), os.environ)
    # The state folder has one daemon, whatever socket it is reached by.
    state = Instance(str(config.daemon.lock_dir), path)
    at_socket = state
    try:
        if path and os.path.dirname(path) != state.folder:
            at_socket = Instance(os.path.dirname(path), path)
        sockets = inherited or [at_socket.listen(path)]
        instances = {state, at_socket}
        for instance in instances:
            instance.announce_address(path or os.fsdecode(sockets[0].getsockname()))
        uvloop.run(run_daemon(config, config_file, path, sockets, instances))
    except* CtxgcError as group:
        raise _first_error(group) from None
    finally:
        at_socket.close()
        if at_socket is not state:
            state.close()
    return 0


def _first_error(group: BaseExceptionGroup[CtxgcError]) -> CtxgcError:
    inner = group.exceptions[0]
    return _first_error(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _stash_path(config: Config) -> Path:
    folder = config.daemon.state_dir
    return folder if folder == MEMORY else folder / STASH_NAME


def _check_or_repair_stash(config: Config, *, is_repair: bool) -> int:
    path = _stash_path(config)
    state = Instance(str(config.daemon.lock_dir))
    try:
        if is_repair:
            outcome = repair_stash(path)
            lost = f"{outcome.bodies_lost} {'was' if outcome.bodies_lost == 1 else 'were'} lost"
            print(f"{outcome.bodies} of {outcome.segments} segments have their content; {lost}")
            if outcome.missing:
                print(outcome.missing)
            if outcome.was_sound:
                print(f"the stash was sound; its index is made anew, and a copy of the stash is kept: {outcome.backup}")
            else:
                print(f"{outcome.rebuilt} rows were rebuilt from content; the damaged file is kept: {outcome.backup}")
            return 0
        report = check_stash(path)
        for trouble in report.troubles:
            print(trouble)
        verdict = "sound" if report.is_sound else "damaged; `ctxgcd --repair` saves what can be read"
        print(f"{path}: {report.bodies} bodies read, {report.bodies_damaged} damaged: {verdict}")
        return 0 if report.is_sound else EXIT_REFUSED
    finally:
        state.close()


def _redact_stash(config: Config, *, is_dry: bool) -> int:
    state = Instance(str(config.daemon.lock_dir))
    try:
        counter = TokenCounter(lambda: load_ranks(os.environ))
        print(redact_stored_credentials(_stash_path(config), counter, is_dry=is_dry))
        return 0
    finally:
        state.close()


if __name__ == "__main__":
    sys.exit(main())
