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

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from ctxgc.core.collector import Plan, find_evictable_bodies, make_victims, plan
from ctxgc.core.garbage import iter_garbage
from ctxgc.core.heap import Heap, Now, Proof
from ctxgc.core.liveness import liveness_terms
from ctxgc.core.pacing.cut import Needed, Weights, best_cut, profitable_bodies
from ctxgc.core.pacing.effects import Effects, effects_of_cut, effects_of_eviction, saving_of_eviction
from ctxgc.core.pacing.fault_lessons import FaultLessons
from ctxgc.core.pacing.price_profiles import PROFILES, Prices
from ctxgc.core.pacing.prompt_cache import CacheState
from ctxgc.core.pacing.regret_law import Slack
from ctxgc.core.paths import PathIndex
from ctxgc.core.reuse import probabilities
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
    return probabilities(logits)


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


def _cut_weights(heap: Heap, pacer: PacerRules) -> Weights:
    return Weights(
        saving_cached=saving_of_eviction(1, pacer.prices, pacer.horizon_turns, is_cached=True),
        saving_uncached=saving_of_eviction(1, pacer.prices, pacer.horizon_turns, is_cached=False),
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
    hard_plan = _hard_limit_plan(heap, paths, now, pacer)
    if hard_plan:
        return Decision("hard_limit", hard_plan, effects_of_eviction(heap, hard_plan.victims, cache))
    if not cache.is_cold and not is_look_due(heap, allowance.grown_tokens):
        return None
    roots = find_roots(heap, paths, now, replace(pacer.rules, recent_turns=pacer.recent_turns))
    among = find_evictable_bodies(heap, paths, roots)
    candidates, liveness = among.rest, among.liveness  # No live body leaves for a gain.
    garbage = frozenset(iter_garbage(heap, candidates, now, pacer.rules))
    weights = _cut_weights(heap, pacer)

    def needed(slots: Sequence[int]) -> Needed:
        chances = pacer.chances(heap, slots, now, liveness, garbage)
        tools = map(heap.tool.__getitem__, slots)
        return Needed(chances, allowance.lessons.correct_chances(chances, tools, heap.tools))

    cut = profitable_bodies(heap, candidates, needed, weights, cache)
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
        victims=tuple(make_victims(cut.slots, proofs, cut.freed, cut.gains)),
    )
    return Decision(
        "value", value_plan, effects_of_cut(heap, cut, cache), expected_faults_by_tool(heap, cut.slots, cut.chances)
    )


def expected_faults_by_tool(heap: Heap, slots: Sequence[int], chances: Sequence[float]) -> dict[str, float]:
    """How many of these bodies the estimate expects to be asked back, by tool."""
    expected: dict[int, float] = {}
    tool = heap.tool
    for slot, chance in zip(slots, chances, strict=True):
        number = tool[slot]
        expected[number] = expected.get(number, 0.0) + chance
    return {heap.tools[number]: faults for number, faults in expected.items()}


def is_look_due(heap: Heap, grown_tokens: int) -> bool:
    """Whether a warm window has grown enough since the last look."""
    return grown_tokens >= look_due_tokens(heap)


def look_due_tokens(heap: Heap) -> int:
    """How many evictable tokens must come before a warm window is looked at again."""
    return max(FREED_TOKENS_MIN, heap.evictable_tokens // LOOK_PART_MIN)


def _hard_limit_plan(heap: Heap, paths: PathIndex, now: Now, pacer: PacerRules) -> Plan | None:
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
