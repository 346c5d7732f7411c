"""Reconciliation: the transitions that make a session's window agree with a host's list.

    host list: ids, digests, places ──┐
                                      ├── reconcile ──▶ Transitions
    session: heap, digests ───────────┘

    the list has        the session has        transition
    a new id            nothing                admit where the content came along, else unknown
    a known id          the same content       none; a departed segment returns, evicted if it left evicted (I14)
    a known id          another content        conflict: the content is stored aside, the segment stays whole (I1)
    no such id          a segment              depart, with the reason

Every reader of a host's list asks this function: `window.sync`, `messages.collect`, and a feed of a transcript. A list
speaks of contents by id; where a list's ids are only names, `session_ids_of_contents` finds the session's own ids
first. Reconciliation reads the heap and changes no state, so the same arguments give the same transitions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import NamedTuple

from ctxgc.core.heap import DEPARTED, EVICTED, FORGOTTEN, KINDS, PENDING, RESIDENT, Heap
from ctxgc.core.segment import Departure, Kind, base_id, tool_call_id

_CALL = KINDS.index(Kind.TOOL_CALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostList:
    """A host's list of a session's segments: the whole window, or a part of the window."""

    places: Mapping[str, int]
    """Place of each listed id, in window order."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Digest of the content behind an id, as the host computes digests; an id without a digest keeps its content."""
    contents: Mapping[str, Kind] = field(default_factory=dict)
    """Kind of each segment whose content came along."""
    departed: Mapping[str, Departure] = field(default_factory=dict)
    """Ids that the host took out of its window, with the reasons."""
    tombstones: Set[str] = frozenset()
    """Ids whose tombstone stands in the list instead of the body."""
    is_whole: bool = True
    """The list is the window: all other segments depart, and no segment moves before every id is known."""
    is_outdated: bool = False
    """The list is an older or shorter copy than the session: no segment returns or moves for it."""
    is_rendered: bool = True
    """Tombstones stand in the host's own request, so a segment that must be whole there is resident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSession:
    """A session as reconciliation reads a session: read only."""

    heap: Heap
    left_evicted: Set[int] = frozenset()
    """Slots that departed while evicted."""
    redacted: Set[int] = frozenset()
    """Slots whose stored content lacks a secret: their bodies cannot leave the list, and digests cannot match."""
    uneditable: Set[int] = frozenset()
    """Slots whose bodies cannot leave the host's list."""
    stored_digests: Mapping[int, str] = field(default_factory=dict)
    """Digest, by slot, that the host gave to the content that the stash holds."""
    other_digests: Mapping[int, str] = field(default_factory=dict)
    """Digest, by slot, that the host gave to another content under the same id."""

    def has_complete_segment(self, id_: str) -> bool:
        """Whether the session has the segment, and the segment is not pending."""
        slot = self.heap.slot_of.get(id_)
        return slot is not None and not self.heap.flags[slot] & PENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """The changes that a host's list asks of a session: slots, or ids where a segment may have no slot yet."""

    admit: tuple[str, ...] = ()
    """Ids of contents that are new, or complete a pending call."""
    aside: tuple[str, ...] = ()
    """Ids of contents that came under an id of another content."""
    unknown: tuple[str, ...] = ()
    """Listed ids whose content the session lacks: the host has to send them."""
    conflicts: tuple[int, ...] = ()
    """Listed slots whose content in the list differs from the content in the stash."""
    departures: tuple[tuple[Departure, tuple[int, ...]], ...] = ()
    evicted: tuple[int, ...] = ()
    """Slots to be evicted: they return so, or their tombstone stands in the list."""
    resident: tuple[int, ...] = ()
    """Slots to be resident: they return so, or no tombstone can stand for them."""
    moves: tuple[tuple[int, int], ...] = ()
    """(slot, new place)."""


def reconcile(host: HostList, session: KnownSession) -> Transitions:
    """Compare a host's list with a session. O(listed + window); raises no error.

    A whole list with an unknown id leaves the window unchanged: half a list would make segments depart that the other
    half may hold. Contents are admitted all the same, so that a long list may come in parts.
    """
    heap, is_whole = session.heap, host.is_whole
    digests, others = call_digests(host, session), session.other_digests
    conflicts = {slot for slot, digest in others.items() if digests.get(slot, digest) == digest}
    doubtful = uncompared_slots(digests, session)
    places: dict[int, int] = {}
    unknown: list[str] = []
    for id_, place in host.places.items():
        slot = heap.slot_of.get(id_, -1)
        is_missing = slot < 0 or slot in doubtful or (is_whole and heap.flags[slot] & PENDING)
        if is_missing and id_ not in host.contents:
            unknown.append(id_)
        elif slot >= 0:
            places[slot] = place
    admit = tuple(id_ for id_ in host.contents if not session.has_complete_segment(id_))
    aside = tuple(id_ for id_ in host.contents if session.has_complete_segment(id_) and heap.slot_of[id_] in conflicts)
    if unknown and is_whole:
        return Transitions(admit=admit, aside=aside, unknown=tuple(unknown))
    listed_conflicts = tuple(slot for slot in places if slot in conflicts)
    evicted, resident = _evicted_and_resident_slots(host, session, places, conflicts)
    return Transitions(
        admit=admit,
        aside=aside,
        unknown=tuple(unknown),
        conflicts=listed_conflicts,
        departures=_departures(host, session, places),
        evicted=evicted,
        resident=resident,
        moves=() if host.is_outdated else tuple(at for at in places.items() if heap.place[at[0]] != at[1]),
    )


