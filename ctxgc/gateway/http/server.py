"""The HTTP side: requests in, requests out, replies back, both ways as streams.

    agent ──▶ headers as they came ──▶ body: streamed, or edited by the editor ──▶ upstream
    agent ◀── status, headers, every byte as it comes, or the same broken connection ◀──

The life of a request: `_serve_request` finds the route, `_prepare_request` the bytes for the upstream, and
`_forward_request` carries request and reply to their ends. The server has no time-outs, and no retries of its own but
after a refusal of an edited request: without our breakpoint, then in the agent's own bytes. The session goes on without
the refused part.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp import ClientError, ClientResponse, ServerDisconnectedError, hdrs, web

from ctxgc.gateway.billing.usage import UsageScanner
from ctxgc.gateway.body.content_coding import BadCoding, BodyTooLong, decode_body, encode_body
from ctxgc.gateway.body.request_body import EDITED_BYTES_MAX
from ctxgc.gateway.body.splice_memo import OwnBreakpoint
from ctxgc.gateway.byte_budget import ByteBudget
from ctxgc.gateway.editing.request_editor import RequestEditor, Triage
from ctxgc.gateway.editing.request_state import ModelCall
from ctxgc.gateway.http.agent_body import AgentBody
from ctxgc.gateway.http.error_response import error_response
from ctxgc.gateway.http.header_lines import HOP_BY_HOP, copy_headers
from ctxgc.gateway.http.origin_guard import origin_middleware
from ctxgc.gateway.http.owner_guard import PATH, owner_middleware
from ctxgc.gateway.http.routes import Route, find_route
from ctxgc.gateway.http.tools_endpoint import Serve, ToolsEndpoint
from ctxgc.gateway.http.upstream import Accepts, Upstreams
from ctxgc.gateway.metrics import Counters, Reason
from ctxgc.gateway.settings import Settings
from ctxgc.protocol.build import build_id

STATUS_PATH = "/ctxgc/status"
HELD_BYTES_MAX = 256 * 2**20
"""Bytes of bodies that are kept at a time; what comes beyond them streams through unread."""

_log = logging.getLogger("ctxgc.gateway")


@dataclass(slots=True)
class _OutgoingRequest:
    """A request on its way upstream."""

    body: bytes | AsyncIterator[bytes]
    length: int | None
    original: bytes | None = None
    """The agent's own bytes, to be sent if the upstream refuses the body."""
    own: OwnBreakpoint | None = None
    """The breakpoint of our own in the body."""
    sent_call: Callable[[], ModelCall | None] = lambda: None
    """The call, as soon as its body has gone upstream."""
    accepts: Accepts = Accepts.ANY
    coding: str = ""
    """The content coding in which `body` goes upstream."""

    def body_without_breakpoint(self) -> bytes | None:
        """The body without our breakpoint, which no later body of the request has; `None` where no such body can be
        made.

        The agent's own bytes where the breakpoint was the only edit.
        """
        if self.own is None or not isinstance(self.body, bytes):
            return None
        call = self.sent_call()
        return (
            self.original
            if call is not None and not call.edited_ids | call.elided_ids
            else self.own.remove_from(self.body)
        )


