"""From state to replies: sessions, segments, plans and hits as a client sees them.

The types are those of `protocol.replies`; no function here decides or changes state.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import asdict, replace

from ctxgc.core.collector import Plan, Victim, evictable_and_garbage_tokens
from ctxgc.core.display_texts import tokens_text
from ctxgc.core.heap import EVICTED, KINDS, PINNED, STATES
from ctxgc.core.model_prices import ModelPrice
from ctxgc.core.segment import LINE_MAX, PathUse, Piece, Renderer, State
from ctxgc.core.tombstone import segment_label
from ctxgc.daemon.sessions.collecting import Outcome
from ctxgc.daemon.sessions.departures import count_departed_segments
from ctxgc.daemon.sessions.elided_results import elided_lines_replies
from ctxgc.daemon.sessions.journal import asked_back_after_turns, saved_input_tokens
from ctxgc.daemon.sessions.pacer_status import Pacing
from ctxgc.daemon.sessions.session import Session
from ctxgc.protocol.params import RENDERERS
from ctxgc.protocol.replies.heap import CollectionReply, PlanReply, PriceReply, ReasonReply, VictimReply
from ctxgc.protocol.replies.segments import ContentReply, PathUseReply, PieceReply, SegmentReply
from ctxgc.protocol.replies.sessions import KindTokens, SessionReply, ShorteningReply, ShowReply
from ctxgc.protocol.replies.stash import HitReply
from ctxgc.stash.contract import Collection, Eviction, Hit, SegmentRow, SessionRow

EFFECTS = {
    Renderer.AGENT: "planned: your agent's window is unchanged (ctxgc only watches this session)",
    Renderer.CLIENT: "the next render of this session leaves these bodies out",
    Renderer.GATEWAY: "the next request through the gateway leaves these bodies out",
}

UNDONE = {
    Renderer.AGENT: "planned: your agent's window is unchanged (ctxgc only watches this session)",
    Renderer.CLIENT: "the next render of this session has these bodies again",
    Renderer.GATEWAY: "the next request through the gateway has these bodies again",
}
SYSTEM_AND_TOOLS = "system_and_tools"
"""The tokens that a host sends before the window: billed with every request, and never evictable."""
HIDDEN = "hidden"
"""The older name of `SYSTEM_AND_TOOLS`, in fields that are deprecated."""
MODES = {renderer: mode for mode, renderer in RENDERERS.items()}
"""The older names of renderers, in fields that are deprecated."""


def session_reply(row: SessionRow, *, changed: str | None = None, next: str | None = None) -> SessionReply:
    """A session without its window, with the effect of a mutation on the session."""
    return SessionReply(
        session=str(row.key),
        project=row.project,
        parent=f"{row.key.source}:{row.parent}" if row.parent else "",
        model=row.model,
        title=row.title,
        rendered_by=row.rendered_by.value,
        mode=MODES[row.rendered_by.value],
        task=row.task,
        turn=row.turn,
        budget_tokens=row.budget_tokens,
        window_max_tokens=row.window_max_tokens,
        created_s=row.created_s,
        updated_s=row.updated_s,
        skipped_records=row.skipped_records,
        closed=row.closed,
        changed=changed,
        next=next,
    )


def session_show_reply(
    session: Session, children: list[str], pacing: Pacing, journal: Sequence[Collection], price: ModelPrice | None
) -> ShowReply:
    """A session with its window. The journal has the newest collections, the newest first. O(segments)."""
    heap, row = session.heap, session.row
    departed = count_departed_segments(heap)
    states = Counter(STATES[state] for state in heap.state)
    billed = session.billed_window_tokens(heap.resident_tokens)
    evictable, garbage = evictable_and_garbage_tokens(heap, session.reference_index.paths, session.now(), session.rules)
    return ShowReply(
        **asdict(session_reply(row)),
        segments=len(heap),
        resident=states[State.RESIDENT],
        evicted=states[State.EVICTED],
        departed=departed.segments,
        departed_tokens=departed.tokens,
        offer=departed.recall_offer,
        forgotten=states[State.FORGOTTEN],
        pinned=sum(bool(flags & PINNED) for flags in heap.flags),
        resident_tokens=heap.resident_tokens,
        evictable_tokens=evictable,
        garbage_tokens=garbage,
        billed_tokens=billed,
        system_and_tools_tokens=row.hidden_tokens,
        hidden_tokens=row.hidden_tokens,
        ratio=round(session.calibration.ratio, 4),
        pressure=round(billed / row.budget_tokens, 4) if row.budget_tokens else 0.0,
        kinds=tokens_by_kind(session),
        children=children,
        faults=row.faults,
        collections=session.last_collection,
        gateway=pacing.gateway,
        freed_tokens=pacing.freed_tokens,
        cache_hit_rate=pacing.cache_hit_rate,
        saved_usd=_saved_usd(session, journal, price),
        price=price_reply(session, price),
        last_collection=collection_reply(session, journal[0], price) if journal else None,
        next_collection=pacing.next_collection,
        shortening=_shortening_reply(session),
    )


def _shortening_reply(session: Session) -> ShorteningReply | None:
    counts = session.ledger.shortened.counts if session.ledger else None
    return ShorteningReply(*counts) if counts and counts.results else None


def _saved_usd(session: Session, journal: Sequence[Collection], price: ModelPrice | None) -> float | None:
    saved = cost_in_dollars(session, saved_input_tokens(journal), price)
    return saved and round(saved, 4)


def tokens_by_kind(session: Session) -> list[KindTokens]:
    """The tokens of each kind in the window, the dearest first."""
    heap = session.heap
    slots_by_kind: dict[str, list[int]] = {}
    for slot in heap.window():
        slots_by_kind.setdefault(KINDS[heap.kind[slot]].value, []).append(slot)
    rows = [
        KindTokens(kind, len(slots), sum(map(heap.cost_of, slots)), sum(heap.state[slot] == EVICTED for slot in slots))
        for kind, slots in slots_by_kind.items()
    ]
    return sorted(rows, key=lambda row: (-row.resident_tokens, row.kind))


def _path_use_reply(use: PathUse) -> PathUseReply:
    last = 0 if use.last_line == LINE_MAX else use.last_line
    return PathUseReply(use.path, use.access.value, use.first_line, last)


def segment_reply(session: Session, row: SegmentRow) -> SegmentReply:
    """A segment without content. State, pins and touches are the heap's, since they change."""
    heap, segment, slot = session.heap, row.segment, row.seq
    proof = heap.proofs.get(slot)
    return SegmentReply(
        id=segment.id,
        seq=slot,
        kind=segment.kind.value,
        role=segment.role.value,
        state=STATES[heap.state[slot]].value,
        departure=row.departure.value if row.departure else "",
        place=heap.place[slot],
        born_turn=heap.born[slot],
        touched_turn=heap.touched[slot],
        touches=heap.touches[slot],
        tokens=heap.skeleton[slot] + heap.body[slot],
        body_tokens=heap.body[slot],
        tombstone_tokens=heap.tombstone[slot],
        tool=segment.tool,
        status=segment.status.value,
        command=segment.command,
        paths=[_path_use_reply(use) for use in segment.paths],
        digest=row.digest.hex(),
        is_pinned=heap.has_flag(slot, PINNED),
        has_opaque=segment.has_opaque,
        garbage=proof.reason if proof else "",
        garbage_by=heap.ids[proof.by] if proof and proof.by >= 0 else "",
        redactions=row.redactions,
        task=heap.tasks[heap.task[slot]],
        tags=list(segment.tags),
        importance=round(heap.importance[slot], 6),
        wall_s=segment.wall_s,
        collection=row.collection,
        elided=elided_lines_replies(session, slot),
    )


