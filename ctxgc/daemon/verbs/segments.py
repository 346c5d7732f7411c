"""Verbs on segments: add, get, list, pin, touch, tag, ref, evict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import msgspec
from msgspec.structs import replace

from ctxgc.core.errors import BadParams, NotFound, translate_os_error
from ctxgc.core.heap import PINNED, REPLY_KINDS, RESIDENT
from ctxgc.core.segment import EdgeKind, Kind, Segment
from ctxgc.daemon.regular_files import open_regular_file
from ctxgc.daemon.serialize import content_reply, labels_by_seq, plan_reply, segment_header_reply, segment_reply
from ctxgc.daemon.services import Services, run_on_worker
from ctxgc.daemon.sessions.client_segments import build_file_segment, build_segments, require_same_content
from ctxgc.daemon.sessions.collecting import Conditions, evict_by_hand
from ctxgc.daemon.sessions.intake import PreparedSegment
from ctxgc.daemon.sessions.pacer_driver import run_pacer
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Transaction
from ctxgc.daemon.verbs.mutation import (
    count_window_tokens,
    mutate,
    over_budget_hint,
    publish_collection,
    requested_session,
    session_with_segment,
    writable_session,
    yield_to_other_calls,
)
from ctxgc.protocol.messages import (
    NewSegment,
    SegmentAdd,
    SegmentAddFile,
    SegmentAddMany,
    SegmentGet,
    SegmentIds,
    SegmentList,
    SegmentRef,
    SegmentTag,
)
from ctxgc.protocol.params import MutatingSession
from ctxgc.protocol.replies.heap import PlanReply
from ctxgc.protocol.replies.segments import AddReply, ContentReply, SegmentReply, SegmentsChangedReply, SegmentsReply
from ctxgc.stash.contract import AddEdges, Edge, SetPinned, SetTags, Touch

LIST_SLICE = 512
"""Segments described at a time."""

FILE_BYTES_MAX = 256 * 2**20
"""The largest file that becomes one segment."""


async def add(services: Services, params: SegmentAdd) -> AddReply:
    """`segment.add`."""
    return await add_segments(services, "segment.add", params, [params.segment])


async def add_many(services: Services, params: SegmentAddMany) -> AddReply:
    """`segment.add_many`."""
    return await add_segments(services, "segment.add_many", params, params.segments)


async def add_file(services: Services, params: SegmentAddFile) -> AddReply:
    """`segment.add_file`."""
    data = await asyncio.to_thread(_read_file, params.path, services.stash.path)
    item = NewSegment(id=params.id, kind=params.kind, paths=[params.path], tags=params.tags)

    def segments(session: Session) -> list[Segment]:
        return [build_file_segment(session, item, data, services.clock())]

    return await _admit_new_segments(services, "segment.add_file", params, [item], segments)


def _read_file(path: str, stash: Path) -> bytes:
    try:
        with open_regular_file(path, stash) as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise translate_os_error(error, path, hint="give the path of a readable file", field="path") from None
    if data is None:  # A device in the clothes of a file, such as /proc/kmsg, has nothing to read now.
        raise BadParams(f"{path} is no file with a content of its own", hint="copy its content into one", field="path")
    if len(data) > FILE_BYTES_MAX:
        raise BadParams(f"{path} is larger than {FILE_BYTES_MAX} bytes", hint="split it", field="path")
    return data


async def add_segments(services: Services, verb: str, params: MutatingSession, items: Sequence[NewSegment]) -> AddReply:
    """Admit segments at the end of a session's window, all or none."""

    def segments(session: Session) -> list[Segment]:
        return build_segments(session, items, services.clock())

    return await _admit_new_segments(services, verb, params, items, segments)


async def _admit_new_segments(
    services: Services,
    verb: str,
    params: MutatingSession,
    items: Sequence[NewSegment],
    segments: Callable[[Session], list[Segment]],
) -> AddReply:
    async with mutate(services, verb, params, await writable_session(services, params)) as (session, tx):
        prepared = await prepare_client_segments(services, session, segments(session))
        cached = session.heap.resident_tokens
        reply = apply_add(session, tx, items, prepared)
        return tx.keep_reply(_collect_if_due_and_reply(services, session, tx, cached, reply))


async def prepare_client_segments(services: Services, session: Session, given: list[Segment]) -> list[PreparedSegment]:
    """A client's segments, ready to be admitted; call inside the session's change. Raises `Conflict`."""
    await session.ensure_word_index()
    intake = services.intake
    if intake.is_quick_to_prepare(given):
        await yield_to_other_calls()
        prepared = intake.prepare_segments(given)
        await yield_to_other_calls()
    else:
        prepared = await run_on_worker(services, intake.prepare_segments, given)
    slot_of = session.heap.slot_of
    known = sorted({slot_of[segment.id] for segment in given if segment.id in slot_of})
    require_same_content(session, prepared, await services.stash.contents(session.key, known) if known else {})
    return prepared


