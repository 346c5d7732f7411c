"""A session's window, made what a host's list says: the transitions of `core.reconcile`, in memory and as mutations.

host list ──reconcile──▶ Transitions ──update_window──▶ heap, and the stash with the same commit
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from ctxgc.core.heap import DEPARTED, EVICTED, OPAQUE, RESIDENT, STATES
from ctxgc.core.reconcile import KnownSession, Transitions
from ctxgc.core.segment import Departure, State
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Change
from ctxgc.stash.contract import SetPlaces, SetState

PLACE_STEP = 8
"""Room between the places of neighbouring segments."""


def places_of(ids: Iterable[str]) -> dict[str, int]:
    """The place of each id in a window, at the id's first mention."""
    return {id_: at * PLACE_STEP for at, id_ in enumerate(dict.fromkeys(ids))}


def known_session(session: Session, uneditable: Set[int] = frozenset()) -> KnownSession:
    """A session as reconciliation reads it; `uneditable` are slots whose bodies cannot leave the host's list."""
    holdings = session.holdings
    digests = session.ledger.digests if session.ledger else None
    return KnownSession(
        heap=session.heap,
        left_evicted=holdings.left_evicted,
        redacted=holdings.redacted,
        uneditable=uneditable,
        stored_digests=digests.stored if digests else {},
        other_digests=digests.other if digests else {},
    )


def update_window(session: Session, change: Change, todo: Transitions) -> None:
    """Carry out departures, returns and moves: in the heap now, in the stash with the change."""
    for reason, slots in todo.departures:
        depart(session, change, slots, reason)
    heap, holdings = session.heap, session.holdings
    for slots, code in ((todo.evicted, EVICTED), (todo.resident, RESIDENT)):
        if slots:
            change.add(SetState(session.key, slots, STATES[code]))
        holdings.left_evicted.difference_update(slots)
        for slot in slots:
            heap.set_state(slot, code)
    if todo.moves:
        change.add(SetPlaces(session.key, todo.moves))
    for slot, place in todo.moves:
        heap.set_place(slot, place)


def depart(session: Session, change: Change, slots: Sequence[int], reason: Departure = Departure.REWOUND) -> None:
    """Take segments out of the window for their host: search and recall still find them."""
    heap = session.heap
    if slots:
        change.add(SetState(session.key, slots, State.DEPARTED, reason))
    for slot in slots:
        if heap.state[slot] == EVICTED:
            session.holdings.left_evicted.add(slot)
        heap.set_state(slot, DEPARTED)


def protect_uneditable(session: Session, slots: Set[int]) -> None:
    """Make slots opaque to the collector while their bodies cannot leave the host's list; release all others."""
    heap, holdings = session.heap, session.holdings
    for slot in holdings.uneditable - slots:
        heap.flags[slot] &= ~OPAQUE
    holdings.uneditable = {slot for slot in slots if slot in holdings.uneditable or not heap.is_set(slot, OPAQUE)}
    for slot in holdings.uneditable:
        heap.flags[slot] |= OPAQUE
