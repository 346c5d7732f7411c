"""`session.rehydrate`: a working set for a new or compacted session, in a frame within a budget.

    heap ──choose_working_set──▶ rows, contents ──beside the loop──▶ sections, files read ──▶ a frame

Nothing changes, and no page fault is noted: the working set is offered, and no segment was missed.
"""

from __future__ import annotations

from ctxgc.core.excerpts import Packer, pack_sections
from ctxgc.core.heap import Heap
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.departures import count_departed_segments
from ctxgc.daemon.verbs.excerpts import (
    INLINE_BYTES_MAX,
    StoredSegment,
    excerpt_reply,
    fill_frame_beside_loop,
    readable_contents,
)
from ctxgc.daemon.verbs.mutation import requested_session
from ctxgc.daemon.verbs.working_set import SectionMaker, choose_working_set
from ctxgc.protocol.recall import SessionRehydrate
from ctxgc.protocol.replies.stash import RehydrateReply

OLDER_FILES = "a file that changed since, or that cannot be read, is shown as the session wrote it: read it again"
CALLS_OF_A_TURN_MAX = 64
"""Slots after a change among which the next turn's first slot is looked for."""


async def rehydrate(services: Services, params: SessionRehydrate) -> RehydrateReply:
    """`session.rehydrate`."""
    session = await requested_session(services, params)
    chosen = choose_working_set(session)
    slots = sorted({slot for each in chosen.slots.values() for slot in each} | set(chosen.files.values()))
    later = {slot: _first_slot_of_next_turn(session.heap, slot) for slot in chosen.files.values()}
    wanted = sorted({*slots, *later.values()} - {-1})
    rows = {row.seq: row for row in await services.stash.rows(session.key, wanted)}
    contents = await readable_contents(services, session.key, slots)
    number, project, updated_s = session.number, session.row.project, session.row.updated_s
    stored = {
        seq: StoredSegment(rows[seq], contents[seq], number, project)
        for seq in slots
        if seq in contents and seq in rows
    }
    moments = {slot: rows[after].segment.wall_s if after in rows else updated_s for slot, after in later.items()}
    maker = SectionMaker(project, stored, moments, redacts=services.config.redact.enabled)
    departed = count_departed_segments(session.heap, with_window=params.is_compacting)

    def fill(packer: Packer) -> int:
        return pack_sections(packer, maker.make_sections(chosen))

    # Files are read: never on the loop.
    frame, _ = await fill_frame_beside_loop(services, params.budget_tokens, INLINE_BYTES_MAX + 1, fill)
    return RehydrateReply(
        session=str(session.key),
        text=frame.text,
        tokens=frame.tokens,
        budget_tokens=params.budget_tokens,
        excerpts=[excerpt_reply(choice, maker.origins[choice.source.key], session.key) for choice in frame.choices],
        notes=[OLDER_FILES] if maker.has_older_file else [],
        departed=departed.segments,
        departed_tokens=departed.tokens,
        offer=departed.recall_offer,
        next=None if frame.choices else "`ctxgc sessions` lists the sessions",
    )


def _first_slot_of_next_turn(heap: Heap, slot: int) -> int:
    """The first slot of a later turn, when the session had gone on from a call; -1 for none."""
    near = range(slot + 1, min(slot + 1 + CALLS_OF_A_TURN_MAX, len(heap)))
    return next((after for after in near if heap.born[after] > heap.born[slot]), -1)
