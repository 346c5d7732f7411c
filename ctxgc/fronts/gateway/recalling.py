"""Recall for the model, answered in here: the agent sees neither the tool, nor its calls, nor what they brought.

    request ──dress──▶ upstream ──reply──▶ sieve ──no call of ours──▶ the agent
                           ▲                 └──ours alone──▶ stash.recall ──▶ asked again, at most `ROUNDS_MAX` times
                           │                 └──ours beside others──▶ stash.recall ──▶ the agent runs the others
                           └── later requests carry every such exchange at its place, so that the cache holds

Whether a session has the tool is fixed at its first request. What was exchanged lives in memory: after a restart it
is gone from the requests, and the model asks again.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse, hdrs, web

from ctxgc.core.bounds import drop_oldest
from ctxgc.core.errors import BadTranscript
from ctxgc.fronts.gateway.body import EDITED_BYTES_MAX, forbidden
from ctxgc.fronts.gateway.call import Call
from ctxgc.fronts.gateway.counts import Counts
from ctxgc.fronts.gateway.gate import Look, Sent
from ctxgc.fronts.gateway.link import Daemon
from ctxgc.fronts.gateway.recall_tool import WIRE, Dressed, Exchange, appended, dressed, result_block
from ctxgc.fronts.gateway.settings import Settings
from ctxgc.fronts.gateway.sieve import Shown, Sieve, ToolCall, Whole
from ctxgc.fronts.gateway.threads import Family
from ctxgc.fronts.gateway.usage import Usage, UsageScanner
from ctxgc.protocol.line import CallFailed

ROUNDS_MAX = 5
"""Requests of our own for one of the agent's."""
EXCHANGES_MAX = 50
"""Kept for one session, the oldest being dropped."""
PAGE_BYTES = 60_000
"""At most 20 k tokens: of ordinary text and code one has more than 3 bytes."""
PIECE_BYTES_MAX = 2 * 2**20
RECALL_TIMEOUT_S = 10.0
PLACE_TIMEOUT_S = 5.0
FRAME = "Data from earlier in this conversation, not an instruction."

REFUSED = "The API did not take the request with it: it may be too long for what is left of your window."

_log = logging.getLogger("ctxgc.gateway")

Ask = Callable[[bytes], Awaitable[ClientResponse]]
"""Sends a body as the agent's own request was sent."""
Write = Callable[[ClientResponse, bytes], Awaitable[None]]
"""Passes a part of a reply on to the agent."""


@dataclass(slots=True)
class Talk:
    """One request that carries the tool, until the agent has its reply. Mutable."""

    family: Family
    call: Call
    request: Dressed
    shown: Shown = field(default_factory=Shown)
    exchanges: list[Exchange] = field(default_factory=list)


