"""The first victims of a large heap, by cells that are kept from plan to plan: those that a full sort would name.

    candidates outside of the cells ──proof holds──▶ cells of garbage ──rank_first_garbage──▶ the cheapest to have back
                                    ──no proof────▶ cells by turns   ──rank_first_cold_bodies─────▶ the coldest
                                    ──proof does not hold now: ranked along, and stays outside

Whether a proof holds changes with time and with departures. So a body with a proof never stands among the cold, and a
body whose proof is found not to hold leaves the garbage: nothing has to be told of either change.

Cells change while a plan looks, and plans of a heap may run on two threads: claim the cells (`Cells.claim`) before.
"""

from __future__ import annotations

from ctxgc.core.cells import Cells, KeyTerms, Mask, RankedBodies, Wanted
from ctxgc.core.garbage import garbage_proof, iter_garbage
from ctxgc.core.heap import Heap, Now
from ctxgc.core.liveness import liveness_terms
from ctxgc.core.rules import Rules
from ctxgc.core.turn_terms import turn_terms

SHALLOW_PART = 16
"""A plan that frees less than one part in so many of all bodies looks at few proofs, and asks about each alone."""
CANDIDATES_MIN = 2_000
"""With fewer candidates a sort of all takes less than half a millisecond."""
DEEP_PART = 2.0
"""A plan that frees more than one part in so many of all bodies is deep: there a sort of all is as fast."""


def is_kept_order_faster(heap: Heap, candidates: bytes | bytearray, tokens: int) -> bool:
    """Whether cells find the first victims, which free so many tokens, faster than a sort of all does."""
    return DEEP_PART * tokens <= heap.evictable_tokens and candidates.count(1) >= CANDIDATES_MIN


def rank_first_garbage(heap: Heap, candidates: bytes | bytearray, now: Now, rules: Rules, tokens: int) -> RankedBodies:
    """The first of `take_ranked_garbage` that free so many tokens, or all; `candidates` stays as it is."""
    cells, _ = _fill_cells(heap, candidates, now, rules)
    proven: Mask
    if SHALLOW_PART * tokens < heap.evictable_tokens:
        proven = _HoldingProofs(heap, candidates, now, rules)
    else:
        proven = bytearray(len(heap))
        for slot in iter_garbage(heap, candidates, now, rules):
            proven[slot] = 1
    return cells.rank_lowest_bodies(None, Wanted(proven, max(rules.min_gain_tokens, 1), tokens))


def rank_first_cold_bodies(
    heap: Heap, candidates: bytes | bytearray, liveness: bytes | bytearray, now: Now, rules: Rules, tokens: int
) -> RankedBodies:
    """The first of `rank_unproven_bodies` that free so many tokens, or all. Call once no garbage is left."""
    cells, loose = _fill_cells(heap, candidates, now, rules)
    weights, last = heap.weights, heap.last_turn
    terms = KeyTerms(
        classes=liveness_terms(weights),
        class_of=liveness,
        ages=turn_terms(weights.age, now.turn, last),
        idles=turn_terms(weights.idle, now.turn, last),
    )
    return cells.rank_lowest_bodies(terms, Wanted(candidates, max(rules.min_gain_tokens, 1), tokens), loose)


class _HoldingProofs:
    """1 for each candidate whose proof holds now, found out only for what a plan looks at."""

    def __init__(self, heap: Heap, candidates: bytes | bytearray, now: Now, rules: Rules) -> None:
        self._heap = heap
        self._candidates = candidates
        self._now = now
        self._rules = rules

    def __getitem__(self, slot: int) -> int:
        holds = self._candidates[slot] and garbage_proof(self._heap, slot, self._now, self._rules)
        return 1 if holds else 0


def _fill_cells(heap: Heap, candidates: bytes | bytearray, now: Now, rules: Rules) -> tuple[Cells, list[int]]:
    """(the heap's cells with every candidate inside but the loose ones, the loose ones): O(slots) the first time."""
    cold: list[int] = []
    garbage: list[int] = []
    loose: list[int] = []
    proofs = heap.proofs
    for slot in heap.cells.slots_outside(candidates):
        if slot not in proofs:
            cold.append(slot)
        else:
            (garbage if garbage_proof(heap, slot, now, rules) else loose).append(slot)
    heap.cells.add_slots(cold, now.turn)
    heap.cells.add_slots(garbage, now.turn, are_garbage=True)
    return heap.cells, loose