class Proxy:
    """Serves agents. Keys and texts pass through, and are neither kept nor logged."""

    def __init__(
        self,
        editor: RequestEditor,
        counters: Counters,
        settings: Callable[[], Settings],
        upstreams: Upstreams,
        serve_tools: Serve | None = None,
    ) -> None:
        self._editor = editor
        self._counters = counters
        self._settings = settings
        self._upstreams = upstreams
        self._tools = ToolsEndpoint(serve_tools)
        self._held = ByteBudget(HELD_BYTES_MAX)
        """Bytes of bodies that are kept, in all requests under way."""

    def create_app(self) -> web.Application:
        """The application to run."""
        guards = [origin_middleware(lambda: self._settings().hosts_allowed), owner_middleware(self._settings)]
        app = web.Application(middlewares=guards)
        app.router.add_route("*", "/{path:.*}", self._serve_request)
        app.on_response_prepare.append(_drop_library_headers)
        build_id()  # Now: later the code on disk may be another.
        return app

    def _status_response(self) -> web.StreamResponse:
        settings = self._settings()
        modes = {"mode": settings.mode, "modes": dict(settings.modes)}
        return web.json_response(self._counters.status_fields() | modes | {"build": build_id()})

    async def _serve_request(self, request: web.Request) -> web.StreamResponse:
        path = request[PATH]
        if request.method in ("GET", "HEAD") and path.target.partition("?")[0] == STATUS_PATH:
            return self._status_response()
        if self._tools.is_tools_path(path.target):
            return await self._tools.serve_tools_request(request, path.target)
        way = find_route(request.method, path.target, request.headers, self._settings().upstreams)
        if not way.url:
            return error_response(400, "api_error", way.why)
        if request.headers.get("upgrade", "").lower() == "websocket":
            # Codex falls back to HTTP at once on this status alone; on any other it tries again for seconds.
            return error_response(426, "api_error", "this gateway speaks no WebSocket; set the agent to HTTP")
        if not way.format:
            self._counters.others += 1
            return await self._forward_request(
                request, way, _OutgoingRequest(_body_chunks(request), _body_length(request))
            )
        self._counters.calls += 1
        body = AgentBody(request, self._held)
        try:
            return await self._forward_request(request, way, await self._prepare_request(request, way, body))
        finally:
            body.release()

    async def _prepare_request(self, request: web.Request, way: Route, body: AgentBody) -> _OutgoingRequest:
        """The request that goes upstream for a call to a model."""
        length = _body_length(request)
        triage = self._editor.triage_call(way.format, request.headers, length or 0, request[PATH].session)
        if not (triage.holds_body and await body.read_whole()):
            accepts = Accepts.READABLE if triage.session is not None and triage.pass_reason is None else Accepts.ANY
            return _OutgoingRequest(
                body.chunks(), length, sent_call=lambda: self._sync_streamed_body(triage, body), accepts=accepts
            )
        return await self._prepare_whole_body(triage, body)

    async def _prepare_whole_body(self, triage: Triage, body: AgentBody) -> _OutgoingRequest:
        """The request that goes upstream for a body that has been read whole."""
        original = b"".join(body.parts)
        whole, coding = await self._decode_whole_body(triage, body, original), triage.coding
        if whole is None:
            return _OutgoingRequest(original, len(original))
        outgoing = await self._editor.edit_request(triage._replace(coding=""), whole)
        call = outgoing.call
        accepts = Accepts.READABLE if call is not None else Accepts.ANY
        if outgoing.original is None:
            return _OutgoingRequest(original, len(original), sent_call=lambda: call, accepts=accepts)
        size = len(outgoing.body)
        return _OutgoingRequest(
            outgoing.body, size, original, outgoing.own, lambda: call, accepts=accepts, coding=coding
        )

    async def _decode_whole_body(self, triage: Triage, body: AgentBody, original: bytes) -> bytes | None:
        """The plain body; `None`, and counted, for a body that must pass unread."""
        if not triage.coding:
            return original
        try:
            # In a thread: a megabyte of gzip would hold up every other agent.
            plain = await asyncio.to_thread(decode_body, original, triage.coding, EDITED_BYTES_MAX)
            if body.reserve_plain_body(len(plain)):
                return plain
            self._counters.count_unedited_call(Reason.TOO_LARGE)
        except BodyTooLong:
            self._counters.count_unedited_call(Reason.TOO_LARGE)
        except BadCoding:
            self._counters.count_unedited_call(Reason.ENCODED)
        return None

    def _sync_streamed_body(self, triage: Triage, body: AgentBody) -> ModelCall | None:
        return self._editor.sync_streamed_request(triage, body.parts if body.is_whole else None)

    async def _forward_request(self, request: web.Request, way: Route, out: _OutgoingRequest) -> web.StreamResponse:
        """Send a request on and its reply back. An early end on one side shows on the other."""
        agent, replies = _AgentConnection(request), list[ClientResponse]()

        async def ask(body: bytes | AsyncIterator[bytes], length: int | None = None) -> ClientResponse:
            if out.coding and isinstance(body, bytes) and body is not out.original:
                body = await asyncio.to_thread(encode_body, body, out.coding)
            size = len(body) if isinstance(body, bytes) else length
            reply = await self._upstreams.send_request(request, way.url, body, size, accepts=out.accepts)
            replies.append(reply)
            return reply

        try:
            reply = await ask(out.body, out.length)
            bare = out.body_without_breakpoint() if _is_refusal(reply) else None
            if bare is not None:
                reply = self._settle_refused_breakpoint(out, reply, await ask(bare))
            if out.original is not None and out.original is not bare and _is_refusal(reply):
                reply = self._settle_refused_edit(out, reply, await ask(out.original))
            await self._relay_reply(reply, agent, out.sent_call)
            return await agent.end_reply()
        except (ClientError, TimeoutError, OSError) as error:
            if agent.has_hung_up:
                return agent.reply or web.Response()
            self._counters.upstream_faults += 1
            if agent.reply is None and not isinstance(error, ServerDisconnectedError):
                return error_response(502, "api_error", f"{way.upstream} cannot be reached ({type(error).__name__})")
            # A reply that the upstream broke off breaks off here too: a proper end would be a lie.
            _log.info("the upstream broke off (%s)", type(error).__name__)
            return agent.hang_up()
        finally:
            for reply in replies:
                reply.close()

    def _settle_refused_breakpoint(
        self, out: _OutgoingRequest, refused: ClientResponse, again: ClientResponse
    ) -> ClientResponse:
        """The reply after the upstream refused a request with our breakpoint, and got the same request without the
        breakpoint."""
        call = out.sent_call()
        if again.ok and call is not None and call.branch is not None:
            call.is_breakpoint_refused = True
            call.branch.bar_own_breakpoint()
            _log.warning("a cache breakpoint was refused upstream; the session goes on without breakpoints of ours")
        return refused if _is_refusal(again) else again

    def _settle_refused_edit(
        self, out: _OutgoingRequest, refused: ClientResponse, again: ClientResponse
    ) -> ClientResponse:
        """The reply that the agent gets, after the upstream refused an edited request and got the original.

        Two refusals show a fault of the request itself. Then the agent gets the first refusal, whose fault the agent
        can mend: the second may say that the original is too long, which the edits were for.
        """
        is_refused = again.status // 100 == 4 and again.status != web.HTTPTooManyRequests.status_code
        if is_refused:
            return refused
        call = out.sent_call()
        # The daemon has the edited request, and the bill of the original is no bill of that.
        out.sent_call = lambda: None
        self._counters.count_unedited_call(Reason.REFUSED)
        if again.ok:  # Else the fault may be the upstream's.
            if call is not None and call.branch is not None:
                call.branch.stop_editing()
            _log.warning("an edited request was refused upstream; it was sent again as it came")
        return again

    async def _relay_reply(
        self, reply: ClientResponse, agent: _AgentConnection, sent_call: Callable[[], ModelCall | None]
    ) -> None:
        """Pass a reply on in parts, and read its bill on the side."""
        relayed = await agent.begin_reply(reply)
        try:
            data = await reply.content.readany()
            await relayed.write(data)
        finally:
            # Behind the first bytes: the agent waits for them, and for no work of the gateway's own.
            call = sent_call()
        if call is not None:
            call.reply.is_answer = reply.ok
        encoding = reply.headers.get(hdrs.CONTENT_ENCODING, "")
        scanner: UsageScanner | None = UsageScanner(reply.content_type, encoding)
        while data:
            if call is not None:
                call.reply.began.set()
                scanner = _feed_scanner(scanner, data)
            data = await reply.content.readany()
            await relayed.write(data)
        if call is not None:
            call.reply.end(scanner.take_usage() if scanner else None, scanner.calls if scanner else 0)
            self._counters.without_usage += call.reply.usage is None and reply.ok


