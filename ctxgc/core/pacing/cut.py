"""The pacer's look at a window: the bodies worth evicting, and the cut that pays most.

    window ──one walk──▶ gain of each body ──running sums from the tail──▶ net of each cut ──▶ the best that is allowed

A look walks the window once and then works on columns: ten thousand bodies take milliseconds, in the middle of a
request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate, compress
from typing import NamedTuple

from ctxgc.core.heap import RESIDENT, Heap
from ctxgc.core.pacing.prompt_cache import CacheState
from ctxgc.core.pacing.regret_law import Slack


class Weights(NamedTuple):
    """What all bodies of a look are weighed by, in input-token equivalents and raw tokens."""

    saving_cached: float
    """The saving for each freed token that is cached, over the horizon."""
    saving_uncached: float
    read: float
    write: float
    fault_cost: float
    """The cost of a fault without the body."""
    gain_min: int
    """The least tokens that an eviction must free."""
    freed_min: int
    """The least tokens that a cut must free."""
    rewrite_margin: float
    """The factor by which a cut must beat its rewrite."""


class PlacedBodies(NamedTuple):
    """Bodies in window order: columns of equal length."""

    slots: list[int]
    starts: list[int]
    """Tokens of the window before each."""
    freed: list[int]
    """Tokens that evicting each frees."""
    gains: list[float]

    def cached_freed_tokens(self, end: int) -> list[int]:
        """The freed tokens of each body before `end`, where the cached part of the window ends."""
        cached = bisect_left(self.starts, end)
        inside = self.freed[:cached]
        if inside:  # Only the last of them may reach beyond the end.
            inside[-1] = min(end - self.starts[cached - 1], inside[-1])
        return inside + [0] * (len(self.freed) - cached)

    def bodies_from(self, at: int) -> PlacedBodies:
        """The bodies from a place in the columns on."""
        return PlacedBodies(self.slots[at:], self.starts[at:], self.freed[at:], self.gains[at:])


Needed = Callable[[Sequence[int]], Sequence[float]]
"""How likely the body of each of these slots is needed again."""


def profitable_bodies(
    heap: Heap, candidates: bytes | bytearray, needed: Needed, weights: Weights, cache: CacheState
) -> PlacedBodies:
    """Every body with a positive gain, of the slots that `candidates` marks with 1. O(window)."""
    state, skeleton, body, tombstone, freed = heap.state, heap.skeleton, heap.body, heap.tombstone, heap.freed
    window, gain_min = heap.window(), weights.gain_min
    costs = [skeleton[slot] + (body[slot] if state[slot] == RESIDENT else tombstone[slot]) for slot in window]
    is_large = [candidates[slot] and freed[slot] >= gain_min for slot in window]
    slots, starts = list(compress(window, is_large)), list(compress(accumulate(costs, initial=0), is_large))
    # The formula at the top of the pacer; all bodies share the price of a token and of a fault.
    fault_cost, write = weights.fault_cost, weights.write
    cached = bisect_left(starts, cache.read_tokens(heap.resident_tokens))
    savings = [weights.saving_cached] * cached + [weights.saving_uncached] * (len(slots) - cached)
    gains = [
        freed[slot] * saving - chance * (fault_cost + write * body[slot])
        for slot, saving, chance in zip(slots, savings, needed(slots), strict=True)
    ]
    is_worth = [gain > 0 for gain in gains]
    slots = list(compress(slots, is_worth))
    return PlacedBodies(
        slots, list(compress(starts, is_worth)), [freed[slot] for slot in slots], list(compress(gains, is_worth))
    )


def best_cut(bodies: PlacedBodies, end: int, weights: Weights, cache: CacheState, slack: Slack) -> PlacedBodies:
    """The suffix of bodies whose gains most exceed the rewrite of the cached tokens kept behind the first of them.

    `end` is where the cached part of the window ends. No cut costs the next request more than the regret law allows.
    O(bodies).
    """
    read, write = weights.read, weights.write
    starts = bodies.starts[::-1]
    gains, freed = list(accumulate(bodies.gains[::-1])), list(accumulate(bodies.freed[::-1]))
    # What stays of a victim's own slot follows the edit or is the edit: the next request writes it again too.
    gone = accumulate(bodies.cached_freed_tokens(end)[::-1])
    kept = [end - part - out for part, out in zip(cache.read_tokens_for_edits(starts), gone, strict=True)]
    rewrites = [(write - read) * tokens for tokens in kept]
    margin = weights.rewrite_margin
    nets = [gain - margin * rewrite for gain, rewrite in zip(gains, rewrites, strict=True)]
    ample = range(bisect_left(freed, weights.freed_min), len(nets))
    best_net, depth = 0.0, 0
    # Most often the cut that pays most is allowed, and the law is asked about no other.
    for at in (max(ample, key=nets.__getitem__), *ample) if ample else ():
        if nets[at] > best_net and rewrites[at] - read * freed[at] <= slack.cost_max(gains[at], rewrites[at]):
            best_net, depth = nets[at], at + 1
    return bodies.bodies_from(len(nets) - depth)
