"""The columns of a segment's row and of a session's, and both ways between a row and its value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ctxgc.core.entry.elisions import pack_elisions, unpack_elisions
from ctxgc.core.segment import (
    NO_FACTS,
    TOOL_CALL_BEFORE,
    CallFacts,
    Departure,
    Kind,
    PathUse,
    Renderer,
    Role,
    Segment,
    SessionKey,
    State,
    Status,
)
from ctxgc.stash.contract import Edge, SegmentRow, SessionRow

CONTENT = (
    *("kind", "role", "wall_s", "tool", "status", "command", "refs", "reply", "has_opaque", "facts"),
    *("digest", "skeleton_tokens", "pieces", "tombstone_tokens", "redactions", "elisions"),
)
"""The columns that completing a pending segment replaces. The other columns belong to the session by then."""

COLUMNS = (
    *("sid", "seq", "id", "place", "born_turn"),
    *CONTENT,
    *("importance", "task", "tags", "state", "departure", "touched_turn", "touches"),
    *("is_pinned", "garbage", "garbage_by", "collection", "recalled_turn"),
)

STORED_RENDERERS = {Renderer.AGENT: "observe", Renderer.CLIENT: "client", Renderer.GATEWAY: "wire"}
"""Names of renderers in the column `mode`: the older names, so that no row is ever migrated."""
_RENDERERS = {name: renderer for renderer, name in STORED_RENDERERS.items()}

SESSION_COLUMNS = (
    *("source", "session", "project", "parent", "parent_segment", "model", "title", "mode", "budget_tokens"),
    *("window_max_tokens", "task", "turn", "created_s", "updated_s", "hidden_tokens", "ratio", "skipped_records"),
    *("number", "faults", "pacing", "closed", "forgotten"),
)

PIECES_KEPT_MAX = 4_096
"""Texts of pieces that stay parsed."""

encode_json = json.JSONEncoder(separators=(",", ":")).encode
"""A shared encoder: `json.dumps` with other separators makes an encoder at each call."""

STORED_KINDS = {kind: kind.value for kind in Kind} | {Kind.TOOL_CALL: TOOL_CALL_BEFORE}
"""Names of kinds in rows, contents and the index. A tool call keeps its older name there: no row is ever migrated."""
KINDS = {kind.value: kind for kind in Kind} | {name: kind for kind, name in STORED_KINDS.items()}
ROLES = {role.value: role for role in Role}
STATUSES = {status.value: status for status in Status}
STATES = {state.value: state for state in State}


def content_values(row: SegmentRow) -> tuple[Any, ...]:
    """The values of `CONTENT`. `str()` where a column is text: a StrEnum is bound by its value."""
    segment = row.segment
    return (
        STORED_KINDS[segment.kind],
        str(segment.role),
        segment.wall_s,
        storable_text(segment.tool),
        str(segment.status),
        storable_text(segment.command),
        pack_list(segment.refs),
        storable_text(segment.reply),
        segment.has_opaque,
        storable_text(pack_facts(segment.facts)),
        row.digest,
        row.skeleton_tokens,
        pack_list(row.pieces),
        row.tombstone_tokens,
        row.redactions,
        storable_text(pack_elisions(row.elisions)),
    )


def segment_values(sid: int, row: SegmentRow) -> tuple[Any, ...]:
    """The values of `COLUMNS`."""
    segment = row.segment
    return (
        sid,
        row.seq,
        storable_text(segment.id),
        segment.place,
        segment.born_turn,
        *content_values(row),
        segment.importance,
        storable_text(segment.task),
        pack_list(segment.tags),
        str(row.state),
        str(row.departure or ""),
        row.touched_turn,
        row.touches,
        row.is_pinned,
        row.garbage,
        row.garbage_by,
        row.collection,
        row.recalled_turn,
    )


def segment_row(
    key: SessionKey, row: Sequence[Any], paths: tuple[PathUse, ...] = (), edges: tuple[Edge, ...] = ()
) -> SegmentRow:
    """A row, in the order of `COLUMNS`, as a `SegmentRow` without content."""
    (_, seq, id_, place, born_turn, kind, role, wall_s, tool, status, command, refs, reply, has_opaque) = row[:14]
    facts = row[14]
    (digest, skeleton_tokens, pieces, tombstone_tokens, redactions, elisions, importance, task, tags) = row[15:24]
    (state, departure, touched_turn, touches, is_pinned, garbage, garbage_by, collection, recalled_turn) = row[24:]
    segment = Segment(
        id=id_,
        kind=KINDS[kind],
        role=ROLES[role],
        place=place,
        born_turn=born_turn,
        wall_s=wall_s,
        tool=tool,
        status=STATUSES[status],
        paths=paths,
        command=command,
        facts=unpack_facts(facts),
        refs=unpack_list(refs),
        reply=reply,
        has_opaque=bool(has_opaque),
        importance=importance,
        task=task,
        tags=unpack_list(tags),
    )
    return SegmentRow(
        key=key,
        seq=seq,
        segment=segment,
        digest=digest,
        skeleton_tokens=skeleton_tokens,
        pieces=unpack_pieces(pieces),
        tombstone_tokens=tombstone_tokens,
        edges=edges,
        state=STATES[state],
        departure=Departure(departure) if departure else None,
        touched_turn=touched_turn,
        touches=touches,
        recalled_turn=recalled_turn,
        is_pinned=bool(is_pinned),
        garbage=garbage,
        garbage_by=garbage_by,
        redactions=redactions,
        collection=collection,
        elisions=unpack_elisions(elisions),
    )


def session_row(row: Mapping[str, Any] | Sequence[Any]) -> SessionRow:
    """A row, in the order of `SESSION_COLUMNS`, as a `SessionRow`."""
    source, session, *rest, closed, is_forgotten = row
    others = dict(zip(SESSION_COLUMNS[2:-2], rest, strict=True))
    others["rendered_by"] = _RENDERERS[others.pop("mode")]
    return SessionRow(key=SessionKey(source, session), closed=bool(closed), forgotten=bool(is_forgotten), **others)


def session_values(row: SessionRow) -> tuple[Any, ...]:
    """The values of `SESSION_COLUMNS`."""
    others = {"mode": STORED_RENDERERS[row.rendered_by]}
    return (*row.key, *(storable_text(others.get(name) or getattr(row, name)) for name in SESSION_COLUMNS[2:]))


def pack_list(items: Sequence[Any]) -> str:
    """A short list as JSON; an empty list is the empty string, which takes no space."""
    return encode_json(items) if items else ""


def unpack_list(text: str) -> tuple[str, ...]:
    """The list of strings that `pack` wrote."""
    return tuple(json.loads(text)) if text else ()


@lru_cache(PIECES_KEPT_MAX)
def unpack_pieces(text: str) -> tuple[tuple[str, int, int], ...]:
    """The (name, bytes, tokens) of each piece that `pack_list` wrote: a session's rows have few texts of them."""
    return tuple((name, size, tokens) for name, size, tokens in json.loads(text)) if text else ()


def pack_facts(facts: CallFacts) -> str:
    """Facts as a JSON list: the texts, then the names of the flags that hold; the empty string without facts."""
    flags = [name for name in CallFacts._fields[2:] if getattr(facts, name)]
    return encode_json([facts.attempt, facts.recalls, *flags]) if facts.attempt else ""


def unpack_facts(text: str) -> CallFacts:
    """The facts in a text of `pack_facts`; facts that only a later version knows are passed over."""
    if not text:
        return NO_FACTS
    attempt, recalls, *flags = json.loads(text)
    return CallFacts(attempt, recalls, **{name: True for name in flags if name in CallFacts._fields})


def storable_text(value: Any) -> Any:
    """Text that every engine takes: lone surrogates and NUL have no place in metadata."""
    if isinstance(value, str) and not (value.isascii() and "\0" not in value):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return value
