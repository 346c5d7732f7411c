"""The collector: from a heap, a target and a clock to a plan, and from a plan to a smaller window.

    find_roots ──▶ mark ──▶ candidates ──▶ garbage first, then the coldest ──▶ Plan
                                                                                │   the caller makes it durable
    heap, bodies out, tombstones in   ◀────────────── sweep ◀───────────────────┘

A plan only reads; a sweep cannot fail. Between the two lies the commit: no body leaves the window before the stash
has the decision on disk (I1), and a crash in between is repaired by sweeping again from rows.

Source: mark-sweep, McCarthy 1960; keys that need no re-scoring, forward decay, Cormode et al. 2009.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, count
from typing import NamedTuple

from ctxgc.core.garbage import proven
from ctxgc.core.heap import EVICTED, OPAQUE, PENDING, PINNED, RESIDENT, Heap, Now
from ctxgc.core.mark import mark
from ctxgc.core.masks import all_of, table
from ctxgc.core.paths import PathIndex
from ctxgc.core.policy import Rules
from ctxgc.core.reuse import ln_turns
from ctxgc.core.roots import ROOTS, find_roots
from ctxgc.core.segment import Kind

COLD = "cold"
COLD_REACHED = "cold_reached"
BY_HAND = "by_hand"

_IS_RESIDENT = table(lambda state: state == RESIDENT)
_IS_WHOLE = table(lambda flags: not flags & (OPAQUE | PENDING))
_IS_NO_ROOT = table(lambda root: root == 0)

Candidate = tuple[float, int]


class Victim(NamedTuple):
    """A segment to evict: why, what proves it (-1: nothing had to), what it frees, and how it ranked."""

    slot: int
    reason: str
    by: int
    freed_tokens: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a collection would do. Tokens are raw o200k of the whole window.

    `remaining_tokens` is at most `target_tokens`, or `held_by` says what holds the rest, by name (I6).
    """

    target_tokens: int
    before_tokens: int
    remaining_tokens: int
    victims: tuple[Victim, ...] = ()
    held_by: tuple[tuple[str, int], ...] = ()


def plan(heap: Heap, paths: PathIndex, target_tokens: int, now: Now, rules: Rules) -> Plan:
    """Choose victims until at most `target_tokens` stay in the window: garbage first, then the coldest.

    Only reads `heap`. Roots are never victims (I2); a body whose eviction frees less than `rules.min_gain_tokens` is
    none either (I7). Same arguments, same plan, in every process (I10). Raises nothing.
    O(slots + references + candidates · log candidates).
    """
    before = heap.resident_tokens
    if before <= target_tokens:
        return Plan(target_tokens=target_tokens, before_tokens=before, remaining_tokens=before)
    roots = find_roots(heap, paths, now, rules)
    reached = mark(heap.refs, roots)
    garbage, cold = candidates(heap, roots, reached, now, rules)
    remaining = before
    victims: list[Victim] = []
    for victim in _in_order(heap, garbage, cold, reached):
        victims.append(victim)
        remaining -= victim.freed_tokens
        if remaining <= target_tokens:
            break
    held_by = _held_by(heap, roots, {victim.slot for victim in victims}) if remaining > target_tokens else ()
    return Plan(
        target_tokens=target_tokens,
        before_tokens=before,
        remaining_tokens=remaining,
        victims=tuple(victims),
        held_by=held_by,
    )


def candidates(
    heap: Heap, roots: bytes | bytearray, reached: bytes | bytearray, now: Now, rules: Rules
) -> tuple[list[Candidate], list[Candidate]]:
    """(key, slot) of every body that may be evicted and is worth it: proven garbage, and the rest. O(slots).

    The key is the log of the odds that the body is needed again per token that evicting it frees: the lowest is the
    cheapest token to have back. Within garbage the same order, without age.
    """
    may_go = bytearray(evictable(heap, roots))
    gain, key, body, tombstone = rules.min_gain_tokens, heap.key, heap.body, heap.tombstone
    garbage = []
    for slot in heap.proofs:
        if may_go[slot] and proven(heap, slot, now, rules):
            may_go[slot] = 0
            if body[slot] >= tombstone[slot] + gain:
                garbage.append((key[slot], slot))
    linked = heap.weights.reached
    logs = [ln_turns(now.turn - then) for then in range(heap.last_turn + 1)]  # Turns are few where slots are many.
    ages = map([heap.weights.age * log for log in logs].__getitem__, heap.born)
    idles = map([heap.weights.idle * log for log in logs].__getitem__, heap.touched)
    columns = zip(count(), body, tombstone, key, reached, ages, idles)
    cold = [
        (fixed + linked * is_reached + age + idle, slot)
        for slot, body_tokens, tombstone_tokens, fixed, is_reached, age, idle in compress(columns, may_go)
        if body_tokens >= tombstone_tokens + gain
    ]
    return garbage, cold


