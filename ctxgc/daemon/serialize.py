"""From state to replies: what a session, a segment, a plan or a hit looks like to a client.

Shapes are those of `protocol.replies`; nothing in here decides or changes anything.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ctxgc.core.collector import Plan, freeable_tokens
from ctxgc.core.heap import EVICTED, KINDS, PINNED, STATES
from ctxgc.core.segment import LINE_MAX, PathUse, Piece
from ctxgc.core.tombstone import label, size_label
from ctxgc.daemon.sessions.collecting import Outcome
from ctxgc.daemon.sessions.session import Session
from ctxgc.stash.contract import Collection, Eviction, Hit, SegmentRow, SessionRow

EFFECTS = {
    "observe": "planned: your agent's window is unchanged (ctxgc only watches this session)",
    "client": "the next render of this session leaves these bodies out",
    "wire": "the next request through the gateway leaves these bodies out",
}

UNDONE = {
    "observe": "planned: your agent's window is unchanged (ctxgc only watches this session)",
    "client": "the next render of this session has these bodies again",
    "wire": "the next request through the gateway has these bodies again",
}
HIDDEN = "hidden"
"""What a host sends before the window it shows us: part of what is billed, and never ours to take."""


def session_reply(row: SessionRow) -> dict[str, Any]:
    """`SessionReply`."""
    return {
        "session": str(row.key),
        "project": row.project,
        "parent": f"{row.key.source}:{row.parent}" if row.parent else "",
        "model": row.model,
        "title": row.title,
        "mode": row.mode,
        "task": row.task,
        "turn": row.turn,
        "budget_tokens": row.budget_tokens,
        "window_max_tokens": row.window_max_tokens,
        "created_s": row.created_s,
        "updated_s": row.updated_s,
        "skipped_records": row.skipped_records,
        "closed": row.closed,
    }


def show_reply(session: Session, children: list[str]) -> dict[str, Any]:
    """`ShowReply`. O(segments)."""
    heap, row = session.heap, session.row
    states = [STATES[state].value for state in heap.state]
    billed = session.billed(heap.resident_tokens)
    may_go, garbage = freeable_tokens(heap, session.index.paths, session.now(), session.rules)
    return session_reply(row) | {
        "segments": len(heap),
        **{state.value: states.count(state.value) for state in STATES},
        "pinned": sum(bool(flags & PINNED) for flags in heap.flags),
        "resident_tokens": heap.resident_tokens,
        "evictable_tokens": may_go,
        "garbage_tokens": garbage,
        "billed_tokens": billed,
        "hidden_tokens": row.hidden_tokens,
        "ratio": round(session.calibration.ratio, 4),
        "pressure": round(billed / row.budget_tokens, 4) if row.budget_tokens else 0.0,
        "kinds": kind_tokens(session),
        "children": children,
        "faults": row.faults,
        "collections": session.last_collection,
    }


def kind_tokens(session: Session) -> list[dict[str, Any]]:
    """`KindTokens` of each kind in the window, the dearest first."""
    heap = session.heap
    found: dict[str, list[int]] = {}
    for slot in heap.window():
        sums = found.setdefault(KINDS[heap.kind[slot]].value, [0, 0, 0])
        sums[0] += 1
        sums[1] += heap.cost_of(slot)
        sums[2] += heap.state[slot] == EVICTED
    rows = [
        {"kind": kind, "segments": sums[0], "resident_tokens": sums[1], "evicted_segments": sums[2]}
        for kind, sums in found.items()
    ]
    return sorted(rows, key=lambda row: (-int(row["resident_tokens"]), row["kind"]))


def _path_reply(use: PathUse) -> dict[str, Any]:
    last = 0 if use.last_line == LINE_MAX else use.last_line
    return {"path": use.path, "access": use.access.value, "first_line": use.first_line, "last_line": last}


def segment_reply(session: Session, row: SegmentRow) -> dict[str, Any]:
    """`SegmentReply`; what changes (state, pins, touches) is taken from the heap, the rest from the row."""
    heap, segment, slot = session.heap, row.segment, row.seq
    proof = heap.proofs.get(slot)
    return {
        "id": segment.id,
        "seq": slot,
        "kind": segment.kind.value,
        "role": segment.role.value,
        "state": STATES[heap.state[slot]].value,
        "departure": row.departure.value if row.departure else "",
        "place": heap.place[slot],
        "born_turn": heap.born[slot],
        "touched_turn": heap.touched[slot],
        "touches": heap.touches[slot],
        "tokens": heap.skeleton[slot] + heap.body[slot],
        "body_tokens": heap.body[slot],
        "tombstone_tokens": heap.tombstone[slot],
        "tool": segment.tool,
        "status": segment.status.value,
        "command": segment.command,
        "paths": [_path_reply(use) for use in segment.paths],
        "digest": row.digest.hex(),
        "is_pinned": heap.is_set(slot, PINNED),
        "has_opaque": segment.has_opaque,
        "garbage": proof.reason if proof else "",
        "garbage_by": heap.ids[proof.by] if proof and proof.by >= 0 else "",
        "redactions": row.redactions,
        "task": heap.tasks[heap.task[slot]],
        "tags": list(segment.tags),
        "importance": round(heap.importance[slot], 6),
        "wall_s": segment.wall_s,
        "collection": row.collection,
    }


def piece_reply(piece: Piece, tokens: int, offset: int, limit_bytes: int) -> dict[str, Any]:
    """`PieceReply`: a part of a piece, cut between characters so that the parts join to the whole."""
    end = min(offset + limit_bytes, len(piece.data))
    while offset < end < len(piece.data) and piece.data[end] & 0xC0 == 0x80:
        end -= 1
    part = piece.data[offset:end]
    reply: dict[str, Any] = {"name": piece.name, "bytes": len(piece.data), "tokens": tokens}
    try:
        reply["text"] = part.decode()
    except UnicodeDecodeError:
        reply["data_b64"] = b64encode(part).decode()
    reply["next_offset"] = end if end < len(piece.data) else -1
    return reply


def content_reply(
    session: Session, row: SegmentRow, content: tuple[bytes, tuple[Piece, ...]], offset: int, limit_bytes: int
) -> dict[str, Any]:
    """`ContentReply`."""
    skeleton, body = content
    tokens = {name: count for name, _, count in row.pieces}
    return segment_reply(session, row) | {
        "session": str(session.key),
        "skeleton": skeleton.decode("utf-8", "replace"),
        "pieces": [piece_reply(piece, tokens.get(piece.name, 0), offset, limit_bytes) for piece in body],
    }


def plan_reply(
    session: Session, outcome: Outcome, labels: Mapping[int, str], *, unit: str, limit: int, is_dry: bool
) -> dict[str, Any]:
    """`PlanReply`; `labels` name the victims that are listed."""
    todo = outcome.plan
    is_billed = unit == "billed"
    whole = session.billed if is_billed else int
    part = session.calibration.billed if is_billed else int
    victims = largest_victims(todo, limit)
    before, after = whole(todo.before_tokens), whole(todo.remaining_tokens)
    held_by = _held_by(todo, part, session.row.hidden_tokens if is_billed else 0)
    reply: dict[str, Any] = {
        "session": str(session.key),
        "unit": unit,
        "collection": outcome.collection,
        "trigger": outcome.trigger,
        "before_tokens": before,
        "after_tokens": after,
        "target_tokens": whole(todo.target_tokens),
        "freed_tokens": before - after,
        "evicted": len(todo.victims),
        "victims": [
            _victim_reply(session, v.slot, v.reason, v.by, part(v.freed_tokens), v.score, labels) for v in victims
        ],
        "by_reason": _by_reason(todo, part),
        "held_by": held_by,
        "predicted_cost": outcome.predicted_cost * (session.calibration.ratio if is_billed else 1.0),
        "cache_rewrite_tokens": part(outcome.cache_rewrite_tokens),
        "mode": session.row.mode,
        "effect": (UNDONE if outcome.trigger == "undo" else EFFECTS)[session.row.mode],
        "changed": _sentence(len(todo.victims), before - after, is_dry, is_held=bool(held_by)),
    }
    if held_by:
        names = ", ".join(f"{name} {size_label(tokens)}" for name, tokens in held_by.items())
        reply["next"] = (
            f"the budget of {size_label(reply['target_tokens'])} is not reached: the {size_label(after)} that stay are "
            f"{names}; `ctxgc why SEGMENT` says why"
        )
    elif outcome.collection and todo.victims:
        reply["next"] = "`ctxgc undo` takes this back; `ctxgc search WORDS` finds what left"
    return reply


def _held_by(todo: Plan, part: Callable[[int], int], hidden_tokens: int) -> dict[str, int]:
    """What holds the window, in the reply's unit. The parts add up to the whole: each is rounded with those before."""
    held: dict[str, int] = {}
    raw = 0
    for name, tokens in todo.held_by:
        held[name] = part(raw + tokens) - part(raw)
        raw += tokens
    if held and hidden_tokens:
        held[HIDDEN] = hidden_tokens
    return dict(sorted(held.items(), key=lambda entry: -entry[1]))


