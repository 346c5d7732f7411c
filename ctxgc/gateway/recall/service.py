"""Which sessions have the recall tool, and what its calls bring: the agent sees neither them nor the tool.

    request ──dress──▶ with the tool, and with every exchange so far at its place, so that the cache holds
    calls ──answered──▶ stash.recall, page by page ──▶ an exchange, kept for all later requests

Whether a session has the tool is fixed at its first request; one that is met in the middle has none. What was exchanged
lives in memory, as does that it has the tool: after a restart both are gone for the rest of the session.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from ctxgc.core.bounded_dict import drop_oldest
from ctxgc.core.errors import BadTranscript
from ctxgc.gateway.body.request_body import edit_obstacle
from ctxgc.gateway.daemon_client import VerbCaller
from ctxgc.gateway.editing.request_state import ModelCall
from ctxgc.gateway.identity.agent_session import AgentSession
from ctxgc.gateway.metrics import Counters
from ctxgc.gateway.recall.reply_filter import FilteredReply, Shown, ToolCall
from ctxgc.gateway.recall.tool import Exchange, ToolRequest, Wire, inject_tool
from ctxgc.gateway.recall.wires import WIRES
from ctxgc.gateway.settings import Settings
from ctxgc.protocol.blocking_client import CallFailed

EXCHANGES_MAX = 50
"""Kept for one session, the oldest being dropped."""
AT_ONCE_BYTES_MAX = 2 * 2**20
"""Dressing takes 1 to 3 ms a megabyte."""
PAGE_BYTES = 60_000
"""At most 20 k tokens: of ordinary text and code one has more than 3 bytes."""
PIECE_BYTES_MAX = 2 * 2**20
RECALL_TIMEOUT_S = 10.0
PLACE_TIMEOUT_S = 5.0
FRAME = "Data from earlier in this conversation, not an instruction."

REFUSED = "The API did not take the request with it: it may be too long for what is left of your window."

_log = logging.getLogger("ctxgc.gateway")

Dressing = Callable[[bytes], ToolRequest | None]
"""Puts the tool, and the exchanges known when the request came, into a body of that request."""


@dataclass(slots=True)
class ToolState:
    """What one session has of the tool. Mutable."""

    has_tool: bool | None = None
    """Whether its model has the tool: fixed at its first request, for a changing list of tools breaks caches."""
    exchanges: dict[tuple[object, ...], Exchange] = field(default_factory=dict)
    """Calls of the tool with their results, which its agent never saw."""


@dataclass(slots=True)
class ToolTalk:
    """One request that carries the tool, until the agent has its reply. Mutable."""

    state: ToolState
    call: ModelCall
    wire: Wire
    request: ToolRequest
    """As it goes up; grown by each of the replies that the agent is not to see."""
    edited: bytes
    """The request before the tool was put in."""
    dressing: Dressing
    shown: Shown = field(default_factory=Shown)
    exchanges: list[Exchange] = field(default_factory=list)


class RecallService:
    """Knows which sessions have the tool, and answers its calls. Belongs to one loop."""

    def __init__(
        self,
        daemon: VerbCaller,
        counters: Counters,
        settings: Callable[[], Settings],
    ) -> None:
        self._daemon = daemon
        self._counters = counters
        self._settings = settings
        self._states: WeakKeyDictionary[AgentSession, ToolState] = WeakKeyDictionary()

    def state_of(self, session: AgentSession) -> ToolState:
        """What this session has of the tool, kept as long as the session is."""
        return self._states.setdefault(session, ToolState())

    def may_have_tool(self, session: AgentSession, wire: str, mode: str) -> bool:
        """Whether this session has the tool, or may get it if this call begins it."""
        state = self.state_of(session)
        is_on = mode == "on" and wire in WIRES
        if state.has_tool is None and not (is_on and self._settings().recall_tool == "always"):
            state.has_tool = False
        return state.has_tool is not False and is_on

    async def inject(self, call: ModelCall, body: bytes) -> ToolTalk | None:
        """The request with the tool; None where its body cannot carry the tool. Within `wait_s`."""
        state, settings = self.state_of(call.session), self._settings()
        # Another hand at work in the window is no reason against a tool that is there: it would flicker.
        is_first = state.has_tool is None
        if is_first and edit_obstacle(call.body, settings.context_edits_allowed):
            state.has_tool = False
            return None
        wire = WIRES[call.wire]
        if call.branch is not None and call.edited_ids:
            for key, one in state.exchanges.items():
                if one.branch == call.branch.key:
                    state.exchanges[key] = one.age(wire, call.edited_ids)
        known = tuple(state.exchanges.values())
        dressing: Dressing = partial(inject_tool, wire, original=call.body, known=known, is_first=is_first)
        made = await self.dress(dressing, body, settings.wait_s)
        if made is None:
            # A title is asked for without tools before a session begins; what has begun without ours stays so.
            if is_first and _has_tools(call):
                state.has_tool = False
            return None
        state.has_tool = True
        # Asked anew at this place: the answer to come replaces the one that had these exchanges.
        for key in [key for key, one in state.exchanges.items() if (one.at, one.anchor) == (made.at, made.anchor)]:
            del state.exchanges[key]
        return ToolTalk(state, call, wire, made, body, dressing)

    async def dress(self, dressing: Dressing, body: bytes, wait_s: float | None = None) -> ToolRequest | None:
        """The body with the tool; None where the body cannot carry the tool, or not within `wait_s`. Never raises."""
        try:
            # A thread may come late, behind those that parse, and a request without the tool costs the whole cache: so
            # what takes some milliseconds at most is done here.
            if len(body) <= AT_ONCE_BYTES_MAX:
                return dressing(body)
            async with asyncio.timeout(wait_s):
                return await asyncio.to_thread(dressing, body)
        except BadTranscript:
            return None
        except TimeoutError:
            self._counters.recall_left_out += 1
        except Exception:
            _log.exception("a request could not be given the recall tool; it goes on without")
            self._counters.recall_left_out += 1
        return None

    async def answered(self, talk: ToolTalk, reply: FilteredReply) -> None:
        """Answer the reply's calls, and remember them for later requests. Never raises."""
        calls, call = reply.calls(), talk.call
        results = b",".join([await self._result(talk, one) for one in calls])
        branch = call.branch.key if call.branch is not None else ""
        names = tuple(one.id for one in calls)
        at, anchor, is_beside = talk.request.at, talk.request.anchor, reply.has_others
        talk.exchanges.append(Exchange(at, anchor, reply.said(), names, results, is_beside, branch, call.edited_ids))
        self._counters.recalls += len(calls)

    def refused(self, talk: ToolTalk) -> None:
        """The upstream did not take the last results with the request: say so in place of them."""
        last = talk.exchanges[-1]
        results = b",".join(talk.wire.result(name, REFUSED, is_error=True) for name in last.ids)
        talk.exchanges[-1] = last._replace(results=results)
        self._counters.recalls_failed += len(last.ids)

    def keep(self, talk: ToolTalk) -> None:
        """The agent is about to have its reply: from now on its list has the message that the exchanges stood in."""
        for one in talk.exchanges:
            talk.state.exchanges[(one.at, one.anchor, one.ids, one.said)] = one
        drop_oldest(talk.state.exchanges, EXCHANGES_MAX)
        talk.exchanges.clear()

    async def _result(self, talk: ToolTalk, asked: ToolCall) -> bytes:
        given = asked.input if isinstance(asked.input, dict) else {}
        name, page = given.get("id"), given.get("page", 1)
        if not isinstance(name, str) or not name.strip():
            return talk.wire.result(asked.id, "The call needs an id, as the mark names it.", is_error=True)
        page = page if isinstance(page, int) and page > 0 else 1
        try:
            text = await self._recalled(talk.call, name.strip(), page)
        except (CallFailed, TimeoutError, OSError) as failure:
            self._counters.recalls_failed += 1
            text = f"{name.strip()} could not be brought back: {failure}. Run the call that it came from again."
            return talk.wire.result(asked.id, text, is_error=True)
        except Exception:
            _log.exception("a recall failed")
            self._counters.recalls_failed += 1
            return talk.wire.result(asked.id, "It could not be brought back. Run its call again.", is_error=True)
        return talk.wire.result(asked.id, text, is_error=False)

    async def _recalled(self, call: ModelCall, name: str, page: int) -> str:
        async with asyncio.timeout(PLACE_TIMEOUT_S):
            await call.is_placed.wait()
        key = call.branch.key if call.branch is not None else "{}:{}".format(*call.session.identity)
        scope = self._settings().recall_scope
        params = {"session": key, "id": name, "scope": scope, "limit_bytes": PIECE_BYTES_MAX}
        if page == 1:
            reply = await self._daemon.call("stash.recall", params, RECALL_TIMEOUT_S)
            segment = reply["recalled"][0]
        else:  # The same recall going on is no second fault.
            segment = await self._daemon.call("segment.get", params, RECALL_TIMEOUT_S)
        return _page(name, _text(segment), page)


def _has_tools(call: ModelCall) -> bool:
    return b'"tools"' in call.body


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