def _collect_if_due_and_reply(
    services: Services, session: Session, tx: Transaction, cached_tokens: int, added: AddReply
) -> AddReply:
    """Ask the pacer; the reply with the collection, if a collection was due."""
    outcome = run_pacer(
        session,
        tx,
        services.config.pacer,
        services.pacer,
        cached_tokens=cached_tokens,
        wall_s=services.clock(),
    )
    if outcome is None:
        return added
    tx.on_commit(lambda: publish_collection(services, session, outcome))
    remaining_tokens = outcome.plan.remaining_tokens
    freed = outcome.plan.before_tokens - remaining_tokens
    return replace(
        added,
        resident_tokens=remaining_tokens,
        billed_tokens=session.billed_window_tokens(remaining_tokens),
        next=f"collection {outcome.collection} ({outcome.trigger}) freed {freed} tokens: render again",
    )


def apply_add(
    session: Session, tx: Transaction, items: Sequence[NewSegment], prepared: list[PreparedSegment]
) -> AddReply:
    """Admit prepared segments; the turn moves on with a reply, or with the call where no segment is a reply."""
    turn = session.row.turn
    added = 0
    for item, ready in zip(items, prepared, strict=True):
        _refuse_unknown_refs(session, ready)
        added += session.admit(tx, ready, is_pinned=item.is_pinned)
    if added and session.row.turn == turn and not any(p.segment.kind in REPLY_KINDS for p in prepared):
        session.set_row_fields(tx, turn=turn + 1)
    cost = count_window_tokens(session)
    return AddReply(
        session=str(session.key),
        ids=[ready.segment.id for ready in prepared],
        added=added,
        resident_tokens=cost.resident_tokens,
        billed_tokens=cost.billed_tokens,
        changed=f"{added} of {len(prepared)} segments are new",
        next=over_budget_hint(session),
    )


def _refuse_unknown_refs(session: Session, ready: PreparedSegment) -> None:
    try:
        session.slots(ready.segment.refs)
    except NotFound as unknown:
        hint = "a segment refers to older segments of its session; add the older segments first"
        raise BadParams(f"refs: {unknown}", hint=hint, field="refs") from None


async def get(services: Services, params: SegmentGet) -> ContentReply:
    """`segment.get`."""
    session = await session_with_segment(services, params, params.id, params.scope)
    slot = session.slot(params.id)
    rows = await services.stash.rows(session.key, [slot])
    if not rows:  # Admitted a moment ago: its commit is under way.
        await session.wait_for_commit()
        slot = session.slot(params.id)
        rows = await services.stash.rows(session.key, [slot])
        if not rows:
            raise NotFound(f"segment {params.id!r} was lost to damage", hint="import its transcript again")
    if not params.with_content:
        return segment_header_reply(session, rows[0])
    contents = await services.contents.get(session.key, [slot])
    if slot not in contents:
        raise NotFound(f"segment {params.id!r} was forgotten", hint="only the id is left")
    return content_reply(session, rows[0], contents[slot], params.offset, params.limit_bytes)


async def list_segments(services: Services, params: SegmentList) -> SegmentsReply:
    """`segment.list`: window order first, then the segments outside of the window, by place."""
    session = await requested_session(services, params)
    heap, kinds = session.heap, set(map(Kind, params.kinds))
    slots = [
        slot
        for slot in range(len(heap))
        if (not params.states or heap.state_of(slot).value in params.states)
        and (not kinds or heap.kind_of(slot) in kinds)
    ]
    slots.sort(key=lambda slot: (heap.state[slot] > 1, heap.place[slot], slot))
    page = slots[params.offset : params.offset + params.limit]
    rows = {row.seq: row for row in await services.stash.rows(session.key, page)}
    described = []
    for start in range(0, len(page), LIST_SLICE):
        here = (rows[slot] for slot in page[start : start + LIST_SLICE] if slot in rows)
        described.append(msgspec.json.encode([segment_reply(session, row) for row in here])[1:-1])
        await asyncio.sleep(0)  # Others are served between the slices of a long list.
    more = params.offset + params.limit
    encoded = msgspec.Raw(b"[" + b",".join(filter(None, described)) + b"]")
    return SegmentsReply(
        session=str(session.key),
        segments=cast("list[SegmentReply]", encoded),
        total=len(slots),
        next_offset=more if more < len(slots) else -1,
    )


