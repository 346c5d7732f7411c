"""`stash.recall` in a frame: the best excerpts for a query, lines of a segment by number, the neighbours of a segment.

    name or words ──▶ rows and contents ──beside the loop──▶ core.excerpts ──▶ a frame within the budget

An excerpt is in the reply alone: no window changes. A page fault is noted where a segment had been evicted; of a query
only in sessions that are awake, because a session asleep has no window that a collection was wrong about.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from ctxgc.adapters.skeletons import short_inputs
from ctxgc.core.block_texts import texts_in_opaque_blocks
from ctxgc.core.display_texts import MATCH_END, MATCH_START
from ctxgc.core.errors import BadParams, CtxgcError, NotFound, OverBudget, ReadOnly, StorageFailed
from ctxgc.core.excerpts import (
    ChosenLines,
    ExcerptSource,
    Frame,
    Packer,
    pack_lines,
    pack_matches,
    pack_segment_and_neighbours,
)
from ctxgc.core.frame import render_frame
from ctxgc.core.heap import FORGOTTEN
from ctxgc.core.line_ranges import LineRange, query_words, split_pieces_into_lines
from ctxgc.core.segment import LINE_MAX, Address, Kind, SessionKey, State, legacy_session_number
from ctxgc.core.tombstone import segment_label
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.collecting import note_recalls
from ctxgc.daemon.sessions.content_cache import Content
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.verbs.mutation import (
    WindowCost,
    count_window_tokens,
    mutate,
    over_budget_hint,
    publish_faults,
    require_project,
    session_with_segment,
)
from ctxgc.protocol.recall import StashRecall
from ctxgc.protocol.replies.stash import ExcerptReply, RecallReply
from ctxgc.stash.contract import Hit, Query, SearchResult, SegmentRow
from ctxgc.tokens.counter import TokenCounter

BUDGET_TOKENS = 4_000
"""The budget of a frame where the client names none."""
LINES_BUDGET_TOKENS = 40_000
"""The same for lines by number: a client that names lines wants all of them."""
HITS_MIN, HITS_MAX = 8, 50
HIT_TOKENS = 250
"""Hits are looked for in proportion to the budget: this many tokens a hit."""
NEIGHBOURS_MIN, NEIGHBOURS_MAX = 4, 40
"""Neighbours on each side, in proportion to the budget."""
INLINE_BYTES_MAX = 8 * 2**10
"""Packing so little costs about what a hop to another thread does."""


class StoredSegment(NamedTuple):
    """A segment to take excerpts from."""

    row: SegmentRow
    content: Content
    number: int
    """Of its session: the beginning of its address."""
    project: str


class PackedFrame(NamedTuple):
    """A filled frame. `rest` is the packing's own account of what did not fit."""

    frame: Frame
    rest: int


def excerpt_source(
    key: int, title: str, stored: StoredSegment, order: tuple[float, ...] = (), facts: tuple[str, ...] | None = None
) -> ExcerptSource:
    """A stored segment as a source of excerpts: its lines, and its origin as facts."""
    row = stored.row
    return ExcerptSource(
        key=key,
        title=title,
        facts=excerpt_origin(stored) if facts is None else facts,
        lines=segment_lines(stored),
        tokens=sum(tokens for _, _, tokens in row.pieces),
        order=order,
    )


def segment_lines(stored: StoredSegment) -> list[str]:
    """The lines of a segment: its text, the texts inside its other blocks, and a call's short inputs, unless the label
    says them.
    """
    skeleton, body = stored.content
    lines = split_pieces_into_lines([*(piece.text for piece in body), *texts_in_opaque_blocks(skeleton)])
    if stored.row.segment.kind is Kind.TOOL_CALL:
        name = segment_label(stored.row.segment)
        lines += split_pieces_into_lines(
            f"{key}: {text}" for key, text in short_inputs(skeleton) if text and text not in name
        )
    return lines


def excerpt_origin(stored: StoredSegment) -> tuple[str, ...]:
    """The facts of a header. The address names session and segment; the label is last, for it may hold any text."""
    row = stored.row
    day = time.strftime("%Y-%m-%d", time.gmtime(row.segment.wall_s)) if row.segment.wall_s > 0 else ""
    project = stored.project.rstrip("/").rpartition("/")[2]
    address, turn, what = excerpt_origin_in_session(stored)
    return (address, row.key.source, project, day, turn, row.state.value, what)