def piece_reply(piece: Piece, tokens: int, offset: int, limit_bytes: int) -> PieceReply:
    """A part of a piece, cut between characters so that the parts join to the whole."""
    end = min(offset + limit_bytes, len(piece.data))
    while offset < end < len(piece.data) and piece.data[end] & 0xC0 == 0x80:
        end -= 1
    part = piece.data[offset:end]
    next_offset = end if end < len(piece.data) else -1
    try:
        return PieceReply(piece.name, len(piece.data), tokens, next_offset, text=part.decode())
    except UnicodeDecodeError:
        return PieceReply(piece.name, len(piece.data), tokens, next_offset, data_b64=b64encode(part).decode())


def segment_header_reply(session: Session, row: SegmentRow) -> ContentReply:
    """A segment with the sizes of its pieces, and no content."""
    pieces = [PieceReply(name, size, tokens, next_offset=0) for name, size, tokens in row.pieces]
    return ContentReply(**asdict(segment_reply(session, row)), session=str(session.key), pieces=pieces)


def content_reply(
    session: Session, row: SegmentRow, content: tuple[bytes, tuple[Piece, ...]], offset: int, limit_bytes: int
) -> ContentReply:
    """A segment with a part of each piece's content."""
    skeleton, body = content
    tokens = {name: count for name, _, count in row.pieces}
    return ContentReply(
        **asdict(segment_reply(session, row)),
        session=str(session.key),
        pieces=[piece_reply(piece, tokens.get(piece.name, 0), offset, limit_bytes) for piece in body],
        skeleton=skeleton.decode("utf-8", "replace"),
    )