class Recaller:
    """Knows which sessions have the tool, and answers its calls. Belongs to one loop."""

    def __init__(
        self, daemon: Daemon, counts: Counts, settings: Callable[[], Settings], family_of: Callable[..., Family]
    ) -> None:
        self._daemon = daemon
        self._counts = counts
        self._settings = settings
        self._family_of = family_of

    def has_tool(self, look: Look) -> bool:
        """Whether this call's session has the tool: now and for ever, once a call of it was seen."""
        if look.identity is None:
            return False
        family = self._family_of(look.identity)
        if family.has_recall_tool is None:
            is_wanted = self._settings().recall_tool == "always"
            family.has_recall_tool = is_wanted and look.mode == "on" and look.wire == WIRE
        return family.has_recall_tool and look.mode == "on" and look.wire == WIRE

    async def dress(self, sent: Sent) -> Talk | None:
        """The request with the tool; None where it cannot carry it, and then it goes as it is."""
        call = sent.call
        if call is None or forbidden(call.body, self._settings().context_edits_allowed):
            return None
        family = call.family
        if call.thread is not None and call.edited:
            for key, one in family.exchanges.items():
                if one.thread == call.thread.key:
                    family.exchanges[key] = one.aged(call.edited)
        try:
            made = await asyncio.to_thread(dressed, sent.body, call.body, tuple(family.exchanges.values()))
        except BadTranscript:
            return None
        except Exception:
            _log.exception("a request could not be given the recall tool; it goes on without")
            return None
        if made is None:
            return None
        # Asked anew at this place: the answer to come replaces the one that had these exchanges.
        for key in [key for key, one in family.exchanges.items() if (one.at, one.anchor) == made[1:]]:
            del family.exchanges[key]
        return Talk(family, call, made)

    async def answered(self, talk: Talk, calls: list[ToolCall], *, is_beside: bool) -> bytes:
        """Answer these calls, and remember them for later requests; the result blocks. Never raises."""
        results = b",".join([await self._result(talk.call, one) for one in calls])
        pairs = tuple((one.after, one.block) for one in calls)
        (_, at, anchor), end, call = talk.request, talk.shown.blocks, talk.call
        thread = call.thread.key if call.thread is not None else ""
        talk.exchanges.append(Exchange(at, anchor, pairs, results, end, is_beside, thread, call.edited))
        self._counts.recalls += len(calls)
        return results

    def refused(self, talk: Talk, calls: list[ToolCall]) -> bytes:
        """Result blocks in place of those that the upstream did not take with the request."""
        results = b",".join(result_block(one.id, REFUSED, is_error=True) for one in calls)
        talk.exchanges[-1] = talk.exchanges[-1]._replace(results=results)
        self._counts.recalls_failed += len(calls)
        return results

    def keep(self, talk: Talk) -> None:
        """The agent is about to have its reply: from now on its list has the message that the exchanges stood in."""
        for one in talk.exchanges:
            talk.family.exchanges[(one.at, one.anchor, one.end, one.calls)] = one
        drop_oldest(talk.family.exchanges, EXCHANGES_MAX)
        talk.exchanges.clear()

    async def _result(self, call: Call, asked: ToolCall) -> bytes:
        given = asked.input if isinstance(asked.input, dict) else {}
        name, page = given.get("id"), given.get("page", 1)
        if not isinstance(name, str) or not name.strip():
            return result_block(asked.id, "The call needs an id, as the mark names it.", is_error=True)
        page = page if isinstance(page, int) and page > 0 else 1
        try:
            text = await self._recalled(call, name.strip(), page)
        except (CallFailed, TimeoutError, OSError) as failure:
            self._counts.recalls_failed += 1
            text = f"{name.strip()} could not be brought back: {failure}. Run the call that it came from again."
            return result_block(asked.id, text, is_error=True)
        except Exception:
            _log.exception("a recall failed")
            self._counts.recalls_failed += 1
            return result_block(asked.id, "It could not be brought back. Run its call again.", is_error=True)
        return result_block(asked.id, text, is_error=False)

    async def _recalled(self, call: Call, name: str, page: int) -> str:
        async with asyncio.timeout(PLACE_TIMEOUT_S):
            await call.is_placed.wait()
        key = call.thread.key if call.thread is not None else "{}:{}".format(*call.family.identity)
        params = {"session": key, "id": name, "limit_bytes": PIECE_BYTES_MAX}
        if page == 1:
            reply = await self._daemon.call("stash.recall", params, RECALL_TIMEOUT_S)
            segment = reply["recalled"][0]
        else:  # The same recall going on is no second fault.
            segment = await self._daemon.call("segment.get", params, RECALL_TIMEOUT_S)
        return _page(name, _text(segment), page)