def excerpt_origin_in_session(stored: StoredSegment) -> tuple[str, str, str]:
    """The facts of a header where every block is of one session: address, turn, label."""
    segment = stored.row.segment
    return str(Address(stored.number, stored.row.seq)), f"turn {segment.born_turn}", segment_label(segment)


def excerpt_reply(choice: ChosenLines, stored: StoredSegment | None, session: SessionKey) -> ExcerptReply:
    """One block of a frame, for programs."""
    lines = sorted(choice.lines)
    row = stored.row if stored else None
    return ExcerptReply(
        session=str(row.key if row else session),
        id=row.segment.id if row else "",
        address=str(Address(stored.number, stored.row.seq)) if stored else "",
        title=choice.source.title,
        label=segment_label(row.segment) if row else "",
        kind=row.segment.kind.value if row else "",
        state=row.state.value if row else "",
        turn=row.segment.born_turn if row else 0,
        wall_s=row.segment.wall_s if row else 0.0,
        first_line=lines[0],
        last_line=lines[-1],
        lines=len(lines),
        total_lines=len(choice.source.lines),
        tokens=choice.tokens,
    )


async def readable_contents(services: Services, key: SessionKey, seqs: Sequence[int]) -> dict[int, Content]:
    """The contents of segments, as far as the stash can read them: a damaged segment takes no neighbour with it."""
    try:
        return await services.contents.get(key, seqs)
    except StorageFailed:
        contents: dict[int, Content] = {}
        for seq in seqs:
            with suppress(StorageFailed):
                contents |= await services.contents.get(key, [seq])
        return contents


async def fill_frame_beside_loop(
    services: Services, budget_tokens: int, size_bytes: int, fill: Callable[[Packer], int]
) -> PackedFrame:
    """Fill a frame; beside the loop where there is much to look at. Raises `OverBudget` where nothing fits."""
    counter = services.intake.counter
    if size_bytes <= INLINE_BYTES_MAX and counter.is_loaded:
        packed = fill_frame(budget_tokens, counter, fill)
    else:
        packed = await asyncio.to_thread(fill_frame, budget_tokens, counter, fill)
    if packed.rest and not packed.frame.choices:
        least = counter.count(render_frame([])) + HIT_TOKENS
        hint = f"give {least} or more"
        raise OverBudget(f"nothing fits into {budget_tokens} tokens", hint=hint, field="budget_tokens")
    return packed


def fill_frame(budget_tokens: int, counter: TokenCounter, fill: Callable[[Packer], int]) -> PackedFrame:
    """A frame, filled. Heavy where the texts are long."""
    packer = Packer(budget_tokens, counter.count, is_exact=not counter.is_estimated)
    rest = fill(packer)
    return PackedFrame(packer.build_frame(), rest)


async def recall_excerpts(services: Services, params: StashRecall) -> RecallReply:
    """`stash.recall` by query, by lines, within a budget, or around a segment."""
    if params.query:
        return await _recall_by_query(services, params)
    name = params.id or params.around
    session = await session_with_segment(services, params, name, params.scope, is_read=True)
    require_project(session.row, params.project, name)
    try:
        async with mutate(services, "stash.recall", params, session) as (session, tx):
            packed, stored = await _pack_segment_excerpts(services, params, session)
            # Neighbours were not asked for: no collection was wrong about them.
            [slot] = session.slots([name])
            tokens = next((choice.tokens for choice in packed.frame.choices if choice.source.key == slot), 0)
            faults = note_recalls(session, tx, {slot: tokens}, services.pacer.prices)
            tx.on_commit(lambda: publish_faults(services, session, [slot], faults))
            return tx.keep_reply(_excerpt_recall_reply(params, packed, stored, session, faults))
    except ReadOnly as full:  # Reading goes on when nothing can be noted down.
        await session.ensure_current()
        note = f"the stash is read-only, so this is not noted as a page fault: {full}"
        return _excerpt_recall_reply(params, packed, stored, session, notes=[note])


