"""The hidden recall tool behind its door: `editing/hidden_tool.py` says what each of these does."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from ctxgc.gateway.body.request_body import EDITED_BYTES_MAX
from ctxgc.gateway.body.splice_memo import OwnMark
from ctxgc.gateway.daemon_client import VerbCaller
from ctxgc.gateway.editing.hidden_tool import Ends, HiddenTool, R, UpstreamReply
from ctxgc.gateway.editing.request_state import ModelCall
from ctxgc.gateway.identity.agent_session import AgentSession
from ctxgc.gateway.metrics import Counters
from ctxgc.gateway.recall.reply_filter import TOOL_NAME
from ctxgc.gateway.recall.service import RecallService, ToolTalk
from ctxgc.gateway.recall.tool_loop import ToolLoop
from ctxgc.gateway.settings import Settings


def open_tool(daemon: VerbCaller, counters: Counters, settings: Callable[[], Settings]) -> HiddenTool:
    """The recall tool of one gateway."""
    return RecallTool(RecallService(daemon, counters, settings), counters)


class RecallTool:
    """See `HiddenTool`."""

    name = TOOL_NAME

    def __init__(self, recaller: RecallService, counters: Counters) -> None:
        self._recaller = recaller
        self._counters = counters

    def is_in(self, session: AgentSession) -> bool:
        """See `HiddenTool.is_in`."""
        return bool(self._recaller.state_of(session).has_tool)

    def may_join(self, session: AgentSession, wire: str, mode: str) -> bool:
        """See `HiddenTool.may_join`."""
        return self._recaller.may_have_tool(session, wire, mode)

    async def inject(self, call: ModelCall, body: bytes) -> RecallRequest | None:
        """See `HiddenTool.inject`."""
        talk = await self._recaller.inject(call, body)
        return RecallRequest(self._recaller, self._counters, talk) if talk is not None else None


class RecallRequest:
    """See `HiddenRequest`."""

    def __init__(self, recaller: RecallService, counters: Counters, talk: ToolTalk) -> None:
        self._recaller = recaller
        self._counters = counters
        self._talk = talk

    @property
    def body(self) -> bytes:
        """See `HiddenRequest.body`."""
        return self._talk.request.body

    async def unmark(self, own: OwnMark) -> bytes | None:
        """See `HiddenRequest.unmark`."""
        made = await self._recaller.dress(self._talk.dressing, own.without(self._talk.edited))
        if made is None:
            return None
        self._talk.request = made
        return made.body

    def can_relay(self, reply: UpstreamReply) -> bool:
        """See `HiddenRequest.can_relay`."""
        is_plain = reply.headers.get("Content-Encoding", "identity").lower() == "identity"
        length = reply.content_length or 0
        return reply.status == HTTPStatus.OK and is_plain and length <= EDITED_BYTES_MAX

    async def relay(self, reply: R, ends: Ends[R]) -> R:
        """See `HiddenRequest.relay`."""
        return await ToolLoop(self._recaller, self._counters, self._talk, ends, self.can_relay).relay(reply)

    def withdraw(self) -> None:
        """See `HiddenRequest.withdraw`."""
        self._talk.state.has_tool = False
