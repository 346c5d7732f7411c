"""What a session's requests on the wire taught: what stood in them, and what they were billed.

    request ──▶ ForwardedRequest (raw tokens, bodies out) ──its bill──▶ tokens per raw token, hidden prefix, cache hits
    collection ──▶ UnpricedCollection ──the first bill of a request it was in force in──▶ its actual cost

A session that slept starts a new one: then the contents are compared again, and a collection that nobody could price
keeps no actual cost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from ctxgc.core.heap import EVICTED, RESIDENT, Heap
from ctxgc.core.pacer import PacerRules

UNPRICED_MAX = 8
"""Collections that wait for a bill; the oldest beyond that stays without an actual cost."""


class ForwardedRequest(NamedTuple):
    """A request as it was forwarded. Tokens are raw."""

    ids: tuple[str, ...]
    full_tokens: int
    """Its window if every body were in it."""
    tokens: int
    """Its window as it was sent."""
    out: frozenset[int]
    """Slots whose tombstones stood in it."""


class Bill(NamedTuple):
    """What a request was billed, in billed tokens."""

    request: ForwardedRequest
    uncached_tokens: int
    """Read from no cache: new to it, or written again."""
    tokens: int
    """All of the prompt."""


class UnpricedCollection(NamedTuple):
    """A collection that has no actual cost yet."""

    collection: int
    victims: frozenset[int]
    is_cold: bool


@dataclass(slots=True)
class ContentDigests:
    """Digests that requests gave to slots, by what a comparison with the stash came to.

    Nothing is lost with them: a digest that is in neither is compared again.
    """

    stored: dict[int, str] = field(default_factory=dict)
    """The stash holds this content: the body may go."""
    other: dict[int, str] = field(default_factory=dict)
    """The stash holds another content: a host used the id again, and what stands there must stay (I1)."""

    def note_comparison(self, slot: int, digest: str, *, is_stored: bool) -> None:
        """Take note of one comparison."""
        (self.stored if is_stored else self.other)[slot] = digest
        if is_stored and self.other.get(slot) == digest:
            del self.other[slot]


@dataclass(slots=True)
class RequestLedger:
    """One session's, written by `window.sync` alone."""

    last_request: ForwardedRequest | None = None
    """The last request told of."""
    bill: Bill | None = None
    """The last bill."""
    unpriced: deque[UnpricedCollection] = field(default_factory=lambda: deque(maxlen=UNPRICED_MAX))
    shadow_victims: set[int] = field(default_factory=set)
    """Victims of the collections that were only journalled."""
    digests: ContentDigests = field(default_factory=ContentDigests)
    uneditable: set[int] = field(default_factory=set)
    """Slots that cannot be edited on the wire."""
    is_account_real: bool | None = None
    """Whether the session's account was kept of what is carried out (on), or of what would be (in shadow)."""
    tombstones: dict[int, str] = field(default_factory=dict)
    """Texts of those told of."""
    pacer: PacerRules | None = None
    """How the last request is billed and paced."""
    last_request_s: float = 0.0
    """When it was told of."""
    is_off: bool = False
    """The gateway only passes this session's requests on."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Billed since the session woke: in all, and read from the cache."""

    def shadow_slots(self, heap: Heap) -> set[int]:
        """Resident slots that would be out if the session were not in shadow."""
        return {slot for slot in self.shadow_victims if heap.state[slot] == RESIDENT}

    @property
    def cache_hit_rate(self) -> float:
        """Part of the prompt tokens that was read from the cache."""
        return round(self.cached_tokens / self.prompt_tokens, 4) if self.prompt_tokens else 0.0


@contextmanager
def simulate_eviction(heap: Heap, slots: Collection[int]) -> Iterator[None]:
    """For as long as it lasts these resident bodies are out of the window. Nothing may wait meanwhile."""
    for slot in slots:
        heap.set_state(slot, EVICTED)
    try:
        yield
    finally:
        for slot in slots:
            heap.set_state(slot, RESIDENT)


def actual_cost(
    unpriced: UnpricedCollection, before: Bill, after: Bill, ratio: float, pacer: PacerRules
) -> float | None:
    """What a collection did to the bill over the pacer's horizon, in raw input-token equivalents; None if unknowable.

    Measured between the last bill without it and the first with it: what came uncached beyond what is new was written
    again because of it, and what is missing from the prompt was freed.
    """
    fresh = after.request.full_tokens - before.request.full_tokens
    if fresh < 0 or unpriced.victims & before.request.out:
        return None  # The host took something out too, and the bill does not tell whose is what.
    read, write, _ = pacer.prices
    freed = fresh - (after.tokens - before.tokens) / ratio
    rewritten = 0.0 if unpriced.is_cold else max(0.0, after.uncached_tokens / ratio - fresh)
    saved = freed * ((write if unpriced.is_cold else 0.0) + read * pacer.horizon_turns)
    return round((write - read) * rewritten - saved, 1)
