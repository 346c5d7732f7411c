"""The collector: from a heap, a target and a clock to a plan, and from a plan to a smaller window.

    find_roots ──▶ mark ──▶ proven garbage ──not enough?──▶ the coldest ──not enough?──▶ the live ──▶ Plan
                                                                                                       │
    heap, bodies out, tombstones in   ◀───────── sweep ◀───────── the caller makes it durable ◀────────┘

A plan only reads; a sweep cannot fail. Between the two lies the commit: no body leaves the window before the stash
has the decision on disk (I1), and a crash in between is repaired by sweeping again from rows.

Source: mark-sweep, McCarthy 1960; keys that need no re-scoring, forward decay, Cormode et al. 2009.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, compress, repeat
from operator import itemgetter
from typing import NamedTuple

from ctxgc.core.cells import RankedBodies
from ctxgc.core.garbage import garbage_slots
from ctxgc.core.heap import EVICTED, OPAQUE, PENDING, PINNED, RESIDENT, Heap, Now
from ctxgc.core.kept_order import is_kept_order_faster, rank_first_cold_bodies, rank_first_garbage
from ctxgc.core.liveness import CURRENT, LIVE, NAMED, find_liveness, live_mask, liveness_terms
from ctxgc.core.masks import and_masks, filter_table, mask_positions
from ctxgc.core.paths import PathIndex
from ctxgc.core.roots import ROOTS, find_roots
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Kind
from ctxgc.core.turn_terms import turn_terms

COLD, CURRENT_COLD, NAMED_COLD, LIVE_LAST = "cold", "current", "named", "live"
"""Reasons of victims without a proof: no reference speaks for the body, or one does, and the body is cold all the same;
and what was said to be needed, where nothing else was left."""
BY_HAND = "by_hand"

_REASONS = tuple(NAMED_COLD if of & NAMED else CURRENT_COLD if of & CURRENT else COLD for of in range(LIVE))
_IS_RESIDENT = filter_table(lambda state: state == RESIDENT)
_IS_WHOLE = filter_table(lambda flags: not flags & (OPAQUE | PENDING))
_IS_NO_ROOT = filter_table(lambda root: root == 0)


class Victim(NamedTuple):
    """A segment to evict: the reason, the proving slot (-1: no proof needed), the freed tokens, the rank."""

    slot: int
    reason: str
    by: int
    freed_tokens: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The outcome of a collection in advance. Tokens are raw o200k of the whole window.

    `remaining_tokens` is at most `target_tokens`, or `protected_by` names the protections of the rest (I6).
    """

    target_tokens: int
    before_tokens: int
    remaining_tokens: int
    victims: tuple[Victim, ...] = ()
    protected_by: tuple[tuple[str, int], ...] = ()


def plan(heap: Heap, paths: PathIndex, target_tokens: int, now: Now, rules: Rules) -> Plan:
    """Choose victims until at most `target_tokens` stay in the window: garbage first, then the coldest, then the live.

    Only reads `heap`. Roots are never victims (I2); a body whose eviction frees less than `rules.min_gain_tokens` is no
    victim either (I7). Same arguments, same plan, in every process (I10). Raises nothing. O(slots + references +
    candidates · log candidates).
    """
    before = heap.resident_tokens
    if before <= target_tokens:
        return Plan(target_tokens=target_tokens, before_tokens=before, remaining_tokens=before)
    roots = find_roots(heap, paths, now, rules)
    among = find_evictable_bodies(heap, paths, roots)
    # Another plan of the same heap may be under way on a worker thread: then all is sorted, and comes to the same.
    is_kept = is_kept_order_faster(heap, among.rest, before - target_tokens) and heap.cells.try_claim()
    try:
        victims, freed_tokens = _choose_victims(heap, among, now, rules, before - target_tokens, is_kept=is_kept)
    finally:
        if is_kept:
            heap.cells.release()
    remaining = before - freed_tokens
    protected_by = (
        _tokens_by_protection(heap, roots, {victim.slot for victim in victims}) if remaining > target_tokens else ()
    )
    return Plan(
        target_tokens=target_tokens,
        before_tokens=before,
        remaining_tokens=remaining,
        victims=tuple(victims),
        protected_by=protected_by,
    )


@dataclass(frozen=True)
class EvictableBodies:
    """The bodies that a plan may take."""

    heap: Heap
    paths: PathIndex
    roots: bytes | bytearray
    rest: bytearray
    """1 for each that is not live."""
    live: bytes | bytearray
    """1 for each that is live, and goes last."""

    @cached_property
    def liveness(self) -> bytearray:
        """The liveness of every slot, found when it is asked for: a plan that garbage is enough for needs none."""
        return find_liveness(self.heap, self.paths, self.roots)

    def reason_without_proof(self, slot: int) -> tuple[str, int]:
        """The reason of a victim without a proof, and no proving slot."""
        liveness = self.liveness[slot]
        return LIVE_LAST if liveness & LIVE else _REASONS[liveness], -1


