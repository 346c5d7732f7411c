"""A gateway between a fake upstream and whatever daemon a test wants, on a loop in a thread of its own.

test ──blocking socket──▶ gateway ──▶ Upstream          all on 127.0.0.1, free ports
                            │
                            └──▶ ScriptedDaemon | DaemonClient of a real one
"""

import asyncio
import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.gateway.main import open_gateway
from ctxgc.gateway.settings import Settings
from ctxgc.protocol.blocking_client import CallFailed
from tests.gateway.upstream import Upstream

WAIT_S = 10.0
LOOP_ROUNDS = 20
"""More than the callbacks from a timer to what it lets go on."""
SESSION = "0b3c9e5e-0000-4000-8000-000000000001"
CLAUDE = {"x-claude-code-session-id": SESSION, "x-api-key": "sk-secret", "anthropic-version": "2023-06-01"}
OPENAI = {"x-claude-code-session-id": SESSION, "authorization": "Bearer sk-proj-secret"}
"""The same session where the provider is another: nobody sends one's key to the other."""
MESSAGES, CHAT, RESPONSES = "/v1/messages", "/v1/chat/completions", "/v1/responses"


class Reply(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name), None)


class ScriptedDaemon:
    """Answers `window.sync` as told: what `victims` picks of a window is evicted from then on."""

    def __init__(self, victims=lambda ids: ()):
        self.victims = victims
        self.asked = 0
        self.told = []
        self.known = set()
        self.out = {}
        self.conflicts = set()
        self.mode = "shadow"
        self.fails_with = None
        self.delay_s = 0.0

    async def call(self, method, params, timeout_s):
        params = msgspec.json.decode(msgspec.json.encode(params))
        self.asked += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.fails_with is not None:
            raise self.fails_with
        if method == "session.list":
            return {"sessions": []}
        if method == "segment.list":
            if not self.known:
                raise CallFailed("not_found", -32003, "no such session")
            return {
                "segments": [{"id": id_, "state": "evicted" if id_ in self.out else "resident"} for id_ in self.known]
            }
        assert method == "window.sync"
        self.told.append(params)
        self.known |= {segment["id"] for segment in params["new"]}
        unknown = [id_ for id_ in params.get("ids", ()) if id_ not in self.known]
        self.mode = params.get("mode", self.mode)
        if not unknown and self.mode == "on":
            kept = {*params.get("fixed", ()), *params.get("held", ())}
            for id_ in self.victims([id_ for id_ in params.get("ids", ()) if id_ not in kept]):
                self.out.setdefault(id_, {"text": f"[evicted {len(self.out)}]", "marker": "[gone]"})
        evicted = {id_: said for id_, said in self.out.items() if id_ in params.get("ids", ())}
        conflicts = sorted(self.conflicts & {segment["id"] for segment in params["new"]})
        evicted = evicted if self.mode == "on" else {}
        return {"mode": self.mode, "evicted": evicted, "unknown": unknown, "conflicts": conflicts, "plan": None}

    def close(self):
        pass


class StandingClock(asyncio.SelectorEventLoop):
    """A loop whose clock a test can stop and move: what is waited for meanwhile is counted, not measured."""

    _stands_at_s = None
    _ahead_s = 0.0

    def time(self):
        return super().time() + self._ahead_s if self._stands_at_s is None else self._stands_at_s

    def stop_clock(self):
        self._stands_at_s = self.time()

    def move_clock(self, seconds):
        self._stands_at_s += seconds

    def start_clock(self):
        self._ahead_s, self._stands_at_s = self._stands_at_s - super().time(), None


