"""The HTTP side: requests in, requests out, replies back, both ways as streams.

    agent ──▶ headers as they came ──▶ body: streamed, or edited by the gate ──▶ upstream
    agent ◀── status, headers, every byte as it comes, or the same broken connection ◀──

No time-outs of our own and no retries, but one: an edited request that the upstream refuses is sent again as the agent
wrote it, and its session is edited no more.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Set

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
    hdrs,
    web,
)
from multidict import CIMultiDict
from yarl import URL

from ctxgc.fronts.gateway.body import EDITED_BYTES_MAX
from ctxgc.fronts.gateway.conversation import Conversation, can_converse
from ctxgc.fronts.gateway.counts import Counts, Reason
from ctxgc.fronts.gateway.gate import Gate, Sent
from ctxgc.fronts.gateway.recalling import Recaller, Talk
from ctxgc.fronts.gateway.routes import Route, route
from ctxgc.fronts.gateway.settings import Settings
from ctxgc.fronts.gateway.sync import Call
from ctxgc.fronts.gateway.usage import UsageScanner

HEADER_BYTES_MAX = 256 * 2**10
READ_BYTES = 2**20
"""What is read ahead of a slow reader, in each direction (half of it, before the other side is told to wait)."""
WRITE_BYTES = 256 * 2**10
IDLE_S = 15.0
"""Upstreams hang up on connections that idle longer; a request sent into that would be lost."""
CONNECT_S = 30.0
STATUS_PATH = "/ctxgc/status"

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_FORWARDED = _HOP_BY_HOP | {"host", "expect"}
_NOT_ADDED = (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)

_log = logging.getLogger("ctxgc.gateway")


class Proxy:
    """Serves agents. Keys and texts pass through it and are neither kept nor logged."""

    def __init__(
        self,
        gate: Gate,
        recaller: Recaller,
        counts: Counts,
        settings: Callable[[], Settings],
        upstream: ClientSession,
    ) -> None:
        self._gate = gate
        self._recaller = recaller
        self._counts = counts
        self._settings = settings
        self._upstream = upstream

    def app(self) -> web.Application:
        """The application to run."""
        app = web.Application()
        app.router.add_get(STATUS_PATH, self._status)
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.on_response_prepare.append(_unsigned)
        return app

    async def _status(self, request: web.Request) -> web.StreamResponse:
        settings = self._settings()
        # A page of another site must not read this: its browser would send that site's name as the host.
        if not _is_local(request.host):
            raise web.HTTPForbidden
        modes = {"mode": settings.mode, "modes": dict(settings.modes)}
        return web.json_response(self._counts.report() | modes)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        way = route(request.method, request.raw_path, request.headers, self._settings().upstreams)
        if not way.url:
            return _failed(way, 400, "this is no path of an API")
        if request.headers.get("upgrade", "").lower() == "websocket":
            return _failed(way, 501, "it speaks no WebSocket; set the agent to HTTP")
        if not way.format:
            self._counts.others += 1
            return await self._forward(request, way, _streamed(request), _length(request), None, None)
        self._counts.calls += 1
        return await self._call(request, way)

    async def _call(self, request: web.Request, way: Route) -> web.StreamResponse:
        """A call to a model."""
        length = _length(request)
        look = self._gate.look(way.format, request.headers, length or 0)
        body = _Body(request)
        has_tool = self._recaller.may_have_tool(look)
        if (look.holds or has_tool) and await body.read():
            whole = b"".join(body.parts)
            sent = await self._gate.held(look, whole) if look.holds else Sent(whole, self._gate.streamed(look, [whole]))
            if has_tool and (talk := await self._recaller.dress(sent)) is not None:
                return await self._converse(request, way, sent, talk)
            return await self._forward(request, way, _sliced(sent.body), len(sent.body), sent, None)

        def read() -> Call | None:
            return self._gate.streamed(look, body.parts if body.is_whole else None)

        return await self._forward(request, way, body.streamed(), length, None, read)

    async def _converse(self, request: web.Request, way: Route, sent: Sent, talk: Talk) -> web.StreamResponse:
        """A call whose model has the recall tool."""

        async def ask(body: bytes) -> ClientResponse:
            return await self._ask(request, way, _sliced(body), len(body), is_plain=True)

        out: _Relayed | None = None

        async def write(reply: ClientResponse, data: bytes) -> None:
            nonlocal out
            if out is None:
                out = _Relayed(reply, is_framed=False)
                await out.prepare(request)
            await out.write(data)

        reply = None
        try:
            reply = await ask(talk.request.body)
            if reply.status == web.HTTPBadRequest.status_code:
                reply = await self._ask_again(request, way, sent._replace(original=talk.call.body), reply)
                if reply.status != web.HTTPBadRequest.status_code:
                    talk.family.has_recall_tool = False
                return await self._relay(request, reply, talk.call)
            if not can_converse(reply):
                return await self._relay(request, reply, talk.call)
            reply = await Conversation(self._recaller, self._counts, talk, ask, write).relay(reply)
        except (ClientError, TimeoutError, OSError) as error:
            if request.transport is None or request.transport.is_closing():
                return out or web.Response()  # The agent hung up.
            self._counts.upstream_faults += 1
            if out is not None or isinstance(error, ServerDisconnectedError):
                return _hung_up(request, out)
            return _failed(way, 502, f"{way.upstream} cannot be reached ({type(error).__name__})")
        finally:
            if reply is not None:
                reply.close()
        if out is None:
            out = _Relayed(reply, is_framed=False)
            await out.prepare(request)
        await out.write_eof()
        return out

    async def _forward(
        self,
        request: web.Request,
        way: Route,
        body: AsyncIterator[bytes],
        length: int | None,
        sent: Sent | None,
        streamed: Callable[[], Call | None] | None,
    ) -> web.StreamResponse:
        """Send a request on and its reply back. `streamed` names the call once its body has gone."""
        try:
            reply = await self._ask(request, way, body, length)
            if sent is not None and sent.original is not None and reply.status == web.HTTPBadRequest.status_code:
                reply = await self._ask_again(request, way, sent, reply)
        except ServerDisconnectedError:
            return _hung_up(request)
        except (ClientError, TimeoutError, OSError) as error:
            self._counts.upstream_faults += 1
            return _failed(way, 502, f"{way.upstream} cannot be reached ({type(error).__name__})")
        call = streamed() if streamed is not None else sent.call if sent is not None else None
        try:
            return await self._relay(request, reply, call)
        finally:
            reply.close()

    async def _ask(
        self,
        request: web.Request,
        way: Route,
        body: AsyncIterator[bytes],
        length: int | None,
        *,
        is_plain: bool = False,
    ) -> ClientResponse:
        """Send a request on; `is_plain` asks for a reply that is not compressed, because it will be looked into."""
        headers = _kept(request.raw_headers, _NOT_FORWARDED)
        for name in _listed(request.headers.getall(hdrs.CONNECTION, [])):
            headers.popall(name, None)
        headers.popall(hdrs.CONTENT_LENGTH, None)
        if length is not None and request.body_exists:
            headers[hdrs.CONTENT_LENGTH] = str(length)
        if is_plain:
            headers.popall(hdrs.ACCEPT_ENCODING, None)
            headers[hdrs.ACCEPT_ENCODING] = "identity"
        return await self._upstream.request(
            request.method,
            URL(way.url, encoded=True),
            headers=headers,
            data=body if request.body_exists and length != 0 else None,
            allow_redirects=False,
            skip_auto_headers=_NOT_ADDED,
        )

    async def _ask_again(self, request: web.Request, way: Route, sent: Sent, refused: ClientResponse) -> ClientResponse:
        """An edited request was refused: send the original. If that is taken, the fault was ours."""
        assert sent.original is not None
        refused.close()
        reply = await self._ask(request, way, _sliced(sent.original), len(sent.original))
        if reply.status != refused.status and sent.call is not None and sent.call.thread is not None:
            sent.call.thread.bar()
        self._counts.edited -= sent.call is None or bool(sent.call.edited)
        self._counts.passed(Reason.REFUSED)
        _log.warning("an edited request was refused upstream; it was sent again as it came")
        return reply

    async def _relay(self, request: web.Request, reply: ClientResponse, call: Call | None) -> web.StreamResponse:
        out = _Relayed(reply)
        scanner = None
        if call is not None:
            scanner = UsageScanner(reply.content_type, reply.headers.get(hdrs.CONTENT_ENCODING, ""))
        try:
            await out.prepare(request)
            async for data in reply.content.iter_any():
                await out.write(data)
                if call is not None and scanner is not None:
                    call.reply.began.set()
                    scanner.feed(data)
        except ConnectionResetError:
            return out  # The agent hung up. (The library's own error for this is a ClientError too.)
        except ClientError as error:
            # What the upstream broke off breaks off here too: an end that looks like one would be a lie.
            self._counts.upstream_faults += 1
            _log.info("the upstream broke off a reply (%s)", type(error).__name__)
            return _hung_up(request, out)
        if call is not None and scanner is not None:
            call.reply.began.set()
            call.reply.usage = scanner.usage()
            self._counts.without_usage += call.reply.usage is None and reply.ok
        await out.write_eof()
        return out


class _Relayed(web.StreamResponse):
    """An upstream's reply on its way through."""

    def __init__(self, upstream: ClientResponse, *, is_framed: bool = True) -> None:
        headers = _kept(upstream.raw_headers, _HOP_BY_HOP)
        if not is_framed:  # Its body may come out longer or shorter.
            headers.popall(hdrs.CONTENT_LENGTH, None)
        super().__init__(status=upstream.status, reason=upstream.reason, headers=headers)
        self.upstream = upstream