def plan_reply(
    session: Session, outcome: Outcome, labels: Mapping[int, str], *, unit: str, limit: int, is_dry: bool
) -> PlanReply:
    """A plan, made or carried out; `labels` name the victims that are listed."""
    todo = outcome.plan
    is_billed = unit == "billed"
    whole = session.billed_window_tokens if is_billed else int
    part = session.calibration.to_billed_tokens if is_billed else int
    before, after, target = (whole(n) for n in (todo.before_tokens, todo.remaining_tokens, todo.target_tokens))
    protected_by = _tokens_by_protection(todo, part, session.row.hidden_tokens if is_billed else 0)
    return PlanReply(
        session=str(session.key),
        unit=unit,
        collection=outcome.collection,
        trigger=outcome.trigger,
        before_tokens=before,
        after_tokens=after,
        target_tokens=target,
        freed_tokens=before - after,
        evicted=len(todo.victims),
        victims=[_victim_reply(session, victim, part, labels) for victim in largest_victims(todo, limit)],
        by_reason=_reason_replies(todo, part),
        protected_by=protected_by,
        held_by={HIDDEN if name == SYSTEM_AND_TOOLS else name: tokens for name, tokens in protected_by.items()},
        predicted_cost=outcome.predicted_cost * (session.calibration.ratio if is_billed else 1.0),
        cache_rewrite_tokens=part(outcome.cache_rewrite_tokens),
        rendered_by=session.row.rendered_by.value,
        mode=MODES[session.row.rendered_by.value],
        effect=(UNDONE if outcome.trigger == "undo" else EFFECTS)[session.row.rendered_by],
        changed=_plan_sentence(len(todo.victims), before - after, is_dry, is_protected=bool(protected_by)),
        next=_plan_next_step(outcome, protected_by, target, after),
    )


def _plan_next_step(outcome: Outcome, protected_by: Mapping[str, int], target: int, after: int) -> str | None:
    if protected_by:
        names = ", ".join(f"{name} {tokens_text(tokens)}" for name, tokens in protected_by.items())
        stay = f"the {tokens_text(after)} that stay are {names}"
        return f"the budget of {tokens_text(target)} is not reached: {stay}; `ctxgc why SEGMENT` says why"
    if outcome.collection and outcome.plan.victims:
        return "`ctxgc undo` takes the collection back; `ctxgc search WORDS` finds the evicted segments"
    return None


def _tokens_by_protection(todo: Plan, part: Callable[[int], int], hidden_tokens: int) -> dict[str, int]:
    """The window's protections in the reply's unit. Parts add up to the whole: each part is rounded with the parts
    before.
    """
    protected: dict[str, int] = {}
    raw = 0
    for name, tokens in todo.protected_by:
        protected[name] = part(raw + tokens) - part(raw)
        raw += tokens
    if protected and hidden_tokens:
        protected[SYSTEM_AND_TOOLS] = hidden_tokens
    return dict(sorted(protected.items(), key=lambda entry: -entry[1]))


def _plan_sentence(victims: int, freed: int, is_dry: bool, *, is_protected: bool) -> str:
    if not victims and is_protected:
        return "nothing more can go"
    if not victims:
        return "nothing had to go" if freed >= 0 else f"{tokens_text(-freed)} tokens are back in the window"
    verb = "would leave" if is_dry else "left"
    return f"{victims} {'segment' if victims == 1 else 'segments'} {verb} the window: {tokens_text(freed)} tokens"


