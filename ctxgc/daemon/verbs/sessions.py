"""Verbs on sessions: open, list, show, set, close, render."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from msgspec import Raw

from ctxgc.adapters.contract import Slot, Tombstone
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.heap import EVICTED
from ctxgc.core.recall_commands import original_of
from ctxgc.core.segment import Address, SessionKey
from ctxgc.core.tombstone import tombstone_text
from ctxgc.daemon.serialize import session_reply, show_reply
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.content_cache import Content
from ctxgc.daemon.sessions.pacer_status import pacing_reply
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Change
from ctxgc.daemon.verbs.mutation import Applied, Reply, change_session, on_worker, over_budget_hint, session_of
from ctxgc.protocol.messages import (
    MutatingSession,
    OfSession,
    SessionList,
    SessionOpen,
    SessionRender,
    SessionSet,
)
from ctxgc.stash.contract import SegmentRow, SessionRow
from ctxgc.tokens.calibration import Calibration

CHILDREN_MAX = 1000
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


async def open_session(services: Services, params: SessionOpen) -> Any:
    """`session.open`."""
    now = services.clock()
    row = SessionRow(
        key=SessionKey(params.source, params.session),
        project=params.project,
        parent=params.parent,
        parent_segment=params.parent_segment,
        model=params.model,
        title=params.title,
        mode=params.mode,
        budget_tokens=params.budget_tokens,
        task=params.task,
        created_s=now,
        updated_s=now,
    )
    session = await services.registry.open(row)
    was_new = session.is_new

    def apply(session: Session, change: Change) -> Reply:
        verb = "opened" if was_new else "was open already"
        return session_reply(session.row) | {"changed": f"session {session.key} {verb}"}

    reply = await change_session(services, "session.open", params, apply, session=session)
    if was_new:
        services.events.publish("session", {"session": str(session.key), "what": "opened"})
    return reply


async def list_sessions(services: Services, params: SessionList) -> Reply:
    """`session.list`."""
    rows = await services.stash.sessions(
        project=params.project, source=params.source, limit=params.limit + 1, offset=params.offset
    )
    more = params.offset + params.limit if len(rows) > params.limit else -1
    return {"sessions": [session_reply(row) for row in rows[: params.limit]], "next_offset": more}


async def show_session(services: Services, params: OfSession) -> Reply:
    """`session.show`."""
    session = await session_of(services, params)
    children = [
        str(row.key)
        for row in await services.stash.sessions(source=session.key.source, limit=CHILDREN_MAX)
        if row.parent == session.key.session
    ]
    journal = await services.stash.collections(session.key, limit=1)
    pacing = pacing_reply(session, services.config.pacer, services.pacer, journal, services.clock())
    return show_reply(session, children) | pacing


def setting(params: SessionSet) -> Applied:
    """Change settings of a session."""
    fields = params.model_dump(
        include={"budget_tokens", "window_max_tokens", "mode", "task", "model"}, exclude_none=True
    )

    def apply(session: Session, change: Change) -> Reply:
        session.set_row(change, **fields)
        if "model" in fields:
            session.calibration = Calibration.of(fields["model"])
        if params.open_paths is not None:
            paths = tuple(params.open_paths)
            change.then(lambda: setattr(session, "open_paths", paths))
        names = ", ".join([*fields, *(["open_paths"] if params.open_paths is not None else [])]) or "nothing"
        return session_reply(session.row) | {"changed": f"{names} set"} | over_budget_hint(session)

    return apply


async def set_session(services: Services, params: SessionSet) -> Any:
    """`session.set`."""
    return await change_session(services, "session.set", params, setting(params))


async def close_session(services: Services, params: MutatingSession) -> Any:
    """`session.close`."""

    def apply(session: Session, change: Change) -> Reply:
        session.set_row(change, closed=True)
        return session_reply(session.row) | {"changed": f"session {session.key} closed; everything in it stays"}

    return await change_session(services, "session.close", params, apply)


async def slots_of(services: Services, session: Session) -> list[Slot]:
    """The window in order, with contents, and tombstones where bodies are out."""
    heap, window = session.heap, list(session.heap.window())
    # As it is now: what the thread sees must not move under it.
    out = {
        seq: (Address(session.number, original_of(heap, seq)), heap.body[seq])
        for seq in window
        if heap.state[seq] == EVICTED
    }
    rows = await services.stash.rows(session.key, window)
    contents = await services.texts.get(session.key, window)
    slots: list[Slot] = await on_worker(services, _slots, window, out, rows, contents)
    return slots


def _slots(
    window: Sequence[int],
    out: Mapping[int, tuple[Address, int]],
    rows: Sequence[SegmentRow],
    contents: Mapping[int, Content],
) -> list[Slot]:
    """The same from values alone; `out` has address and tokens of the bodies that are out."""
    segments = {row.seq: row.segment for row in rows}
    slots = []
    for seq in window:
        if seq in contents and seq in segments:
            skeleton, body = contents[seq]
            segment = replace(segments[seq], skeleton=skeleton, body=body)
            slots.append(Slot(segment, Tombstone(tombstone_text(segment, *out[seq])) if seq in out else None))
    return slots


def tombstone_of(session: Session, seq: int, segment: Any, *, can_recall: bool = True) -> Tombstone:
    """The tombstone of a segment, the same at every rendering (I14). Of what was recalled it names the original."""
    address = Address(session.number, original_of(session.heap, seq))
    return Tombstone(tombstone_text(segment, address, session.heap.body[seq], can_recall=can_recall))


async def render_session(services: Services, params: SessionRender) -> Reply:
    """`session.render`."""
    session = await session_of(services, params)
    raw = session.heap.resident_tokens
    slots = await slots_of(services, session)
    rendered = await on_worker(services, _rendered, params.format, slots)
    return {
        "session": str(session.key),
        "format": params.format,
        "messages": Raw(rendered),
        "tokens": raw,
        "billed_tokens": session.billed(raw),
        "evicted": sum(slot.tombstone is not None for slot in slots),
    }


def _rendered(format_name: str, slots: list[Slot]) -> bytes:
    return _unicode(WIRE_FORMATS[format_name].render(slots))


def _unicode(rendered: bytes) -> bytes:
    """The same JSON with U+FFFD for lone surrogates, which hosts do log: no API takes them, and no line of ours."""
    if b"\\ud" not in rendered:
        return rendered
    text = json.dumps(json.loads(rendered), separators=(",", ":"), ensure_ascii=False)
    return LONE_SURROGATE.sub("\ufffd", text).encode()