async def _pack_segment_excerpts(
    services: Services, params: StashRecall, session: Session
) -> tuple[PackedFrame, dict[int, StoredSegment]]:
    """The frame of a segment or a neighbourhood, and the stored segment of each source's key. Inside the change."""
    [slot] = session.unforgotten_slots([params.id or params.around])
    budget = recall_budget_tokens(params)
    slots = range(slot, slot + 1) if params.id else _neighbour_slots(session, slot, budget)
    rows = await services.stash.rows(session.key, slots)
    contents = await readable_contents(services, session.key, slots)
    stored = {
        row.seq: StoredSegment(row, contents[row.seq], session.number, session.row.project)
        for row in rows
        if row.seq in contents
    }
    if slot not in stored:  # Read alone it says what is wrong with it.
        await services.contents.get(session.key, [slot])
        raise NotFound(f"segment {session.heap.ids[slot]!r} was forgotten", hint="only the id is left")
    size_bytes = sum(size for one in stored.values() for _, size, _ in one.row.pieces)

    def fill(packer: Packer) -> int:
        if params.id:
            return pack_lines(packer, excerpt_source(slot, "lines", stored[slot]), _parse_line_range(params.lines))
        before, after = (
            [excerpt_source(seq, title, stored[seq], (seq,)) for seq in seqs if seq in stored]
            for title, seqs in (("before", [s for s in slots if s < slot]), ("after", [s for s in slots if s > slot]))
        )
        before.reverse()
        return pack_segment_and_neighbours(
            packer, excerpt_source(slot, "segment", stored[slot], (slot,)), before, after
        )

    packed = await fill_frame_beside_loop(services, budget, size_bytes, fill)
    if not packed.frame.choices:
        total = len(segment_lines(stored[slot]))
        has = f"the segment has {total} {'line' if total == 1 else 'lines'}" if total else "the segment has no text"
        what = f"{has}: no line {params.lines}" if params.lines else has
        raise BadParams(what, hint="lines count from 1", field="lines")
    return packed, stored