def _sentence(victims: int, freed: int, is_dry: bool, *, is_held: bool) -> str:
    if not victims and is_held:
        return "nothing more can go"
    if not victims:
        return "nothing had to go" if freed >= 0 else f"{size_label(-freed)} tokens are back in the window"
    verb = "would leave" if is_dry else "left"
    return f"{victims} {'segment' if victims == 1 else 'segments'} {verb} the window: {size_label(freed)} tokens"


def largest_victims(todo: Plan, limit: int) -> list[Any]:
    """The victims that free most, at most `limit`."""
    return sorted(todo.victims, key=lambda v: (-v.freed_tokens, v.slot))[:limit]


def _by_reason(todo: Plan, part: Callable[[int], int]) -> dict[str, dict[str, int]]:
    sums: dict[str, dict[str, int]] = {}
    for victim in todo.victims:
        entry = sums.setdefault(victim.reason, {"segments": 0, "freed_tokens": 0})
        entry["segments"] += 1
        entry["freed_tokens"] += victim.freed_tokens
    for entry in sums.values():
        entry["freed_tokens"] = part(entry["freed_tokens"])
    return sums


def _victim_reply(
    session: Session, slot: int, reason: str, by: int, freed: int, score: float, labels: Mapping[int, str]
) -> dict[str, Any]:
    heap = session.heap
    return {
        "id": heap.ids[slot],
        "kind": KINDS[heap.kind[slot]].value,
        "tool": heap.tools[heap.tool[slot]],
        "label": labels.get(slot, ""),
        "reason": reason,
        "by": heap.ids[by] if by >= 0 else "",
        "freed_tokens": freed,
        "score": round(score, 3),
        "age_turns": session.row.turn - heap.born[slot],
    }


