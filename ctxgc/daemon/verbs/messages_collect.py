"""`messages.collect`: make a list of a model API fit a budget, for callers who render their own requests.

    list ──parse──▶ contents ──session_ids_of_contents, reconcile──▶ session ──collect──▶ tombstones ──splice──▶ bytes

The session's window becomes exactly the list. A body that an earlier call evicted stays evicted (I14); a segment
missing from the list departs, and search and recall still find the segment. A content is recognised by its digest and
not by its id in the list, so no tombstone ever stands for another content.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, replace
from hashlib import blake2b

import msgspec

from ctxgc.adapters.builder import call_before_result
from ctxgc.adapters.contract import MARKER, ElidedResult, StandIn, WireWindow
from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.skeletons import result_texts
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.collector import Plan, plan
from ctxgc.core.entry.elisions import elided_texts
from ctxgc.core.errors import BadParams
from ctxgc.core.heap import EVICTED, FORGOTTEN, PENDING, REPLY_KINDS
from ctxgc.core.reconcile import Content, HostList, Stamp, reconcile, session_ids_of_contents
from ctxgc.core.segment import Kind, Piece, Renderer, Segment, SessionKey, Status, base_id, content_digest, text_bytes
from ctxgc.core.tombstone import address_in_tombstone
from ctxgc.daemon.serialize import plan_reply
from ctxgc.daemon.services import Services, run_on_worker
from ctxgc.daemon.sessions.collecting import Conditions, carry_out_plan
from ctxgc.daemon.sessions.elided_results import elided_lines, is_result_as_shown
from ctxgc.daemon.sessions.intake import Intake, PreparedSegment
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.tombstones import tombstone_of
from ctxgc.daemon.sessions.transaction import Transaction
from ctxgc.daemon.sessions.window_update import known_session, set_uneditable_slots, update_window, window_places
from ctxgc.daemon.verbs.mutation import mutate, refuse_observed_session
from ctxgc.daemon.verbs.window_enter import find_new_result_elisions
from ctxgc.daemon.verbs.window_sync_intake import (
    RequestSegment,
    clock_new_segments,
    has_complete_segment,
    prepare_request_segments,
)
from ctxgc.protocol.lists import MessagesCollect
from ctxgc.protocol.replies.sessions import RenderReply
from ctxgc.protocol.wire import Usage
from ctxgc.stash.contract import SessionRow

VICTIMS_MAX = 1000
"""Victims that a reply lists, the largest first."""
TOMBSTONE_BYTES_MAX = 512
"""The longest tombstone: at most 60 tokens, of which a label has few bytes."""


@dataclass(frozen=True, slots=True)
class _IncomingList:
    """The list under the session's ids, with the new segments ready to be admitted."""

    told: Sequence[RequestSegment]
    news: Sequence[PreparedSegment]
    tombstones: dict[str, str]
    """Tombstones that the list holds: the session's id by the list's."""
    forgotten_tokens: int
    """Tokens of forgotten segments that the caller still sends: their bodies stay in the list, beyond any heap."""

    def plan_with_forgotten(self, todo: Plan, target_tokens: int) -> Plan:
        """The plan of a session's window as the plan of the whole list."""
        more = self.forgotten_tokens
        is_over = more and todo.remaining_tokens + more > target_tokens
        return replace(
            todo,
            target_tokens=target_tokens,
            before_tokens=todo.before_tokens + more,
            remaining_tokens=todo.remaining_tokens + more,
            protected_by=(*todo.protected_by, ("forgotten", more)) if is_over else todo.protected_by,
        )


async def collect_list(services: Services, params: MessagesCollect) -> RenderReply:
    """`messages.collect`."""
    wire = WIRE_FORMATS.get(params.format)
    if wire is None:
        known = ", ".join(WIRE_FORMATS)
        raise BadParams(f"no list format {params.format!r}", hint=f"one of: {known}", field="format")
    window = await run_on_worker(services, wire.parse, params.messages)
    session = await services.registry.open(_session_row(services, params))
    refuse_observed_session(session)
    async with mutate(services, "messages.collect", params, session) as (session, tx):
        _learn_from_bill(session, tx, params.usage)
        given_window, window = window, await _window_with_whole_results(services, session, window)
        pairs = zip(window.segments, given_window.segments, strict=True)
        came_back = {whole.id for whole, one in pairs if whole is not one}
        listed = await _build_incoming_list(services, session, window, params)
        slots = _set_window_to_list(session, tx, listed)
        target = session.raw_budget(params.budget_tokens, params.unit)
        ours = max(target - listed.forgotten_tokens, 0)
        todo = plan(session.heap, session.reference_index.paths, ours, session.now(), session.rules)
        outcome = carry_out_plan(session, tx, todo, "asked", Conditions(services.pacer, services.clock()))
        whole = listed.plan_with_forgotten(todo, target)
        out = {slot for slot in slots if session.heap.state[slot] == EVICTED} | {v.slot for v in todo.victims}
        leaving = {
            slot: given.id
            for given, slot in zip(window.segments, slots, strict=True)
            if slot in out and given.id not in listed.tombstones
        }
        stored = await _stored_segments(services, session, leaving.keys(), listed.news)
        stand_ins: dict[str, StandIn] = {
            id_: tombstone_of(session, slot, stored[slot]) for slot, id_ in leaving.items()
        }
        for given, slot in zip(window.segments, slots, strict=True):
            runs = [] if slot in out else elided_lines(session, slot, gone=out)
            if runs or (given.id in came_back and slot not in out):
                stand_ins[given.id] = ElidedResult(elided_texts(result_texts(given), runs))
        edited = wire.splice(params.messages, window, stand_ins)
        reply = RenderReply(
            session=str(session.key),
            format=params.format,
            messages=None if params.only_edited and edited == params.messages else msgspec.Raw(edited),
            tokens=whole.remaining_tokens,
            billed_tokens=session.billed_window_tokens(whole.remaining_tokens),
            evicted=len(out),
            plan=plan_reply(
                session, replace(outcome, plan=whole), {}, unit=params.unit, limit=VICTIMS_MAX, is_dry=False
            ),
            changed=f"{len(todo.victims)} bodies left the list; {len(out)} are out in all",
        )
        return tx.keep_reply(reply)