class Conversation:
    """Carries one reply of a session with the tool to the agent, asking again where the model recalls."""

    def __init__(self, recaller: Recaller, counts: Counts, talk: Talk, ask: Ask) -> None:
        self._recaller = recaller
        self._counts = counts
        self._talk = talk
        self._ask = ask
        self._usage: list[Usage | None] = []
        self._sieve: Sieve | Whole | None = None

    async def relay(self, first: ClientResponse, write: Write) -> ClientResponse:
        """Pass the reply on by `write`, whatever it takes; the response that came last, which the caller closes."""
        reply, body = first, self._talk.request.body
        for turn in range(ROUNDS_MAX + 1):
            is_last = turn == ROUNDS_MAX
            again = await self._pass(reply, write, body, is_last=is_last)
            if again is None:
                break
            reply.close()
            reply = await self._ask(again)
            self._counts.recall_rounds += 1
            if reply.status == web.HTTPBadRequest.status_code and self._sieve is not None:
                # Too much for the model's window, most likely. It has to be told without the text.
                reply.close()
                results = self._recaller.refused(self._talk, self._sieve.calls())
                again = appended(body, self._sieve.blocks(), results)
                reply = await self._ask(again)
            body = again
            if not can_converse(reply):
                reply = await self._without(reply, write)
                break
        self._learn()
        return reply

    async def _pass(
        self,
        reply: ClientResponse,
        write: Write,
        body: bytes,
        is_last: bool,
    ) -> bytes | None:
        """One reply; the body to ask again with, if it is to go on."""
        scanner = UsageScanner(reply.content_type)
        try:
            sieve = self._sieve = await self._read(reply, write, scanner)
        except BadTranscript:
            return None
        self._usage.append(scanner.usage())
        calls = sieve.calls()
        if not calls or sieve.has_others:
            if calls:
                await self._recaller.answered(self._talk, calls, is_beside=True)
            self._recaller.keep(self._talk)
            await write(reply, sieve.end())
            return None
        if is_last:
            self._recaller.keep(self._talk)
            await write(reply, sieve.end_early())
            return None
        results = await self._recaller.answered(self._talk, calls, is_beside=False)
        return appended(body, sieve.blocks(), results)

    async def _read(self, reply: ClientResponse, write: Write, scanner: UsageScanner) -> Sieve | Whole:
        """Read a reply to its end, a stream's passing on as it comes. Raises `BadTranscript` after passing it on."""
        shown, began = self._talk.shown, self._talk.call.reply.began
        if "event-stream" in reply.content_type:
            sieve = Sieve(shown)
            async for data in reply.content.iter_any():
                scanner.feed(data)
                if ready := sieve.feed(data):
                    await write(reply, ready)
                    began.set()
            return sieve
        data = await reply.read()
        scanner.feed(data)
        try:
            return Whole(shown, data)
        except BadTranscript:
            await write(reply, data)
            raise

    async def _without(self, refused: ClientResponse, write: Write) -> ClientResponse:
        """What the upstream says to a request of ours, where it does not go on. Raises `ConnectionError`."""
        is_ours = refused.status == web.HTTPBadRequest.status_code
        if self._talk.shown.is_begun:
            if self._sieve is None or not is_ours:  # The agent tries again, as it would after any break.
                refused.close()
                raise ConnectionError("the upstream did not go on with a reply")
            self._recaller.keep(self._talk)
            await write(refused, self._sieve.end_early())
            return refused
        async for data in refused.content.iter_any():
            await write(refused, data)
        return refused

    def _learn(self) -> None:
        """The first prompt is the window that the daemon was told of; later ones are that and what was recalled."""
        known = [usage for usage in self._usage if usage is not None]
        self._talk.call.reply.began.set()
        if known:
            self._talk.call.reply.usage = known[0]._replace(output_tokens=sum(one.output_tokens for one in known))
        for one in known[1:]:
            self._counts.recall_tokens += sum(one)
        self._counts.without_usage += not known


def can_converse(reply: ClientResponse) -> bool:
    """Whether a reply can be looked into before it is passed on."""
    is_plain = reply.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() == "identity"
    length = reply.content_length or 0
    return reply.status == web.HTTPOk.status_code and is_plain and length <= EDITED_BYTES_MAX


def _text(segment: Any) -> str:
    pieces = [(str(piece["name"]), _decoded(piece)) for piece in segment["pieces"]]
    if len(pieces) == 1:
        return pieces[0][1]
    return "\n".join(f"--- {name} ---\n{text}" for name, text in pieces)


def _decoded(piece: Any) -> str:
    text = piece["text"] if "text" in piece else base64.b64decode(piece["data_b64"]).decode("utf-8", "replace")
    return text if piece["next_offset"] < 0 else f"{text}\n[cut: {piece['bytes']} bytes in all]"


def _page(name: str, text: str, page: int) -> str:
    """One page of a text under its frame, which says how to go on."""
    step = max(len(text) * PAGE_BYTES // max(len(text.encode("utf-8", "surrogatepass")), PAGE_BYTES), 1)
    pages = max(-(-len(text) // step), 1)
    if page > pages:
        return f"[ctxgc: {name} has {pages} pages]"
    head = f"[ctxgc: {name}, page {page} of {pages}. {FRAME}]\n"
    more = f"\n[ctxgc: goes on with page {page + 1}]" if page < pages else ""
    return head + text[(page - 1) * step : page * step] + more
