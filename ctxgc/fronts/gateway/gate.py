"""Whether a request is edited, and into what. HTTP is the server's business; the daemon, the syncer's.

    look (headers) ──▶ streams: nothing can be evicted here, the bytes go on as they come
                   └─▶ holds: read whole ──▶ begins like the last edited one ──▶ edited head + rest
                                         ──▶ parse, ask if the cache is cold  ──▶ splice      at most `wait_s` in all

Everything in here fails open: what goes wrong is counted, and the original bytes go upstream (I13).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ctxgc.fronts.gateway.body import EDITED_BYTES_MAX, forbidden
from ctxgc.fronts.gateway.counts import Counts, Reason
from ctxgc.fronts.gateway.editing import edited, edited_by
from ctxgc.fronts.gateway.identity import Identity, identity_of, identity_of_key
from ctxgc.fronts.gateway.settings import Settings
from ctxgc.fronts.gateway.sync import Call, Syncer

CACHE_KEY_BYTES_MAX = 512

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


class Sent(NamedTuple):
    """What goes upstream."""

    body: bytes
    call: Call | None
    """What to tell the daemon of, and what the reply teaches."""
    original: bytes | None = None
    """The agent's own bytes, where the body is another."""


class Gate:
    """Decides for every call. Belongs to one loop."""

    def __init__(self, syncer: Syncer, counts: Counts, settings: Callable[[], Settings]) -> None:
        self._syncer = syncer
        self._counts = counts
        self._settings = settings

    def look(self, wire: str, headers: Mapping[str, str], length: int) -> Look:
        """Judge a call by its headers; `length` of its body, 0 if that is not said."""
        if headers.get("content-encoding", "identity").lower() != "identity":
            return Look(wire, None, "", Reason.ENCODED, holds=False)
        if length > EDITED_BYTES_MAX:
            return Look(wire, None, "", Reason.TOO_LARGE, holds=False)
        identity = identity_of(headers)
        if identity is None:
            is_in_body = wire == "openai_responses"
            return Look(wire, None, "", None if is_in_body else Reason.NO_IDENTITY, holds=is_in_body)
        return self._look_at(wire, identity)

    def _look_at(self, wire: str, identity: Identity) -> Look:
        settings = self._settings()
        mode = settings.mode_of(*identity)
        if mode == "off":
            return Look(wire, identity, mode, Reason.MODE_OFF, holds=False)
        family = self._syncer.family_of(identity)
        if family.mode != mode:
            family.mode = mode
            if mode != "on":
                family.take_tombstones_back()
        is_new = family.known_ids is None
        holds = family.has_tombstones or (
            mode == "on" and (is_new or family.is_cold(time.monotonic(), settings.cache_ttl_s))
        )
        return Look(wire, identity, mode, None, holds)

    def streamed(self, look: Look, parts: Sequence[bytes] | None) -> Call | None:
        """A call whose body has gone upstream as it came; `None` if it turned out too long to be kept."""
        if look.passes is not None or parts is None or look.identity is None:
            self._counts.passed(look.passes or (Reason.TOO_LARGE if parts is None else Reason.NO_IDENTITY))
            return None
        call = self._call(look, parts)
        if look.mode == "on" and self._syncer.trouble is not None:
            self._counts.passed(self._syncer.trouble)
        else:
            self._counts.untouched += 1
        call.is_sent.set()
        self._syncer.begin(call)
        return call

    async def held(self, look: Look, body: bytes) -> Sent:
        """A call whose body waits to be sent. Returns within `wait_s`, whatever happens."""
        if look.identity is None:
            identity = identity_of_key(look.wire, _cache_key(body))
            look = self._look_at(look.wire, identity) if identity else look._replace(passes=Reason.NO_IDENTITY)
            if not look.holds or look.passes:
                return Sent(body, self.streamed(look, [body]))
        call = self._call(look, [body])
        try:
            sent = self._from_memo(call)
            if sent is not None:
                self._syncer.begin(call)
            else:
                sent = await self._parsed(call)
        except Exception:
            _log.exception("a request could not be edited; it passes as it came")
            self._counts.passed(Reason.OWN_FAULT)
            sent = Sent(body, call)
        call.is_sent.set()
        return sent

    def _call(self, look: Look, parts: Sequence[bytes]) -> Call:
        assert look.identity is not None
        return Call(family=self._syncer.family_of(look.identity), wire=look.wire, parts=parts, mode=look.mode)

    def _from_memo(self, call: Call, *, even_if_cold: bool = False) -> Sent | None:
        """The call edited as the last one of its thread was, if it begins like that."""
        settings = self._settings()
        for thread in call.family.memos(call.body):
            is_cold = time.monotonic() - thread.asked_s > settings.cache_ttl_s
            if (is_cold and not even_if_cold) or forbidden(call.body, settings.context_edits_allowed):
                return None
            body = edited_by(thread.memo, call.body)
            assert body is not None
            assert thread.memo is not None
            call.edited, call.thread = thread.memo.ids, thread
            self._counts.edited_from_prefix += 1
            return self._edited(call, body)
        return None

    async def _parsed(self, call: Call) -> Sent:
        call.waits = True
        self._syncer.begin(call)
        late = await self._wait(call)
        reason = call.failure or late
        if call.asked is None or call.thread is None:
            # Too late to know more, or too broken: what was in force stays in force where that needs no parsing.
            if (sent := self._from_memo(call, even_if_cold=True)) is not None:
                return sent
        elif call.asked.forbids:
            reason = call.asked.forbids
        elif not call.thread.is_barred:
            # Even where the daemon is late or gone.
            body, memo = edited(call.body, call.wire, call.asked, call.thread.tombstones)
            if memo is not None:
                call.thread.memo, call.edited = memo, memo.ids
                return self._edited(call, body)
        if reason is not None:
            self._counts.passed(reason)
        else:
            self._counts.untouched += 1
        return Sent(call.body, call)

    def _edited(self, call: Call, body: bytes) -> Sent:
        self._counts.edited += 1
        self._counts.kept_out_bytes += len(call.body) - len(body)
        return Sent(body, call, call.body)

    async def _wait(self, call: Call) -> Reason | None:
        """Until the call is placed, and told if it waits for that; the reason why not, if that takes too long."""
        try:
            async with asyncio.timeout(self._settings().wait_s):
                await call.is_placed.wait()
                if call.waits:
                    await call.is_told.wait()
        except TimeoutError:
            return Reason.DAEMON_LATE if call.asked is not None else Reason.OWN_LATE
        return None


def _cache_key(body: bytes) -> str:
    """The value of the last `prompt_cache_key` in a body: plain text, or it is no id."""
    at = body.rfind(b'"prompt_cache_key"')
    rest = body[at + 18 : at + 18 + CACHE_KEY_BYTES_MAX].lstrip(b" \t\r\n:") if at >= 0 else b""
    value = rest[1:].partition(b'"')[0] if rest[:1] == b'"' else b""
    return value.decode("ascii", "replace")