def collection_reply(session: Session, record: Collection, labels: Mapping[int, str] | None = None) -> dict[str, Any]:
    """`CollectionReply`; with labels its victims too."""
    reply: dict[str, Any] = {
        "collection": record.id,
        "wall_s": record.wall_s,
        "turn": record.turn,
        "trigger": record.trigger,
        "target_tokens": record.target_tokens,
        "before_tokens": record.before_tokens,
        "after_tokens": record.after_tokens,
        "evicted": len(record.evictions),
        "held_by": dict(record.held_by),
        "predicted_cost": record.predicted_cost,
        "actual_cost": record.actual_cost,
        "undoes": record.undoes,
    }
    if labels is not None:
        reply["victims"] = [
            _victim_reply(session, e.seq, e.reason, e.by, e.freed_tokens, e.score, labels)
            for e in sorted(record.evictions, key=_by_size)
        ]
    return reply


def _by_size(eviction: Eviction) -> tuple[int, int]:
    return (-eviction.freed_tokens, eviction.seq)


def labels_of(rows: Iterable[SegmentRow]) -> dict[int, str]:
    """Labels by seq."""
    return {row.seq: label(row.segment) for row in rows}


def hit_reply(hit: Hit) -> dict[str, Any]:
    """`HitReply`."""
    row = hit.row
    return {
        "session": str(row.key),
        "id": row.segment.id,
        "kind": row.segment.kind.value,
        "tool": row.segment.tool,
        "label": label(row.segment),
        "state": row.state.value,
        "tokens": row.skeleton_tokens + sum(tokens for _, _, tokens in row.pieces),
        "wall_s": row.segment.wall_s,
        "project": hit.project,
        "score": round(hit.score, 4),
        "match": hit.match,
        "snippet": hit.snippet,
    }
