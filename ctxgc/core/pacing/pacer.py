"""The pacer decides when to collect, and how deep: both move the bill far more than the choice of segments.

Any edit inside a cached prefix makes the provider bill the whole suffix again. So a body is worth evicting only when
the saving outweighs that rewrite, and the price of a recall:

    gain(x) = freed · (w · [not cached] + r · H)  −  p(x) · (r · P + 300 + w · (size + 60) + Φ)

`r`, `w`: price of a cached read and of a cache write, relative to uncached input. `H`: turns the saving lasts. `P`:
prompt tokens. `p(x)`: probability that the body is needed again. `Φ`: the price of one fault in input tokens, the one
dial: dearer faults, fewer evictions.

    cold   the cache is gone anyway: everything with gain > 0 goes
    warm   walk from the tail to the front; a cut pays once for all that lies behind it, so take the cut where the
           gains behind it most exceed the rewrite: mostly small collections near the tail
    faults a session that asks bodies back more often than expected has all odds raised by as much
    limit  the window is over its hard limit: collect by key, down to the low watermark, whatever it costs; where roots
           hold it above that, a part of the gap must come free each time, or every turn would edit the prefix

Quantities are `evictable_tokens`, raw o200k; the caller converts budgets, which bound the whole window in billed
tokens. Source: measured by replay of recorded sessions, docs/design/collector.md.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from ctxgc.core.collector import Plan, Victim, find_evictable_bodies, plan
from ctxgc.core.garbage import garbage_slots
from ctxgc.core.heap import RESIDENT, Heap, Now, Proof
from ctxgc.core.liveness import liveness_terms
from ctxgc.core.pacing.cut import PlacedBodies, Weights, best_cut, profitable_bodies
from ctxgc.core.pacing.fault_lessons import FaultLessons
from ctxgc.core.pacing.prompt_cache import WARM, CacheState
from ctxgc.core.pacing.regret_law import Slack
from ctxgc.core.paths import PathIndex
from ctxgc.core.reuse import probability
from ctxgc.core.roots import find_roots
from ctxgc.core.rules import Rules
from ctxgc.core.turn_terms import turn_terms

FAULT_CALL_TOKENS = 60
"""The recall's own call, written once and read again."""
FAULT_FIXED_TOKENS = 300
REWRITE_MARGIN = 1.25
"""A cut must beat the rewrite by this factor: predictions err."""
FREED_TOKENS_MIN = 2000
"""A warm collection that frees less is not worth its disturbance."""
LOOK_PART_MIN = 128
"""A window is looked at again when a part of it that is one over this is new: looking at a huge one takes longer."""
GAP_PART_MIN = 4
"""A collection that cannot reach the low watermark frees at least this part of the gap to it, and two thousand tokens:
where roots hold the window above its limit, one body a turn would break the cache every turn."""


class Prices(NamedTuple):
    """A provider's prices relative to uncached input, and how long an unused prefix stays cached."""

    read: float
    write: float
    ttl_s: float


PROFILES = {
    "cache_5m": Prices(0.1, 1.25, 300.0),
    "cache_1h": Prices(0.1, 2.0, 3600.0),
    "openai": Prices(0.1, 1.0, 300.0),
    "openai_5_6": Prices(0.1, 1.25, 1800.0),
    "openai_6_1": Prices(0.05, 1.25, 1800.0),
    "subscription": Prices(0.1, 1.0, 300.0),
    "uncached": Prices(1.0, 1.0, 0.0),
}
"""Published list prices of prompt caching, 2026-11. OpenAI bills writes since GPT-5.6, and reads at half since GPT-6.1.
The rules by which a plan counts are not public: `subscription` assumes that a token that the cache lacked counts whole,
and a token read from the cache a tenth."""
OLDER_NAMES = {"flat": "subscription"}
"""Of price profiles."""
_GPT = re.compile(r"gpt-(\d{1,3})(?:\.(\d{1,3}))?")
PROFILE_DEFAULT = "cache_5m"
"""The profile of a session whose requests say nothing about a cache."""


class Dials(NamedTuple):
    """The dials of a profile: the price of a fault in input tokens, and the turns that a saving lasts."""

    fault_price_tokens: float
    horizon_turns: float


TUNED = {
    "cache_5m": Dials(20_000.0, 20.0),
    "cache_1h": Dials(12_000.0, 25.0),
    "uncached": Dials(240_000.0, 10.0),
    "openai": Dials(20_000.0, 20.0),
    "openai_5_6": Dials(12_000.0, 20.0),
    "openai_6_1": Dials(4_000.0, 20.0),
    "subscription": Dials(20_000.0, 20.0),
}
"""Chosen on recorded sessions: at most 1.5 faults and 0.95 reads of an evicted view in a hundred turns:
docs/design/policy.md."""


Chances = Callable[[Heap, Sequence[int], Now, Sequence[int], Container[int]], Sequence[float]]
"""How likely each of these slots' bodies is needed again, given every slot's liveness and which are proven garbage."""


