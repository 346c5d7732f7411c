"""The lines that resident results do not show themselves, as the window shows them now."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from ctxgc.core.entry.elisions import (
    Elision,
    ShownLines,
    is_elided_form_of,
    line_tombstone_text,
    shown_lines_of_elisions,
)
from ctxgc.core.heap import DEPARTED, EVICTED, RESIDENT
from ctxgc.core.segment import Address
from ctxgc.daemon.sessions.session import Session
from ctxgc.protocol.replies.segments import ElidedLinesReply


def elided_lines(
    session: Session, seq: int, *, gone: Set[int] = frozenset(), can_recall: bool = True
) -> list[ShownLines]:
    """The runs of lines that a resident result does not show itself, as the window shows them once `gone` is out."""
    heap = session.heap

    def line_tombstone(elision: Elision) -> str:
        return _render_line_tombstone(session, seq, elision, can_recall=can_recall)

    def state_of(id_: str) -> int:
        slot = heap.slot_of.get(id_)
        if slot is None or slot in session.indexes.changed:  # Not to be seen in the host's list.
            return DEPARTED
        return EVICTED if slot in gone else heap.state[slot]

    return shown_lines_of_elisions(session.indexes.elisions.get(seq, ()), state_of, line_tombstone)


def _render_line_tombstone(session: Session, seq: int, elision: Elision, *, can_recall: bool) -> str:
    address = Address(session.number, seq)
    return line_tombstone_text(address, elision.first, elision.lines, elision.saved_tokens, can_recall=can_recall)


def is_result_as_shown(session: Session, seq: int, listed: Sequence[str], texts: Sequence[str]) -> bool:
    """Whether a listed result is the stored one as the session showed the result, now or in an earlier list."""

    def tombstones(elision: Elision) -> list[str]:
        return [_render_line_tombstone(session, seq, elision, can_recall=can_recall) for can_recall in (True, False)]

    return is_elided_form_of(listed, texts, session.indexes.elisions.get(seq, ()), tombstones)


def tokens_saved_by_pointers(session: Session) -> int:
    """Raw tokens that the pointers of resident results save: a window without pointers has so many more."""
    heap = session.heap
    residents = (slot for slot in heap.pointers if heap.state[slot] == RESIDENT)
    return sum(heap.whole_body_tokens(slot) - heap.body[slot] for slot in residents)


def elided_lines_replies(session: Session, seq: int) -> list[ElidedLinesReply] | None:
    """The runs of lines that a resident result does not show itself, for people; None where all lines are shown."""
    heap = session.heap
    if heap.state[seq] != RESIDENT:
        return None
    by_first = {elision.first: elision for elision in session.indexes.elisions.get(seq, ())}
    return [
        ElidedLinesReply(
            first_line=run.first + 1,
            last_line=run.first + run.lines,
            target=run.target,
            is_in_stash=not run.target or run.note != by_first[run.first].note,
            saved_tokens=by_first[run.first].saved_tokens,
        )
        for run in elided_lines(session, seq)
    ] or None


def elided_lines_clause(session: Session, seq: int) -> str:
    """The same as a clause of `why`; empty where all lines are shown, and no pointer leads to the segment."""
    heap, clauses = session.heap, []
    for run in elided_lines_replies(session, seq) or ():
        where = "are in the stash" if run.is_in_stash else f"are a pointer to #{heap.slot_of[run.target]}"
        clauses.append(f"lines {run.first_line}-{run.last_line} {where}")
    holders = [f"#{holder}" for holder in heap.holders.get(seq, ()) if heap.state[holder] == RESIDENT]
    if holders and heap.state[seq] == RESIDENT:
        clauses.append(f"pointers of {', '.join(holders)} lead to its lines")
    return "; ".join(clauses)


def elided_lines_by_id(session: Session, *, can_recall: bool) -> dict[str, list[list[Any]]]:
    """`elided_lines` of every resident result that does not show all of its lines, by id, as the wire has them."""
    heap = session.heap
    # Of a changed result the host's list has another content, which the elisions are not of.
    known = session.indexes.elisions.keys() - session.indexes.changed
    residents = [seq for seq in sorted(known) if heap.state[seq] == RESIDENT]
    shown = {heap.ids[seq]: elided_lines(session, seq, can_recall=can_recall) for seq in residents}
    return {id_: [list(lines) for lines in runs] for id_, runs in shown.items() if runs}
