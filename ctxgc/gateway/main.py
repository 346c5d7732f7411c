"""The gateway's process: one loop, one task group, one connection to the daemon.

settings ──▶ daemon client, syncer, editor, proxy ──▶ listen ──▶ pid file in the state folder ──▶ serve until a signal
    ▲
    └── the configuration file, read again when it changes: modes are switched while sessions run
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from ctxgc.config import BadConfig, Config, config_path, load_config
from ctxgc.gateway import pidfile
from ctxgc.gateway.daemon_client import DaemonClient, VerbCaller
from ctxgc.gateway.editing.pipeline import open_pipeline
from ctxgc.gateway.editing.window_sync import WindowSyncer
from ctxgc.gateway.http.listener import open_http_server
from ctxgc.gateway.http.server import Proxy
from ctxgc.gateway.http.tools_endpoint import Serve
from ctxgc.gateway.http.upstream import Upstreams, client_session
from ctxgc.gateway.logs import configure_log, log_loop_fault
from ctxgc.gateway.metrics import Counters
from ctxgc.gateway.secret import SECRET_FILE
from ctxgc.gateway.settings import Settings, settings_of_config
from ctxgc.protocol.secret_file import ensure_secret

SWITCH_S = 0.0001
"""Seconds for which a parsing thread may keep the interpreter while a stream waits: an event waits several times."""
RELOAD_S = 1.0
BACKLOG = 256

EXIT_FAULT = 70

_log = logging.getLogger("ctxgc.gateway")


class CannotListen(Exception):
    """The address cannot be bound."""


@dataclass(slots=True)
class RunningGateway:
    """A gateway that serves. Mutable: settings change while the gateway runs."""

    daemon: VerbCaller
    counters: Counters
    syncer: WindowSyncer
    settings: Settings
    port: int = 0


def require_valid_settings(*, config: str = "", host: str = "", port: int | None = None, mode: str = "") -> None:
    """Raise `BadConfig` where a gateway could not begin with these settings. Makes no file, and no secret."""
    settings_of_config(_config_with_address(config, host, port), mode)


def _config_with_address(config: str, host: str, port: int | None) -> Config:
    """The configuration, with the address of the command line in place of its own. Raises `BadConfig`."""
    overrides: dict[str, Any] = ({"host": host} if host else {}) | ({"port": port} if port is not None else {})
    read = load_config(Path(config) if config else None, os.environ)
    return read.model_copy(update={"gateway": read.gateway.model_copy(update=overrides)})


def run_gateway(
    *,
    config: str = "",
    socket: str = "",
    host: str = "",
    port: int | None = None,
    mode: str = "",
    serve_tools: Serve | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM; the process's exit code. Raises `BadConfig`, `CannotListen`, OSError of stdout.

    `serve_tools` is the MCP server, which is a front's.
    """
    configure_log()
    path = Path(config) if config else None

    def settings() -> Settings:
        read = _config_with_address(config, host, port)
        return settings_of_config(read, mode, _ensure_secret_or_empty(str(read.daemon.lock_dir)))

    config_in_force = _config_with_address(config, host, port)
    folder = str(config_in_force.daemon.lock_dir)
    first = settings_of_config(config_in_force, mode, _ensure_secret_or_empty(folder))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            served = open_gateway(first, DaemonClient(socket), serve_tools)
            runner.run(_serve_until_signal(served, folder, path or config_path(os.environ), settings))
    except (CannotListen, OSError):
        raise
    except Exception:
        _log.exception("the gateway failed")
        return EXIT_FAULT
    return 0


def _ensure_secret_or_empty(folder: str) -> str:
    """The secret of the state folder; empty, which no request can name, where the folder cannot keep a secret."""
    try:
        return ensure_secret(folder, SECRET_FILE)
    except OSError as error:
        _log.warning("there is no secret for base URLs: %s: %s", folder, error.strerror)
        return ""


async def _serve_until_signal(
    served: AbstractAsyncContextManager[RunningGateway], folder: str, path: Path, settings: Callable[[], Settings]
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_fault)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    print_failure: OSError | None = None
    async with served as gateway:
        first = gateway.settings
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()
        url = f"http://{f'[{first.host}]' if ':' in first.host else first.host}:{gateway.port}"
        try:
            print(f"ctxgc gateway: {url}, mode {first.mode}", flush=True)
        except OSError as error:
            print_failure = error
            stop.set()
        with _published_pidfile(folder, url):
            await _watch_config_until_stop(stop, gateway, path, settings)
    if print_failure is not None:  # Out here: the task group would wrap the error.
        raise print_failure


async def _watch_config_until_stop(
    stop: asyncio.Event, gateway: RunningGateway, path: Path, settings: Callable[[], Settings]
) -> None:
    """Return at the signal to stop; meanwhile look at the configuration file."""
    seen = _file_stamp(path)
    while not stop.is_set():
        try:
            async with asyncio.timeout(RELOAD_S):
                await stop.wait()
        except TimeoutError:
            if (now := _file_stamp(path)) != seen:
                seen = now
                _reload_settings(gateway, settings)


@contextmanager
def _published_pidfile(folder: str, url: str) -> Iterator[None]:
    """The pid file, by which `ctxgc status` and `--stop` find this gateway. Without the file the gateway serves too."""
    try:
        lock = pidfile.create_pidfile(folder, url)
    except OSError as error:
        _log.warning("`ctxgc status` will not show this gateway: %s: %s", folder, error.strerror)
        yield
        return
    try:
        yield
    finally:
        pidfile.remove_pidfile(folder, lock)


@asynccontextmanager
async def open_gateway(
    settings: Settings, daemon: VerbCaller, serve_tools: Serve | None = None
) -> AsyncIterator[RunningGateway]:
    """A gateway on this loop for the life of the context; port 0 takes a free port."""
    # Before the task group, which would wrap the error of an address in use.
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise CannotListen(f"the gateway cannot listen on {where}: {error.strerror}") from error
    counters = Counters()
    async with (
        open_pipeline(daemon, counters, lambda: gateway.settings) as (editor, syncer),
        client_session() as session,
    ):
        gateway = RunningGateway(daemon, counters, syncer, settings, int(listener.getsockname()[1]))
        proxy = Proxy(editor, counters, lambda: gateway.settings, Upstreams(session), serve_tools)
        async with open_http_server(proxy.create_app(), listener):
            yield gateway


def _file_stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def _reload_settings(gateway: RunningGateway, settings: Callable[[], Settings]) -> None:
    """Put the changed file's settings in force, all but the address; a broken file has no effect."""
    try:
        fresh = settings()
    except BadConfig as error:
        _log.warning("the configuration stays as it was: %s", error)
        return
    gateway.settings = replace(fresh, host=gateway.settings.host, port=gateway.settings.port)
    gateway.syncer.report_off_sessions()
    _log.info("configuration read again: mode %s, %s", fresh.mode, dict(fresh.modes))