def find_evictable_bodies(heap: Heap, paths: PathIndex, roots: bytes | bytearray) -> EvictableBodies:
    """The evictable bodies, the live ones apart. O(slots) at C speed + O(pins + given references)."""
    evictable = evictable_mask(heap, roots)
    live = and_masks(evictable, live_mask(heap, roots))
    rest = bytearray(evictable)
    for slot in mask_positions(live):
        rest[slot] = 0
    return EvictableBodies(heap, paths, roots, rest, live)


Reasons = Callable[[int], tuple[str, int]]
"""(reason, proving slot or -1) of a slot's eviction."""


def rank_bodies(heap: Heap, among: EvictableBodies, now: Now, rules: Rules) -> Iterator[tuple[RankedBodies, Reasons]]:
    """Every candidate worth evicting, in the order of eviction: garbage, then the cold, then the live.

    Each part is ranked when it is asked for: most plans need the first alone.
    """
    yield take_ranked_garbage(heap, among.rest, now, rules), heap.proofs.__getitem__
    yield rank_unproven_bodies(heap, among.rest, among.liveness, now, rules), among.reason_without_proof
    yield rank_unproven_bodies(heap, among.live, among.liveness, now, rules), among.reason_without_proof


def _rank_bodies_by_cells(
    heap: Heap, among: EvictableBodies, now: Now, rules: Rules, enough: Callable[[], int]
) -> Iterator[tuple[RankedBodies, Reasons]]:
    """The same as `rank_bodies` over the cells that are kept: of each part the first that free enough, or all."""
    yield rank_first_garbage(heap, among.rest, now, rules, enough()), heap.proofs.__getitem__
    yield rank_first_cold_bodies(heap, among.rest, among.liveness, now, rules, enough()), among.reason_without_proof
    yield rank_unproven_bodies(heap, among.live, among.liveness, now, rules), among.reason_without_proof


def _choose_victims(
    heap: Heap, among: EvictableBodies, now: Now, rules: Rules, tokens: int, *, is_kept: bool
) -> tuple[list[Victim], int]:
    """The first victims that free so many tokens, or all, and the tokens that all of the victims free."""
    victims: list[Victim] = []
    left = tokens
    parts = (
        _rank_bodies_by_cells(heap, among, now, rules, lambda: left)
        if is_kept
        else rank_bodies(heap, among, now, rules)
    )
    for ranked, reasons in parts:
        count = bisect_left(list(accumulate(ranked.freed)), left) + 1
        slots, freed = ranked.slots[:count], ranked.freed[:count]
        victims += make_victims(slots, list(map(reasons, slots)), freed, ranked.keys[:count])
        left -= sum(freed)
        if left <= 0:
            break
    return victims, tokens - left


def make_victims(
    slots: Sequence[int], reasons: Sequence[tuple[str, int]], freed: Sequence[int], scores: Sequence[float]
) -> list[Victim]:
    """A victim of each row of these columns: of a hundred thousand, in seven tenths of the time of a call for each."""
    words, provers = map(itemgetter(0), reasons), map(itemgetter(1), reasons)
    rows = zip(slots, words, provers, freed, scores, strict=True)
    return list(map(tuple.__new__, repeat(Victim), rows))  # What `Victim._make` does, without a frame for each.


def take_ranked_garbage(heap: Heap, candidates: bytearray, now: Now, rules: Rules) -> RankedBodies:
    """Proven garbage worth evicting, the lowest key first; takes all garbage off `candidates`.

    The key is the log of the odds that the body is needed again per token freed, without age: the lowest key is the
    cheapest token to have back. O(proofs · log proofs).
    """
    freed, gain = heap.freed, max(rules.min_gain_tokens, 1)
    proven = garbage_slots(heap, candidates, now, rules)
    for slot in proven:
        candidates[slot] = 0
    slots = [slot for slot in proven if freed[slot] >= gain]
    return _rank_slots(heap, slots, [heap.key[slot] for slot in slots])


def rank_unproven_bodies(
    heap: Heap, candidates: bytes | bytearray, liveness: bytes | bytearray, now: Now, rules: Rules
) -> RankedBodies:
    """The candidates worth evicting, the lowest key first: as for garbage, but with age and liveness.

    O(slots + candidates · log candidates).
    """
    freed, gain = heap.freed, max(rules.min_gain_tokens, 1)
    key, born, touched, weights = heap.key, heap.born, heap.touched, heap.weights
    ages = turn_terms(weights.age, now.turn, heap.last_turn)  # Turns are few where slots are many.
    idles = turn_terms(weights.idle, now.turn, heap.last_turn)
    linked = liveness_terms(weights)
    slots = [slot for slot in compress(range(len(heap)), candidates) if freed[slot] >= gain]
    keys = [key[slot] + linked[liveness[slot]] + ages[born[slot]] + idles[touched[slot]] for slot in slots]
    return _rank_slots(heap, slots, keys)


