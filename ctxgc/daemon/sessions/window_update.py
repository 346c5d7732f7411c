"""A session's window, brought into agreement with a host's list: the transitions of `core.reconcile`, in memory and as
mutations.

host list ──reconcile──▶ Transitions ──update_window──▶ heap, and the stash with the same commit
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from ctxgc.core.heap import DEPARTED, EVICTED, OPAQUE, RESIDENT, STATES
from ctxgc.core.reconcile import KnownSession, Transitions
from ctxgc.core.segment import Departure, State, conflict_base_id
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Transaction
from ctxgc.stash.contract import SetPlaces, SetState

PLACE_STEP = 8
"""Room between the places of neighbouring segments."""


def window_places(ids: Iterable[str]) -> dict[str, int]:
    """The place of each id in a window, at the id's first mention."""
    return {id_: at * PLACE_STEP for at, id_ in enumerate(dict.fromkeys(ids))}


def known_session(session: Session, uneditable: Set[int] = frozenset()) -> KnownSession:
    """A session in the form of reconciliation; `uneditable` are slots whose bodies cannot leave the host's list."""
    indexes = session.indexes
    digests = session.ledger.digests if session.ledger else None
    return KnownSession(
        heap=session.heap,
        left_evicted=indexes.left_evicted,
        redacted=indexes.redacted,
        uneditable=uneditable,
        stored_digests=digests.stored if digests else {},
        other_digests=digests.other if digests else {},
    )


def update_window(session: Session, tx: Transaction, todo: Transitions) -> None:
    """Carry out departures, returns and moves: in the heap now, in the stash with the change."""
    for reason, slots in todo.departures:
        depart_segments(session, tx, slots, reason)
    heap, indexes = session.heap, session.indexes
    for slots, code in ((todo.evicted, EVICTED), (todo.resident, RESIDENT)):
        if slots:
            tx.add(SetState(session.key, slots, STATES[code]))
        indexes.left_evicted.difference_update(slots)
        indexes.set_states(slots, code)
    if todo.moves:
        tx.add(SetPlaces(session.key, todo.moves))
    for slot, place in todo.moves:
        heap.set_place(slot, place)


def depart_segments(
    session: Session, tx: Transaction, slots: Sequence[int], reason: Departure = Departure.REWOUND
) -> None:
    """Take segments out of the window for their host: search and recall still find them."""
    heap = session.heap
    if slots:
        tx.add(SetState(session.key, slots, State.DEPARTED, reason))
    session.indexes.left_evicted.update(slot for slot in slots if heap.state[slot] == EVICTED)
    session.indexes.set_states(slots, DEPARTED)


def set_uneditable_slots(session: Session, slots: Set[int]) -> None:
    """Make slots opaque to the collector while their bodies cannot leave the host's list; release all other slots."""
    heap, indexes = session.heap, session.indexes
    for slot in indexes.uneditable - slots:
        heap.flags[slot] &= ~OPAQUE
    indexes.uneditable = {slot for slot in slots if slot in indexes.uneditable or not heap.has_flag(slot, OPAQUE)}
    for slot in indexes.uneditable:
        heap.flags[slot] |= OPAQUE


def conflict_slots(session: Session, slots: Sequence[int]) -> list[int]:
    """The slots of contents that are stored aside under the ids of these slots."""
    ids = {session.heap.ids[slot] for slot in slots}
    return [slot for id_, slot in session.heap.slot_of.items() if conflict_base_id(id_) in ids]
