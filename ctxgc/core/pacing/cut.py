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
    chances: list[float]
    """How likely the estimate takes each to be needed again, whatever the session's faults say."""

    def cached_freed_tokens(self, end: int) -> list[int]:
        """The freed tokens of each body before `end`, where the cached part of the window ends."""
        cached = bisect_left(self.starts, end)
        inside = self.freed[:cached]
        if inside:  # Only the last of them may reach beyond the end.
            inside[-1] = min(end - self.starts[cached - 1], inside[-1])
        return inside + [0] * (len(self.freed) - cached)

    def bodies_from(self, at: int) -> PlacedBodies:
        """The bodies from a place in the columns on."""
        return PlacedBodies(self.slots[at:], self.starts[at:], self.freed[at:], self.gains[at:], self.chances[at:])

    def bodies_where(self, selectors: Sequence[bool]) -> PlacedBodies:
        """The bodies whose selector is true."""
        return PlacedBodies(
            list(compress(self.slots, selectors)),
            list(compress(self.starts, selectors)),
            list(compress(self.freed, selectors)),
            list(compress(self.gains, selectors)),
            list(compress(self.chances, selectors)),
        )


class Needed(NamedTuple):
    """How likely each of several bodies is needed again: columns of equal length."""

    by_estimate: Sequence[float]
    by_lessons: Sequence[float]
    """The same by the session's own odds, which faults raise: what a body is weighed by."""


def profitable_bodies(
    heap: Heap,
    candidates: bytes | bytearray,
    needed: Callable[[Sequence[int]], Needed],
    weights: Weights,
    cache: CacheState,
) -> PlacedBodies:
    """Every body with a positive gain, of the slots that `candidates` marks with 1. O(window)."""
    state, skeleton, body, tombstone, freed = heap.state, heap.skeleton, heap.body, heap.tombstone, heap.freed
    window, gain_min = heap.window(), weights.gain_min
    costs = [skeleton[slot] + (body[slot] if state[slot] == RESIDENT else tombstone[slot]) for slot in window]
    is_large = [candidates[slot] and freed[slot] >= gain_min for slot in window]
    slots, starts = list(compress(window, is_large)), list(compress(accumulate(costs, initial=0), is_large))
    frees = [freed[slot] for slot in slots]
    chances = needed(slots)
    # The formula at the top of the pacer; all bodies share the price of a token and of a fault.
    fault_cost, write = weights.fault_cost, weights.write
    gains: list[float] = []
    cached = bisect_left(starts, cache.read_tokens(heap.resident_tokens))
    for part, saving in ((slice(cached), weights.saving_cached), (slice(cached, None), weights.saving_uncached)):
        gains += [
            tokens * saving - chance * (fault_cost + write * body[slot])
            for slot, tokens, chance in zip(slots[part], frees[part], chances.by_lessons[part], strict=True)
        ]
    bodies = PlacedBodies(slots, starts, frees, gains, list(chances.by_estimate))
    return bodies.bodies_where([gain > 0 for gain in gains])


def best_cut(bodies: PlacedBodies, end: int, weights: Weights, cache: CacheState, slack: Slack) -> PlacedBodies:
    """The suffix of bodies whose gains most exceed the rewrite of the cached tokens kept behind the first of them.

    `end` is where the cached part of the window ends. No cut costs the next request more than the regret law allows.
    O(bodies).
    """
    read, write, margin = weights.read, weights.write, weights.rewrite_margin
    rewrite = write - read
    gains, freed = list(accumulate(bodies.gains[::-1])), list(accumulate(bodies.freed[::-1]))
    # What stays of a victim's own slot follows the edit or is the edit: the next request writes it again too.
    gone = list(accumulate(bodies.cached_freed_tokens(end)[::-1]))
    parts = cache.read_tokens_for_edits(bodies.starts[::-1])
    nets = [gain - margin * (rewrite * (end - part - out)) for gain, part, out in zip(gains, parts, gone, strict=True)]

    def is_allowed(at: int) -> bool:
        cost = rewrite * (end - parts[at] - gone[at])
        return cost - read * freed[at] <= slack.cost_max(gains[at], cost)

    ample = bisect_left(freed, weights.freed_min)
    depth = _deepest_of_best(nets, ample, is_allowed)
    return bodies.bodies_from(len(nets) - depth)


def _deepest_of_best(nets: Sequence[float], start: int, is_allowed: Callable[[int], bool]) -> int:
    """How many bodies the best cut takes that is allowed and gains anything, of cuts from a place on; 0: none does."""
    best_net = max(nets[start:], default=0.0)
    if best_net <= 0.0:
        return 0
    best = nets.index(best_net, start)
    if is_allowed(best):  # Most often; then the law is asked about no other.
        return best + 1
    best_net, depth = 0.0, 0
    for at in range(start, len(nets)):
        if nets[at] > best_net and is_allowed(at):
            best_net, depth = nets[at], at + 1
    return depth
