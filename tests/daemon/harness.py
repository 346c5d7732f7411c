"""Two ways to have a daemon in a test: its verbs in this process, and the whole of it in a process of its own.

Bench          Verbs over any stash, without a socket: fast, and every part can be made to fail
DaemonProcess  `python -m ctxgc.daemon.main` in a temporary home: can be killed, restarted, starved
"""

import asyncio
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from ctxgc.config import Config
from ctxgc.core.errors import StorageFailed
from ctxgc.daemon.events import Events
from ctxgc.daemon.feeds.watch import Watcher
from ctxgc.daemon.rpc import CallContext
from ctxgc.daemon.server.dispatch import Verbs
from ctxgc.daemon.server.socket_server import Server
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.content_cache import ContentCache
from ctxgc.daemon.sessions.entry_index import EntryIndexes
from ctxgc.daemon.sessions.intake import Intake
from ctxgc.daemon.sessions.registry import Registry
from ctxgc.daemon.settings import apply_config, pacer_rules, session_settings
from ctxgc.daemon.verbs.admin import Control
from ctxgc.protocol.blocking_client import LineClient, Unreachable
from ctxgc.protocol.spawn import NO_THREAD_CACHES
from ctxgc.tokens.counter import TokenCounter
from tests.ranks import shipped_ranks

START_S = 20.0
STOP_S = 20.0
COUNTER = TokenCounter(shipped_ranks)
"""One for all tests of a run."""


class NoClient:
    """The connection of a call that came by none."""

    connection_id = 1
    client_uid = os.geteuid()
    is_gone = False

    def __init__(self):
        self.topics = frozenset()

    def subscribe(self, topics, from_seq):
        self.topics = topics

    def unsubscribe(self):
        self.topics = frozenset()


class Bench:
    """One daemon's verbs. `call` answers as a client would see it: plain JSON values, or the `CtxgcError`."""

    def __init__(self, stash, *, config=None, clock=time.time):
        self.stash = stash
        self.config = config or Config()
        self.worker = ThreadPoolExecutor(1)
        self.tasks = []
        registry = Registry(
            stash, session_settings(self.config), clock, segments_max=self.config.daemon.heap_segments_max
        )
        contents = ContentCache(stash, self.config.daemon.text_cache_bytes_max)
        self.services = Services(
            config=self.config,
            stash=stash,
            registry=registry,
            contents=contents,
            intake=Intake(COUNTER, redacts=self.config.redact.enabled),
            entries=EntryIndexes(stash, contents),
            events=Events(first_seq=1),
            pacer=pacer_rules(self.config),
            worker=self.worker,
            clock=clock,
        )
        self.is_stopped = False
        self.watcher = Watcher(self.services, self.spawn)
        server = Server(self, events=self.services.events)
        control = Control(
            server, self.watcher, "", "boot", self._stop, lambda: apply_config(self.services, self.config)
        )
        self.verbs = Verbs(self.services, control, self.spawn)

    def _stop(self):
        self.is_stopped = True

    def spawn(self, work):
        """As the daemon's root task group: what fails here would have ended the daemon (see `close`)."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.append(task)
        return task

    async def call(self, method, **params):
        return msgspec.json.decode(await self.call_raw(method, json.dumps(params).encode()))

    async def call_raw(self, method, params):
        """The same with params as JSON; the reply as JSON."""
        answer = self.verbs.call(method, msgspec.Raw(params), CallContext(NoClient()))
        if inspect.isawaitable(answer):
            answer = await answer
        return answer if isinstance(answer, bytes) else msgspec.json.encode(answer)

    async def close(self):
        await self.watcher.close()
        for task in self.tasks:
            task.cancel()
        ended = await asyncio.gather(*self.tasks, return_exceptions=True)
        self.worker.shutdown(wait=True)
        died = [e for e in ended if isinstance(e, Exception) and not isinstance(e, asyncio.CancelledError)]
        assert died == [], "a background task failed, which ends the daemon"


@asynccontextmanager
async def open_stash(stash):
    """A stash that outlives the benches on it, as a file outlives daemons."""
    await stash.open()
    try:
        yield stash
    finally:
        await stash.close()


@asynccontextmanager
async def bench_over(stash, **more):
    """A bench on a stash that is open and stays open."""
    bench = Bench(stash, **more)
    try:
        yield bench
    finally:
        await bench.close()


@asynccontextmanager
async def bench_on(stash, **more):
    """A bench on an opened stash, both closed at the end."""
    async with open_stash(stash), bench_over(stash, **more) as bench:
        yield bench


class FaultyStash:
    """A stash of which commits can be held up, and of which the Nth commit or read fails."""

    def __init__(self, inner):
        self._inner = inner
        self.applied = 0
        self.fail_applies = frozenset()
        """Numbers of the commits that fail, counted from 1."""
        self.may_apply = asyncio.Event()
        self.may_apply.set()
        self.is_applying = asyncio.Event()

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def apply(self, mutations):
        self.applied += 1
        number = self.applied
        self.is_applying.set()
        await self.may_apply.wait()
        if number in self.fail_applies:
            raise StorageFailed("the disk said no", hint="try again")
        await self._inner.apply(mutations)


class DaemonProcess:
    """A real daemon in a home of its own. `start` again after `kill`: the home stays until `close`."""

    def __init__(self, **env):
        # Not pytest's tmp_path: a socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ctxgc-d-"))
        self.socket = str(self.folder / "s" / "s")
        self.state = self.folder / "state"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("CTXGC_", "LISTEN_"))}
        self.env = clean | {
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "CTXGC_SOCKET": self.socket,
            "CTXGC_DAEMON__STATE_DIR": str(self.state),
            # A machine with a nearly full disk can still test everything else.
            "CTXGC_STASH__RESERVE_BYTES": "0",
            **NO_THREAD_CACHES,
            **env,
        }
        self.child = None

    @property
    def stash_path(self):
        return self.state / "stash.sqlite3"

    @property
    def log(self):
        return (self.folder / "log").read_text()

    def command(self, *arguments):
        return [sys.executable, "-m", "ctxgc.daemon.main", *arguments]

    def run(self, *arguments):
        """Run `ctxgcd` to its end: (exit code, what it said)."""
        done = subprocess.run(self.command(*arguments), env=self.env, capture_output=True, text=True, timeout=START_S)
        return done.returncode, done.stdout + done.stderr

    def spawn(self):
        """Begin to start; do not wait."""
        with (self.folder / "log").open("ab") as log:
            quiet = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self.child = subprocess.Popen(self.command(), env=self.env, **quiet)

    def start(self):
        """Start, and wait until it is reachable."""
        self.spawn()
        gives_up_at = time.monotonic() + START_S
        while True:
            try:
                self.client(1).connect()
                return self
            except Unreachable:
                assert self.child.poll() is None, self.log
                assert time.monotonic() < gives_up_at, self.log
                time.sleep(0.01)

    def client(self, timeout_s=60.0):
        return LineClient(self.socket, timeout_s)

    def call(self, method, **params):
        with self.client() as client:
            return client.call(method, params)

    def kill(self):
        """As a power cut would, for the process."""
        self.child.send_signal(signal.SIGKILL)
        self.child.wait(STOP_S)

    def stop(self):
        """In order; the exit code."""
        self.child.terminate()
        return self.child.wait(STOP_S)

    def close(self):
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        shutil.rmtree(self.folder)