def reuse_chances(
    heap: Heap, slots: Sequence[int], now: Now, liveness: Sequence[int], garbage: Container[int]
) -> list[float]:
    """The estimate of `core.reuse`. A replay may put perfect knowledge in its place."""
    weights, logit, born, touched = heap.weights, heap.logit, heap.born, heap.touched
    ages = turn_terms(weights.age, now.turn, heap.last_turn)
    idles = turn_terms(weights.idle, now.turn, heap.last_turn)
    linked = liveness_terms(weights)
    proof = weights.garbage
    logits = [logit[slot] + ages[born[slot]] + idles[touched[slot]] + linked[liveness[slot]] for slot in slots]
    if garbage:
        logits = [each + proof if slot in garbage else each for slot, each in zip(slots, logits, strict=True)]
    return list(map(probability, logits))


@dataclass(frozen=True, slots=True, kw_only=True)
class PacerRules:
    """The dials. Tokens are input-token equivalents or raw o200k as named."""

    prices: Prices = PROFILES["cache_5m"]
    fault_price_tokens: float = TUNED["cache_5m"].fault_price_tokens
    horizon_turns: float = TUNED["cache_5m"].horizon_turns
    recent_turns: int = 2
    """Turns whose segments stay. Fewer than where a budget is to be held: here every body is weighed before it goes."""
    window_max_tokens: int = 0
    """Hard limit on the window in raw tokens; 0: none."""
    low_ratio: float = 0.5
    """A hard collection goes down to this part of the limit: the gap is hysteresis."""
    hidden_tokens: int = 0
    """Raw tokens of every prompt that are not in the window: a fault's round trip reads them too."""
    rules: Rules = field(default_factory=Rules)
    """The rules of a collection at the hard limit. Below the limit `recent_turns` above replaces theirs."""
    chances: Chances = reuse_chances


def effective_profile(configured: str, requested: str) -> str:
    """The price profile of a request: the configured profile, and with `auto` the request's own.

    `openai` leaves it to the request which of OpenAI's prices its model has.
    """
    requested = OLDER_NAMES.get(requested, requested)
    if configured == "openai" and requested.startswith("openai"):
        return requested
    return (requested or PROFILE_DEFAULT) if configured == "auto" else configured


def openai_profile(model: str) -> str:
    """The price profile of a model of OpenAI, by its version."""
    version = _GPT.search(model)
    if version is None:
        return "openai"
    numbers = int(version[1]), int(version[2] or 0)
    return "openai_6_1" if numbers >= (6, 1) else "openai_5_6" if numbers >= (5, 6) else "openai"


def profile_by_bills(profile: str, *, charges_writes: bool) -> str:
    """The price profile of a request once its server's bills are known: OpenAI's own servers bill the writes of their
    newer models, and a server that bills none has other prices.
    """
    return profile if charges_writes or profile not in ("openai_5_6", "openai_6_1") else "openai"


def cache_life_s(profile: str, requested: str) -> float:
    """Seconds for which an unused prefix stays cached: with a plan, by the marks of the request."""
    requested = OLDER_NAMES.get(requested, requested)
    return PROFILES[requested if profile == "subscription" and requested else profile].ttl_s


def tuned_rules(profile: str) -> PacerRules:
    """The dials that ship for a price profile. Raises `KeyError` for a profile that is not in `PROFILES`."""
    return PacerRules(prices=PROFILES[profile], **TUNED[profile]._asdict())


VALUE = Proof("value", -1)
"""The reason of an eviction without proof: the freed tokens are worth more than the recall may cost."""


class Decision(NamedTuple):
    """Collect now: the trigger (`value`, `hard_limit`), the plan, and the plan's effect on the bill."""

    trigger: str
    plan: Plan
    effects: Effects
    expected_faults: Mapping[str, float] = MappingProxyType({})
    """How many victims the estimate expects to be asked back, by tool; of a collection at the hard limit none."""


def _fault_cost(heap: Heap, rules: PacerRules) -> float:
    """The fixed part of a fault's cost: the round trip, its call and Φ, without the body."""
    read, write, _ = rules.prices
    round_trip = read * (heap.resident_tokens + rules.hidden_tokens) + FAULT_FIXED_TOKENS
    return round_trip + write * FAULT_CALL_TOKENS + rules.fault_price_tokens


def _saving_of_eviction(freed_tokens: int, rules: PacerRules, *, is_cached: bool) -> float:
    """The saving of an eviction: a cached read a turn of the horizon and, for tokens not cached, a write."""
    read, write, _ = rules.prices
    return freed_tokens * ((0.0 if is_cached else write) + read * rules.horizon_turns)


def _cut_weights(heap: Heap, pacer: PacerRules) -> Weights:
    return Weights(
        saving_cached=_saving_of_eviction(1, pacer, is_cached=True),
        saving_uncached=_saving_of_eviction(1, pacer, is_cached=False),
        read=pacer.prices.read,
        write=pacer.prices.write,
        fault_cost=_fault_cost(heap, pacer),
        gain_min=max(pacer.rules.min_gain_tokens, 1),
        freed_min=FREED_TOKENS_MIN,
        rewrite_margin=REWRITE_MARGIN,
    )