def _rank_slots(heap: Heap, slots: Sequence[int], keys: Sequence[float]) -> RankedBodies:
    """Ascending slots in the order of their keys; among equals the older slot goes first."""
    # Sorting costs what popping a third of a queue does, and numbers are sorted three times faster than pairs.
    order = sorted(range(len(slots)), key=keys.__getitem__)
    ranked = [slots[at] for at in order]
    return RankedBodies(ranked, [keys[at] for at in order], [heap.freed[slot] for slot in ranked])


def evictable_mask(heap: Heap, roots: bytes | bytearray) -> bytes:
    """1 for each slot whose body is resident, of a kind that may go, all text, answered, and no root."""
    return and_masks(
        heap.state.translate(_IS_RESIDENT),
        heap.kind.translate(heap.evictable_kind_table),
        heap.flags.translate(_IS_WHOLE),
        roots.translate(_IS_NO_ROOT),
    )


def plan_eviction_by_hand(heap: Heap, slots: Collection[int], rules: Rules) -> Plan:
    """Evict the named slots, whatever the gain; roots too, except pins: a person's hand outranks a rule.

    Slots that are not resident, pinned, pending, opaque or smaller than their tombstone are left out.
    """
    before = heap.resident_tokens
    victims = tuple(
        Victim(slot, BY_HAND, -1, heap.freed[slot], 0.0)
        for slot in sorted(set(slots))
        if hand_eviction_refusal_reason(heap, slot, rules) == ""
    )
    after = before - sum(victim.freed_tokens for victim in victims)
    return Plan(target_tokens=after, before_tokens=before, remaining_tokens=after, victims=victims)


def hand_eviction_refusal_reason(heap: Heap, slot: int, rules: Rules) -> str:
    """Why a slot cannot be evicted even by hand, as a word; empty for an evictable slot."""
    if heap.state[slot] != RESIDENT:
        return heap.state_of(slot).value
    if heap.flags[slot] & OPAQUE:
        return "opaque"
    if heap.flags[slot] & PENDING:
        return "pending"
    if heap.kind_of(slot) in (Kind.SYSTEM, Kind.USER):
        return heap.kind_of(slot).value
    if heap.freed[slot] <= 0:
        return "small"
    return "pinned" if heap.has_flag(slot, PINNED) else ""


def sweep(heap: Heap, victims: Sequence[Victim]) -> None:
    """Take the victims' bodies out of the window. Idempotent; cannot fail. O(victims)."""
    for victim in victims:
        if heap.state[victim.slot] == RESIDENT:
            heap.set_state(victim.slot, EVICTED)


def restore_bodies(heap: Heap, slots: Sequence[int]) -> None:
    """Put evicted bodies back in place: the undoing of a sweep. Idempotent; cannot fail."""
    for slot in slots:
        if heap.state[slot] == EVICTED:
            heap.set_state(slot, RESIDENT)


def evictable_and_garbage_tokens(heap: Heap, paths: PathIndex, now: Now, rules: Rules) -> tuple[int, int]:
    """(tokens of the bodies that may be evicted now, tokens that evicting proven garbage alone would free). O(slots).

    Roots and protected bodies are in neither.
    """
    candidates = bytearray(evictable_mask(heap, find_roots(heap, paths, now, rules)))
    return sum(compress(heap.body, candidates)), sum(take_ranked_garbage(heap, candidates, now, rules).freed)


def _tokens_by_protection(
    heap: Heap, roots: bytes | bytearray, evicted: Collection[int]
) -> tuple[tuple[str, int], ...]:
    """The window's tokens with every candidate out, by protection; the parts add up to the whole."""
    protected: Counter[str] = Counter()
    for slot in heap.window():
        skeleton, tombstone = heap.skeleton[slot], heap.tombstone[slot]
        if slot in evicted or heap.state[slot] == EVICTED:
            protected["tombstone"] += tombstone
            protected["skeleton"] += skeleton
        elif roots[slot]:
            protected[ROOTS[roots[slot]]] += skeleton + heap.body[slot]
        else:
            protected["skeleton"] += skeleton
            protected[protection_of(heap, slot)] += heap.body[slot]
    return tuple(sorted(((name, tokens) for name, tokens in protected.items() if tokens), key=lambda entry: -entry[1]))


def protection_of(heap: Heap, slot: int) -> str:
    """Why no plan evicts a body that is no root: its kind, `opaque`, or `small`, where evicting frees too little."""
    if heap.flags[slot] & OPAQUE:
        return "opaque"
    if not heap.has_evictable_kind(slot):
        return heap.kind_of(slot).value
    return "small"