def evictable(heap: Heap, roots: bytes | bytearray) -> bytes:
    """1 for each slot whose body is resident, of a kind that may go, all text, answered, and no root."""
    return all_of(
        heap.state.translate(_IS_RESIDENT),
        heap.kind.translate(heap.kinds_that_go),
        heap.flags.translate(_IS_WHOLE),
        roots.translate(_IS_NO_ROOT),
    )


def _in_order(
    heap: Heap, garbage: Iterable[Candidate], cold: Iterable[Candidate], reached: bytes | bytearray
) -> Iterator[Victim]:
    """Garbage, then what is cold, each from its lowest key.

    Sorting costs what popping a third of a queue does. What is cold is sorted only if garbage is not enough.
    """
    body, tombstone, proofs = heap.body, heap.tombstone, heap.proofs
    for key, slot in sorted(garbage):
        proof = proofs[slot]
        yield Victim(slot, proof.reason, proof.by, body[slot] - tombstone[slot], key)
    for key, slot in sorted(cold):
        yield Victim(slot, COLD_REACHED if reached[slot] else COLD, -1, body[slot] - tombstone[slot], key)


def plan_by_hand(heap: Heap, slots: Collection[int], rules: Rules) -> Plan:
    """Evict these, whatever they are worth; roots too, except pins: a person's hand outranks a rule.

    Slots that are not resident, pinned, pending, opaque or smaller than their tombstone are left out.
    """
    before = heap.resident_tokens
    victims = tuple(
        Victim(slot, BY_HAND, -1, heap.body[slot] - heap.tombstone[slot], 0.0)
        for slot in sorted(set(slots))
        if refusal(heap, slot, rules) == ""
    )
    after = before - sum(victim.freed_tokens for victim in victims)
    return Plan(target_tokens=after, before_tokens=before, remaining_tokens=after, victims=victims)


def refusal(heap: Heap, slot: int, rules: Rules) -> str:
    """Why a slot cannot be evicted even by hand, as a word; empty if it can."""
    if heap.state[slot] != RESIDENT:
        return heap.state_of(slot).value
    if heap.flags[slot] & OPAQUE:
        return "opaque"
    if heap.flags[slot] & PENDING:
        return "pending"
    if heap.kind_of(slot) in (Kind.SYSTEM, Kind.USER):
        return heap.kind_of(slot).value
    if heap.body[slot] <= heap.tombstone[slot]:
        return "small"
    return "pinned" if heap.is_set(slot, PINNED) else ""


def sweep(heap: Heap, victims: Sequence[Victim]) -> None:
    """Take the victims' bodies out of the window. Idempotent; cannot fail. O(victims)."""
    for victim in victims:
        if heap.state[victim.slot] == RESIDENT:
            heap.set_state(victim.slot, EVICTED)


def restore(heap: Heap, slots: Sequence[int]) -> None:
    """Put evicted bodies back where they were: the undoing of a sweep. Idempotent; cannot fail."""
    for slot in slots:
        if heap.state[slot] == EVICTED:
            heap.set_state(slot, RESIDENT)


def garbage_tokens(heap: Heap, paths: PathIndex, now: Now, rules: Rules) -> int:
    """What evicting proven garbage alone would free, roots spared."""
    roots = find_roots(heap, paths, now, rules)
    nothing = bytes(len(heap))
    garbage, _ = candidates(heap, roots, nothing, now, rules)
    return sum(heap.body[slot] - heap.tombstone[slot] for _, slot in garbage)


def _held_by(heap: Heap, roots: bytes | bytearray, evicted: Collection[int]) -> tuple[tuple[str, int], ...]:
    """What the window still costs when every candidate is out, by what holds it; the parts add up to the whole."""
    held: Counter[str] = Counter()
    for slot in heap.window():
        skeleton, tombstone = heap.skeleton[slot], heap.tombstone[slot]
        if slot in evicted or heap.state[slot] == EVICTED:
            held["tombstone"] += tombstone
            held["skeleton"] += skeleton
        elif roots[slot]:
            held[ROOTS[roots[slot]]] += skeleton + heap.body[slot]
        else:
            held["skeleton"] += skeleton
            held[_holder(heap, slot)] += heap.body[slot]
    return tuple(sorted(((name, tokens) for name, tokens in held.items() if tokens), key=lambda entry: -entry[1]))


def _holder(heap: Heap, slot: int) -> str:
    if heap.flags[slot] & OPAQUE:
        return "opaque"
    if not heap.may_go(slot):
        return heap.kind_of(slot).value
    return "small"