class Allowance(NamedTuple):
    """The pacer's allowance from a session before a request (`core.pacing.regret_budget`)."""

    grown_tokens: int = FREED_TOKENS_MIN
    """Evictable tokens admitted since the pacer last looked at the window."""
    slack: Slack = Slack()
    """What bounds the cost of a warm cut."""
    lessons: FaultLessons = FaultLessons()
    """The session's faults so far."""


NO_BUDGET = Allowance()
"""The allowance of a session whose account is not looked at."""


def decide_collection(
    heap: Heap, paths: PathIndex, now: Now, pacer: PacerRules, cache: CacheState, allowance: Allowance = NO_BUDGET
) -> Decision | None:
    """The collection to make now; None for none.

    A warm collection frees two thousand tokens or does not happen. So the pacer looks at a warm window only after a
    growth of that size: most turns cost nothing, and an unprofitable cut is not weighed again at once. Only reads; same
    arguments, same decision. O(slots + references) where the pacer looks. Segments that the model has not seen yet, and
    segments just recalled, are roots, and stay like all roots (I2).
    """
    hard_plan = _plan_over_limit(heap, paths, now, pacer)
    if hard_plan:
        return Decision("hard_limit", hard_plan, effects_of_eviction(heap, hard_plan.victims, cache))
    if not cache.is_cold and not is_look_due(heap, allowance.grown_tokens):
        return None
    roots = find_roots(heap, paths, now, replace(pacer.rules, recent_turns=pacer.recent_turns))
    among = find_evictable_bodies(heap, paths, roots)
    candidates, liveness = among.rest, among.liveness  # No live body leaves for a gain.
    garbage = frozenset(garbage_slots(heap, candidates, now, pacer.rules))
    weights = _cut_weights(heap, pacer)

    def estimate(slots: Sequence[int]) -> Sequence[float]:
        return pacer.chances(heap, slots, now, liveness, garbage)

    def corrected(slots: Sequence[int]) -> Sequence[float]:
        return allowance.lessons.correct(estimate(slots), [heap.tool[slot] for slot in slots], heap.tools)

    cut = profitable_bodies(heap, candidates, corrected, weights, cache)
    if not cache.is_cold:
        cut = best_cut(cut, cache.read_tokens(heap.resident_tokens), weights, cache, allowance.slack)
    if not cut.slots:
        return None
    proofs = [heap.proofs[slot] if slot in garbage else VALUE for slot in cut.slots]
    remaining = heap.resident_tokens - sum(cut.freed)
    value_plan = Plan(
        target_tokens=remaining,
        before_tokens=heap.resident_tokens,
        remaining_tokens=remaining,
        victims=tuple(map(Victim._make, zip(cut.slots, *zip(*proofs, strict=True), cut.freed, cut.gains, strict=True))),
    )
    return Decision(
        "value", value_plan, _effects_of_cut(heap, cut, cache), expected_by_tool(heap, cut.slots, estimate(cut.slots))
    )


def expected_by_tool(heap: Heap, slots: Sequence[int], chances: Sequence[float]) -> dict[str, float]:
    """How many of these bodies the estimate expects to be asked back, by tool."""
    expected: dict[str, float] = {}
    for slot, chance in zip(slots, chances, strict=True):
        tool = heap.tool_name(slot)
        expected[tool] = expected.get(tool, 0.0) + chance
    return expected


def is_look_due(heap: Heap, grown_tokens: int) -> bool:
    """Whether a warm window has grown enough since the last look."""
    return grown_tokens >= due_tokens(heap)


def due_tokens(heap: Heap) -> int:
    """How many evictable tokens must come before a warm window is looked at again."""
    return max(FREED_TOKENS_MIN, heap.evictable_tokens // LOOK_PART_MIN)


def _plan_over_limit(heap: Heap, paths: PathIndex, now: Now, pacer: PacerRules) -> Plan | None:
    """The collection that a window over its hard limit needs, if the collection would free enough."""
    limit = pacer.window_max_tokens
    if not 0 < limit < heap.resident_tokens:
        return None
    target = int(limit * pacer.low_ratio)
    hard_plan = plan(heap, paths, target, now, pacer.rules)
    freed = hard_plan.before_tokens - hard_plan.remaining_tokens
    is_reached = hard_plan.remaining_tokens <= target
    return (
        hard_plan
        if freed and (is_reached or freed >= max((limit - target) // GAP_PART_MIN, FREED_TOKENS_MIN))
        else None
    )


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

    def predicted_cost(self, pacer: PacerRules) -> float:
        """Predicted change of the bill over the horizon, in input-token equivalents; negative is a saving.

        The rewrite once (nothing if the cache is cold), minus the tokens that later turns do not read. Faults are left
        out.
        """
        saved = _saving_of_eviction(self.cached_freed, pacer, is_cached=True) + _saving_of_eviction(
            self.uncached_freed, pacer, is_cached=False
        )
        return round((pacer.prices.write - pacer.prices.read) * self.rewritten - saved, 1)


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


def _effects_of_cut(heap: Heap, cut: PlacedBodies, cache: CacheState) -> Effects:
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
