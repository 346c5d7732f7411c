"""What a session's requests on the wire taught: what stood in them, and what they were billed.

    request ──▶ Sent (raw tokens, bodies out) ──its bill──▶ tokens per raw token, hidden prefix, cache hits
    collection ──▶ Open ──the first bill of a request it was in force in──▶ its actual cost

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

OPEN_MAX = 8
"""Collections that wait for a bill; the oldest beyond that stays without an actual cost."""


class Sent(NamedTuple):
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

    sent: Sent
    uncached_tokens: int
    """Read from no cache: new to it, or written again."""
    tokens: int
    """All of the prompt."""


class Open(NamedTuple):
    """A collection that has no actual cost yet."""

    collection: int
    victims: frozenset[int]
    is_cold: bool


@dataclass(slots=True)
class Contents:
    """Digests that requests gave to slots, by what a comparison with the stash came to.

    Nothing is lost with them: a digest that is in neither is compared again.
    """

    stored: dict[int, str] = field(default_factory=dict)
    """The stash holds this content: the body may go."""
    other: dict[int, str] = field(default_factory=dict)
    """The stash holds another content: a host used the id again, and what stands there must stay (I1)."""

    def compared(self, slot: int, digest: str, *, is_stored: bool) -> None:
        """Take note of one comparison."""
        (self.stored if is_stored else self.other)[slot] = digest
        if is_stored and self.other.get(slot) == digest:
            del self.other[slot]


@dataclass(slots=True)
class Wiring:
    """One session's, written by `window.sync` alone."""

    sent: Sent | None = None
    """The last request told of."""
    bill: Bill | None = None
    """The last bill."""
    opened: deque[Open] = field(default_factory=lambda: deque(maxlen=OPEN_MAX))
    shadow: set[int] = field(default_factory=set)
    """Victims of the collections that were only journalled."""
    contents: Contents = field(default_factory=Contents)
    fixed: set[int] = field(default_factory=set)
    """Slots that cannot be edited on the wire."""
    accounts_on: bool | None = None
    """Whether the session's account was kept of what is carried out (on), or of what would be (in shadow)."""
    tombstones: dict[int, str] = field(default_factory=dict)
    """Texts of those told of."""
    pacer: PacerRules | None = None
    """How the last request is billed and paced."""
    heard_s: float = 0.0
    """When it was told of."""
    is_off: bool = False
    """The gateway only passes this session's requests on."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Billed since the session woke: in all, and read from the cache."""

    def shadow_slots(self, heap: Heap) -> set[int]:
        """Resident slots that would be out if the session were not in shadow."""
        return {slot for slot in self.shadow if heap.state[slot] == RESIDENT}

    @property
    def cache_hit_rate(self) -> float:
        """Part of the prompt tokens that was read from the cache."""
        return round(self.cached_tokens / self.prompt_tokens, 4) if self.prompt_tokens else 0.0


@contextmanager
def as_if_out(heap: Heap, slots: Collection[int]) -> Iterator[None]:
    """For as long as it lasts these resident bodies are out of the window. Nothing may wait meanwhile."""
    for slot in slots:
        heap.set_state(slot, EVICTED)
    try:
        yield
    finally:
        for slot in slots:
            heap.set_state(slot, RESIDENT)


def actual_cost(opened: Open, before: Bill, after: Bill, ratio: float, pacer: PacerRules) -> float | None:
    """What a collection did to the bill over the pacer's horizon, in raw input-token equivalents; None if unknowable.

    Measured between the last bill without it and the first with it: what came uncached beyond what is new was written
    again because of it, and what is missing from the prompt was freed.
    """
    fresh = after.sent.full_tokens - before.sent.full_tokens
    if fresh < 0 or opened.victims & before.sent.out:
        return None  # The host took something out too, and the bill does not tell whose is what.
    read, write, _ = pacer.prices
    freed = fresh - (after.tokens - before.tokens) / ratio
    rewritten = 0.0 if opened.is_cold else max(0.0, after.uncached_tokens / ratio - fresh)
    saved = freed * ((write if opened.is_cold else 0.0) + read * pacer.horizon_turns)
    return round((write - read) * rewritten - saved, 1)
