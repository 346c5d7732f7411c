"""Segments of a client: from `NewSegment` to the segment that an adapter would have made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ctxgc.adapters.builder import ROLES, Birth, IdAllocator, PlainSegment, SegmentBuilder
from ctxgc.adapters.facts.tool_facts import add_client_facts
from ctxgc.core.errors import Conflict
from ctxgc.core.heap import FORGOTTEN, PENDING
from ctxgc.core.segment import Access, Kind, PathUse, Role, Segment, Status, text_bytes
from ctxgc.daemon.sessions.content_cache import Content
from ctxgc.daemon.sessions.intake import PreparedSegment
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.window_update import PLACE_STEP
from ctxgc.protocol.messages import NewSegment


def build_segments(session: Session, items: Sequence[NewSegment], wall_s: float) -> list[Segment]:
    """Segments of a call, in order. A known id that the client repeats names that segment again."""
    ids: set[str] = set()
    builder = _builder_after_session(session, ids)
    return [_build_segment(session, builder, ids, item, text_bytes(item.text), wall_s) for item in items]


def build_file_segment(session: Session, item: NewSegment, data: bytes, wall_s: float) -> Segment:
    """A file's bytes, exactly, as a segment; `item.text` is ignored."""
    return _build_segment(session, _builder_after_session(session, set()), set(), item, data, wall_s)


def require_same_content(session: Session, prepared: Sequence[PreparedSegment], stored: Mapping[int, Content]) -> None:
    """Raise `Conflict` where an id stands for other content than before, in the session or in this call.

    `stored` has the session's contents of the repeated ids.
    """
    heap, said = session.heap, dict[str, Segment]()
    for segment in (ready.segment for ready in prepared):
        slot = heap.slot_of.get(segment.id)
        if slot is not None and heap.state[slot] == FORGOTTEN:
            raise Conflict(f"segment {segment.id!r} was forgotten", hint="add it under another id")
        if slot is not None and slot in stored and segment.id not in said:
            skeleton, body = stored[slot]
            status = Status.PENDING if heap.has_flag(slot, PENDING) else Status.OK
            said[segment.id] = replace(segment, kind=heap.kind_of(slot), status=status, skeleton=skeleton, body=body)
        before = said.setdefault(segment.id, segment)
        if not _is_compatible_content(before, segment):
            hint = f"add the content under another id; `ctxgc show {segment.id}` shows what is stored"
            raise Conflict(f"segment {segment.id!r} is known with other content", hint=hint, field="id")
        if before.status is Status.PENDING:
            said[segment.id] = segment


def _is_compatible_content(before: Segment, after: Segment) -> bool:
    """Whether a client's content repeats the stored segment, completes a pending call, or is the call before its
    result."""
    if before.kind is not after.kind:
        return False
    if after.status is Status.PENDING:
        return set(after.body) <= set(before.body)
    return before.status is Status.PENDING or (before.skeleton, before.body) == (after.skeleton, after.body)


def _builder_after_session(session: Session, given: set[str]) -> SegmentBuilder:
    """A builder that names and places segments after those of the session and of the same call."""
    builder = SegmentBuilder(IdAllocator(lambda id_: id_ in session.heap.slot_of or id_ in given))
    builder.next_place = session.indexes.place_max
    return builder


def _build_segment(
    session: Session, builder: SegmentBuilder, given: set[str], item: NewSegment, text: bytes, wall_s: float
) -> Segment:
    kind = Kind(item.kind)
    builder.next_place += PLACE_STEP
    birth = Birth(session.row.turn, item.wall_s or wall_s, place=builder.next_place)
    plain = PlainSegment(kind, ROLES.get(kind, Role.USER), text, item.tool, item.input, Status(item.status), item.id)
    segment = builder.draft_plain_segment(plain, birth, session.row.project).build_segment()
    given.add(segment.id)
    if item.paths:
        segment = add_client_facts(segment, tuple(PathUse(path, Access.READ) for path in item.paths), "")
    return replace(
        segment,
        tool=item.tool,
        status=Status(item.status),
        refs=tuple(item.refs),
        importance=item.importance,
        task=item.task or session.row.task,
        tags=tuple(item.tags),
    )
