"""Whether a request is edited, and into what. HTTP is the server's business; the daemon, the syncer's.

    look (headers) ──▶ streams: nothing can be evicted here, the bytes go on as they come
                   └─▶ holds: read whole ──▶ begins like the last edited one ──▶ edited head + rest
                                         ──▶ parse, ask if the cache is cold  ──▶ splice      at most `wait_s` in all,
                                                                                              once `RESUME_S`

Everything in here fails open: what goes wrong is counted, and the original bytes go upstream (I13).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ctxgc.gateway.body.request_body import EDITED_BYTES_MAX, forbidden
from ctxgc.gateway.body.splice_memo import edited, edited_by
from ctxgc.gateway.editing.request_state import Call, Edit, Placed
from ctxgc.gateway.editing.window_sync import Syncer
from ctxgc.gateway.identity.agent_session import Thread
from ctxgc.gateway.identity.headers import Identity, identity_of, identity_of_key, parent_of, side_of
from ctxgc.gateway.metrics import Counts, Reason
from ctxgc.gateway.settings import Settings

CACHE_KEY_BYTES_MAX = 512
RESUME_S = 1.0
"""What the first request of a session with bodies out may wait for them after a restart; fail open as ever (I13)."""

_log = logging.getLogger("ctxgc.gateway")


class Look(NamedTuple):
    """What the headers tell of a call to a model."""

    wire: str
    identity: Identity | None
    mode: str
    passes: Reason | None
    """Why it is not ours to touch, if it is not."""
    holds: bool
    """The body must be known before it is sent on."""
    side: str = ""
    """The sub-agent that asks, where its headers name it."""


class Sent(NamedTuple):
    """What goes upstream."""

    body: bytes
    call: Call | None
    """What to tell the daemon of, and what the reply teaches."""
    original: bytes | None = None
    """The agent's own bytes, where the body is another."""


