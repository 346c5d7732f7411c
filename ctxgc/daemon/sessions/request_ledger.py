"""A session's requests on the wire: segments, tombstones, bills, and the digests of contents.

    request ──▶ ForwardedRequest (raw tokens, bodies out) ──its bill──▶ tokens per raw token, hidden prefix, cache hits
    collection ──▶ UnpricedCollection ──bill of the first request with its tombstones──▶ its actual cost

The ledger lives in memory: after a session slept, contents are compared with the stash again, and a collection whose
bill was missed keeps no actual cost.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from ctxgc.core.entry.shortening_shadow import ShadowedResults
from ctxgc.core.heap import RESIDENT, Heap
from ctxgc.core.pacing.pacer import PacerRules
from ctxgc.core.pacing.trust import Trust, is_model_contradicted
from ctxgc.daemon.sessions.provider_ledger import ProviderLedger

UNPRICED_MAX = 8
"""Collections that wait for a bill; the oldest beyond the bound stays without an actual cost."""


class ForwardedRequest(NamedTuple):
    """A request in the form that the gateway forwarded. Tokens are raw."""

    ids: tuple[str, ...]
    full_tokens: int
    """Tokens of the window with every body resident."""
    tokens: int
    """Tokens of the window with the tombstones."""
    out: frozenset[int]
    """Slots of the tombstones."""


class Bill(NamedTuple):
    """The bill of a request, in billed tokens."""

    request: ForwardedRequest
    uncached_tokens: int
    """Tokens that the prompt cache lacked: new, or written again."""
    tokens: int
    """Tokens of the whole prompt."""


class UnpricedCollection(NamedTuple):
    """A collection that has no actual cost yet."""

    collection: int
    victims: frozenset[int]
    is_cold: bool
    predicted_read: int = 0
    """Billed tokens that the request with the collection is predicted to read from the cache."""
    rewritten: float = 0.0
    """Billed tokens that the request is predicted to write again."""
    is_by_model: bool = True
    """Whether the collection rests on the model of the cache, which its bill then confirms or contradicts."""


@dataclass(slots=True)
class ContentDigests:
    """Digests that requests gave to slots, by the outcome of a comparison with the stash.

    A digest in neither table is compared again, so a loss of the tables costs only time.
    """

    stored: dict[int, str] = field(default_factory=dict)
    """Digests of the content that the stash holds: the body is evictable."""
    other: dict[int, str] = field(default_factory=dict)
    """Digests of another content: the host used the id again, and the body must stay (I1)."""

    def note_comparison(self, slot: int, digest: str, *, is_stored: bool) -> None:
        """Remember the outcome of a comparison."""
        (self.stored if is_stored else self.other)[slot] = digest
        if is_stored and self.other.get(slot) == digest:
            del self.other[slot]


@dataclass(slots=True)
class RequestLedger:
    """The requests of a session. Only `window.sync` writes a ledger."""

    last_request: ForwardedRequest | None = None
    bill: Bill | None = None
    """The last bill."""
    unpriced: deque[UnpricedCollection] = field(default_factory=lambda: deque(maxlen=UNPRICED_MAX))
    shadow_victims: set[int] = field(default_factory=set)
    """Victims of the collections in shadow."""
    digests: ContentDigests = field(default_factory=ContentDigests)
    uneditable: set[int] = field(default_factory=set)
    """Slots whose bodies cannot be edited on the wire."""
    is_account_real: bool | None = None
    """The session's account counts collections that were carried out; False: collections in shadow."""
    tombstones: dict[int, str] = field(default_factory=dict)
    """Text of each tombstone in force, by slot."""
    pacer: PacerRules | None = None
    """Prices and horizon of the last request."""
    last_request_s: float = 0.0
    """Unix time of the last request."""
    window_max_tokens: int = 0
    """The hard limit of the run on the window, in billed tokens; 0: none."""
    can_recall: bool = True
    """Whether the agent can run `ctxgc recall`, as the last request says."""
    is_off: bool = False
    """The gateway only passes this session's requests on."""
    trust: Trust = field(default_factory=Trust)
    """The trust that bills give to the model of the provider's cache."""
    provider: ProviderLedger = field(default_factory=ProviderLedger)
    """The session in the provider's cache."""
    shortened: ShadowedResults = field(default_factory=ShadowedResults)
    """Counts of shortening in shadow: lines that would be left out, and pages that would be asked back."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Billed tokens since the session woke: of all prompts, and read from the cache."""

    def learn_trust(self, cut: UnpricedCollection, read_tokens: int, turn: int) -> int:
        """Learn trust from the bill of an editing request; billed tokens that were written instead of read, to be paid.

        What cuts before the first pause lost is not to be paid: else no later cut could earn the loss back.
        """
        if cut.is_cold or not cut.is_by_model:
            return 0
        was_paused = bool(self.trust.pause_turns)
        self.trust = self.trust.after_edit(turn, cut.predicted_read, read_tokens, cut.rewritten)
        is_lost = was_paused and is_model_contradicted(cut.predicted_read, read_tokens, cut.rewritten)
        return cut.predicted_read - read_tokens if is_lost else 0

    def shadow_victim_slots(self, heap: Heap) -> set[int]:
        """Resident slots that would be evicted if the session were not in shadow."""
        return {slot for slot in self.shadow_victims if heap.state[slot] == RESIDENT}

    @property
    def cache_hit_rate(self) -> float:
        """Part of the prompt tokens that the cache served."""
        return round(self.cached_tokens / self.prompt_tokens, 4) if self.prompt_tokens else 0.0


def actual_cost(
    unpriced: UnpricedCollection, before: Bill, after: Bill, ratio: float, pacer: PacerRules
) -> float | None:
    """A collection's effect on the bill over the pacer's horizon, in raw input-token equivalents; `None` if unknowable.

    `before` is the last bill without the collection, `after` the first with it. Uncached tokens beyond the new segments
    were written again because of the collection; tokens missing from the prompt were freed.
    """
    fresh = after.request.full_tokens - before.request.full_tokens
    if fresh < 0 or unpriced.victims & before.request.out:
        return None  # The host edited the window too, and the bill does not tell the two apart.
    read, write, _ = pacer.prices
    freed = fresh - (after.tokens - before.tokens) / ratio
    rewritten = 0.0 if unpriced.is_cold else max(0.0, after.uncached_tokens / ratio - fresh)
    saved = freed * ((write if unpriced.is_cold else 0.0) + read * pacer.horizon_turns)
    return round((write - read) * rewritten - saved, 1)