def apply_pins(session: Session, tx: Transaction, ids: Sequence[str], *, is_pinned: bool) -> SegmentsChangedReply:
    """Pin or unpin."""
    slots, heap = session.unforgotten_slots(ids), session.heap
    moved = [slot for slot in slots if heap.has_flag(slot, PINNED) is not is_pinned]
    if moved:
        tx.add(SetPinned(session.key, moved, is_pinned))
    for slot in moved:
        heap.set_pinned(slot, is_pinned)
    verb = "kept from now on" if is_pinned else "no longer pinned"
    sentence = f"{len(moved)} {'segment' if len(moved) == 1 else 'segments'} {verb}"
    if not moved:
        sentence = f"nothing changed: {'pinned already' if is_pinned else 'not pinned'}"
    out = [heap.ids[slot] for slot in slots if heap.state[slot] != RESIDENT] if is_pinned else []
    # A pin holds what is in the window, and brings nothing back into it.
    hint = f"out of the window: `ctxgc recall {out[0]}` brings it back" if out else None
    return _segments_changed_reply(session, slots, sentence, hint)


def apply_touch(session: Session, tx: Transaction, params: SegmentIds) -> SegmentsChangedReply:
    """Note a use now."""
    slots, turn = session.unforgotten_slots(params.ids), session.row.turn
    tx.add(Touch(session.key, [(slot, turn) for slot in slots]))
    for slot in slots:
        session.heap.touch(slot, turn)
    return _segments_changed_reply(session, slots, f"{len(slots)} touched at turn {turn}")


def apply_tags(session: Session, tx: Transaction, params: SegmentTag) -> SegmentsChangedReply:
    """Set tags, task, importance."""
    [slot] = session.unforgotten_slots([params.id])
    tags = None if params.tags is None else tuple(params.tags)
    tx.add(SetTags(session.key, slot, tags, params.task, params.importance))
    if params.importance is not None:
        session.heap.set_importance(slot, params.importance)
    if params.task is not None:
        session.heap.set_task(slot, params.task)
    return _segments_changed_reply(session, [slot], "tags set")


def apply_refs(session: Session, tx: Transaction, params: SegmentRef) -> SegmentsChangedReply:
    """Add references to older segments."""
    [slot], targets = session.unforgotten_slots([params.id]), session.unforgotten_slots(params.refs)
    younger = [target for target in targets if target >= slot]
    if younger:
        name = session.heap.ids[younger[0]]
        raise BadParams(f"{name!r} is not older than {params.id!r}", hint="references point back", field="refs")
    edges = [Edge(target, EdgeKind.GIVEN) for target in targets]
    tx.add(AddEdges(session.key, slot, edges))
    session.heap.set_refs(slot, [*session.heap.refs_with_edge_kinds(slot), *edges])
    return _segments_changed_reply(session, [slot], f"{len(targets)} references added")


def _segments_changed_reply(
    session: Session, slots: Sequence[int], sentence: str, hint: str | None = None
) -> SegmentsChangedReply:
    ids = [session.heap.ids[slot] for slot in slots]
    return SegmentsChangedReply(str(session.key), ids, *count_window_tokens(session), changed=sentence, next=hint)


async def pin(services: Services, params: SegmentIds) -> SegmentsChangedReply:
    """`segment.pin`."""
    async with mutate(services, "segment.pin", params) as (session, tx):
        return tx.keep_reply(apply_pins(session, tx, params.ids, is_pinned=True))


async def unpin(services: Services, params: SegmentIds) -> SegmentsChangedReply:
    """`segment.unpin`."""
    async with mutate(services, "segment.unpin", params) as (session, tx):
        return tx.keep_reply(apply_pins(session, tx, params.ids, is_pinned=False))


async def touch(services: Services, params: SegmentIds) -> SegmentsChangedReply:
    """`segment.touch`."""
    async with mutate(services, "segment.touch", params) as (session, tx):
        return tx.keep_reply(apply_touch(session, tx, params))


async def tag(services: Services, params: SegmentTag) -> SegmentsChangedReply:
    """`segment.tag`."""
    async with mutate(services, "segment.tag", params) as (session, tx):
        return tx.keep_reply(apply_tags(session, tx, params))


async def ref(services: Services, params: SegmentRef) -> SegmentsChangedReply:
    """`segment.ref`."""
    async with mutate(services, "segment.ref", params) as (session, tx):
        return tx.keep_reply(apply_refs(session, tx, params))


async def evict(services: Services, params: SegmentIds) -> PlanReply:
    """`segment.evict`."""
    session = await requested_session(services, params)
    labels = labels_by_seq(await services.stash.rows(session.key, session.slots(params.ids)))
    async with mutate(services, "segment.evict", params, session) as (session, tx):
        slots = session.slots(params.ids)
        outcome = evict_by_hand(session, tx, slots, Conditions(services.pacer, services.clock()))
        return tx.keep_reply(plan_reply(session, outcome, labels, unit="billed", limit=len(slots), is_dry=False))
