"""Segments that a client gives by hand: from `NewSegment` to what an adapter would have made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ctxgc.adapters.facts.tool_facts import facts_of
from ctxgc.adapters.session_builder import canonical, cut_input
from ctxgc.core.errors import Conflict
from ctxgc.core.heap import FORGOTTEN, PENDING
from ctxgc.core.segment import (
    Access,
    Kind,
    PathUse,
    Piece,
    Role,
    Segment,
    Status,
    digest,
    exchange_id,
    text_bytes,
    text_id,
)
from ctxgc.daemon.sessions.content_cache import Content
from ctxgc.daemon.sessions.intake import Prepared
from ctxgc.daemon.sessions.session import Session
from ctxgc.protocol.messages import NewSegment

PLACE_STEP = 8
"""Room between the places of neighbours."""

ROLES = {Kind.SYSTEM: Role.SYSTEM, Kind.ASSISTANT: Role.ASSISTANT, Kind.THINKING: Role.ASSISTANT}


@dataclass(slots=True)
class Naming:
    """Gives ids and places to segments that are added together, after what the session holds already."""

    session: Session
    place: int
    given: set[str]

    @classmethod
    def of(cls, session: Session) -> Naming:
        """Start after the end of the session's window."""
        return cls(session, session.indexes.place_max, set())

    def is_taken(self, id_: str) -> bool:
        """Whether the id names a segment of the session, or one before it in the same call."""
        return id_ in self.session.heap.slot_of or id_ in self.given

    def next_place(self) -> int:
        """The next place at the end of the window."""
        self.place += PLACE_STEP
        return self.place


def segments_of(session: Session, items: Sequence[NewSegment], wall_s: float) -> list[Segment]:
    """Segments of one call, in order. An id given by the client that is known already names that segment again."""
    naming = Naming.of(session)
    return [_segment(naming, item, text_bytes(item.text), wall_s) for item in items]


def segment_of_file(session: Session, item: NewSegment, data: bytes, wall_s: float) -> Segment:
    """A file's bytes, exactly, as one segment; `item.text` is not looked at."""
    return _segment(Naming.of(session), item, data, wall_s)


def check_contents(session: Session, prepared: Sequence[Prepared], stored: Mapping[int, Content]) -> None:
    """Raise `Conflict` where an id stands for other content than before, in the session or in this call.

    `stored` has what the session holds of the ids that are given again.
    """
    heap, said = session.heap, dict[str, Segment]()
    for segment in (ready.segment for ready in prepared):
        slot = heap.slot_of.get(segment.id)
        if slot is not None and heap.state[slot] == FORGOTTEN:
            raise Conflict(f"segment {segment.id!r} was forgotten", hint="add it under another id")
        if slot is not None and slot in stored and segment.id not in said:
            skeleton, body = stored[slot]
            status = Status.PENDING if heap.is_set(slot, PENDING) else Status.OK
            said[segment.id] = replace(segment, kind=heap.kind_of(slot), status=status, skeleton=skeleton, body=body)
        before = said.setdefault(segment.id, segment)
        if not _agree(before, segment):
            hint = f"add this under another id; `ctxgc show {segment.id}` shows what is stored"
            raise Conflict(f"segment {segment.id!r} is known with other content", hint=hint, field="id")
        if before.status is Status.PENDING:
            said[segment.id] = segment


def _agree(before: Segment, after: Segment) -> bool:
    """Whether what is given repeats what is known, completes it, or is the call that it completed."""
    if before.kind is not after.kind:
        return False
    if after.status is Status.PENDING:
        return set(after.body) <= set(before.body)
    return before.status is Status.PENDING or (before.skeleton, before.body) == (after.skeleton, after.body)


def _segment(naming: Naming, item: NewSegment, text: bytes, wall_s: float) -> Segment:
    kind = Kind(item.kind)
    facts = facts_of(item.tool, item.input or {}, naming.session.row.project)
    paths = tuple(PathUse(path, Access.READ) for path in item.paths) or facts.paths
    skeleton: dict[str, object] = {}
    body = (Piece("thinking" if kind is Kind.THINKING else "text", text),) if text else ()
    id_ = item.id
    if kind is Kind.EXCHANGE:
        kept, pieces = cut_input(item.input or {})
        pending = item.status == "pending"
        body = (*pieces, *(() if pending else (Piece("result", text),)))
        id_ = id_ or _free(naming, "call-" + digest(canonical(kept), body).hex()[:12], exchange_id)
        skeleton = {"call_id": id_, "name": item.tool or "tool", "input": kept}
        if item.status == "error":
            skeleton["is_error"] = True
    else:
        role = ROLES.get(kind, Role.USER)
        id_ = id_ or _free(naming, text_id(role, kind, text, 1), lambda base, n: text_id(role, kind, text, n))
    naming.given.add(id_)
    return Segment(
        id=id_,
        kind=kind,
        role=Role.ASSISTANT if kind is Kind.EXCHANGE else ROLES.get(kind, Role.USER),
        place=naming.next_place(),
        born_turn=naming.session.row.turn,
        wall_s=item.wall_s or wall_s,
        skeleton=canonical(skeleton),
        body=body,
        tool=item.tool,
        status=Status(item.status),
        paths=paths,
        edit_sources=facts.edit_sources,
        command=facts.command,
        refs=tuple(item.refs),
        importance=item.importance,
        task=item.task or naming.session.row.task,
        tags=tuple(item.tags),
    )


def _free(naming: Naming, base: str, numbered: object) -> str:
    """The first of `base`, its second, third … that names nothing yet."""
    assert callable(numbered)
    id_, ordinal = base, 1
    while naming.is_taken(id_):
        ordinal += 1
        id_ = numbered(base, ordinal)
    return id_
