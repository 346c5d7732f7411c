"""One reply of a session with the recall tool, on its way to the agent.

    asked ──▶ heard ──no call of ours, or beside others──▶ told: the agent has its message
      ▲         └───ours alone───▶ recalled, and asked again, at most `ROUNDS_MAX` times; then ended early
      │                                 ├──taken────▶ heard …
      └──with a word in place of it─────┤──400──────  too much for the model's window, most likely
                                        └──else, or 400 again──▶ nothing shown yet: passed on as it came
                                                                 after a 400: ended early
                                                                 else: broken off, and the agent tries again

What the agent is shown passes as it comes. A fault of our own lets the reply pass as it came while nothing of it was
kept out, and breaks it off otherwise; the session goes on without the tool.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Generic

from ctxgc.core.errors import BadTranscript
from ctxgc.gateway.billing.usage import ReplyUsage, UsageScanner
from ctxgc.gateway.editing.hidden_tool import Ends, R, UpstreamReply
from ctxgc.gateway.metrics import Counters
from ctxgc.gateway.recall.reply_filter import FilteredReply, ReplyBroken
from ctxgc.gateway.recall.service import RecallService, ToolTalk

ROUNDS_MAX = 5
"""Requests of our own for one of the agent's."""

_log = logging.getLogger("ctxgc.gateway")


class ToolLoop(Generic[R]):
    """Carries one reply to the agent, asking again where the model recalls."""

    def __init__(
        self,
        recaller: RecallService,
        counters: Counters,
        talk: ToolTalk,
        ends: Ends[R],
        can_relay: Callable[[UpstreamReply], bool],
    ) -> None:
        self._recaller = recaller
        self._counters = counters
        self._talk = talk
        self._ask = ends.ask
        self._pass = ends.write
        self._faults: tuple[type[Exception], ...] = (*ends.faults, TimeoutError, OSError)
        self._can_relay = can_relay
        self._has_written = False
        self._usage: list[ReplyUsage | None] = []
        self._calls = 0

    async def relay(self, reply: R) -> R:
        """Pass the reply on, whatever it takes; the response that came last, which the caller closes.

        Raises `ConnectionError` where a message that has begun cannot be ended.
        """
        try:
            return await self._relay(reply)
        except self._faults as fault:
            if isinstance(fault, ReplyBroken):
                self._talk.state.has_tool = False
            raise
        except Exception:
            _log.exception("a reply could not be passed on")
            self._talk.state.has_tool = False
            raise ReplyBroken("a fault of our own") from None

    async def _relay(self, reply: R) -> R:
        # As in the server: the request that the daemon knows has left its entries in the provider's cache.
        self._talk.call.reply.is_answer = reply.status == HTTPStatus.OK
        for rounds in range(ROUNDS_MAX + 1):
            heard = await self._read_reply(reply)
            if heard is None:
                break
            has_calls = bool(heard.calls())
            is_over = not has_calls or heard.has_others
            if has_calls and (is_over or rounds < ROUNDS_MAX):
                await self._recaller.answered(self._talk, heard)
            if is_over or rounds == ROUNDS_MAX:
                await self._finish(reply, heard, is_early=not is_over)
                break
            reply.close()
            reply = await self._ask_again()
            if not self._can_relay(reply):
                await self._pass_refusal(reply, heard)
                break
        self._learn()
        return reply

    async def _read_reply(self, reply: R) -> FilteredReply | None:
        """Read a reply to its end, a stream's passing on as it comes; None if it was passed on as it came."""
        scanner = UsageScanner(reply.content_type)
        talk = self._talk
        try:
            if "event-stream" in reply.content_type:
                stream = talk.wire.stream(talk.shown)
                async for data in reply.content.iter_any():
                    scanner.feed(data)
                    if ready := stream.feed(data):
                        await self._write(reply, ready)
                        talk.call.reply.began.set()
                return stream
            data = await reply.read()
            scanner.feed(data)
            return await self._read(reply, data)
        finally:
            self._usage.append(scanner.usage())
            self._calls += scanner.calls

    async def _read(self, reply: R, data: bytes) -> FilteredReply | None:
        try:
            return self._talk.wire.whole(self._talk.shown, data)
        except BadTranscript:
            pass
        except Exception:
            _log.exception("a reply could not be read; it passes as it came")
        await self._write(reply, data)
        return None

    async def _finish(self, reply: R, heard: FilteredReply, *, is_early: bool) -> None:
        """The agent has its message whole, and its next request will carry it."""
        self._recaller.keep(self._talk)
        await self._write(reply, heard.end_early() if is_early else heard.end())

    async def _ask_again(self) -> R:
        """The reply to the request with what was recalled; if that is not taken, with a word in place of it."""
        before, wire, reply = self._talk.request, self._talk.wire, None
        while True:
            last = self._talk.exchanges[-1]
            self._talk.request = before.append(last.said, wire.turn(last.results))
            is_second = reply is not None
            reply = await self._ask(self._talk.request.body)
            self._counters.recall_rounds += not is_second
            if is_second or reply.status != HTTPStatus.BAD_REQUEST:
                return reply
            reply.close()
            self._recaller.refused(self._talk)

    async def _pass_refusal(self, reply: R, heard: FilteredReply) -> None:
        """The upstream does not go on with a message."""
        if not self._has_written:
            async for data in reply.content.iter_any():
                await self._write(reply, data)
        elif reply.status == HTTPStatus.BAD_REQUEST:
            await self._finish(reply, heard, is_early=True)
        else:
            reply.close()
            raise ConnectionError("the upstream did not go on with a reply")

    async def _write(self, reply: R, data: bytes) -> None:
        self._has_written = True
        await self._pass(reply, data)

    def _learn(self) -> None:
        """Bill the first prompt, whose window the daemon knows; later prompts hold recalled content too.

        The calls of all replies count: the agent's next request goes up with every one of them.
        """
        known = [usage for usage in self._usage if usage is not None]
        output_tokens = sum(usage.output_tokens for usage in known)
        self._talk.call.reply.end(known[0]._replace(output_tokens=output_tokens) if known else None, self._calls)
        for one in known[1:]:
            self._counters.recall_tokens += sum(one)
        self._counters.without_usage += not known
