"""Slots that a heap takes by the batch, as a waking session has them: columns, without an object a slot.

rows ──▶ SlotColumns ──restore_slots──▶ the heap that `Heap.admit` of each entry in turn would have made
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import log
from operator import sub
from typing import NamedTuple

from ctxgc.core.heap import EVICTED, KINDS, RESIDENT, Heap, HeapEntry
from ctxgc.core.reuse import extend_trait_logit, trait_logit
from ctxgc.core.segment import SAID_EDGES


class SlotColumns(NamedTuple):
    """Fields of `HeapEntry` by column, all of equal length; no slot has pointers or hidden tokens."""

    ids: Sequence[str]
    kinds: Sequence[int]
    """Positions in `KINDS`."""
    states: Sequence[int]
    flags: Sequence[int]
    places: Sequence[int]
    births: Sequence[int]
    touched: Sequence[int]
    touches: Sequence[int]
    skeletons: Sequence[int]
    bodies: Sequence[int]
    tombstones: Sequence[int]
    importances: Sequence[float]
    traits: Sequence[int]
    namings: Sequence[int]
    tools: Sequence[str]
    tasks: Sequence[str]
    refs: Sequence[Sequence[tuple[int, int]]]
    """(older slot, edge kind) of each reference."""


def entry_at(batch: SlotColumns, at: int) -> HeapEntry:
    """A slot of a batch as an entry."""
    return HeapEntry(
        id=batch.ids[at],
        kind=KINDS[batch.kinds[at]],
        place=batch.places[at],
        born_turn=batch.births[at],
        skeleton_tokens=batch.skeletons[at],
        body_tokens=batch.bodies[at],
        tombstone_tokens=batch.tombstones[at],
        tool=batch.tools[at],
        task=batch.tasks[at],
        flags=batch.flags[at],
        traits=batch.traits[at],
        namings=batch.namings[at],
        importance=batch.importances[at],
        touched_turn=batch.touched[at],
        touches=batch.touches[at],
        state=batch.states[at],
    )


def restore_slots(heap: Heap, batch: SlotColumns) -> range:
    """Append the slots of a batch, as `Heap.admit` would one by one, and return them. O(slots + references).

    Raises `ValueError` for a known id and for a reference to a slot that is not older; the heap is as it was.
    """
    start, n = len(heap.ids), len(batch.ids)
    slots = range(start, start + n)
    if len(set(batch.ids)) < n or not heap.slot_of.keys().isdisjoint(batch.ids):
        raise ValueError("a slot of the batch exists")
    for slot, refs in zip(slots, batch.refs, strict=True):
        for target, _ in refs:
            if not 0 <= target < slot:
                raise ValueError("a segment refers to older segments only")
    heap.ids += batch.ids
    heap.slot_of.update(zip(batch.ids, slots, strict=True))
    heap.kind += bytes(batch.kinds)
    heap.state += bytes(batch.states)
    heap.flags += bytes(batch.flags)
    heap.traits += bytes(batch.traits)
    heap.place.extend(batch.places)
    heap.born.extend(batch.births)
    peak = heap.born_peak[-1] if start else min(batch.births, default=0)
    heap.born_peak.extend([*accumulate(batch.births, max, initial=peak)][1:])
    touched = list(map(max, batch.touched, batch.births))
    heap.touched.extend(touched)
    heap.last_turn = max(heap.last_turn, *touched) if touched else heap.last_turn
    heap.touches.extend(batch.touches)
    heap.skeleton.extend(batch.skeletons)
    heap.body.extend(batch.bodies)
    heap.tombstone.extend(batch.tombstones)
    heap.freed.extend(map(sub, batch.bodies, batch.tombstones))
    heap.importance.extend(batch.importances)
    heap.namings.extend(batch.namings)
    tools = {name: heap.intern_name("t:", name, heap.tools) for name in dict.fromkeys(batch.tools)}
    tasks = {name: heap.intern_name("k:", name, heap.tasks) for name in dict.fromkeys(batch.tasks)}
    heap.tool.extend(map(tools.__getitem__, batch.tools))
    heap.task.extend(map(tasks.__getitem__, batch.tasks))
    _restore_refs(heap, slots, batch)
    _add_to_sums(heap, slots)
    logits = list(_fixed_logits(heap, slots))
    heap.logit.extend(logits)
    heap.key.extend(logit - log(max(freed, 1)) for logit, freed in zip(logits, heap.freed[start:], strict=True))
    for slot, state in zip(slots, batch.states, strict=True):
        if state <= EVICTED:
            heap.window_order.append(slot)
    return slots


def _restore_refs(heap: Heap, slots: range, batch: SlotColumns) -> None:
    ids, slot_of, shared_kinds = heap.ids, heap.slot_of, heap.shared_kinds
    for slot, refs in zip(slots, batch.refs, strict=True):
        if not refs:
            heap.refs.append(())
            heap.ref_kinds.append(b"")
            continue
        targets, codes = zip(*dict.fromkeys(refs), strict=True)
        # The slot numbers held by slot_of are reused, as `Heap.set_refs` does.
        heap.refs.append(tuple([slot_of[ids[target]] for target in targets]))
        kinds = bytes(codes)
        heap.ref_kinds.append(shared_kinds.setdefault(kinds, kinds))
        if given := tuple([target for target, kind in zip(targets, codes, strict=True) if kind in SAID_EDGES]):
            heap.given[slot] = given


def _add_to_sums(heap: Heap, slots: range) -> None:
    at = slice(slots.start, slots.stop)
    columns = (heap.state[at], heap.kind[at], heap.skeleton[at], heap.body[at], heap.tombstone[at], heap.freed[at])
    is_evictable = heap.evictable_kind_table
    for state, kind, skeleton, body, tombstone, freed in zip(*columns, strict=True):
        if state == RESIDENT:
            heap.resident_tokens += skeleton + body
            heap.evictable_tokens += body * is_evictable[kind]
        elif state == EVICTED:
            heap.resident_tokens += skeleton + tombstone
            heap.absent_tokens += freed


def _fixed_logits(heap: Heap, slots: range) -> Iterator[float]:
    at, weights = slice(slots.start, slots.stop), heap.weights
    known: dict[tuple[int, int], float] = {}
    columns = (heap.kind[at], heap.traits[at], heap.body[at], heap.refs[at], heap.namings[at], heap.importance[at])
    for kind, traits, body, refs, namings, importance in zip(*columns, strict=True):
        logit = known.get((kind, traits))
        if logit is None:
            logit = known[kind, traits] = trait_logit(weights, KINDS[kind], traits)
        yield extend_trait_logit(weights, logit, (body, len(refs), namings), importance)
