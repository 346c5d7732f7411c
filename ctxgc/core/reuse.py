"""Will a body be needed again? A logistic estimate for the choice (the plan) and the time (the pacer).

    logit(x) = fixed(x) + age · ln turns lived + idle · ln turns since its last use + current + named + garbage
    fixed(x) = what the segment is: kind, how it was read, how large, how much it refers to, how well known its
               file was; computed once

Five terms move with time, so a single pass over columns scores a whole heap. The weights are a fit on recorded
sessions, tuned on four fifths of the sessions and judged by replay on the rest: `python -m perf.tune`,
docs/design/policy.md. A weight says how much more often a body of that sort was used or read again later, everything
else being equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import exp, log
from operator import attrgetter, mul
from typing import NamedTuple

from ctxgc.core.segment import LINE_MAX, Access, Kind, Segment, SegmentHeader

FULL_READ, RANGED_READ, SUB_AGENT, COMMAND, EDITS, SEARCHES, HAS_PATH, MENTIONS = (1 << bit for bit in range(8))
"""Traits of a segment, as bits."""

IMPORTANCE_WEIGHT = 6.0
"""What an importance of 1 adds over 0.5 is half of this: twenty times the odds."""

LOGS = (0.0, *(log(turns) for turns in range(1, 4097)))
"""Logarithms of turns; longer is as good as the longest."""
LOGS_LAST = len(LOGS) - 1

LOGIT_MIN = -700.0
"""Below, the odds are nought: their reciprocal is too large for a float."""


@dataclass(frozen=True, slots=True)
class ReuseWeights:
    """The terms of the estimate, in log-odds. `size`, `refs`, `known`, `age`, `idle` multiply a natural logarithm."""

    bias: float
    full_read: float
    ranged_read: float
    sub_agent: float
    command: float
    edits: float
    searches: float
    has_path: float
    mentions: float
    thinking: float
    size: float
    refs: float
    known: float
    age: float
    idle: float
    current: float
    named: float
    garbage: float


SHIPPED = ReuseWeights(
    bias=-7.283,
    full_read=-0.533,
    ranged_read=-0.345,
    sub_agent=1.585,
    command=0.132,
    edits=-0.082,
    searches=0.083,
    has_path=1.739,
    mentions=-0.978,
    thinking=0.294,
    size=0.683,
    refs=-0.286,
    known=-0.175,
    age=-0.17,
    idle=-0.451,
    current=1.215,
    named=0.731,
    garbage=-1.802,
)
"""Fitted on 202 663 body-turns of 40 sessions of two agents; only these eighteen numbers are learned."""


def trait_bits(segment: Segment | SegmentHeader) -> int:
    """The trait bits of a segment's facts."""
    traits, paths, facts = 0, segment.paths, segment.facts
    if paths:
        accesses = [use.access for use in paths]
        traits = HAS_PATH
        if accesses.count(Access.READ) == 1:
            read = paths[accesses.index(Access.READ)]
            traits |= FULL_READ if read.first_line == 1 and read.last_line == LINE_MAX else RANGED_READ
        if Access.EDIT in accesses:
            traits |= EDITS
        if accesses.count(Access.MENTION) == len(accesses):
            traits |= MENTIONS
    if facts.is_delegation:
        traits |= SUB_AGENT
    if facts.is_search:
        traits |= SEARCHES
    return traits | COMMAND if segment.command else traits


class FixedFacts(NamedTuple):
    """The facts of a segment that time does not change and its reuse depends on."""

    kind: Kind
    traits: int
    body_tokens: int
    refs: int
    namings: int
    """How many earlier segments named the best known of its files."""


_TRAIT_WEIGHTS = attrgetter(*[field.name for field in fields(ReuseWeights)[:10]])
"""`bias` to `thinking`: what the first ten of `fixed_factors` go with."""


def fixed_factors(facts: FixedFacts) -> tuple[float, ...]:
    """The factors of the first thirteen weights, from `bias` to `known`."""
    kind, traits, body_tokens, refs, namings = facts
    return (*_trait_factors(kind, traits), log(max(body_tokens, 1)), log(1 + refs), log(1 + namings))


def _trait_factors(kind: Kind, traits: int) -> tuple[float, ...]:
    return (
        1.0,
        float(bool(traits & FULL_READ)),
        float(bool(traits & RANGED_READ)),
        float(bool(traits & SUB_AGENT)),
        float(bool(traits & COMMAND)),
        float(bool(traits & EDITS)),
        float(bool(traits & SEARCHES)),
        float(bool(traits & HAS_PATH)),
        float(bool(traits & MENTIONS)),
        float(kind is Kind.THINKING),
    )


def trait_logit(weights: ReuseWeights, kind: Kind, traits: int) -> float:
    """The terms of kind and traits: a heap has few pairs of them, and many slots of each."""
    logit: float = sum(map(mul, _TRAIT_WEIGHTS(weights), _trait_factors(kind, traits)))
    return logit


def fixed_logit(weights: ReuseWeights, facts: FixedFacts, importance: float) -> float:
    """The part of a body's log-odds that time does not change."""
    return extend_trait_logit(weights, trait_logit(weights, facts.kind, facts.traits), facts[2:], importance)


def extend_trait_logit(weights: ReuseWeights, logit: float, counts: tuple[int, int, int], importance: float) -> float:
    """`fixed_logit` from `trait_logit` and (tokens of the body, references, namings), to the last bit."""
    body_tokens, refs, namings = counts
    logit += weights.size * log(max(body_tokens, 1))
    logit += weights.refs * log(1 + refs)
    logit += weights.known * log(1 + namings)
    return logit + IMPORTANCE_WEIGHT * (importance - 0.5)


def ln_turns(turns: int) -> float:
    """ln of a number of turns, at least one."""
    return LOGS[min(max(turns, 1), LOGS_LAST)]


def probability_of_logit(logit: float) -> float:
    """The logistic function; safe for any logit."""
    return 1.0 / (1.0 + exp(-logit)) if logit > LOGIT_MIN else 0.0


def probabilities(logits: Sequence[float]) -> list[float]:
    """`probability_of_logit` of each, without a call for each."""
    if min(logits, default=0.0) <= LOGIT_MIN:
        return list(map(probability_of_logit, logits))
    return [1.0 / (1.0 + exp(-logit)) for logit in logits]
