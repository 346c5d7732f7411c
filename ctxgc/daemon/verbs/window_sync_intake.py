"""The new segments of a request, made ready for their session: its clock, and the pieces that no request can edit.

records ──decode_new_segments──▶ ──clock_new_segments──▶ ──prepare_request_segments──▶ to be admitted
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ctxgc.adapters.contract import RESULT_PIECE
from ctxgc.adapters.skeletons import result_texts
from ctxgc.adapters.transcripts.segments_json import parse_segments
from ctxgc.core.entry.elisions import Elision, is_elision_shown_by_target, parse_client_elisions, run_places
from ctxgc.core.heap import DEPARTED, PENDING, REPLY_KINDS
from ctxgc.core.redaction.redact import redact_text
from ctxgc.core.segment import Kind, Piece, Renderer, Segment, SessionKey, Status, conflict_id, content_digest
from ctxgc.daemon.services import Services, run_on_worker
from ctxgc.daemon.sessions.intake import PIECE_MARKER_TOKENS, Intake, PreparedSegment
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.window_update import PLACE_STEP
from ctxgc.protocol.wire import DIGEST_CHARS_MAX, WindowEnter, WindowSync
from ctxgc.stash.contract import SessionRow


class RequestSegment(NamedTuple):
    """A segment of a request, and the names of its pieces without a span."""

    segment: Segment
    fixed: frozenset[str]
    elisions: tuple[Elision, ...] = ()
    """The runs of lines that the request shows by pointers."""

    @property
    def is_fixed(self) -> bool:
        """Whether no piece can be edited."""
        return all(piece.name in self.fixed for piece in self.segment.body)


def decode_new_segments(params: WindowSync | WindowEnter) -> list[RequestSegment]:
    """The segments of `new`, with the facts that their records hold. Heavy: for the worker thread."""
    segments = parse_segments(params.new, params.project)
    return [
        RequestSegment(segment, _piece_names(record.get("fixed")), parse_client_elisions(record.get("elisions")))
        for segment, record in zip(segments, params.new, strict=True)
    ]


def segment_digests(segments: Sequence[RequestSegment]) -> dict[str, str]:
    """The digest of each segment's content, by id."""
    return {one.segment.id: content_digest(one.segment.skeleton, one.segment.body).hex() for one in segments}


def sent_digests(params: WindowSync) -> dict[str, str]:
    """The digest of each id's content in this request, where the client sends a digest: in `digests`, or in a
    record."""
    told = (record for record in params.new if _is_digest(record.get("digest")))
    recorded = {redact_text(str(record.get("id"))): record["digest"] for record in told}
    return dict(zip(params.ids, params.digests, strict=False)) | recorded


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= DIGEST_CHARS_MAX


def _piece_names(value: object) -> frozenset[str]:
    return frozenset(name for name in value if isinstance(name, str)) if isinstance(value, list) else frozenset()


def prepare_request_segments(intake: Intake, segments: Sequence[RequestSegment]) -> list[PreparedSegment]:
    """Segments of a request, ready to be admitted. Heavy: for the worker thread."""
    return [_count_uneditable_as_skeleton(intake.prepare(given.segment), given) for given in segments]


def _count_uneditable_as_skeleton(ready: PreparedSegment, given: RequestSegment) -> PreparedSegment:
    """The segment with its uneditable pieces counted as skeleton; opaque where no piece is left, or a piece was
    redacted.

    A redacted body in the stash differs from the request's: a recall could not bring the request's back (I9).
    """
    kept = [tokens for name, _, tokens in ready.pieces if name in given.fixed]
    pieces = tuple((name, size, 0 if name in given.fixed else tokens) for name, size, tokens in ready.pieces)
    is_opaque = ready.segment.has_opaque or given.is_fixed or bool(ready.redactions)
    saved = sum(elision.saved_tokens for elision in given.elisions)
    is_saving = saved <= sum(tokens for name, _, tokens in pieces if name == RESULT_PIECE)
    return replace(
        ready,
        elisions=given.elisions if is_saving and not is_opaque else (),
        segment=replace(ready.segment, has_opaque=is_opaque),
        skeleton_tokens=ready.skeleton_tokens + sum(kept),
        pieces=pieces,
        tombstone_tokens=ready.tombstone_tokens - PIECE_MARKER_TOKENS * min(len(kept), max(len(pieces) - 1, 0)),
    )


async def prepare_with_true_elisions(
    services: Services, session: Session, given: Sequence[RequestSegment], *, is_on: bool
) -> list[PreparedSegment]:
    """Segments of a request, ready to be admitted, each with its true elisions."""
    true = await _keep_true_elisions(services, session, given, is_on=is_on)
    return await run_on_worker(services, prepare_request_segments, services.intake, true)