class Gate:
    """Decides for every call. Belongs to one loop; raises nothing."""

    def __init__(self, syncer: Syncer, counts: Counts, settings: Callable[[], Settings]) -> None:
        self._syncer = syncer
        self._counts = counts
        self._settings = settings

    def look(self, wire: str, headers: Mapping[str, str], length: int) -> Look:
        """Judge a call by its headers; `length` of its body, 0 if that is not said."""
        try:
            return self._look(wire, headers, length)
        except Exception:
            _log.exception("a request could not be judged; it passes as it came")
            return Look(wire, None, "", Reason.OWN_FAULT, holds=False)

    def _look(self, wire: str, headers: Mapping[str, str], length: int) -> Look:
        if headers.get("content-encoding", "identity").lower() != "identity":
            return Look(wire, None, "", Reason.ENCODED, holds=False)
        if length > EDITED_BYTES_MAX:
            return Look(wire, None, "", Reason.TOO_LARGE, holds=False)
        identity = identity_of(headers)
        if identity is None:
            is_in_body = wire == "openai_responses"
            return Look(wire, None, "", None if is_in_body else Reason.NO_IDENTITY, holds=is_in_body)
        if parent := parent_of(identity, headers):
            self._syncer.family_of(identity).parent = parent
        return self._look_at(wire, identity)._replace(side=side_of(identity, headers))

    def _look_at(self, wire: str, identity: Identity) -> Look:
        mode = self._settings().mode_of(*identity)
        if mode == "off":
            return Look(wire, identity, mode, Reason.MODE_OFF, holds=False)
        family = self._syncer.family_of(identity)
        is_new = family.known_ids is None
        # In shadow nothing is edited, whatever is out still from when it was on, or comes in late.
        holds = mode == "on" and (is_new or family.has_tombstones or family.is_cold(time.monotonic()))
        return Look(wire, identity, mode, None, holds)

    def streamed(self, look: Look, parts: Sequence[bytes] | None) -> Call | None:
        """A call whose body has gone upstream as it came; `None` if it turned out too long to be kept."""
        try:
            return self._streamed(look, parts)
        except Exception:
            _log.exception("the daemon is not told of a request that passed as it came")
            self._counts.passed(Reason.OWN_FAULT)
            return None

    def _streamed(self, look: Look, parts: Sequence[bytes] | None) -> Call | None:
        if look.passes is not None or parts is None or look.identity is None:
            self._counts.passed(look.passes or (Reason.TOO_LARGE if parts is None else Reason.NO_IDENTITY))
            return None
        call = self._call(look, look.identity, parts, is_held=False)
        self._count(self._syncer.trouble if look.mode == "on" else None)
        call.is_sent.set(Edit())
        self._syncer.begin(call)
        return call

    async def held(self, look: Look, body: bytes) -> Sent:
        """A call whose body waits to be sent. Returns within `wait_s`, or `RESUME_S`, whatever happens."""
        call = None
        try:
            if look.identity is None:
                identity = identity_of_key(look.wire, _cache_key(body))
                look = self._look_at(look.wire, identity) if identity else look._replace(passes=Reason.NO_IDENTITY)
            if look.identity is None or look.passes or not look.holds:
                return Sent(body, self._streamed(look, [body]))
            thread = self._remembered(look, body)
            call = self._call(look, look.identity, [body], is_held=thread is None)
            self._syncer.begin(call)
            sent, edit = self._from_memo(call, thread) if thread else await self._parsed(look, call)
        except Exception:
            _log.exception("a request could not be edited; it passes as it came")
            self._counts.passed(Reason.OWN_FAULT)
            sent, edit = Sent(body, call), Edit()
        if call is not None:
            call.is_sent.set(edit)
        return sent

    def _call(self, look: Look, identity: Identity, parts: Sequence[bytes], *, is_held: bool) -> Call:
        family = self._syncer.family_of(identity)
        return Call(family=family, wire=look.wire, parts=parts, mode=look.mode, side=look.side, is_held=is_held)

    def _remembered(self, look: Look, body: bytes, *, even_if_cold: bool = False) -> Thread | None:
        """The thread whose last edited request this one begins like, if that is all that need be known to edit it."""
        assert look.identity is not None
        thread = self._syncer.family_of(look.identity).remembered(body)
        if thread is None or forbidden(body, self._settings().context_edits_allowed):
            return None
        return thread if even_if_cold or not thread.is_cold(time.monotonic()) else None

    def _from_memo(self, call: Call, thread: Thread) -> tuple[Sent, Edit]:
        """The call edited as the last one of its thread was."""
        memo = thread.memo
        assert memo is not None
        body = edited_by(memo, call.body)
        assert body is not None
        self._counts.edited_from_prefix += 1
        return self._edited(call, body, Edit(memo.ids, thread))

    async def _parsed(self, look: Look, call: Call) -> tuple[Sent, Edit]:
        """The call edited by what it says itself, even where the daemon is late or gone."""
        reason = await self._wait(call)
        asked, placed = call.asked, call.is_placed.now
        if asked is None or not isinstance(placed, Placed):
            # Too late to know more, or too broken: what was in force stays in force where that needs no parsing.
            if (known := self._remembered(look, call.body, even_if_cold=True)) is not None:
                return self._from_memo(call, known)
        elif asked.forbids:
            reason = asked.forbids
        else:
            body, memo = edited(call.body, call.wire, asked, placed.thread.tombstones)
            if memo is not None:
                placed.thread.memo = memo
                return self._edited(call, body, Edit(memo.ids, placed.thread))
        self._count(reason)
        return Sent(call.body, call), Edit()

    def _edited(self, call: Call, body: bytes, edit: Edit) -> tuple[Sent, Edit]:
        self._counts.edited += 1
        self._counts.kept_out_bytes += len(call.body) - len(body)
        return Sent(body, call, call.body), edit

    def _count(self, reason: Reason | None) -> None:
        """A call that goes as it came."""
        if reason is not None:
            self._counts.passed(reason)
        else:
            self._counts.untouched += 1

    async def _wait(self, call: Call) -> Reason | None:
        """Until all is known of the call that may change it; the reason why not, if that fails or takes too long.

        A session whose bodies are out, met for the first time since the gateway began, may wait for longer: going up
        whole and then edited again, it would pay for two rewrites of its cache, which take longer still (I14).
        """
        wait_s = self._settings().wait_s
        for patience_s in (wait_s, max(RESUME_S - wait_s, 0.0)):
            try:
                async with asyncio.timeout(patience_s):
                    placed = await call.is_placed.wait()
                    if not isinstance(placed, Placed):
                        return placed
                    return await call.is_told.wait() if placed.waits else None
            except TimeoutError:
                if not call.family.is_resumed:
                    break
        return Reason.DAEMON_LATE if call.asked is not None else Reason.OWN_LATE


def _cache_key(body: bytes) -> str:
    """The value of the last `prompt_cache_key` in a body: plain text, or it is no id."""
    at = body.rfind(b'"prompt_cache_key"')
    rest = body[at + 18 : at + 18 + CACHE_KEY_BYTES_MAX].lstrip(b" \t\r\n:") if at >= 0 else b""
    value = rest[1:].partition(b'"')[0] if rest[:1] == b'"' else b""
    return value.decode("ascii", "replace")