class _RelayedReply(web.StreamResponse):
    """An upstream's reply on its way to the agent."""

    def __init__(self, upstream: ClientResponse) -> None:
        headers = copy_headers(upstream.raw_headers, HOP_BY_HOP)
        super().__init__(status=upstream.status, reason=upstream.reason, headers=headers)
        self.upstream = upstream


class _AgentConnection:
    """The agent's end of a request: status and headers are those of the first reply that is passed on."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.reply: _RelayedReply | None = None

    @property
    def has_hung_up(self) -> bool:
        """Whether the agent has ended the connection."""
        return self._request.transport is None or self._request.transport.is_closing()

    async def begin_reply(self, upstream: ClientResponse) -> _RelayedReply:
        """Pass on status and headers, once."""
        if self.reply is None:
            self.reply = _RelayedReply(upstream)
            await self.reply.prepare(self._request)
        return self.reply

    async def end_reply(self) -> web.StreamResponse:
        """The reply is complete."""
        assert self.reply is not None
        await self.reply.write_eof()
        return self.reply

    def hang_up(self) -> web.StreamResponse:
        """End the connection as the upstream did: bytes already written are sent, and no more."""
        if self._request.transport is not None:
            self._request.transport.close()
        return self.reply or web.Response(status=502)


async def _drop_library_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Drop headers that the HTTP library adds and the upstream did not send."""
    if isinstance(response, _RelayedReply):
        for name in {hdrs.SERVER, hdrs.DATE, hdrs.CONTENT_TYPE} - response.upstream.headers.keys():
            response.headers.popall(name, None)


def _is_refusal(reply: ClientResponse) -> bool:
    return reply.status == web.HTTPBadRequest.status_code


def _feed_scanner(scanner: UsageScanner | None, data: bytes) -> UsageScanner | None:
    """The scanner after the bytes; `None` after a failure, which must not touch the agent's reply."""
    try:
        if scanner is not None:
            scanner.feed(data)
    except Exception:
        _log.exception("the bill of a reply could not be read; the reply passes on")
        return None
    return scanner


async def _body_chunks(request: web.Request) -> AsyncIterator[bytes]:
    """The body's parts, in order."""
    async for data, _ in request.content.iter_chunks():
        yield data


def _body_length(request: web.Request) -> int | None:
    """The body's length, if the headers name a length."""
    return request.content_length if request.body_exists else 0