async def _keep_true_elisions(
    services: Services, session: Session, given: Sequence[RequestSegment], *, is_on: bool
) -> list[RequestSegment]:
    """The segments with those elisions whose targets show the very lines: none in shadow, where results stay whole.

    A client speaks of what the request was made from, and the content under a target's id may be another by now.
    """
    if not any(one.elisions for one in given):
        return list(given)
    if not is_on:
        return [one._replace(elisions=()) for one in given]
    named = {elision.target for one in given for elision in one.elisions if elision.target}
    slot_of, heap = session.heap.slot_of, session.heap
    slots = {slot_of[id_] for id_ in named if id_ in slot_of and has_complete_segment(session, id_)}
    stored = await services.contents.get(session.key, sorted(slots))
    texts = {heap.ids[slot]: "".join(_result_piece_texts(body)) for slot, (_, body) in stored.items()}
    new = {
        one.segment.id: "".join(_result_piece_texts(one.segment.body))
        for one in given
        if one.segment.id in named - texts.keys()
    }
    return await run_on_worker(services, _drop_false_elisions, given, texts | new)


def _result_piece_texts(body: Sequence[Piece]) -> list[str]:
    return [piece.text for piece in body if piece.name == RESULT_PIECE]


def _drop_false_elisions(given: Sequence[RequestSegment], targets: Mapping[str, str]) -> list[RequestSegment]:
    lines_of = {id_: text.split("\n") for id_, text in targets.items()}
    checked = []
    for one in given:
        lines = "".join(_result_piece_texts(one.segment.body)).split("\n") if one.elisions else []
        places = run_places(result_texts(one.segment), [(elision.first, elision.lines) for elision in one.elisions])
        true = [
            elision
            for elision, place in zip(one.elisions, places, strict=True)
            # Lines left out at birth have no target: the stash has them in this very result.
            if place is not None
            and (not elision.target or is_elision_shown_by_target(elision, lines, lines_of.get(elision.target, ())))
        ]
        checked.append(one._replace(elisions=tuple(true)))
    return checked


def has_complete_segment(session: Session, id_: str) -> bool:
    """Whether the session has the segment with the result."""
    slot = session.heap.slot_of.get(id_)
    return slot is not None and not session.heap.has_flag(slot, PENDING)


def clock_new_segments(
    session: Session, ids: Sequence[str], segments: Sequence[RequestSegment]
) -> list[RequestSegment]:
    """The new segments on the session's clock, at their places in a window of these ids.

    A request counts its own replies from 0; after a host compacted or rewound the count starts low again, and its
    turns would look old. The request's end is the session's now. A new segment before the last known reply was changed
    there, and is as old as that reply. A request holds no times: its new segments came now.
    """
    sent = [given.segment for given in segments]
    replies = [segment for segment in sent if segment.kind in REPLY_KINDS]
    last_known = max((reply.born_turn for reply in replies if _is_known_reply(session, reply)), default=-1)
    now = session.row.turn + len({reply.born_turn for reply in replies if reply.born_turn > last_known})
    end = max((segment.born_turn + (segment.kind in REPLY_KINDS) for segment in sent), default=0)
    news = [given for given in segments if not has_complete_segment(session, given.segment.id)]
    wall_s = session.wall_clock_s()
    places = {id_: at * PLACE_STEP for at, id_ in enumerate(ids)}
    clocked = []
    for at, given in enumerate(news, 1):
        segment = given.segment
        place = places.get(segment.id, session.indexes.place_max + at * PLACE_STEP)
        born_turn = max(0, now - (end - segment.born_turn))
        clocked.append(given._replace(segment=replace(segment, born_turn=born_turn, place=place, wall_s=wall_s)))
    return clocked


def _is_known_reply(session: Session, reply: Segment) -> bool:
    """Whether the session knows this reply as an earlier reply: a text that has left the window may be said again.

    Calls have ids of their own, so that a call that left and came back is the same call; texts are named by their
    words alone, and a model that repeats its words would hold the clock.
    """
    slot = session.heap.slot_of.get(reply.id)
    return slot is not None and (reply.kind is Kind.TOOL_CALL or session.heap.state[slot] != DEPARTED)


async def conflicting_digests(
    services: Services, session: Session, known: Sequence[RequestSegment]
) -> dict[str, bytes]:
    """Ids under which the stash holds another content: a host used a call id again, or cut a result short.

    Each id has the digest of the request's content, without secrets. Only bodies are compared, for only bodies can
    leave a request: a log and the wire may put the same call differently around the bodies.
    """
    segments = [one.segment for one in known if one.segment.kind is Kind.TOOL_CALL]
    calls = {session.heap.slot_of[segment.id]: segment for segment in segments}
    if not calls:
        return {}
    stored = await services.stash.contents(session.key, list(calls))
    ready = await run_on_worker(services, services.intake.prepare_segments, [calls[slot] for slot in stored])
    return {
        one.segment.id: one.digest
        for slot, one in zip(stored, ready, strict=True)
        if one.segment.status is not Status.PENDING
        and not dict(one.segment.body).items() <= dict(stored[slot][1]).items()
    }


def conflict_copy(given: RequestSegment, stamp: bytes) -> RequestSegment:
    """A segment with a conflicting content, under an id of its own.

    `stamp` is the digest of the stored content: a client's digest may be any text, may begin like another's, and may be
    of a secret.
    """
    return given._replace(segment=replace(given.segment, id=conflict_id(given.segment.id, stamp)))


def new_session_row(services: Services, params: WindowSync) -> SessionRow:
    """The row of a session that the request is the first of."""
    source, _, name = params.session.partition(":")
    renderer = Renderer.GATEWAY if params.mode == "on" else Renderer.AGENT
    return SessionRow(key=SessionKey(source, name), rendered_by=renderer, created_s=services.clock())