class _Body:
    """A request's body on its way through, kept as long as it is not too long."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.parts: list[bytes] = []
        self._bytes = 0
        self._is_at_end = False

    @property
    def is_whole(self) -> bool:
        """Whether it has ended, and all of it was kept."""
        return self._is_at_end and self._bytes <= EDITED_BYTES_MAX

    async def read(self) -> bool:
        """Read to the end; False if it is too long to be held, and then `streamed` goes on with it."""
        async for data, _ in self._request.content.iter_chunks():
            self._keep(data)
            if self._bytes > EDITED_BYTES_MAX:
                return False
        self._is_at_end = True
        return True

    async def streamed(self) -> AsyncIterator[bytes]:
        """What was read, then the rest as it comes."""
        for part in tuple(self.parts):
            yield part
        async for data, _ in self._request.content.iter_chunks():
            self._keep(data)
            if self._bytes > EDITED_BYTES_MAX:
                self.parts.clear()
            yield data
        self._is_at_end = True

    def _keep(self, data: bytes) -> None:
        self._bytes += len(data)
        self.parts.append(data)


def client_session() -> ClientSession:
    """The way to the upstreams: no cookies, no redirects, no decoding, no deadline but that of connecting."""
    return ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=IDLE_S),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        timeout=ClientTimeout(total=None, sock_connect=CONNECT_S),
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
    )


async def listen(app: web.Application, listener: socket.socket) -> web.AppRunner:
    """Serve until the runner is cleaned up."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        auto_decompress=False,
        handler_cancellation=True,  # An agent that hangs up ends the reply it pays for.
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        shutdown_timeout=5.0,
        read_bufsize=READ_BYTES,
    )
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner


async def _unsigned(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Take back the headers that the HTTP library adds where the upstream sent none."""
    if isinstance(response, _Relayed):
        for name in {hdrs.SERVER, hdrs.DATE, hdrs.CONTENT_TYPE} - response.upstream.headers.keys():
            response.headers.popall(name, None)


def _kept(raw: Iterable[tuple[bytes, bytes]], dropped: Set[str]) -> CIMultiDict[str]:
    """Headers as they came, in order and spelling, without these."""
    named = ((name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in raw)
    return CIMultiDict((name, value) for name, value in named if name.lower() not in dropped)


async def _streamed(request: web.Request) -> AsyncIterator[bytes]:
    async for data, _ in request.content.iter_chunks():
        yield data


async def _sliced(body: bytes) -> AsyncIterator[bytes]:
    for part in _slices(body):
        yield part


def _slices(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), WRITE_BYTES):
        yield body[start : start + WRITE_BYTES]


def _length(request: web.Request) -> int | None:
    """The body's length if the request says it."""
    return request.content_length if request.body_exists else 0


def _listed(values: list[str]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    return name in ("localhost", "[::1]") or name.startswith("127.")


def _failed(way: Route, status: int, why: str) -> web.Response:
    """An answer of our own, in the shape that both APIs use."""
    fault = {"type": "api_error", "message": f"ctxgc gateway: {why}"}
    return web.json_response({"type": "error", "error": fault}, status=status)


def _hung_up(request: web.Request, out: web.StreamResponse | None = None) -> web.StreamResponse:
    """End the connection as the upstream did: what was written is sent, then nothing more."""
    if request.transport is not None:
        request.transport.close()
    return out or web.Response(status=502)
