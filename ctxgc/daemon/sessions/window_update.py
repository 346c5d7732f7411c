"""A window as a caller's list has it: exactly these segments in this order, whatever the session held before.

Segments are known by content, so a host that rewinds, forks or resumes is recognised. What comes back after we had
evicted it comes back evicted: a prompt cache that still holds the tombstone goes on to fit (I14).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ctxgc.core.heap import DEPARTED, EVICTED, RESIDENT, STATES
from ctxgc.core.segment import Departure, Kind, State
from ctxgc.daemon.sessions.session import Session
from ctxgc.daemon.sessions.transaction import Change
from ctxgc.stash.contract import SetPlaces, SetState

PLACE_STEP = 8
"""Room between the places of neighbours."""


def rewindow(session: Session, change: Change, slots: Sequence[int], fresh: int) -> Departure | None:
    """Make the session's window exactly these slots; why the others departed, None if none did.

    Slots from `fresh` on were admitted in this change: a summary among them says that the host compacted.
    """
    heap = session.heap
    inside = set(slots)
    gone = [slot for slot in heap.window() if slot not in inside]
    back = [slot for slot in slots if heap.state[slot] == DEPARTED]
    is_summed = any(heap.kind_of(slot) is Kind.SUMMARY for slot in [*back, *(s for s in slots if s >= fresh)])
    reason = Departure.HOST_COMPACTED if is_summed else Departure.REWOUND
    if gone:
        change.add(SetState(session.key, gone, State.DEPARTED, reason))
    for slot in gone:
        if heap.state[slot] == EVICTED:
            session.holdings.left_evicted.add(slot)
        heap.set_state(slot, DEPARTED)
    for state, code in ((State.EVICTED, EVICTED), (State.RESIDENT, RESIDENT)):
        returning = [slot for slot in back if (slot in session.holdings.left_evicted) == (code == EVICTED)]
        if returning:
            change.add(SetState(session.key, returning, state))
        for slot in returning:
            heap.set_state(slot, code)
    session.holdings.left_evicted -= inside
    places = [(slot, at * PLACE_STEP) for at, slot in enumerate(slots) if heap.place[slot] != at * PLACE_STEP]
    if places:
        change.add(SetPlaces(session.key, places))
    for slot, place in places:
        heap.set_place(slot, place)
    return reason if gone else None


def depart(session: Session, change: Change, slots: Sequence[int]) -> None:
    """Take these out of the window as a host does: they are found and recalled."""
    if slots:
        change.add(SetState(session.key, slots, State.DEPARTED, Departure.REWOUND))
    for slot in slots:
        session.heap.set_state(slot, DEPARTED)


def put_back(session: Session, change: Change, slots: Iterable[int]) -> None:
    """These are not out of the window, whoever evicted them: where it is rendered they cannot be."""
    _move(session, change, slots, EVICTED, RESIDENT)


def take_out(session: Session, change: Change, slots: Iterable[int]) -> None:
    """These are out of the window: where it is rendered their tombstones stand."""
    _move(session, change, slots, RESIDENT, EVICTED)


def _move(session: Session, change: Change, slots: Iterable[int], old: int, new: int) -> None:
    heap = session.heap
    moved = [slot for slot in slots if heap.state[slot] == old]
    if moved:
        change.add(SetState(session.key, moved, STATES[new]))
    for slot in moved:
        heap.set_state(slot, new)