def call_digests(host: HostList, session: KnownSession) -> dict[int, str]:
    """Digest, by slot, of the listed calls that are answered.

    Only a call's id is a name that a host may give to another content: all other ids are digests of a text.
    """
    heap = session.heap
    slots = ((heap.slot_of.get(id_, -1), digest) for id_, digest in host.digests.items())
    return {
        slot: digest
        for slot, digest in slots
        if slot >= 0 and heap.kind[slot] == _CALL and not heap.flags[slot] & PENDING
    }


def uncompared_slots(digests: Mapping[int, str], session: KnownSession) -> set[int]:
    """Slots whose digest was not compared with the stash yet, and can be compared."""
    stored, others = session.stored_digests, session.other_digests
    return {
        slot
        for slot, digest in digests.items()
        if stored.get(slot) != digest and others.get(slot) != digest and slot not in session.redacted
    }


def _evicted_and_resident_slots(
    host: HostList, session: KnownSession, places: Mapping[int, int], conflicts: Set[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Slots to be evicted, and slots to be resident."""
    heap = session.heap
    state = heap.state
    stones = {heap.slot_of[id_] for id_ in host.tombstones}
    whole = session.uneditable | session.redacted | conflicts if host.is_rendered else frozenset()
    evicted: list[int] = []
    resident: list[int] = []
    for slot in places:
        now = state[slot]
        if now == DEPARTED and host.is_outdated:
            continue
        if slot in stones:
            is_out = True
        elif slot in whole:
            is_out = False
        else:
            is_out = now == EVICTED or (now == DEPARTED and slot in session.left_evicted)
        if now != FORGOTTEN and now != (EVICTED if is_out else RESIDENT):
            (evicted if is_out else resident).append(slot)
    return tuple(evicted), tuple(resident)


def _departures(
    host: HostList, session: KnownSession, places: Mapping[int, int]
) -> tuple[tuple[Departure, tuple[int, ...]], ...]:
    """Slots that leave the window, by reason."""
    heap = session.heap
    slots_by_departure: dict[Departure, list[int]] = {}
    for id_, reason in host.departed.items():
        slot = heap.slot_of.get(id_)
        if slot is not None and heap.state[slot] <= EVICTED:
            slots_by_departure.setdefault(reason, []).append(slot)
    if host.is_whole:
        missing = [slot for slot in heap.window() if slot not in places]
        if missing:
            slots_by_departure.setdefault(_departure_reason(host, session, places), []).extend(missing)
    return tuple((reason, tuple(slots)) for reason, slots in slots_by_departure.items())


def _departure_reason(host: HostList, session: KnownSession, places: Mapping[int, int]) -> Departure:
    """Why segments depart from a whole list: a summary that the window lacked says that the host compacted."""
    heap = session.heap
    fresh = (kind for id_, kind in host.contents.items() if id_ in host.places and id_ not in heap.slot_of)
    back = (heap.kind_of(slot) for slot in places if heap.state[slot] == DEPARTED)
    is_compacted = Kind.SUMMARY in fresh or Kind.SUMMARY in back
    return Departure.HOST_COMPACTED if is_compacted else Departure.REWOUND


# Ids of lists in which an id is only a name


class Stamp(NamedTuple):
    """The digest of a content. A redacted content differs from a text that spells the redaction."""

    digest: bytes
    is_redacted: bool


class Content(NamedTuple):
    """A listed segment: id, stamp, and the stamp of an answered call while the call was pending."""

    id: str
    stamp: Stamp
    pending_stamp: Stamp | None = None


def session_ids_of_contents(
    contents: Sequence[Content], heap: Heap, stamp_of: Callable[[int], Stamp], reserved: Collection[str] = ()
) -> list[str]:
    """The session's id of each content, every id at most once; never a `reserved` id.

    A list's id is no more than a name: a host edits a result, or counts the uses of a call id anew after dropping some.
    A session's id stands for a single content for good, because tombstones, pins and people refer to ids (I1, I9). So a
    content has the id under which the session holds the content, or completes the pending call of its id, or gets the
    next ordinal. A forgotten segment is recognised by its id alone.
    """
    bases = {base_id(content.id) for content in contents}
    holders = _ids_by_stamp(bases, heap, stamp_of)
    fresh = {base: _numbered_ids(base) for base in bases}
    taken, ids = set(reserved), []
    for content in contents:
        id_, base = content.id, base_id(content.id)
        exact = [known for known in holders.get((base, content.stamp), ()) if known not in taken]
        pending_ids = holders.get((base, content.pending_stamp), ()) if content.pending_stamp else ()
        known_ids = exact or [known for known in pending_ids if known not in taken]
        is_forgotten = id_ in heap.slot_of and heap.state[heap.slot_of[id_]] == FORGOTTEN
        if known_ids:
            id_ = id_ if id_ in known_ids else known_ids[0]
        elif id_ in taken or not is_forgotten:
            while id_ in taken or id_ in heap.slot_of:
                id_ = next(fresh[base])
        taken.add(id_)
        ids.append(id_)
    return ids


def _ids_by_stamp(bases: Set[str], heap: Heap, stamp_of: Callable[[int], Stamp]) -> dict[tuple[str, Stamp], list[str]]:
    """Ids of the session, in order of their ordinals, by base and content; a forgotten segment has no content."""
    holders: dict[tuple[str, Stamp], list[str]] = {}
    for base in bases:
        for id_ in takewhile(heap.slot_of.__contains__, _numbered_ids(base)):
            slot = heap.slot_of[id_]
            if heap.state[slot] != FORGOTTEN:
                holders.setdefault((base, stamp_of(slot)), []).append(id_)
    return holders


def _numbered_ids(base: str) -> Iterator[str]:
    return (tool_call_id(base, ordinal) for ordinal in count(1))