def _learn_from_bill(session: Session, tx: Transaction, usage: Usage | None) -> None:
    """Learn from the bill of the list before, which is still the window, what the list does not show."""
    if usage is not None and len(session.heap):
        billed = usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens
        hidden = session.calibration.unexplained_tokens(billed, session.heap.resident_tokens)
        session.set_row_fields(tx, hidden_tokens=hidden)


def _session_row(services: Services, params: MessagesCollect) -> SessionRow:
    """The row of the session that the caller names, else of a session of this very list: the daemon never guesses."""
    source, colon, name = params.session.partition(":")
    if not colon:
        source, name = "client", params.session
    name = name or "once-" + blake2b(params.messages, digest_size=8).hexdigest()
    return SessionRow(
        key=SessionKey(source, name), rendered_by=Renderer.CLIENT, project=params.cwd, created_s=services.clock()
    )


async def _window_with_whole_results(services: Services, session: Session, window: WireWindow) -> WireWindow:
    """The window with the host's own text for each result that an earlier call gave back with pointers."""
    indexes, slot_of = session.indexes, session.heap.slot_of
    shown = {
        slot: segment
        for segment in window.segments
        if (slot := slot_of.get(segment.id)) in indexes.elisions and segment.kind is Kind.TOOL_CALL
    }
    bodies = await services.stash.contents(session.key, list(shown)) if shown else {}
    whole: dict[str, Segment] = {}
    for slot, (skeleton, body) in bodies.items():
        sent = replace(shown[slot], body=body, skeleton=skeleton)
        listed, texts = result_texts(shown[slot]), result_texts(sent)
        if listed != texts and is_result_as_shown(session, slot, listed, texts):
            whole[shown[slot].id] = sent
    if not whole:
        return window
    return replace(window, segments=tuple(whole.get(segment.id, segment) for segment in window.segments))


async def _build_incoming_list(
    services: Services, session: Session, window: WireWindow, params: MessagesCollect
) -> _IncomingList:
    """Find the session's id of each listed segment, and make new segments ready to be admitted."""
    tombstones = await _find_tombstones(services, session, window)
    bodies = [segment for segment in window.segments if segment.id not in tombstones]
    contents = await run_on_worker(services, _stamp_contents, services.intake, bodies, _pending_base_ids(session))
    own = session_ids_of_contents(
        contents, session.heap, lambda slot: _stored_stamp(session, slot), tombstones.values()
    )
    ids = tombstones | {segment.id: id_ for segment, id_ in zip(bodies, own, strict=True)}
    listed = [replace(segment, id=ids[segment.id]) for segment in window.segments]
    fresh = {segment.id for segment in listed if not has_complete_segment(session, segment.id)}
    listed = await run_on_worker(services, add_facts, listed, params.cwd, fresh)
    told = [
        RequestSegment(one, window.uneditable_piece_names(segment))
        for one, segment in zip(listed, window.segments, strict=True)
    ]
    clocked = clock_new_segments(session, [one.segment.id for one in told], told)
    if clocked:
        await session.ensure_word_index()
    if params.references:
        clocked = await _segments_with_pointers(services, session, listed, clocked, window)
    news = await run_on_worker(services, prepare_request_segments, services.intake, clocked)
    forgotten = [one.segment for one in told if _is_forgotten(session, one.segment.id)]
    counted = await run_on_worker(services, services.intake.prepare_segments, forgotten) if forgotten else []
    forgotten_tokens = sum(one.skeleton_tokens + sum(n for _, _, n in one.pieces) for one in counted)
    return _IncomingList(told, news, tombstones, forgotten_tokens)


