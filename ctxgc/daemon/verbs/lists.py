"""`messages.collect`: make a list of a model API fit a budget, for callers who render their own requests.

    list ──parse──▶ segments ──admit──▶ session ──collect──▶ tombstones ──splice──▶ the caller's own bytes, shorter

The session's window becomes exactly the list. What an earlier call evicted stays evicted (I14); what is not in the
list any more has departed, and is still found and recalled.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import Any

import msgspec

from ctxgc.adapters.contract import WireWindow
from ctxgc.adapters.wire_formats import WIRE_FORMATS
from ctxgc.core.collector import plan
from ctxgc.core.errors import BadParams
from ctxgc.core.heap import EVICTED
from ctxgc.core.segment import Segment, SessionKey
from ctxgc.daemon.collecting import carried_out
from ctxgc.daemon.describe import plan_reply
from ctxgc.daemon.intake import Prepared
from ctxgc.daemon.services import Services
from ctxgc.daemon.session import Change, Session
from ctxgc.daemon.verbs.acting import Reply, change_session, on_worker
from ctxgc.daemon.verbs.sessions import tombstone_of
from ctxgc.daemon.windows import rewindow
from ctxgc.protocol.messages import MessagesCollect
from ctxgc.stash.contract import SessionRow


async def collect_list(services: Services, params: MessagesCollect) -> Any:
    """`messages.collect`."""
    wire = WIRE_FORMATS.get(params.format)
    if wire is None:
        known = ", ".join(WIRE_FORMATS)
        raise BadParams(f"no list format {params.format!r}", hint=f"one of: {known}", field="format")
    request = msgspec.json.encode(params.messages)
    window: WireWindow = await on_worker(services, wire.parse, request)
    session = await services.registry.open(_row(services, params, request))
    ours = [_bounded(segment, window) for segment in window.segments]
    prepared: list[Prepared] = []

    def apply(session: Session, change: Change) -> Reply:
        fresh = len(session.heap)
        for ready in prepared:
            # What the stash holds of a redacted body is not what the caller sent: it could not be brought back (I9).
            kept = replace(ready.segment, has_opaque=True) if ready.redactions else ready.segment
            session.admit(change, replace(ready, segment=kept))
        slots = [session.heap.slot_of[segment.id] for segment in ours]
        rewindow(session, change, slots, fresh)
        target = session.raw_budget(params.budget_tokens, params.unit)
        todo = plan(session.heap, session.index.paths, target, session.now(), session.rules)
        outcome = carried_out(session, change, todo, "asked", services.pacer, services.clock())
        out = {slot for slot in slots if session.heap.state[slot] == EVICTED} | {v.slot for v in todo.victims}
        tombstones = {
            ours[at].id: tombstone_of(session, slot, ours[at]) for at, slot in enumerate(slots) if slot in out
        }
        return {
            "session": str(session.key),
            "format": params.format,
            "messages": msgspec.Raw(wire.splice(request, window, tombstones)),
            "tokens": todo.remaining_tokens,
            "billed_tokens": session.billed(todo.remaining_tokens),
            "evicted": len(out),
            "plan": plan_reply(session, outcome, {}, unit=params.unit, limit=10, is_dry=False),
            "changed": f"{len(todo.victims)} bodies left the list; {len(out)} are out in all",
        }

    async def before(session: Session) -> None:
        await session.ensure_text()
        news = [segment for segment in ours if segment.id not in session.heap.slot_of]
        prepared.extend(await on_worker(services, services.intake.prepare_all, news))

    return await change_session(services, "messages.collect", params, apply, session=session, before=before)


def _row(services: Services, params: MessagesCollect, request: bytes) -> SessionRow:
    """The caller's session, or one of its own for this very list: never one guessed from how the list begins."""
    source, colon, name = params.session.partition(":")
    if not colon:
        source, name = "client", params.session
    name = name or "once-" + blake2b(request, digest_size=8).hexdigest()
    return SessionRow(key=SessionKey(source, name), mode="client", project=params.cwd, created_s=services.clock())


def _bounded(segment: Segment, window: WireWindow) -> Segment:
    """A segment that the format cannot splice (pending, signed, not text) is opaque to the collector."""
    return segment if window.spans.get(segment.id) else replace(segment, has_opaque=True)
