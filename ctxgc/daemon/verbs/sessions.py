"""Verbs on sessions: open, list, show, set, close, render."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from msgspec import Raw

from ctxgc.adapters.contract import Slot, Tombstone
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.heap import EVICTED
from ctxgc.core.recall_commands import original_slot
from ctxgc.core.segment import Address, Renderer, SessionKey
from ctxgc.core.tombstone import tombstone_text
from ctxgc.daemon.serialize import session_reply, session_show_reply
from ctxgc.daemon.services import Services, run_on_worker
from ctxgc.daemon.sessions.content_cache import Content
from ctxgc.daemon.sessions.elided_results import tokens_saved_by_pointers
from ctxgc.daemon.sessions.pacer_status import Pacing, gateway_mode, pacing_status
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Transaction
from ctxgc.daemon.settings import model_price
from ctxgc.daemon.verbs.mutation import mutate, over_budget_hint, requested_session
from ctxgc.protocol.messages import SessionList, SessionOpen, SessionRender, SessionSet
from ctxgc.protocol.params import RENDERERS, MutatingSession, OfSession
from ctxgc.protocol.replies.sessions import RenderReply, SessionReply, SessionsReply, ShowReply
from ctxgc.stash.contract import SegmentRow, SessionRow
from ctxgc.tokens.calibration import Calibration

CHILDREN_MAX = 1000
JOURNAL_MAX = 100
"""Collections that `saved_usd` adds up, the newest."""
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


async def open_session(services: Services, params: SessionOpen) -> SessionReply:
    """`session.open`."""
    now = services.clock()
    row = SessionRow(
        key=SessionKey(params.source, params.session),
        project=params.project,
        parent=params.parent,
        parent_segment=params.parent_segment,
        model=params.model,
        title=params.title,
        rendered_by=_requested_renderer(params) or Renderer.CLIENT,
        budget_tokens=params.budget_tokens,
        task=params.task,
        created_s=now,
        updated_s=now,
    )
    session = await services.registry.open(row)
    was_new = session.is_new

    async with mutate(services, "session.open", params, session) as (session, tx):
        verb = "opened" if was_new else "was open already"
        reply = tx.keep_reply(session_reply(session.row, changed=f"session {session.key} {verb}"))
    if was_new:
        services.events.publish("session", {"session": str(session.key), "what": "opened"})
    return reply


async def list_sessions(services: Services, params: SessionList) -> SessionsReply:
    """`session.list`."""
    rows = await services.stash.sessions(
        project=params.project, source=params.source, limit=params.limit + 1, offset=params.offset
    )
    more = params.offset + params.limit if len(rows) > params.limit else -1
    return SessionsReply([session_reply(row) for row in rows[: params.limit]], more)


async def show_session(services: Services, params: OfSession) -> ShowReply:
    """`session.show`."""
    session = await requested_session(services, params)
    children = [
        str(row.key)
        for row in await services.stash.sessions(source=session.key.source, limit=CHILDREN_MAX)
        if row.parent == session.key.session
    ]
    journal = await services.stash.collections(session.key, limit=JOURNAL_MAX)
    pacing = await _read_pacing_status(services, session)
    return session_show_reply(session, children, pacing, journal, model_price(services.config, session.row.model))


async def _read_pacing_status(services: Services, session: Session) -> Pacing:
    """The pacing of a session. In shadow the heap counts bodies as out for that long, which no plan beside the loop may
    meet: the session is held."""
    arguments = session, services.config.pacer, services.pacer, services.clock()
    if gateway_mode(session) != "shadow":
        return pacing_status(*arguments)
    async with session.hold():
        return pacing_status(*arguments)


def _requested_renderer(params: SessionOpen | SessionSet) -> Renderer | None:
    name = RENDERERS[params.mode] if params.mode else params.rendered_by
    return Renderer(name) if name else None


def apply_settings(session: Session, tx: Transaction, params: SessionSet) -> SessionReply:
    """Change settings of a session."""
    fields = params.model_dump(include={"budget_tokens", "window_max_tokens", "task", "model"}, exclude_none=True)
    if (renderer := _requested_renderer(params)) is not None:
        fields["rendered_by"] = renderer
    session.set_row_fields(tx, **fields)
    if "model" in fields:
        session.calibration = Calibration.from_prior(fields["model"])
    if params.open_paths is not None:
        paths = tuple(params.open_paths)
        tx.on_commit(lambda: setattr(session, "open_paths", paths))
    names = ", ".join([*fields, *(["open_paths"] if params.open_paths is not None else [])]) or "nothing"
    return session_reply(session.row, changed=f"{names} set", next=over_budget_hint(session))


async def set_session(services: Services, params: SessionSet) -> SessionReply:
    """`session.set`."""
    async with mutate(services, "session.set", params) as (session, tx):
        return tx.keep_reply(apply_settings(session, tx, params))


async def close_session(services: Services, params: MutatingSession) -> SessionReply:
    """`session.close`."""
    async with mutate(services, "session.close", params) as (session, tx):
        session.set_row_fields(tx, closed=True)
        sentence = f"session {session.key} closed; everything in it stays"
        return tx.keep_reply(session_reply(session.row, changed=sentence))


async def read_window_slots(services: Services, session: Session) -> list[Slot]:
    """The window in order, with contents, and tombstones where bodies are out."""
    heap, window = session.heap, list(session.heap.window())
    # As it is now: what the thread sees must not move under it.
    out = {
        seq: (Address(session.number, original_slot(heap, seq)), heap.whole_body_tokens(seq))
        for seq in window
        if heap.state[seq] == EVICTED
    }
    rows = await services.stash.rows(session.key, window)
    contents = await services.contents.get(session.key, window)
    return await run_on_worker(services, _build_window_slots, window, out, rows, contents)


def _build_window_slots(
    window: Sequence[int],
    out: Mapping[int, tuple[Address, int]],
    rows: Sequence[SegmentRow],
    contents: Mapping[int, Content],
) -> list[Slot]:
    """The window's slots from values alone; `out` has address and tokens of each body that is out."""
    segments = {row.seq: row.segment for row in rows}
    slots = []
    for seq in window:
        if seq in contents and seq in segments:
            skeleton, body = contents[seq]
            segment = replace(segments[seq], skeleton=skeleton, body=body)
            slots.append(Slot(segment, Tombstone(tombstone_text(segment, *out[seq])) if seq in out else None))
    return slots


async def render_session(services: Services, params: SessionRender) -> RenderReply:
    """`session.render`."""
    session = await requested_session(services, params)
    raw = session.heap.resident_tokens + tokens_saved_by_pointers(session)  # A body is rendered whole.
    slots = await read_window_slots(services, session)
    rendered = await run_on_worker(services, _render_list, params.format, slots)
    return RenderReply(
        session=str(session.key),
        format=params.format,
        messages=Raw(rendered),
        tokens=raw,
        billed_tokens=session.billed_window_tokens(raw),
        evicted=sum(slot.tombstone is not None for slot in slots),
    )


def _render_list(format_name: str, slots: list[Slot]) -> bytes:
    return _replace_surrogates(WIRE_FORMATS[format_name].render(slots))


def _replace_surrogates(rendered: bytes) -> bytes:
    """The same JSON with U+FFFD for lone surrogates, which hosts do log and no API takes."""
    if b"\\ud" not in rendered:
        return rendered
    text = json.dumps(json.loads(rendered), separators=(",", ":"), ensure_ascii=False)
    return LONE_SURROGATE.sub("\ufffd", text).encode()