def _neighbour_slots(session: Session, slot: int, budget_tokens: int) -> range:
    """The slots around a slot in order of admission."""
    most = max(NEIGHBOURS_MIN, min(NEIGHBOURS_MAX, budget_tokens // HIT_TOKENS))
    return range(max(0, slot - most), min(len(session.heap), slot + most + 1))


def _parse_line_range(lines: str) -> LineRange:
    first, dash, last = lines.partition("-")
    start = int(first or 1)
    end = int(last) if last else LINE_MAX if dash or not lines else start
    return LineRange(max(start, 1), end)


def recall_budget_tokens(params: StashRecall) -> int:
    """The budget in force."""
    return params.budget_tokens or (LINES_BUDGET_TOKENS if params.lines else BUDGET_TOKENS)


async def _recall_by_query(services: Services, params: StashRecall) -> RecallReply:
    if params.op_id:
        raise BadParams("op_id goes with a recall by id", field="op_id", hint="a query may be repeated as it is")
    budget = recall_budget_tokens(params)
    is_bound = bool(params.session) or params.scope == "session"
    key = await services.registry.resolve(params.session, params.cwd) if is_bound else None
    limit = max(HITS_MIN, min(HITS_MAX, budget // HIT_TOKENS))
    query = Query(text=params.query, here=params.cwd, key=key, project=params.project, limit=limit)
    result = await services.stash.search(query)
    if not result.hits:
        hint = "; ".join(result.notes) or "try fewer or other words"
        raise NotFound(f"nothing found for {params.query!r}", hint=hint)
    stored = await _stored_hits(services, result)
    words = query_words(params.query, (word for hit in result.hits for word in _highlighted_words(hit.snippet)))
    orders = _order_keys(stored)
    size_bytes = sum(size for one in stored.values() for _, size, _ in one.row.pieces)

    def fill(packer: Packer) -> int:
        sources = [excerpt_source(key, "match", one, orders[key]) for key, one in stored.items()]
        return pack_matches(packer, sources, words)

    packed = await fill_frame_beside_loop(services, budget, size_bytes, fill)
    if not packed.frame.choices:
        raise NotFound(f"no text found for {params.query!r}", hint="`ctxgc search` lists what has no text too")
    faults = await _note_faults_in_awake_sessions(services, packed, stored)
    notes = list(result.notes)
    if packed.rest:
        notes.append(f"{packed.rest} more hits did not fit into {budget} tokens")
    best = stored[min(choice.source.key for choice in packed.frame.choices)].row.key
    return _excerpt_recall_reply(params, packed, stored, services.registry.peek(best), faults, notes)


async def _stored_hits(services: Services, result: SearchResult) -> dict[int, StoredSegment]:
    """The hits with their contents, by rank; without a hit that was forgotten since."""
    by_session: dict[SessionKey, list[Hit]] = {}
    for hit in result.hits:
        by_session.setdefault(hit.row.key, []).append(hit)
    contents: dict[tuple[SessionKey, int], Content] = {}
    numbers: dict[SessionKey, int] = {}
    for key, hits in by_session.items():
        owner = await services.stash.session(key)
        numbers[key] = (owner.number if owner else 0) or legacy_session_number(key)
        bodies = await readable_contents(services, key, [hit.row.seq for hit in hits])
        contents |= {(key, seq): body for seq, body in bodies.items()}
    return {
        rank: StoredSegment(hit.row, contents[name], numbers[hit.row.key], hit.project)
        for rank, hit in enumerate(result.hits)
        if (name := (hit.row.key, hit.row.seq)) in contents
    }


def _highlighted_words(snippet: str) -> list[str]:
    """The words that a snippet highlights: the spellings in the text of what the query asked for."""
    return [part.partition(MATCH_END)[0] for part in snippet.split(MATCH_START)[1:]]


def _order_keys(stored: Mapping[int, StoredSegment]) -> dict[int, tuple[float, ...]]:
    """The order of use by key: sessions by their newest hit, segments of a session by their place."""
    newest: dict[SessionKey, float] = {}
    for one in stored.values():
        newest[one.row.key] = max(newest.get(one.row.key, 0.0), one.row.segment.wall_s)
    rank = {key: at for at, key in enumerate(newest)}
    return {
        number: (newest[one.row.key], -rank[one.row.key], one.row.segment.place, one.row.seq)
        for number, one in stored.items()
    }


async def _note_faults_in_awake_sessions(
    services: Services, packed: PackedFrame, stored: Mapping[int, StoredSegment]
) -> int:
    """Note page faults on the shown segments; how many were evicted. A session that cannot note them stays as it is."""
    tokens: dict[SessionKey, dict[int, int]] = {}
    for choice in packed.frame.choices:
        row = stored[choice.source.key].row
        if row.state is State.EVICTED:
            tokens.setdefault(row.key, {})[row.seq] = choice.tokens
    sessions = [(session, tokens[key]) for key in tokens if (session := services.registry.peek(key)) is not None]
    return sum(await asyncio.gather(*(_note_faults(services, session, seqs) for session, seqs in sessions)))


async def _note_faults(services: Services, session: Session, tokens: Mapping[int, int]) -> int:
    try:
        async with session.transaction() as tx:
            noted = {seq: n for seq, n in tokens.items() if session.heap.state[seq] != FORGOTTEN}
            faults = note_recalls(session, tx, noted, services.pacer.prices)
            tx.on_commit(lambda: publish_faults(services, session, list(noted), faults))
            return faults
    except CtxgcError:  # The text is read; a page fault that is not noted costs the pacer a hint.
        return 0


def _excerpt_recall_reply(
    params: StashRecall,
    packed: PackedFrame,
    stored: Mapping[int, StoredSegment],
    session: Session | None,
    faults: int = 0,
    notes: Sequence[str] = (),
) -> RecallReply:
    cost = count_window_tokens(session) if session else WindowCost(0, 0)
    key = stored[min(choice.source.key for choice in packed.frame.choices)].row.key
    excerpts = [excerpt_reply(choice, stored.get(choice.source.key), key) for choice in packed.frame.choices]
    next_line = packed.rest if params.id else 0
    what = f"{len(excerpts)} {'excerpt' if len(excerpts) == 1 else 'excerpts'}, {packed.frame.tokens} tokens"
    return RecallReply(
        session=str(key),
        recalled=[],
        tokens=packed.frame.tokens,
        faults=session.row.faults if session else 0,
        notes=list(notes),
        resident_tokens=cost.resident_tokens,
        billed_tokens=cost.billed_tokens,
        changed=f"{what}; {f'{faults} had been evicted' if faults else 'none had been evicted'}",
        text=packed.frame.text,
        excerpts=excerpts,
        budget_tokens=recall_budget_tokens(params),
        left_out=0 if params.id else packed.rest,
        next_line=next_line,
        next=_recall_next_step(excerpts, next_line) or (over_budget_hint(session) if session else None),
    )


def _recall_next_step(excerpts: Sequence[ExcerptReply], next_line: int) -> str | None:
    if next_line:
        return f"`ctxgc recall {excerpts[0].address} --lines {next_line}-` goes on"
    part = next((one for one in excerpts if one.address and one.lines < one.total_lines), None)
    return f"`ctxgc recall {part.address}` brings back the whole of that segment" if part else None