class Stage:
    """Everything a test needs, between `with` and its end."""

    def __init__(self, daemon=None, *, mode="on", modes=None, wait_s=0.5, cache_ttl_s=300.0, upstream=None, **settings):
        self.serve_tools = settings.pop("serve_tools", None)
        self.daemon = daemon or ScriptedDaemon()
        self.upstream = upstream or Upstream()
        self._settings = {"mode": mode, "modes": modes or {}, "wait_s": wait_s, "cache_ttl_s": cache_ttl_s} | settings
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run_loop)
        self._failure = None

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        assert self._failure is None, self._failure
        return self

    def __exit__(self, *error):
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def _run_loop(self):
        with asyncio.Runner(loop_factory=StandingClock) as runner:
            runner.run(self._run())

    async def _run(self):
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            await self.upstream.start()
            upstreams = {"anthropic": self.upstream.url, "openai": self.upstream.url}
            settings = Settings(port=0, upstreams=upstreams, **self._settings)
            async with open_gateway(settings, self.daemon, self.serve_tools) as self.running:
                self._ready.set()
                await self._stop.wait()
            await self.upstream.runner.cleanup()
        except BaseException as failure:
            self._failure = failure
            self._ready.set()
            raise

    @property
    def counters(self):
        return self.running.counters

    @property
    def passed(self):
        return dict(self.counters.passed_unedited)

    def send(self, path, body=b"", headers=None, method="POST", cuts=()):
        """One request on a connection of its own; with `cuts`, written in as many pieces."""
        headers = headers_for(path) if headers is None else headers
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=WAIT_S)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if method == "POST":
            connection.putheader("content-length", str(len(data)))
        connection.endheaders()
        at = 0
        for cut in sorted({*cuts, len(data)}):
            connection.sock.sendall(data[at:cut])
            at = cut
        try:
            reply = connection.getresponse()
            got = Reply(reply.status, reply.getheaders(), reply.read())
        finally:
            connection.close()
        self.turn()
        return got

    @contextmanager
    def waiting(self, path, body, headers=None):
        """A call to a model while the gateway's clock stands: `passes(seconds)` lets so much time go by.

        Whatever holds the call back within the block is timers of the loop, and `reply()` comes by them or not at all.
        """
        with ThreadPoolExecutor(1) as client:
            self._on_loop(self.loop.stop_clock)
            try:
                yield Waiting(self, client.submit(self.send, path, body, headers))
            finally:
                self._on_loop(self.loop.start_clock)

    def _on_loop(self, work, *given):
        """Do this on the loop, and wait until what it brought about has been done too."""
        for step in (lambda: work(*given), *[lambda: None] * LOOP_ROUNDS):
            done = threading.Event()
            self.loop.call_soon_threadsafe(lambda step=step, done=done: (step(), done.set()))
            assert done.wait(WAIT_S)

    def raw(self, text):
        """A connection on which these bytes were written."""
        connection = socket.create_connection(("127.0.0.1", self.running.port), timeout=WAIT_S)
        connection.sendall(text)
        return connection

    def turn(self):
        """Let the gateway end what it is at: what is known of a call follows behind the first bytes of its reply."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(WAIT_S)

    def settle(self):
        """Wait until the daemon has been told of everything."""
        self.turn()
        self.until(lambda: self.running.syncer.is_idle)

    def pause(self):
        """The agent waits for longer than its provider keeps a cache."""
        self.upstream.forget()
        for session in self.running.syncer._sessions.values():
            for branch in session.branches.values():
                branch.last_request_s -= 2 * self.running.settings.cache_ttl_s

    @staticmethod
    def until(is_so):
        gives_up_at = time.monotonic() + WAIT_S
        while not is_so():
            assert time.monotonic() < gives_up_at
            time.sleep(0.002)

    def ask(self, path, body, headers=None, **more):
        """A call to a model, answered, with the daemon told of it; what the upstream received."""
        reply = self.send(path, body, headers, **more)
        self.settle()
        assert reply.status == 200, reply.body
        return self.upstream.last


class Waiting:
    """A call that its gateway holds back, and the clock that it waits by."""

    def __init__(self, stage, answer):
        self._stage, self._send_and_await_answer = stage, answer

    def passes(self, seconds):
        """So much time goes by for the gateway."""
        self._stage._on_loop(self._stage.loop.move_clock, seconds)

    @property
    def is_held(self):
        """Whether nothing of it has gone upstream."""
        return not self._stage.upstream.received and not self._send_and_await_answer.done()

    def reply(self):
        """What the agent gets; fails where that takes more of the gateway's time than has gone by."""
        return self._send_and_await_answer.result(WAIT_S)


def headers_for(path):
    """What an agent would send to this path."""
    return OPENAI if path in (CHAT, RESPONSES) else CLAUDE


def ids_of(wire, body):
    """Ids of segments in a request that can be evicted on the wire."""
    return list(WIRE_FORMATS[wire].parse(body).spans)
