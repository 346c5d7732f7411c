"""What is new in a request, made ready for its session: facts, the session's clock, and what the wire cannot edit.

records ──told_in──▶ ──on_clock──▶ ──prepared──▶ to be admitted
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ctxgc.adapters.facts.tool_facts import facts_of
from ctxgc.adapters.skeletons import join_input
from ctxgc.adapters.transcripts.segments_json import segments_of
from ctxgc.adapters.wire.rendering import RESULT_PIECE
from ctxgc.core.heap import PENDING, REPLY_KINDS
from ctxgc.core.segment import Kind, Segment, Status, aside_base, aside_id
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.intake import PIECE_MARKER_TOKENS, Intake, Prepared
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.window_update import PLACE_STEP
from ctxgc.daemon.verbs.mutation import on_worker
from ctxgc.protocol.wire import DIGEST_CHARS_MAX, WindowSync


class Told(NamedTuple):
    """A segment of a request, and the names of its pieces that have no span in it."""

    segment: Segment
    fixed: frozenset[str]

    @property
    def is_fixed(self) -> bool:
        """Whether nothing of it can be edited."""
        return all(piece.name in self.fixed for piece in self.segment.body)


def told_in(params: WindowSync) -> list[Told]:
    """What `new` holds, with the facts that the working directory adds. Heavy: for the worker thread."""
    segments = segments_of(params.new)
    return [
        Told(_with_facts(segment, params.project), _names(record.get("fixed")))
        for segment, record in zip(segments, params.new, strict=True)
    ]


def digests_told(params: WindowSync) -> dict[str, str]:
    """What ids stand for in this request, where the client says it: beside them, and in the records of `new`."""
    recorded = {str(record.get("id")): record["digest"] for record in params.new if _is_digest(record.get("digest"))}
    return dict(zip(params.ids, params.digests, strict=False)) | recorded


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= DIGEST_CHARS_MAX


def _names(value: object) -> frozenset[str]:
    return frozenset(name for name in value if isinstance(name, str)) if isinstance(value, list) else frozenset()


def _with_facts(segment: Segment, project: str) -> Segment:
    if segment.kind is not Kind.EXCHANGE:
        return segment
    texts = {piece.name: piece.text for piece in segment.body}
    value = join_input(json.loads(segment.skeleton).get("input"), texts)
    facts = facts_of(segment.tool, value, project)
    if segment.status is not Status.PENDING:
        facts = facts.answered(_result(segment.body))
    return replace(segment, paths=facts.paths, edit_sources=facts.edit_sources, command=facts.command)


def prepared(intake: Intake, told: Sequence[Told]) -> list[Prepared]:
    """Ready to be admitted. Heavy: for the worker thread."""
    return [_bounded(intake.prepare(one.segment), one) for one in told]


def _bounded(ready: Prepared, told: Told) -> Prepared:
    """The same, with what cannot be edited counted as skeleton; opaque if that is all, or if something was redacted.

    What the stash holds of a redacted body is not what was sent: it could not be brought back (I9).
    """
    kept = [tokens for name, _, tokens in ready.pieces if name in told.fixed]
    pieces = tuple((name, size, 0 if name in told.fixed else tokens) for name, size, tokens in ready.pieces)
    is_opaque = ready.segment.has_opaque or told.is_fixed or bool(ready.redactions)
    return replace(
        ready,
        segment=replace(ready.segment, has_opaque=is_opaque),
        skeleton_tokens=ready.skeleton_tokens + sum(kept),
        pieces=pieces,
        tombstone_tokens=ready.tombstone_tokens - PIECE_MARKER_TOKENS * min(len(kept), max(len(pieces) - 1, 0)),
    )


def is_settled(session: Session, id_: str) -> bool:
    """Whether the session holds this segment in full."""
    slot = session.heap.slot_of.get(id_)
    return slot is not None and not session.heap.is_set(slot, PENDING)


def on_clock(session: Session, ids: Sequence[str], told: Sequence[Told]) -> list[Told]:
    """The new ones of these segments on the session's clock, at their places in a window of these ids.

    A request counts its own replies from 0; after a host compacted or rewound it starts low again, and its turns would
    look old. Its end is now. What is new before the last reply that is known was changed there, and is as old as that.
    """
    said = [one.segment for one in told]
    replies = [s for s in said if s.kind in REPLY_KINDS]
    last_known = max((s.born_turn for s in replies if s.id in session.heap.slot_of), default=-1)
    now = session.row.turn + len({s.born_turn for s in replies if s.born_turn > last_known})
    end = max((s.born_turn + (s.kind in REPLY_KINDS) for s in said), default=0)
    news = [one for one in told if not is_settled(session, one.segment.id)]
    places = {id_: at * PLACE_STEP for at, id_ in enumerate(ids)}
    clocked = []
    for at, (segment, fixed) in enumerate(news, 1):
        place = places.get(segment.id, session.holdings.place_max + at * PLACE_STEP)
        born_turn = max(0, now - (end - segment.born_turn))
        clocked.append(Told(replace(segment, born_turn=born_turn, place=place), fixed))
    return clocked


async def conflicts_of(services: Services, session: Session, known: Sequence[Told]) -> dict[str, bytes]:
    """Ids under which another content is stored: a host used a call id again, or cut a result short.

    With each the digest of what came, secrets out. Compared is what can leave the request. Around it a log and the wire
    may well put the same call differently.
    """
    calls = {session.heap.slot_of[s.id]: s for s, _ in known if s.kind is Kind.EXCHANGE}
    if not calls:
        return {}
    stored = await services.stash.bodies(session.key, list(calls))
    ready = await on_worker(services, services.intake.prepare_all, [calls[slot] for slot in stored])
    return {
        one.segment.id: one.digest
        for slot, one in zip(stored, ready, strict=True)
        if one.segment.status is not Status.PENDING
        and not dict(one.segment.body).items() <= dict(stored[slot][1]).items()
    }


def aside_of(told: Told, stamp: bytes) -> Told:
    """What stands under an id that is another's, under a name of its own.

    `stamp` is the digest of what is stored: a client's own may be any text, may begin as another's does, and may be of
    a secret.
    """
    return told._replace(segment=replace(told.segment, id=aside_id(told.segment.id, stamp)))


def asides_of(session: Session, slots: Sequence[int]) -> list[int]:
    """The slots of what is stored aside under the ids of these."""
    ids = {session.heap.ids[slot] for slot in slots}
    return [slot for id_, slot in session.heap.slot_of.items() if aside_base(id_) in ids]


def _result(body: Sequence[Any]) -> bytes:
    return next((piece.data for piece in body if piece.name == RESULT_PIECE), b"")