def largest_victims(todo: Plan, limit: int) -> list[Victim]:
    """The victims that free most, at most `limit`."""
    return sorted(todo.victims, key=lambda v: (-v.freed_tokens, v.slot))[:limit]


def _reason_replies(todo: Plan, part: Callable[[int], int]) -> dict[str, ReasonReply]:
    freed: dict[str, list[int]] = {}
    for victim in todo.victims:
        freed.setdefault(victim.reason, []).append(victim.freed_tokens)
    return {reason: ReasonReply(len(each), part(sum(each))) for reason, each in freed.items()}


def _victim_reply(
    session: Session, victim: Victim | Eviction, part: Callable[[int], int], labels: Mapping[int, str]
) -> VictimReply:
    heap = session.heap
    slot = victim.slot if isinstance(victim, Victim) else victim.seq
    return VictimReply(
        id=heap.ids[slot],
        kind=KINDS[heap.kind[slot]].value,
        tool=heap.tools[heap.tool[slot]],
        label=labels.get(slot, ""),
        reason=victim.reason,
        by=heap.ids[victim.by] if victim.by >= 0 else "",
        freed_tokens=part(victim.freed_tokens),
        score=round(victim.score, 3),
        age_turns=session.row.turn - heap.born[slot],
    )


def price_reply(session: Session, price: ModelPrice | None) -> PriceReply | None:
    """The price of the session's model."""
    return price and PriceReply(session.row.model, price.input, price.output, price.as_of)


def cost_in_dollars(session: Session, raw_cost: float | None, price: ModelPrice | None) -> float | None:
    """A cost in raw input-token equivalents as dollars; `None` where cost or price is unknown."""
    return None if raw_cost is None or price is None else price.input_dollars(raw_cost * session.calibration.ratio)


def collection_reply(
    session: Session,
    record: Collection,
    price: ModelPrice | None = None,
    labels: Mapping[int, str] | None = None,
) -> CollectionReply:
    """A line of the journal; with labels its victims too. Tokens are raw."""
    victims, asked_back = None, asked_back_after_turns(session, record)
    if labels is not None:
        evictions = sorted(record.evictions, key=_freed_tokens_key)
        victims = [
            replace(_victim_reply(session, each, int, labels), asked_back_after_turns=asked_back.get(each.seq))
            for each in evictions
        ]
    return CollectionReply(
        collection=record.id,
        wall_s=record.wall_s,
        turn=record.turn,
        trigger=record.trigger,
        target_tokens=record.target_tokens,
        before_tokens=record.before_tokens,
        after_tokens=record.after_tokens,
        evicted=len(record.evictions),
        asked_back=len(asked_back),
        protected_by=dict(record.protected_by),
        held_by=dict(record.protected_by),
        predicted_cost=record.predicted_cost,
        actual_cost=record.actual_cost,
        undoes=record.undoes,
        predicted_usd=cost_in_dollars(session, record.predicted_cost, price),
        actual_usd=cost_in_dollars(session, record.actual_cost, price),
        victims=victims,
    )


def _freed_tokens_key(eviction: Eviction) -> tuple[int, int]:
    return (-eviction.freed_tokens, eviction.seq)


def labels_by_seq(rows: Iterable[SegmentRow]) -> dict[int, str]:
    """Labels by seq."""
    return {row.seq: segment_label(row.segment) for row in rows}


def hit_reply(hit: Hit) -> HitReply:
    """A hit of a search."""
    row = hit.row
    return HitReply(
        session=str(row.key),
        id=row.segment.id,
        kind=row.segment.kind.value,
        tool=row.segment.tool,
        label=segment_label(row.segment),
        state=row.state.value,
        tokens=row.skeleton_tokens + sum(tokens for _, _, tokens in row.pieces),
        wall_s=row.segment.wall_s,
        project=hit.project,
        score=round(hit.score, 4),
        match=hit.match,
        snippet=hit.snippet,
        title=hit.title,
        turn=row.segment.born_turn,
        first_line=hit.lines[0],
        last_line=hit.lines[1],
    )
