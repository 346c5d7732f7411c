"""The effects of an edit of the window: what later requests write again, and what they read and write no more.

Quantities are raw tokens of the window.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ctxgc.core.collector import Victim
from ctxgc.core.heap import RESIDENT, Heap
from ctxgc.core.pacing.cut import PlacedBodies
from ctxgc.core.pacing.price_profiles import Prices
from ctxgc.core.pacing.prompt_cache import WARM, CacheState


def saving_of_eviction(freed_tokens: int, prices: Prices, horizon_turns: float, *, is_cached: bool) -> float:
    """The saving of an eviction: a cached read a turn of the horizon and, for tokens not cached, a write."""
    read, write, _ = prices
    return freed_tokens * ((0.0 if is_cached else write) + read * horizon_turns)


class Effects(NamedTuple):
    """An edit's effects on later requests, in raw tokens."""

    rewritten: int
    """Cached tokens of the window that stay, from the first victim on: what the next request writes again."""
    cached_freed: int
    """Freed tokens that were cached: they are not read any more."""
    uncached_freed: int
    """Freed tokens that were not: they are not even written."""

    def edit_cost(self, prices: Prices) -> float:
        """The edit's extra cost in the very next request: the rewrite, less the tokens not read or written."""
        read, write, _ = prices
        return (write - read) * self.rewritten - read * self.cached_freed - write * self.uncached_freed

    def predicted_cost(self, prices: Prices, horizon_turns: float) -> float:
        """Predicted change of the bill over the horizon, in input-token equivalents; negative is a saving.

        The rewrite once (nothing if the cache is cold), minus the tokens that later turns do not read. Faults are left
        out.
        """
        saved = saving_of_eviction(self.cached_freed, prices, horizon_turns, is_cached=True)
        saved += saving_of_eviction(self.uncached_freed, prices, horizon_turns, is_cached=False)
        return round((prices.write - prices.read) * self.rewritten - saved, 1)


def effects_of_eviction(heap: Heap, victims: Sequence[Victim], cache: CacheState = WARM) -> Effects:
    """The effect of an eviction on the next request and on later requests. O(slots)."""
    out = {victim.slot: victim.freed_tokens for victim in victims}
    if not out:
        return Effects(0, 0, 0)
    state, skeleton, body, tombstone = heap.state, heap.skeleton, heap.body, heap.tombstone
    end = cache.read_tokens(heap.resident_tokens)
    first = position = gone = cached_freed = 0
    for slot in heap.window():
        if position >= end:
            break  # Behind the cache nothing is written twice.
        if slot in out:
            first = first if cached_freed else position
            gone += min(end - position, out[slot])
            cached_freed += out[slot]
        position += skeleton[slot] + (body[slot] if state[slot] == RESIDENT else tombstone[slot])
    rewritten = end - cache.read_tokens(first) - gone if cached_freed else 0
    return Effects(rewritten, cached_freed, sum(out.values()) - cached_freed)


def effects_of_cut(heap: Heap, cut: PlacedBodies, cache: CacheState) -> Effects:
    """As `effects_of_eviction`, of bodies whose places are known. O(bodies)."""
    end = cache.read_tokens(heap.resident_tokens)
    cached = bisect_left(cut.starts, end)  # Behind the cache nothing is written twice.
    cached_freed = sum(cut.freed[:cached])
    rewritten = end - cache.read_tokens(cut.starts[0]) - sum(cut.cached_freed_tokens(end)) if cached_freed else 0
    return Effects(rewritten, cached_freed, sum(cut.freed) - cached_freed)


def effects_of_return(heap: Heap, slots: Collection[int]) -> Effects:
    """The effect of evicted bodies that come back, before their return: each body is written for the first time.
    O(slots).
    """
    back = frozenset(slots)
    position, first, gone = 0, -1, 0
    for slot in heap.window():
        if slot in back:
            first = position if first < 0 else first
            gone += heap.tombstone[slot]
        position += heap.skeleton[slot] + (heap.body[slot] if heap.state[slot] == RESIDENT else heap.tombstone[slot])
    rewritten = position - first - gone if first >= 0 else 0
    return Effects(rewritten, 0, -sum(heap.freed[slot] for slot in back))