async def _segments_with_pointers(
    services: Services,
    session: Session,
    listed: Sequence[Segment],
    clocked: Sequence[RequestSegment],
    window: WireWindow,
) -> list[RequestSegment]:
    """The new segments, with the pointers of the results that the model has not seen yet: those of its last reply."""
    replies = [segment.born_turn for segment in listed if segment.kind in REPLY_KINDS]
    calls = [segment for segment in listed if segment.kind is Kind.TOOL_CALL]
    can_elide = {ours.id for ours, given in zip(listed, window.segments, strict=True) if window.can_elide(given)}
    new = {one.segment.id for one in clocked}
    entering = [one for one in calls if one.id in new & can_elide and one.born_turn == max(replies)]
    others = [one.id for one in calls if one not in entering]
    found = await find_new_result_elisions(services, session, entering, after=others[-1] if others else None)
    return [one._replace(elisions=found.get(one.segment.id, ())) for one in clocked]


def _stamp_contents(intake: Intake, segments: Sequence[Segment], pending: Set[str]) -> list[Content]:
    """Ids and stamps of listed segments. Heavy: for the worker thread."""

    def stamp(segment: Segment) -> Stamp:
        stored, redactions = intake.redact(segment)
        return Stamp(content_digest(stored.skeleton, stored.body), bool(redactions))

    def may_complete(segment: Segment) -> bool:
        is_answered = segment.kind is Kind.TOOL_CALL and segment.status is not Status.PENDING
        return is_answered and base_id(segment.id) in pending

    return [
        Content(one.id, stamp(one), stamp(call_before_result(one)) if may_complete(one) else None) for one in segments
    ]


def _stored_stamp(session: Session, slot: int) -> Stamp:
    return Stamp(session.indexes.digest_of(slot), slot in session.indexes.redacted)


async def _stored_segments(
    services: Services, session: Session, slots: Collection[int], news: Sequence[PreparedSegment]
) -> dict[int, Segment]:
    """The segments of these slots with the facts that they were admitted with: a list does not say these again."""
    slot_of = session.heap.slot_of
    fresh = {slot_of[one.segment.id]: one.segment for one in news if one.segment.id in slot_of}
    known = [slot for slot in slots if slot not in fresh]
    rows = await services.stash.rows(session.key, known) if known else ()
    return fresh | {row.seq: row.segment for row in rows}


def _pending_base_ids(session: Session) -> set[str]:
    heap = session.heap
    return {base_id(heap.ids[slot]) for slot, flags in enumerate(heap.flags) if flags & PENDING}


async def _find_tombstones(services: Services, session: Session, window: WireWindow) -> dict[str, str]:
    """Tombstones in the list whose text the session would still write: the session's id by the list's."""
    stones: dict[int, tuple[Segment, str]] = {}
    for segment in window.segments:
        for piece in segment.body:
            text = _text_before_markers(piece)
            address = address_in_tombstone(text) if len(text) <= TOMBSTONE_BYTES_MAX else None
            if address is not None and address.number == session.number and address.seq < len(session.heap):
                stones[address.seq] = segment, text
    rows = await services.stash.rows(session.key, list(stones)) if stones else []
    return {
        given.id: row.segment.id
        for row in rows
        for given, text in [stones[row.seq]]
        if _can_tombstone_stand_for(given, row.segment) and tombstone_of(session, row.seq, row.segment).text == text
    }


def _text_before_markers(piece: Piece) -> str:
    """A piece that may be a tombstone: a result of several texts has the tombstone for the first, then markers."""
    end, marker = len(piece.data), text_bytes(MARKER)
    while piece.data.endswith(marker, 0, end):
        end -= len(marker)
    return Piece(piece.name, piece.data[:end]).text


def _can_tombstone_stand_for(given: Segment, ours: Segment) -> bool:
    """Whether a tombstone may stand for the session's segment here: a call under its own id, a text anywhere."""
    calls = [one.id for one in (given, ours) if one.kind is Kind.TOOL_CALL]
    return not calls or (len(calls) == 2 and base_id(calls[0]) == base_id(calls[1]))


def _is_forgotten(session: Session, id_: str) -> bool:
    slot = session.heap.slot_of.get(id_)
    return slot is not None and session.heap.state[slot] == FORGOTTEN


def _set_window_to_list(session: Session, tx: Transaction, listed: _IncomingList) -> list[int]:
    """Make the session's window the list, and return its slots in order."""
    slot_of = session.heap.slot_of
    fixed = {one.segment.id for one in listed.told if one.is_fixed}
    host = HostList(
        places=window_places(one.segment.id for one in listed.told),
        contents={one.segment.id: one.segment.kind for one in listed.told},
        tombstones=frozenset(listed.tombstones.values()),
    )
    todo = reconcile(host, known_session(session, {slot_of[id_] for id_ in fixed if id_ in slot_of}))
    for ready in listed.news:
        session.admit(tx, ready)
    set_uneditable_slots(session, {slot_of[id_] for id_ in fixed} | session.indexes.redacted)
    update_window(session, tx, todo)
    return [slot_of[one.segment.id] for one in listed.told]
